// Rebuilds the history tree's state from the store. The writes of every batch were atomic together with the size, so the stored bytes
// must fit that size exactly: something missing, too short, too long or too much is damage, and is named.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { edgeRoot, type History } from './append.ts';
import { ENTRY_BYTES } from './entry.ts';
import {
  BUNDLE_BYTES,
  bundleKey,
  corrupt,
  type HistoryReader,
  pieceKey,
  readStored,
  tileKey,
} from './layout.ts';
import { emptyRoot } from './merkle.ts';
import { checkPosition, edgeTile, edgeWidth, levelsAt, TILE_LEVELS, TILE_WIDTH } from './position.ts';
import { emptyRoom, type Room } from './room.ts';
import { emptyTile, hashAt, pushHash, pushLeaf, type Tile } from './tile.ts';

/** The state of a log that has `size` entries. Its root is computed: the caller compares it with the one that was stored or signed. */
export function openHistory(hash: Hash, reader: HistoryReader, size: number): History {
  checkPosition('size', size);
  refuseLaterWrites(reader, size);
  const { bundle, pieces } = openPieces(reader, size);
  const edge: Tile[] = [];
  for (let level = 0; level < levelsAt(size); level++) {
    edge.push(level === 0 ? leafTile(hash, bundle) : openTile(hash, storedHashes(reader, size, level)));
  }
  return { size, root: edgeRoot(hash, edge) ?? emptyRoot(hash), edge, bundle, pieces };
}

/** A batch beyond `size` would have left one of these: the bundle it filled, or, in openPieces, a piece. */
function refuseLaterWrites(reader: HistoryReader, size: number): void {
  const keys = [bundleKey(edgeTile(size, 0))];
  for (let level = 0; level < TILE_LEVELS; level++) {
    if (level === 0 || edgeWidth(size, level) === 0) keys.push(tileKey(level, edgeTile(size, level)));
  }
  for (const key of keys) refuseStored(reader, key, size);
}

function refuseStored(reader: HistoryReader, key: Uint8Array, size: number): void {
  if (reader.get(key) !== undefined) throw corrupt(key, `should not be there in a log of ${size} entries`);
}

/** The pieces lie end to end, from the last full bundle to `size`, and nowhere else. */
function openPieces(reader: HistoryReader, size: number): Pick<History, 'bundle' | 'pieces'> {
  const bundle = emptyRoom(BUNDLE_BYTES);
  const pieces: number[] = [];
  const start = size - edgeWidth(size, 0);
  let next = start;
  for (let version = start; version < start + TILE_WIDTH; version++) {
    const key = pieceKey(version);
    if (version !== next || version >= size) {
      refuseStored(reader, key, size);
      continue;
    }
    const entries = reader.get(key);
    if (entries === undefined) throw corrupt(key, 'is missing');
    const count = entries.length / ENTRY_BYTES;
    if (!Number.isInteger(count) || count === 0 || count > size - version) {
      throw corrupt(key, `holds ${entries.length} bytes in a log of ${size} entries`);
    }
    bundle.bytes.set(entries, (version - start) * ENTRY_BYTES);
    bundle.used += count;
    pieces.push(version);
    next += count;
  }
  return { bundle, pieces };
}

function leafTile(hash: Hash, { bytes, used }: Room): Tile {
  const tile = emptyTile();
  for (let leaf = 0; leaf < used; leaf++) pushLeaf(hash, tile, bytes, leaf * ENTRY_BYTES);
  return tile;
}

function storedHashes(reader: HistoryReader, size: number, level: number): Uint8Array[] {
  const width = edgeWidth(size, level);
  if (width === 0) return [];
  const stored = readStored(reader, tileKey(level, edgeTile(size, level)), width * DIGEST_BYTES);
  return Array.from({ length: width }, (_, slot) => hashAt(stored, slot));
}

function openTile(hash: Hash, hashes: readonly Uint8Array[]): Tile {
  const tile = emptyTile();
  for (const added of hashes) pushHash(hash, tile, added);
  return tile;
}
