import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ladderViolations } from './ladder.ts';

const ROOT = join(import.meta.dirname, '..');
const FOLDERS = ['cmd', 'src', 'agents', 'testutils'];

function sourcesOfTheHouse(): Map<string, string> {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`),
  );
  return new Map(
    files
      .filter((file) => file.endsWith('.ts'))
      .map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]),
  );
}

it('holds in this house', () => {
  const sources = sourcesOfTheHouse();
  sources.delete('testutils/ladder.test.ts'); // It quotes imports that must be found elsewhere.
  expect(sources.size).toBeGreaterThan(100);
  expect(ladderViolations(sources)).toEqual([]);
});

describe('finds', () => {
  /** Sources that break no rule; each case below changes one of them. */
  const good = {
    'cmd/qed.ts':
      "import { serve } from '../src/server/serve.ts';\nimport { demo } from '../testutils/demo.ts';\n",
    'agents/auditor.ts': "import { ask } from '../src/client/index.ts';\n",
    'src/index.ts': "export { serve } from './server/serve.ts';\n",
    'src/server/serve.ts':
      "import fastify from 'fastify';\nimport { readFile } from 'node:fs/promises';\nimport { tree } from '../balloon/verify.ts';\n",
    'src/client/index.ts':
      "import { tree } from '../balloon/verify.ts';\nimport { sha256 } from '@noble/hashes/sha2.js';\n",
    'src/client/transport-node.ts': "import { Agent } from 'undici';\n",
    'src/raft/core.ts': "import { QedError } from '../errors.ts';\n",
    'src/storage/level.ts': "import { Buffer } from 'node:buffer';\n",
    'src/balloon/verify.ts':
      "import { hash } from '../crypto/hash.ts';\n// No Buffer here, and no Date.now either.\n",
    'src/balloon/verify.test.ts':
      "import { level } from '../storage/level.ts';\nimport { demo } from '../../testutils/demo.ts';\n",
    'src/crypto/hash.ts': "import { QedError } from '../errors.ts';\nconst size = new ArrayBuffer(8);\n",
    'src/crypto/hash-node.ts': "import { hash } from 'node:crypto';\nexport const bytes = Buffer.alloc(8);\n",
    'src/errors.ts': 'export class QedError {}\n',
    'testutils/demo.ts': "import { serve } from '../src/server/serve.ts';\n",
  };

  function found(changes: Record<string, string>): string[] {
    return ladderViolations(new Map(Object.entries({ ...good, ...changes })));
  }

  it('nothing in sources that are right', () => {
    expect(found({})).toEqual([]);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'an import up the ladder',
      { 'src/storage/level.ts': "import { serve } from '../server/serve.ts';" },
      /level.ts imports src\/server\/serve.ts: up/,
    ],
    [
      'one over several lines',
      { 'src/storage/level.ts': "import {\n  type One,\n  two,\n} from '../server/serve.ts';" },
      /up the ladder/,
    ],
    [
      'one that re-exports',
      { 'src/storage/level.ts': "export * from '../server/serve.ts';" },
      /up the ladder/,
    ],
    ['one for its effects', { 'src/storage/level.ts': "import '../server/serve.ts';" }, /up the ladder/],
    [
      'one at run time',
      { 'src/storage/level.ts': "const serve = await import('../server/serve.ts');" },
      /up the ladder/,
    ],
    [
      'one of a type only',
      { 'src/storage/level.ts': "import type { Serve } from '../server/serve.ts';" },
      /up the ladder/,
    ],
    [
      'one from the other part on a rung',
      { 'src/raft/core.ts': "import { level } from '../storage/level.ts';" },
      /up the ladder/,
    ],
    [
      'server and client knowing each other',
      { 'src/server/serve.ts': "import { ask } from '../client/index.ts';" },
      /up the ladder/,
    ],
    [
      'a part importing src/index.ts',
      { 'src/server/serve.ts': "import { x } from '../index.ts';" },
      /up the ladder/,
    ],
    [
      'an agent importing a command',
      { 'agents/auditor.ts': "import { run } from '../cmd/qed.ts';" },
      /up the ladder/,
    ],
    [
      'errors.ts importing anything',
      { 'src/errors.ts': "import { hash } from './crypto/hash.ts';" },
      /up the ladder/,
    ],
    [
      'a folder that is new',
      { 'src/helpers/all.ts': "import { QedError } from '../errors.ts';" },
      /stands on no rung/,
    ],
    [
      'testutils in what is shipped',
      { 'src/server/serve.ts': "import { demo } from '../../testutils/demo.ts';" },
      /that is for tests/,
    ],
    [
      'testutils in an agent',
      { 'agents/auditor.ts': "import { demo } from '../testutils/demo.ts';" },
      /that is for tests/,
    ],
    [
      'dist, even in a test',
      { 'src/balloon/verify.test.ts': "import { x } from '../../dist/src/index.js';" },
      /nothing imports what was built/,
    ],
    ['a file that is not there', { 'src/server/serve.ts': "import { x } from './gone.ts';" }, /no such file/],
    [
      'Node in a pure part',
      { 'src/raft/core.ts': "import { join } from 'node:path';" },
      /core.ts imports node:path: a browser has no such thing/,
    ],
    [
      'Node without its prefix',
      { 'src/raft/core.ts': "import { join } from 'path';" },
      /core.ts imports path/,
    ],
    [
      'Buffer in a pure part',
      { 'src/raft/core.ts': 'export const bytes = Buffer.alloc(8);' },
      /core.ts must load in a browser and uses: Buffer/,
    ],
    [
      'a clock in a pure part',
      { 'src/raft/core.ts': 'export const now = () => Date.now();' },
      /core.ts is pure and reaches for the world: Date.now/,
    ],
    ['random in a pure part', { 'src/raft/core.ts': 'export const random = Math.random;' }, /Math.random/],
    [
      'Node far below the client',
      { 'src/crypto/hash.ts': "import { hash } from 'node:crypto';" },
      /hash.ts imports node:crypto/,
    ],
    [
      'Buffer far below the verifier',
      { 'src/crypto/hash.ts': 'export const b = Buffer.from([1]);' },
      /hash.ts must load in a browser/,
    ],
    [
      'process far below the verifier',
      { 'src/crypto/hash.ts': 'export const b = process.env.X;' },
      /uses: process\./,
    ],
    [
      'a way round by a file for Node',
      { 'src/crypto/hash.ts': "import { type Hash } from './hash-node.ts';" },
      /hash-node.ts imports node:crypto/,
    ],
    [
      'a package for Node in the client',
      { 'src/client/index.ts': "import { Agent } from 'undici';" },
      /index.ts imports undici/,
    ],
    [
      'a file of the client beside its index',
      { 'src/client/other.ts': "import { Agent } from 'undici';" },
      /other.ts imports undici/,
    ],
    [
      'a circle of two',
      {
        'src/crypto/hash.ts': "import { a } from './note.ts';",
        'src/crypto/note.ts': "import { b } from './hash.ts';",
      },
      /a circle: src\/crypto\/hash.ts → src\/crypto\/note.ts → src\/crypto\/hash.ts/,
    ],
    ['a circle of itself', { 'src/crypto/hash.ts': "import { a } from './hash.ts';" }, /a circle/],
    [
      'a circle of types',
      {
        'src/crypto/hash.ts': "import type { a } from './note.ts';",
        'src/crypto/note.ts': "import type { b } from './hash.ts';",
      },
      /a circle/,
    ],
  ])('%s', (_, changes, complaint) => {
    expect(found(changes)).toContainEqual(expect.stringMatching(complaint));
  });
});
