// Before the tests, once for all of them: what they start as processes of their own is bundled, so that none of these many starts compiles the
// sources again. Each run of the tests has its own bundles, of the sources as they are; programs.ts names them. They are gone with the run.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { build } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
/** Within the project: the packages that the programs import are found from there. */
const CACHE = join(ROOT, 'node_modules', '.cache');

export default async function bundlePrograms() {
  mkdirSync(CACHE, { recursive: true });
  const directory = mkdtempSync(join(CACHE, 'qed-programs-'));
  // Some run as a user who may do nothing.
  chmodSync(directory, 0o755);
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  await build({
    absWorkingDir: ROOT,
    entryPoints: ['cmd/qed.ts', 'testutils/log-child.ts', 'testutils/store-child.ts'],
    outdir: directory,
    entryNames: '[name]',
    bundle: true,
    splitting: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'error',
  });
  process.env['TEST_PROGRAMS'] = directory;
}
