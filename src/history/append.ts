// The history tree's state, and its growth by batches. A state is a value: appending gives the next one and the writes that make it
// durable, and changes nothing that a reader of the old state sees. The caller writes, then keeps the new state; or drops it.
//
// The state holds only what still grows: the last tile of each level and the entries of the last bundle, some tens of kilobytes.
// All that is full lies in the store and never changes.
import { concat } from '../crypto/encoding.ts';
import { type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { ENTRY_BYTES } from './entry.ts';
import { bundleKey, type HistoryWrite, pieceKey, tileKey } from './layout.ts';
import { emptyRoot, leafHash, nodeHash } from './merkle.ts';
import { edgeTile, TILE_WIDTH } from './position.ts';
import {
  copyTile,
  emptyTile,
  type GrowingTile,
  pushHash,
  storedTile,
  type Tile,
  tileHashes,
  tilePeaks,
} from './tile.ts';

export interface Piece {
  /** Version of the first entry. */
  readonly first: number;
  readonly entries: Uint8Array;
}

export interface History {
  /** Number of entries. */
  readonly size: number;
  /** The history digest. */
  readonly root: Uint8Array;
  /** The growing tile of each level that has one. */
  readonly edge: readonly Tile[];
  /** The entries behind the last full bundle, as the batches brought them. */
  readonly pieces: readonly Piece[];
}

export interface Appended {
  readonly history: History;
  /** To be written together with whatever says that the log has `history.size` entries. */
  readonly writes: readonly HistoryWrite[];
}

export function emptyHistory(hash: Hash): History {
  return { size: 0, root: emptyRoot(hash), edge: [], pieces: [] };
}

/** The state after a batch of entries, 72 bytes each. */
export function appendEntries(hash: Hash, history: History, entries: Uint8Array): Appended {
  const count = entries.length / ENTRY_BYTES;
  if (count === 0) throw new QedError('batch-empty', 'A batch without entries was appended.');
  assert(Number.isInteger(count), `entries of ${entries.length} bytes`);
  const size = history.size + count;
  assert(Number.isSafeInteger(size), `a log of ${size} entries`);

  const { pieces, writes: entryWrites } = appendToBundles(history, entries);
  const { edge, writes: tileWrites } = appendToTiles(hash, history, entries);
  const root = edgeRoot(hash, edge) ?? emptyRoot(hash);
  return { history: { size, root, edge, pieces }, writes: [...entryWrites, ...tileWrites] };
}

function appendToBundles(history: History, entries: Uint8Array) {
  const writes: HistoryWrite[] = [];
  let pieces = history.pieces;
  for (let at = 0; at < entries.length;) {
    const first = history.size + at / ENTRY_BYTES;
    const room = (TILE_WIDTH - (first % TILE_WIDTH)) * ENTRY_BYTES;
    const run = new Uint8Array(entries.subarray(at, at + room)); // A copy: the caller may use its buffer again.
    at += run.length;
    pieces = [...pieces, { first, entries: run }];
    if (run.length < room) {
      writes.push({ type: 'put', key: pieceKey(first), value: run });
    } else {
      writes.push(...sealBundle(Math.floor(first / TILE_WIDTH), pieces));
      pieces = [];
    }
  }
  return { pieces, writes };
}

/** The last of these pieces is new; the others are in the store. */
function sealBundle(bundle: number, pieces: readonly Piece[]): HistoryWrite[] {
  const stored = pieces.slice(0, -1).map((piece) => ({ type: 'del', key: pieceKey(piece.first) }) as const);
  return [{ type: 'put', key: bundleKey(bundle), value: joinPieces(pieces) }, ...stored];
}

export function joinPieces(pieces: readonly Piece[]): Uint8Array {
  return concat(...pieces.map((piece) => piece.entries));
}

function appendToTiles(hash: Hash, history: History, entries: Uint8Array) {
  const writes: HistoryWrite[] = [];
  const grown: GrowingTile[] = []; // Copies of the tiles that this batch touches: always the lowest levels, without a gap.
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
    const version = history.size + at / ENTRY_BYTES;
    let added: Uint8Array | undefined = leafHash(hash, entries.subarray(at, at + ENTRY_BYTES));
    for (let level = 0; added !== undefined; level++) {
      const tile = (grown[level] ??= growingTile(history.edge[level]));
      added = pushHash(hash, tile, added);
      if (added !== undefined) {
        writes.push({ type: 'put', key: tileKey(level, edgeTile(version, level)), value: storedTile(tile) });
        tile.width = 0;
      }
    }
  }
  for (const [level, tile] of grown.entries()) {
    if (level === 0 || tile.width === 0) continue;
    const key = tileKey(level, edgeTile(history.size + entries.length / ENTRY_BYTES, level));
    writes.push({ type: 'put', key, value: tileHashes(tile) });
  }
  return { edge: [...grown, ...history.edge.slice(grown.length)], writes };
}

function growingTile(tile: Tile | undefined): GrowingTile {
  return tile === undefined ? emptyTile() : copyTile(tile);
}

/** The root over the subtrees of the edge, folded from the right. Undefined when there are none. */
export function edgeRoot(hash: Hash, edge: readonly Tile[]): Uint8Array | undefined {
  let root: Uint8Array | undefined;
  for (const tile of edge) {
    for (const peak of tilePeaks(tile)) root = root === undefined ? peak : nodeHash(hash, peak, root);
  }
  return root;
}
