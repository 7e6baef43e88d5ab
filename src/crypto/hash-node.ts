// SHA-256 with Node's OpenSSL for single values and @chainsafe/hashtree (SHA-NI, AVX) for runs of 64-byte blocks.
// hashtree is a native addon: where its platform package is missing, the portable block hash takes over, slower and equal.
import { hash as nodeHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { checkBlocks, portableHash, type Hash } from './hash.ts';

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
  digest: (data) => nodeHash('sha256', data, 'buffer'),
  blocks: hashInto
    ? (blocks, out) => {
        checkBlocks(blocks, out);
        if (blocks.length > 0) hashInto(blocks, out);
      }
    : portableHash.blocks,
};
