// The history tree against test vectors: the entries of their batches give their roots and exactly their proofs.
import { hexOf, memoryValues } from '../../testutils/history-log.ts';
import { readVectors, type TreeVectors, vectorFiles } from '../../testutils/tree-vectors.ts';
import { concat, decodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { appendEntries, emptyHistory } from './append.ts';
import { checkConsistency, checkInclusion } from './check.ts';
import { encodeEntries } from './entry.ts';
import { leafHash } from './merkle.ts';
import { consistencyProof, entryAt, type HistoryView, inclusionProof, rootAt } from './view.ts';

const files = vectorFiles();
if (files.length === 0) it.skip('no vectors: QED_VECTORS names no file', () => undefined);

for (const path of files)
  describe(path, () => {
    const vectors = readVectors(path);
    const view = replay(vectors);

    it('has the inclusion proofs', () => {
      for (const { index, size, root, proof } of vectors.inclusion) {
        expect(hexOf(rootAt(view, size))).toBe(root);
        expect(inclusionProof(view, index, size).map(hexOf)).toEqual(proof);
        const leaf = leafHash(nativeHash, entryAt(view, index));
        expect(checkInclusion(nativeHash, leaf, index, size, proof.map(bytes), bytes(root))).toBe(true);
      }
    });

    it('has the consistency proofs', () => {
      for (const { start, end, startDigest, endDigest, hashes } of vectors.consistency) {
        const [startSize, endSize] = [start + 1, end + 1];
        expect([hexOf(rootAt(view, startSize)), hexOf(rootAt(view, endSize))]).toEqual([
          startDigest,
          endDigest,
        ]);
        expect(consistencyProof(view, startSize, endSize).map(hexOf)).toEqual(hashes);
        const roots = [bytes(startDigest), bytes(endDigest)] as const;
        expect(checkConsistency(nativeHash, startSize, roots[0], endSize, roots[1], hashes.map(bytes))).toBe(
          true,
        );
      }
    });
  });

/** The log of the vectors. Every batch must lead to its history digest. */
function replay({ batches, emptyHistoryDigest }: TreeVectors): HistoryView {
  const reader = memoryValues();
  let history = emptyHistory(nativeHash);
  expect(hexOf(history.root)).toBe(emptyHistoryDigest);
  for (const { digests, time, snapshot } of batches) {
    const eventDigests = concat(...digests.map(bytes));
    const entries = encodeEntries({ eventDigests, hyperDigest: bytes(snapshot.hyperDigest), time });
    const appended = appendEntries(nativeHash, history, entries);
    reader.write(appended.writes);
    history = appended.history;
    expect(hexOf(history.root)).toBe(snapshot.historyDigest);
  }
  return { hash: nativeHash, history, reader };
}

function bytes(hex: string): Uint8Array {
  return decodeHex(hex, 32)!;
}
