// The three hashes of RFC 9162, section 2.1.1: leaf, node and the root of nothing. The first byte keeps leaves and nodes apart.
// Every tree has millions of them, so the inputs are put together in two scratch buffers: all of this is synchronous, and no
// hash keeps its input.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert } from '../errors.ts';
import { ENTRY_BYTES } from './entry.ts';

const leafInput = new Uint8Array(1 + ENTRY_BYTES);
const nodeInput = new Uint8Array(1 + 2 * DIGEST_BYTES);
leafInput[0] = 0x00;
nodeInput[0] = 0x01;

export function emptyRoot(hash: Hash): Uint8Array {
  return hash.digest(new Uint8Array(0));
}

export function leafHash(hash: Hash, entry: Uint8Array): Uint8Array {
  assert(entry.length === ENTRY_BYTES, `an entry of ${entry.length} bytes`);
  leafInput.set(entry, 1);
  return hash.digest(leafInput);
}

/** The leaf hash of the entry at `entryAt`, written to `out` from `at` on. */
export function leafHashTo(
  hash: Hash,
  entries: Uint8Array,
  entryAt: number,
  out: Uint8Array,
  at: number,
): void {
  for (let i = 0; i < ENTRY_BYTES; i++) leafInput[1 + i] = entries[entryAt + i]!;
  hash.digestTo(leafInput, out, at);
}

export function nodeHash(hash: Hash, left: Uint8Array, right: Uint8Array): Uint8Array {
  nodeInput.set(left, 1);
  nodeInput.set(right, 1 + DIGEST_BYTES);
  return hash.digest(nodeInput);
}

/** The node over two hashes that lie side by side from `pairAt` on, written among them from `at` on. */
export function pairHashTo(hash: Hash, hashes: Uint8Array, pairAt: number, at: number): void {
  for (let i = 0; i < 2 * DIGEST_BYTES; i++) nodeInput[1 + i] = hashes[pairAt + i]!;
  hash.digestTo(nodeInput, hashes, at);
}
