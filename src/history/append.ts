// The history tree's state, and its growth by batches. A state is a value: appending gives the next one and the writes that make it
// durable, and changes nothing that a reader of the old state sees. The caller writes, then keeps the new state; or drops it. The values of
// the writes are never written to again.
//
// The state holds only what still grows: the last tile of each level and the entries of the last bundle, some tens of kilobytes.
// All that is full lies in the store and never changes.
import { type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { ENTRY_BYTES } from './entry.ts';
import { BUNDLE_BYTES, bundleKey, type HistoryWrite, pieceKey, tileKey } from './layout.ts';
import { emptyRoot, nodeHash } from './merkle.ts';
import { edgeTile, TILE_WIDTH } from './position.ts';
import { emptyRoom, type Room, roomBehind } from './room.ts';
import {
  emptyTile,
  type GrowingTile,
  growingTile,
  pushHash,
  pushLeaf,
  storedTile,
  type Tile,
  tileHashes,
  tilePeaks,
} from './tile.ts';

export interface History {
  /** Number of entries. */
  readonly size: number;
  /** The history digest. */
  readonly root: Uint8Array;
  /** The growing tile of each level that has one. */
  readonly edge: readonly Tile[];
  /** The entries behind the last full bundle, in room for a bundle. */
  readonly bundle: Room;
  /** The versions with which their pieces begin: there is one of each batch. */
  readonly pieces: readonly number[];
}

export interface Appended {
  readonly history: History;
  /** To be written together with whatever says that the log has `history.size` entries. */
  readonly writes: readonly HistoryWrite[];
}

export function emptyHistory(hash: Hash): History {
  return { size: 0, root: emptyRoot(hash), edge: [], bundle: emptyRoom(BUNDLE_BYTES), pieces: [] };
}

/** The state after a batch of entries, 72 bytes each. */
export function appendEntries(hash: Hash, history: History, entries: Uint8Array): Appended {
  const count = entries.length / ENTRY_BYTES;
  if (count === 0) throw new QedError('batch-empty', 'A batch without entries was appended.');
  assert(Number.isInteger(count), `entries of ${entries.length} bytes`);
  const size = history.size + count;
  assert(Number.isSafeInteger(size), `a log of ${size} entries`);

  const { bundle, pieces, writes: entryWrites } = appendToBundles(history, entries);
  const { edge, writes: tileWrites } = appendToTiles(hash, history, entries);
  const root = edgeRoot(hash, edge) ?? emptyRoot(hash);
  return { history: { size, root, edge, bundle, pieces }, writes: [...entryWrites, ...tileWrites] };
}

/** The entries behind the last full bundle. Later ones may stand behind them. */
export function growingEntries({ size, bundle }: History): Uint8Array {
  return bundle.bytes.subarray(0, (size % TILE_WIDTH) * ENTRY_BYTES);
}

function appendToBundles({ size, ...history }: History, entries: Uint8Array) {
  const writes: HistoryWrite[] = [];
  let pieces = history.pieces;
  let bundle = roomBehind(history.bundle, size % TILE_WIDTH);
  for (let at = 0; at < entries.length;) {
    const first = size + at / ENTRY_BYTES;
    const from = (first % TILE_WIDTH) * ENTRY_BYTES;
    const run = entries.subarray(at, at + BUNDLE_BYTES - from);
    const to = from + run.length;
    bundle.bytes.set(run, from);
    bundle.used = to / ENTRY_BYTES;
    at += run.length;
    if (to < BUNDLE_BYTES) {
      writes.push({ type: 'put', key: pieceKey(first), value: bundle.bytes.subarray(from, to) });
      pieces = [...pieces, first];
    } else {
      writes.push({ type: 'put', key: bundleKey(Math.floor(first / TILE_WIDTH)), value: bundle.bytes });
      for (const piece of pieces) writes.push({ type: 'del', key: pieceKey(piece) });
      pieces = [];
      bundle = emptyRoom(BUNDLE_BYTES);
    }
  }
  return { bundle, pieces, writes };
}

function appendToTiles(hash: Hash, history: History, entries: Uint8Array) {
  const writes: HistoryWrite[] = [];
  const grown: GrowingTile[] = []; // The tiles that this batch touches: always the lowest levels, without a gap.
  const tileOf = (level: number): GrowingTile =>
    (grown[level] ??= growingTile(history.edge[level] ?? emptyTile()));
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
    const version = history.size + at / ENTRY_BYTES;
    let tile = tileOf(0);
    let root = pushLeaf(hash, tile, entries, at);
    for (let level = 0; root !== undefined; level++) {
      writes.push({ type: 'put', key: tileKey(level, edgeTile(version, level)), value: storedTile(tile) });
      grown[level] = emptyTile();
      tile = tileOf(level + 1);
      root = pushHash(hash, tile, root);
    }
  }
  for (const [level, tile] of grown.entries()) {
    if (level === 0 || tile.width === 0) continue;
    const key = tileKey(level, edgeTile(history.size + entries.length / ENTRY_BYTES, level));
    writes.push({ type: 'put', key, value: tileHashes(tile) });
  }
  return { edge: [...grown, ...history.edge.slice(grown.length)], writes };
}

/** The root over the subtrees of the edge, folded from the right. Undefined when there are none. */
export function edgeRoot(hash: Hash, edge: readonly Tile[]): Uint8Array | undefined {
  let root: Uint8Array | undefined;
  for (const tile of edge) {
    for (const peak of tilePeaks(tile)) root = root === undefined ? peak : nodeHash(hash, peak, root);
  }
  return root;
}
