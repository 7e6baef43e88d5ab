// Whole numbers as 8 bytes, most significant first: versions in keys, times in entries. Only safe integers (below 2^53)
// are ever written; a reader that meets a larger number gets undefined and says what that means where it stands.
import { assert, QedError } from '../errors.ts';

export const U64_BYTES = 8;
const LOW_WORD = 2 ** 32;

export function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Checks a version, size or index that a caller gave. */
export function checkCount(what: string, value: number): void {
  if (isCount(value)) return;
  throw new QedError('version-malformed', `The ${what} ${value} is not an integer from 0 to 2^53 - 1.`);
}

export function writeU64(bytes: Uint8Array, offset: number, value: number): void {
  assert(isCount(value), `${value} does not fit into 53 bits`);
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, U64_BYTES);
  view.setUint32(0, Math.floor(value / LOW_WORD));
  view.setUint32(4, value % LOW_WORD);
}

export function readU64(bytes: Uint8Array, offset: number): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, U64_BYTES);
  const value = view.getUint32(0) * LOW_WORD + view.getUint32(4);
  return Number.isSafeInteger(value) ? value : undefined;
}
