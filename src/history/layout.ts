// How the history tree lies in an ordered store of bytes. Every key is 10 bytes: 'h', the kind, a u64.
//   'h' 'e' N         entry bundle N: entries 256 N to 256 N + 255, written once, when the bundle is full
//   'h' 'p' version   entry piece: what one batch put into the bundle that is not full yet; goes when the bundle comes
//   'h' level N       hash tile N of a level (0 to 6). A full one, written once: its 256 hashes, then some of the nodes above them
//                     (tile.ts says which). One of level 1 and up that still grows: its hashes so far. A growing tile of level 0
//                     is not stored: it follows from the entry pieces.
// A batch therefore writes its own entries, and now and then a tile: never much more than it brings.
import { readU64, U64_BYTES, writeU64 } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { ENTRY_BYTES } from './entry.ts';
import { TILE_WIDTH } from './position.ts';

export const BUNDLE_BYTES = TILE_WIDTH * ENTRY_BYTES;

/** Every key of the history tree begins with this byte, and no other key may. */
export const HISTORY_PREFIX = 0x68;
const BUNDLE = 0x65;
const PIECE = 0x70;
const KEY_BYTES = 2 + U64_BYTES;

export type HistoryWrite =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export interface HistoryReader {
  get(key: Uint8Array): Uint8Array | undefined;
}

export function bundleKey(bundle: number): Uint8Array {
  return key(BUNDLE, bundle);
}

export function pieceKey(version: number): Uint8Array {
  return key(PIECE, version);
}

export function tileKey(level: number, tile: number): Uint8Array {
  return key(level, tile);
}

function key(kind: number, number: number): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  bytes[0] = HISTORY_PREFIX;
  bytes[1] = kind;
  writeU64(bytes, 2, number);
  return bytes;
}

/** A key in words, for messages. */
export function describeKey(bytes: Uint8Array): string {
  const number = String(readU64(bytes, 2));
  const kind = bytes[1];
  if (kind === BUNDLE) return `entry bundle ${number}`;
  if (kind === PIECE) return `the entry piece at version ${number}`;
  return `hash tile ${number} of level ${String(kind)}`;
}

/** The stored value, which must be there and have exactly this length. */
export function readStored(reader: HistoryReader, at: Uint8Array, length: number): Uint8Array {
  const value = reader.get(at);
  if (value === undefined) throw corrupt(at, 'is missing');
  if (value.length !== length) throw corrupt(at, `holds ${value.length} bytes instead of ${length}`);
  return value;
}

export function corrupt(at: Uint8Array, what: string): QedError {
  return new QedError('store-corrupt', `The history tree is damaged: ${describeKey(at)} ${what}.`);
}
