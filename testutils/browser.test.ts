// The client library as its users get it: bundled for a browser, exactly as `npm run bundle` does, and run in a real one; and as the package's
// own entry in Node. Both must accept true proofs and refuse altered ones.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { encodeHex } from '../src/crypto/encoding.ts';
import { digestOf } from './balloon-twin.ts';
import { findBrowser, withPage } from './browser.ts';
import { signedLog } from './signed-log.ts';
import { withTempDir } from './temp.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const browser = findBrowser();
const built = existsSync(join(root, 'dist/src/client/index.js'));

interface Bundle {
  readonly code: string;
  readonly inputs: readonly string[];
  readonly imports: readonly unknown[];
}

/** Runs the bundling command of package.json, into a folder of its own. */
async function bundle(): Promise<Bundle> {
  return withTempDir(async (folder) => {
    const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
      scripts: { bundle: string };
    };
    const command = scripts.bundle.split(' ').slice(1);
    const [out, meta] = [join(folder, 'client.js'), join(folder, 'meta.json')];
    const options = command.filter((option) => !option.startsWith('--outfile='));
    const path = [join(root, 'node_modules/.bin'), process.env['PATH']].join(delimiter);
    await run('esbuild', [...options, `--outfile=${out}`, `--metafile=${meta}`], {
      cwd: root,
      env: { ...process.env, PATH: path },
    });
    const { inputs, outputs } = JSON.parse(await readFile(meta, 'utf8')) as {
      inputs: Record<string, unknown>;
      outputs: Record<string, { imports: unknown[] }>;
    };
    const imports = Object.values(outputs).flatMap((output) => output.imports);
    return { code: await readFile(out, 'utf8'), inputs: Object.keys(inputs), imports };
  });
}

interface Case {
  readonly kind: string;
  readonly json: unknown;
  readonly event?: string;
  readonly start?: unknown;
  readonly end?: unknown;
  readonly answer: string;
}

function makeCases(): { vkey: string; cases: Case[] } {
  const log = signedLog([[digestOf('a'), digestOf('b')], [digestOf('c')], [digestOf('d'), digestOf('a')]]);
  const fork = signedLog([[digestOf('a'), digestOf('b')], [digestOf('x')], [digestOf('d'), digestOf('a')]]);
  const stranger = signedLog([[digestOf('a')]], { seed: 2 });
  const event = encodeHex(digestOf('b'));
  const present = log.membership(digestOf('b'));
  const absent = log.membership(digestOf('z'));
  const [start, end] = [log.signedSnapshot(1), log.signedSnapshot(4)];
  const proof = log.incremental(1, 4);
  const z = encodeHex(digestOf('z'));
  return {
    vkey: log.signer.vkey,
    cases: [
      { kind: 'signed snapshot', json: end, answer: 'version 4' },
      { kind: 'signed snapshot', json: stranger.signedSnapshot(0), answer: 'note-unsigned' },
      { kind: 'signed snapshot', json: { ...end, snapshot: start.snapshot }, answer: 'snapshot-mismatch' },
      {
        kind: 'signed snapshot',
        json: { ...end, checkpoint: end.checkpoint.replace('\n5\n', '\n6\n') },
        answer: 'signature-invalid',
      },
      { kind: 'membership', event, json: present, answer: 'version 1' },
      { kind: 'membership', event: z, json: absent, answer: 'absent' },
      { kind: 'membership', event: z, json: present, answer: 'proof-question' },
      { kind: 'membership', event, json: { ...present, version: 0 }, answer: 'hyper-mismatch' },
      {
        kind: 'membership',
        event,
        json: { ...present, history: present.history?.toReversed() },
        answer: 'history-mismatch',
      },
      { kind: 'membership', event, json: { ...present, extra: true }, answer: 'proof-malformed' },
      { kind: 'membership', event, json: { ...absent, eventDigest: event }, answer: 'hyper-mismatch' },
      { kind: 'incremental', json: proof, start, end, answer: 'grown' },
      {
        kind: 'incremental',
        json: proof,
        start,
        end: fork.signedSnapshot(4),
        answer: 'consistency-mismatch',
      },
      { kind: 'incremental', json: { ...proof, start: 0 }, start, end, answer: 'proof-question' },
      { kind: 'incremental', json: null, start, end, answer: 'proof-malformed' },
    ],
  };
}

const given = makeCases();
const wanted = given.cases.map(({ answer }) => answer);
const checkPath = join(root, 'testutils/browser-check.js');

describe('the client library, bundled for a browser', () => {
  let made: Bundle;
  beforeAll(async () => {
    made = await bundle();
  });

  it('holds nothing of Node, and no server', () => {
    expect(made.imports).toEqual([]);
    expect(made.code).not.toMatch(/["']node:|\bBuffer\b|\bprocess\./);
    expect(
      made.inputs.filter((path) => /-node\.ts$|^src\/(server|storage|replication|raft|gossip)\//.test(path)),
    ).toEqual([]);
    const [size, zipped] = [made.code.length, gzipSync(made.code).length];
    console.log(`the browser bundle has ${size} bytes, ${zipped} gzipped`);
    expect(zipped).toBeLessThan(64 * 1024);
  });

  const title = 'verifies in a real browser';
  if (browser === undefined) {
    it.skip(`${title}: skipped, there is none; name one in CHROME_PATH or install chromium`, () => undefined);
  } else {
    it(title, async () => {
      const files = { '/client.js': made.code, '/check.js': await readFile(checkPath, 'utf8') };
      const script = `Promise.all([import('/client.js'), import('/check.js')])
          .then(([qed, check]) => check.answers(qed, ${JSON.stringify(given)}))`;
      expect(await withPage(browser, files, (page) => page.evaluate(script))).toEqual(wanted);
    });
  }
});

describe('the package entry qed/client in Node', () => {
  const title = 'verifies';
  if (!built) {
    it.skip(`${title}: skipped, there is no dist; run npm run build`, () => undefined);
  } else {
    it(title, async () => {
      const script = `import * as qed from 'qed/client';
        import { answers } from ${JSON.stringify(checkPath)};
        console.log(JSON.stringify(answers(qed, ${JSON.stringify(given)})));`;
      const { stdout } = await run('node', ['--input-type=module', '-e', script], { cwd: root });
      expect(JSON.parse(stdout)).toEqual(wanted);
    });
  }
});
