// The static resources of C2SP tlog-tiles: their paths, and their bytes for any width that a tile has had.
//   tile/<level>/<index>[.p/<width>]     hashes, 32 bytes each
//   tile/entries/<index>[.p/<width>]     entries, each behind its length in two bytes
// The index is written in groups of three digits, all but the last behind an x: 1234067 is x001/x234/067.
import { isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { ENTRY_BYTES } from './entry.ts';
import { readStored, tileKey } from './layout.ts';
import { edgeTile, edgeWidth, levelsAt, TILE_WIDTH } from './position.ts';
import { STORED_TILE_BYTES, tileHashes } from './tile.ts';
import { bundleEntries, type HistoryView } from './view.ts';

export interface TileName {
  readonly level: number | 'entries';
  readonly index: number;
  /** 256, or less for a partial tile. */
  readonly width: number;
}

const LEVEL_MAX = 63;
const LENGTH_BYTES = 2;
const PATH = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/(\d{1,3}))?$/;

export function formatTilePath({ level, index, width }: TileName): string {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  }
  const partial = width === TILE_WIDTH ? '' : `.p/${width}`;
  return `tile/${level}/${groups.join('/')}${partial}`;
}

/** Undefined for every path that formatTilePath does not write. */
export function parseTilePath(path: string): TileName | undefined {
  const match = PATH.exec(path);
  if (match === null) return undefined;
  const [, level, index, width] = match;
  const name: TileName = {
    level: level === 'entries' ? level : Number(level),
    index: Number(index!.replaceAll(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  return isTileName(name) && formatTilePath(name) === path ? name : undefined;
}

function isTileName({ level, index, width }: TileName): boolean {
  return (level === 'entries' || level <= LEVEL_MAX) && isSize(index) && width >= 1 && width <= TILE_WIDTH;
}

/** The bytes of a tile or bundle that exists at the view's size, or existed at a smaller one. */
export function tileBytes(view: HistoryView, name: TileName): Uint8Array {
  const { level, index, width } = name;
  const bundle = level === 'entries';
  if (width > widthOf(view.history.size, bundle ? 0 : level, index)) {
    throw new QedError('version-unknown', `The log has no ${formatTilePath(name)} yet.`);
  }
  if (bundle) return prefixed(bundleEntries(view, index).subarray(0, width * ENTRY_BYTES));
  return hashesOf(view, level, index).subarray(0, width * DIGEST_BYTES);
}

/** How many hashes a tile has in a log of `size` entries. */
function widthOf(size: number, level: number, index: number): number {
  if (level >= levelsAt(size)) return 0;
  const growing = edgeTile(size, level);
  if (index === growing) return edgeWidth(size, level);
  return index < growing ? TILE_WIDTH : 0;
}

function hashesOf({ history, reader }: HistoryView, level: number, index: number): Uint8Array {
  if (index === edgeTile(history.size, level)) return tileHashes(history.edge[level]!);
  return readStored(reader, tileKey(level, index), STORED_TILE_BYTES);
}

function prefixed(entries: Uint8Array): Uint8Array {
  const count = entries.length / ENTRY_BYTES;
  const bundle = new Uint8Array(count * (LENGTH_BYTES + ENTRY_BYTES));
  for (let i = 0; i < count; i++) {
    const at = i * (LENGTH_BYTES + ENTRY_BYTES);
    bundle[at + 1] = ENTRY_BYTES; // 72 leaves the upper byte of the length zero.
    bundle.set(entries.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES), at + LENGTH_BYTES);
  }
  return bundle;
}
