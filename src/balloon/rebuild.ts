// Rebuilds the hyper tree of a log: from the leaves that an image kept, and from the entries after them. The entries are the truth:
// the root must be the hyper digest that the last entry carries under the signed history digest, wherever the leaves came from.
import { equalBytes, readU64 } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { ENTRY_BYTES } from '../history/entry.ts';
import { entryAt, entryRuns, type HistoryView } from '../history/view.ts';
import { LEAF_BYTES } from '../hyper/arena.ts';
import { HyperTree } from '../hyper/tree.ts';

/** Entries staged at a time: much more than a batch, since nobody reads in between and shared nodes are then hashed once. */
const REPLAY_EVENTS = 1 << 19;

/** `segments` are leaf records in the order in which their keys were first logged. */
export function rebuildHyper(
  view: HistoryView,
  segments: Iterable<Uint8Array>,
  onProgress: (versionsDone: number) => void = () => undefined,
): HyperTree {
  const tree = new HyperTree(view.hash);
  let next = 0;
  tree.load(
    (function* () {
      for (const records of segments) {
        next = (readU64(records, records.length - LEAF_BYTES) ?? view.history.size) + 1;
        yield records;
      }
    })(),
  );
  onProgress(next);
  for (; next < view.history.size; next = Math.min(next + REPLAY_EVENTS, view.history.size)) {
    tree.stage(eventDigests(view, next, Math.min(next + REPLAY_EVENTS, view.history.size)), next);
    tree.commit();
    onProgress(next);
  }
  checkRoot(view, tree);
  return tree;
}

/** The event digests of versions `from` to `to`, one after the other. */
export function eventDigests(view: HistoryView, from: number, to: number): Uint8Array {
  const digests = new Uint8Array((to - from) * DIGEST_BYTES);
  for (const { first, entries } of entryRuns(view, from, to)) {
    for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
      const version = first + at / ENTRY_BYTES;
      digests.set(entries.subarray(at, at + DIGEST_BYTES), (version - from) * DIGEST_BYTES);
    }
  }
  return digests;
}

function checkRoot(view: HistoryView, tree: HyperTree): void {
  const { size } = view.history;
  const expected = size === 0 ? new HyperTree(view.hash).root : entryAt(view, size - 1).subarray(32, 64);
  if (!equalBytes(tree.root, expected)) {
    throw new QedError(
      'store-corrupt',
      `the hyper tree of the stored leaves is not the one of entry ${size - 1}`,
    );
  }
}
