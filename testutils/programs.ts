// The programs that tests start as processes of their own.
import { join } from 'node:path';

const BUILT = join(import.meta.dirname, '..', 'dist', 'cmd');

/** The file to run with Node: bundled before the tests by bundle-programs.js. Scripts, which are run after a build, take what was built. */
export function programPath(name: 'qed' | 'log-child' | 'store-child'): string {
  return join(process.env['TEST_PROGRAMS'] ?? BUILT, `${name}.js`);
}
