// Where things are in an RFC 9162 tree: which parts of it a root or a proof is made of, and which tile holds a node.
// The only arithmetic on versions and sizes, which go up to 2^53 - 1. JavaScript's bit operators stop at 32 bits, so here are
// divisions and multiplications by powers of two, which are exact in this range; bit operators touch only numbers inside a tile.
import { isSize } from '../crypto/encoding.ts';
import { assert, QedError } from '../errors.ts';

/** A tile is 256 hashes wide and 8 levels of the tree high, as C2SP tlog-tiles has it. */
export const TILE_WIDTH = 256;
export const TILE_HEIGHT = 8;
/** Tile levels 0 to 6 reach 2^56 leaves, more than a log can have. */
export const TILE_LEVELS = 7;

/** The entries from `from` up to, not including, `to`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The perfect subtree over the 2^height entries from index × 2^height on. */
export interface Subtree {
  readonly height: number;
  readonly index: number;
}

/** A node inside a tile: row 0 are the tile's own hashes, row 7 the two nodes below its root. */
export interface TilePlace {
  readonly level: number;
  readonly tile: number;
  readonly row: number;
  readonly position: number;
}

const powers = Array.from({ length: TILE_HEIGHT * TILE_LEVELS + 1 }, (_, height) => 2 ** height);

function power(height: number): number {
  const value = powers[height];
  assert(value !== undefined, `no subtree is ${height} high`);
  return value;
}

/** The door check of every version, size and index. */
export function checkPosition(what: string, value: number): void {
  if (isSize(value)) return;
  throw new QedError(
    'version-malformed',
    `The ${what} ${String(value)} is not an integer from 0 to 2^53 - 1.`,
  );
}

/** The largest power of two that is smaller than `count`: where RFC 9162 splits a tree of `count` entries, 2 and more. */
export function splitPoint(count: number): number {
  let point = 1;
  while (point * 2 < count) point *= 2;
  return point;
}

/** The parts whose hashes prove entry `version` in the tree of `size` entries, from the leaf up. PATH of section 2.1.3.1. */
export function inclusionSpans(version: number, size: number): Span[] {
  const spans: Span[] = [];
  let [from, to] = [0, size];
  for (let half = splitPoint(size); to - from > 1; half /= 2) {
    const middle = from + half;
    if (middle >= to) continue; // A ragged right part may be lower than its left neighbour by several levels.
    if (version < middle) {
      spans.push({ from: middle, to });
      to = middle;
    } else {
      spans.push({ from, to: middle });
      from = middle;
    }
  }
  return spans.reverse();
}

/** The parts whose hashes prove that the tree of `end` entries grew out of the tree of `start`, from below. SUBPROOF of section 2.1.4.1. */
export function consistencySpans(start: number, end: number): Span[] {
  const spans: Span[] = [];
  let [from, to] = [0, end];
  for (let half = splitPoint(end); start !== to; half /= 2) {
    const middle = from + half;
    if (middle >= to) continue;
    if (start <= middle) {
      spans.push({ from: middle, to });
      to = middle;
    } else {
      spans.push({ from, to: middle });
      from = middle;
    }
  }
  // From 0 on, the old tree itself is a subtree of the new one: the verifier has its root already.
  if (from > 0) spans.push({ from, to });
  return spans.reverse();
}

/** The perfect subtrees of a part, left to right. The part must be one that RFC 9162 splits off, or a whole tree. */
export function subtreesOf({ from, to }: Span): Subtree[] {
  const subtrees: Subtree[] = [];
  let at = from;
  let height = 0;
  while (power(height + 1) <= to - from) height++;
  for (; at < to; height--) {
    const count = power(height);
    if (count > to - at) continue;
    subtrees.push({ height, index: at / count });
    at += count;
  }
  return subtrees;
}

export function tilePlace({ height, index }: Subtree): TilePlace {
  const level = Math.floor(height / TILE_HEIGHT);
  const row = height % TILE_HEIGHT;
  const rowWidth = power(TILE_HEIGHT - row);
  const tile = Math.floor(index / rowWidth);
  return { level, tile, row, position: index - tile * rowWidth };
}

/** Index of the tile of `level` that grows while the log has `size` entries: the number of full ones before it. */
export function edgeTile(size: number, level: number): number {
  return Math.floor(size / power(TILE_HEIGHT * (level + 1)));
}

/** How many hashes that tile holds, 0 to 255. */
export function edgeWidth(size: number, level: number): number {
  return Math.floor(size / power(TILE_HEIGHT * level)) % TILE_WIDTH;
}

/** How many levels have a tile, full or not. */
export function levelsAt(size: number): number {
  let levels = 0;
  while (levels < TILE_LEVELS && size >= power(TILE_HEIGHT * levels)) levels++;
  return levels;
}
