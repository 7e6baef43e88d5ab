// SHA-256 behind one type, so that Node hashes natively, a browser in JavaScript, and both give the same bytes.
// The implementation is chosen at the edge (cmd, client) and handed down; this file is the portable one.
import { sha256 } from '@noble/hashes/sha2.js';
import { assert } from '../errors.ts';

export const DIGEST_BYTES = 32;
export const BLOCK_BYTES = 64;

export interface Hash {
  /** SHA-256 of any bytes. */
  readonly digest: (data: Uint8Array) => Uint8Array;
  /** SHA-256 of any bytes, written to `out` from `at` on: for digests that are kept side by side. */
  readonly digestTo: (data: Uint8Array, out: Uint8Array, at: number) => void;
  /**
   * SHA-256 of every 64-byte block of `blocks`, written to `out` 32 bytes each.
   * `out` must hold exactly half as many bytes as `blocks` and must not overlap it.
   */
  readonly blocks: (blocks: Uint8Array, out: Uint8Array) => void;
}

export const portableHash: Hash = {
  digest: (data) => sha256(data),
  digestTo(data, out, at) {
    out.set(sha256(data), at);
  },
  blocks(blocks, out) {
    checkBlocks(blocks, out);
    for (let at = 0; at < blocks.length; at += BLOCK_BYTES) {
      out.set(sha256(blocks.subarray(at, at + BLOCK_BYTES)), at / 2);
    }
  },
};

/** The door check of every `blocks` implementation. */
export function checkBlocks(blocks: Uint8Array, out: Uint8Array): void {
  assert(
    blocks.length % BLOCK_BYTES === 0 && out.length * 2 === blocks.length,
    `blocks of ${blocks.length} bytes into ${out.length}`,
  );
}
