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
  blocks: hashInto
    ? (blocks, out) => {
        checkBlocks(blocks, out);
        if (blocks.length > 0) hashInto(blocks, out);
      }
    : portableHash.blocks,
};

/**
 * SHA-256 of bytes, or of the UTF-8 bytes of a text. It comes through a string, a character a byte: that takes a third of the time of a Buffer,
 * which has memory of its own, allocated by Node and freed by the garbage collector one by one. So small an array lies in the heap itself.
 */
export function nativeDigest(data: string | Uint8Array): Uint8Array {
  const characters = nodeHash('sha256', data, 'binary');
  const bytes = new Uint8Array(DIGEST_BYTES);
  for (let at = 0; at < DIGEST_BYTES; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}
