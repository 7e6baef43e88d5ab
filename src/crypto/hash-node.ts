// SHA-256 with Node's OpenSSL for single values and @chainsafe/hashtree (SHA-NI, AVX) for runs of 64-byte blocks.
// hashtree is a native addon: where its platform package is missing, the portable block hash takes over, slower and equal.
import { hash as nodeHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { checkBlocks, DIGEST_BYTES, portableHash, type Hash } from './hash.ts';

type HashInto = (blocks: Uint8Array, out: Uint8Array) => void;

function loadHashtree(): HashInto | undefined {
  try {
    const addon = createRequire(import.meta.url)('@chainsafe/hashtree') as { hashInto: HashInto };
    return addon.hashInto;
  } catch {
    return undefined;
  }
}

const hashInto = loadHashtree();

export const hashtreeAvailable = hashInto !== undefined;

export const nativeHash: Hash = {
  digest: nativeDigest,
  digestTo,
  blocks: hashInto
    ? (blocks, out) => {
        checkBlocks(blocks, out);
        if (blocks.length > 0) hashInto(blocks, out);
      }
    : portableHash.blocks,
};

/** SHA-256 of bytes, or of the UTF-8 bytes of a text. So small an array lies in the heap itself. */
export function nativeDigest(data: string | Uint8Array): Uint8Array {
  const digest = new Uint8Array(DIGEST_BYTES);
  digestTo(data, digest, 0);
  return digest;
}

/**
 * Through a string, a character a byte: it takes a third of the time of a Buffer, which has memory of its own, allocated by Node and freed by
 * the garbage collector one by one.
 */
function digestTo(data: string | Uint8Array, out: Uint8Array, at: number): void {
  const characters = nodeHash('sha256', data, 'binary');
  for (let i = 0; i < DIGEST_BYTES; i++) out[at + i] = characters.charCodeAt(i);
}
