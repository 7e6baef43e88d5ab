// A tile in memory and in the store. In memory it is all its rows: up to 256 hashes, and every node above them that is complete.
// So an append hashes once for each new node and a proof reads what it needs. The store keeps, of a full tile, the 256 hashes
// and rows 3 and 6: for one seventh more bytes, no node is more than 3 hashes away, instead of 127.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert } from '../errors.ts';
import { leafHashTo, nodeHash, pairHashTo } from './merkle.ts';
import { TILE_HEIGHT, TILE_WIDTH } from './position.ts';
import { emptyRoom, type Room, roomBehind } from './room.ts';

export interface Tile {
  /** Number of hashes in row 0. */
  readonly width: number;
  /** Rows 0 to 7, each with room for all its nodes. Only those over the first `width` hashes are this tile's. */
  readonly rows: Room;
}

/** A tile at whose end nobody else goes on. */
export interface GrowingTile extends Tile {
  width: number;
}

const ROWS_BYTES = (2 * TILE_WIDTH - 2) * DIGEST_BYTES;

/** First slot of every row that a stored tile keeps. */
const keptRows: ReadonlyMap<number, number> = new Map([
  [0, 0],
  [3, TILE_WIDTH],
  [6, TILE_WIDTH + (TILE_WIDTH >> 3)],
]);
export const STORED_TILE_BYTES = (TILE_WIDTH + (TILE_WIDTH >> 3) + (TILE_WIDTH >> 6)) * DIGEST_BYTES;

/** Slot of the first node of a row: 0, 256, 384, 448 … */
function rowStart(row: number): number {
  return 2 * TILE_WIDTH - ((2 * TILE_WIDTH) >> row);
}

export function emptyTile(): GrowingTile {
  return { width: 0, rows: emptyRoom(ROWS_BYTES) };
}

/** A tile that begins with what this one holds. */
export function growingTile({ width, rows }: Tile): GrowingTile {
  return { width, rows: roomBehind(rows, width) };
}

/** Adds a hash and every node that it completes. The hash that fills the tile returns the tile's root, which belongs one level up. */
export function pushHash(hash: Hash, tile: GrowingTile, added: Uint8Array): Uint8Array | undefined {
  tile.rows.bytes.set(added, tile.width * DIGEST_BYTES);
  return takeHash(hash, tile);
}

/** The same for the leaf of the entry at `at`. */
export function pushLeaf(
  hash: Hash,
  tile: GrowingTile,
  entries: Uint8Array,
  at: number,
): Uint8Array | undefined {
  leafHashTo(hash, entries, at, tile.rows.bytes, tile.width * DIGEST_BYTES);
  return takeHash(hash, tile);
}

/** Takes the hash that was put behind those of the tile. */
function takeHash(hash: Hash, tile: GrowingTile): Uint8Array | undefined {
  assert(tile.width < TILE_WIDTH, 'a full tile grows');
  const rows = tile.rows.bytes;
  let position = tile.width;
  tile.width++;
  tile.rows.used = tile.width;
  for (let row = 0; position % 2 === 1; row++) {
    const left = rowStart(row) + position - 1;
    if (row === TILE_HEIGHT - 1) return nodeHash(hash, hashAt(rows, left), hashAt(rows, left + 1));
    position >>= 1;
    pairHashTo(hash, rows, left * DIGEST_BYTES, (rowStart(row + 1) + position) * DIGEST_BYTES);
  }
  return undefined;
}

/** The roots of the perfect subtrees that make up the tile, the smallest, rightmost first. */
export function tilePeaks(tile: Tile): Uint8Array[] {
  const peaks: Uint8Array[] = [];
  for (let row = 0; row < TILE_HEIGHT; row++) {
    const count = tile.width >> row;
    if (count % 2 === 1) peaks.push(tileNode(tile, row, count - 1));
  }
  return peaks;
}

export function tileNode(tile: Tile, row: number, position: number): Uint8Array {
  assert(position < tile.width >> row, `node ${position} of row ${row} in a tile of width ${tile.width}`);
  return hashAt(tile.rows.bytes, rowStart(row) + position);
}

/** The hashes of a tile in the form of the store while it grows, and of C2SP. */
export function tileHashes(tile: Tile): Uint8Array {
  return new Uint8Array(tile.rows.bytes.subarray(0, tile.width * DIGEST_BYTES));
}

/** A full tile in the form of the store. */
export function storedTile(tile: Tile): Uint8Array {
  const value = new Uint8Array(STORED_TILE_BYTES);
  for (const [row, slot] of keptRows) {
    const from = rowStart(row);
    const to = from + (TILE_WIDTH >> row);
    value.set(tile.rows.bytes.subarray(from * DIGEST_BYTES, to * DIGEST_BYTES), slot * DIGEST_BYTES);
  }
  return value;
}

/** A full tile out of the form of the store, with all its rows. */
export function openStoredTile(hash: Hash, stored: Uint8Array): Tile {
  const tile = emptyTile();
  for (let slot = 0; slot < TILE_WIDTH; slot++) pushHash(hash, tile, hashAt(stored, slot));
  return tile;
}

/** A node of a full tile in the form of the store. */
export function storedNode(hash: Hash, stored: Uint8Array, row: number, position: number): Uint8Array {
  const slot = keptRows.get(row);
  if (slot !== undefined) return hashAt(stored, slot + position);
  const left = storedNode(hash, stored, row - 1, 2 * position);
  const right = storedNode(hash, stored, row - 1, 2 * position + 1);
  return nodeHash(hash, left, right);
}

/** Hash number `slot` of a run of hashes, as bytes of its own. */
export function hashAt(hashes: Uint8Array, slot: number): Uint8Array {
  return new Uint8Array(hashes.subarray(slot * DIGEST_BYTES, (slot + 1) * DIGEST_BYTES));
}
