// The page that freezes the formats, held to its word: its example verifies, and a verifier in another language that was written from it
// alone agrees with every vector.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { verifyIncremental, verifyMembership, verifySignedSnapshot } from '../../src/balloon/verify.ts';
import { thresholdPolicy } from '../../src/crypto/policy.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { digestOf } from '../balloon-twin.ts';
import { withTempDir } from '../temp.ts';
import { OWN_VECTORS, readVectors, vectorFiles } from '../tree-vectors.ts';

const page = fileURLToPath(new URL('../../docs/spec.md', import.meta.url));
const script = fileURLToPath(new URL('./verify.py', import.meta.url));

function python(...args: readonly string[]): string {
  return execFileSync('python3', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function hasPython(): boolean {
  try {
    return python('--version').startsWith('Python 3');
  } catch {
    return false;
  }
}

describe('docs/spec.md', () => {
  const blocks = [...readFileSync(page, 'utf8').matchAll(/^```(\S+) ?(\S*)\n(.*?)^```$/gms)];
  const [log, witness] = blocks.filter(([, kind]) => kind === 'vkey').map(([, , , body]) => parseVkey(body!.trim()));
  const example = (name: string): Record<string, unknown> =>
    JSON.parse(blocks.find(([, , title]) => title === name)![3]!) as Record<string, unknown>;

  it('has an example that verifies', () => {
    const trust = { log: log!, policy: thresholdPolicy([witness!], 1) };
    const membership = example('membership');
    const found = verifyMembership(membership, { eventDigest: digestOf('b') }, trust);
    expect(found).toMatchObject({ exists: true, version: 1, cosignatures: [{ name: witness!.name, time: 1_700_000_003 }] });
    const absence = { ...example('absence'), signedSnapshot: membership['signedSnapshot'] };
    expect(verifyMembership(absence, { eventDigest: digestOf('z') }, trust).exists).toBe(false);
    const start = verifySignedSnapshot(example('signedSnapshot'), { log: log! }).snapshot;
    verifyIncremental(example('incremental'), { start, end: found.snapshot });
  });
});

describe('the verifier written from it', () => {
  if (!hasPython()) {
    it.skip('agrees with every vector: skipped, there is no python3', () => undefined);
    return;
  }

  it.each(vectorFiles())('agrees with every vector of %s, and with the example', (path) => {
    const vectors = readVectors(path);
    const lists = [vectors.batches, vectors.membership, vectors.inclusion, vectors.consistency, vectors.hyper];
    const count = lists.reduce((sum, list) => sum + list.length, 0);
    expect(python(script, path, page)).toBe(`all ${count} + 17 cases as the page says\n`);
  });

  it('would notice a wrong one', async () => {
    await withTempDir(async (folder) => {
      await Promise.resolve();
      const path = join(folder, 'wrong.json');
      const changes: ((vectors: ReturnType<typeof readVectors>) => void)[] = [
        ({ batches }) => (batches[3]!.snapshot.hyperDigest = batches[2]!.snapshot.hyperDigest),
        ({ membership }) => (membership[0]!.holds = false),
        ({ membership }) => (membership[1]!.holds = true),
        ({ inclusion }) => inclusion[4]!.proof.reverse(),
        ({ consistency }) => consistency[4]!.hashes.push(OWN_VECTORS),
        ({ hyper }) => hyper[2]!.version++,
      ];
      for (const change of changes) {
        const vectors = readVectors(OWN_VECTORS);
        change(vectors);
        writeFileSync(path, JSON.stringify(vectors));
        expect(() => python(script, path)).toThrow(/AssertionError|ValueError/);
      }
    });
  });
});
