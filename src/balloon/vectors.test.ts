// Every vector, with the native and the portable hash: digests of every batch, proofs that must hold, proofs that must be refused.
import { decodeHex, encodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { portableHash, type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { checkConsistency, checkInclusion } from '../history/check.ts';
import { encodeEntry } from '../history/entry.ts';
import { emptyRoot, leafHash } from '../history/merkle.ts';
import { HyperTree } from '../hyper/tree.ts';
import { memoryBalloon } from '../../testutils/memory-balloon.ts';
import { readVectors, vectorFiles } from '../../testutils/tree-vectors.ts';
import { formatMembershipProof, formatSnapshot, parseMembershipProof, parseSnapshot } from './proof.ts';
import { checkMembership } from './verify.ts';

const hex = (text: string): Uint8Array => {
  const bytes = decodeHex(text);
  if (bytes === undefined) throw new Error(`not hex: ${text}`);
  return bytes;
};

/** True when it holds, false when it is refused; any other error is a bug and fails the test. */
function holds(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (error) {
    if (error instanceof QedError && error.kind === 'refused') return false;
    throw error;
  }
}

const implementations: [string, Hash][] = [
  ['native', nativeHash],
  ['portable', portableHash],
];
const cases = vectorFiles().flatMap((path) => implementations.map(([name, hash]) => ({ path, name, hash })));

describe.each(cases)('vectors $path with the $name hash', ({ path, hash }) => {
  const vectors = readVectors(path);

  it('gives the digests of every batch, and proofs that equal those that hold', () => {
    const { balloon, apply } = memoryBalloon(hash);
    const good = vectors.membership.filter((one) => one.holds);
    let compared = 0;
    for (const [i, batch] of vectors.batches.entries()) {
      const snapshot = apply({ index: i + 1, time: batch.time, eventDigests: hex(batch.digests.join('')) });
      expect(formatSnapshot(snapshot)).toEqual(batch.snapshot);
      for (const one of good.filter(({ snapshot: { version } }) => version === snapshot.version)) {
        expect(formatMembershipProof(balloon.membership(hex(one.eventDigest)).proof)).toEqual(one.proof);
        compared++;
      }
    }
    expect(compared).toBe(good.length);
    for (const { start, end, hashes } of vectors.consistency) {
      expect(balloon.incremental(start, end).hashes.map(encodeHex)).toEqual(hashes);
    }
  });

  it('accepts every membership proof that holds and refuses every other', () => {
    expect(vectors.membership.length).toBeGreaterThan(100);
    const wrong = vectors.membership.filter((one) => {
      const accepted = holds(() => {
        checkMembership(
          parseMembershipProof(one.proof),
          hex(one.eventDigest),
          parseSnapshot(one.snapshot),
          hash,
        );
      });
      return accepted !== one.holds;
    });
    expect(wrong).toEqual([]);
  });

  it('accepts the history proofs', () => {
    const entries = vectors.batches.flatMap(({ digests, snapshot, time }) =>
      digests.map((digest) => ({ eventDigest: hex(digest), hyperDigest: hex(snapshot.hyperDigest), time })),
    );
    for (const { index, size, root, proof } of vectors.inclusion) {
      const leaf = leafHash(hash, encodeEntry(entries[index]!));
      expect(checkInclusion(hash, leaf, index, size, proof.map(hex), hex(root))).toBe(true);
      expect(checkInclusion(hash, leaf, index + 1, size, proof.map(hex), hex(root))).toBe(false);
    }
    for (const { start, end, startDigest, endDigest, hashes } of vectors.consistency) {
      const proof = hashes.map(hex);
      expect(checkConsistency(hash, start + 1, hex(startDigest), end + 1, hex(endDigest), proof)).toBe(true);
    }
    expect(encodeHex(emptyRoot(hash))).toBe(vectors.emptyHistoryDigest);
  });

  it('gives the roots of hand-made keys, added one by one', () => {
    const tree = new HyperTree(hash);
    expect(encodeHex(tree.root)).toBe(vectors.emptyHyperDigest);
    for (const { key, version, root } of vectors.hyper) {
      tree.stage(hex(key), version);
      tree.commit();
      expect(encodeHex(tree.root)).toBe(root);
    }
  });
});

if (cases.length === 0) throw new Error('no vectors found');
