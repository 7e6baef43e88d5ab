// What a verifier needs of the hyper tree: how a leaf and a node are hashed, and the two questions asked of a path.
// A path lists sibling hashes from the place of the key up to the root; null stands for an empty sibling.
//
// Soundness rests on three things: a leaf commits to its whole key, every side is taken from the asked key's own bits,
// and the root comes from the caller, never from the proof.
import { equalBytes } from '../crypto/encoding.ts';
import { BLOCK_BYTES, DIGEST_BYTES, type Hash } from '../crypto/hash.ts';

/** Keys are event digests: 256 bits, so no path is longer. */
export const DEPTH_MAX = 256;

export const EMPTY_ROOT: Uint8Array = new Uint8Array(DIGEST_BYTES);

/** Keeps leaf inputs apart from node inputs: a node would need a hash that starts with these 24 bytes. */
export const LEAF_TAG: Uint8Array = (() => {
  const tag = new Uint8Array(24);
  tag.set(new TextEncoder().encode('qed hyper tree leaf v1'));
  return tag;
})();

export interface HyperLeaf {
  readonly key: Uint8Array;
  readonly version: number;
}

export type HyperPath = readonly (Uint8Array | null)[];

/** Bit i of a key is the i-th most significant one. */
export function keyBit(key: Uint8Array, i: number): 0 | 1 {
  return ((key[i >>> 3]! >>> (7 - (i & 7))) & 1) as 0 | 1;
}

export function hashLeaf(hash: Hash, leaf: HyperLeaf): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(LEAF_TAG);
  new DataView(block.buffer).setBigUint64(LEAF_TAG.length, BigInt(leaf.version));
  block.set(leaf.key, DIGEST_BYTES);
  return hashBlock(hash, block);
}

/** One block through the batch hasher: several times faster than a general digest where it is native. */
function hashBlock(hash: Hash, block: Uint8Array): Uint8Array {
  const value = new Uint8Array(DIGEST_BYTES);
  hash.blocks(block, value);
  return value;
}

/** Is `key` in the map under `root`, first logged at `version`? */
export function checkMember(
  hash: Hash,
  key: Uint8Array,
  version: number,
  path: HyperPath,
  root: Uint8Array,
): boolean {
  return leadsTo(hash, key, hashLeaf(hash, { key, version }), path, root);
}

/**
 * Is `key` missing from the map under `root`? Its place must be empty (`other` null) or hold another key's leaf,
 * which has to share every bit of the path: else it would stand somewhere else and prove nothing about this place.
 */
export function checkAbsent(
  hash: Hash,
  key: Uint8Array,
  other: HyperLeaf | null,
  path: HyperPath,
  root: Uint8Array,
): boolean {
  if (other === null) return leadsTo(hash, key, EMPTY_ROOT, path, root);
  if (equalBytes(other.key, key)) return false;
  for (let i = 0; i < path.length; i++) {
    if (i >= DEPTH_MAX || keyBit(other.key, i) !== keyBit(key, i)) return false;
  }
  return leadsTo(hash, key, hashLeaf(hash, other), path, root);
}

/**
 * The root after `key` was put at `version` into a map that `checkAbsent` has shown not to hold it, by the same path. The leaf that stood in its place, if
 * there was one, moves down to where the two keys part.
 */
export function insertedRoot(
  hash: Hash,
  { key, version }: HyperLeaf,
  other: HyperLeaf | null,
  path: HyperPath,
): Uint8Array {
  const below: (Uint8Array | null)[] = [];
  if (other !== null) {
    below.push(hashLeaf(hash, other));
    for (let i = path.length; keyBit(key, i) === keyBit(other.key, i); i++) below.push(null);
  }
  return climb(hash, key, hashLeaf(hash, { key, version }), [...below, ...path]);
}

function leadsTo(hash: Hash, key: Uint8Array, start: Uint8Array, path: HyperPath, root: Uint8Array): boolean {
  return path.length <= DEPTH_MAX && equalBytes(climb(hash, key, start, path), root);
}

function climb(hash: Hash, key: Uint8Array, start: Uint8Array, path: HyperPath): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  let value = start;
  for (let i = 0; i < path.length; i++) {
    const sibling = path[i] ?? EMPTY_ROOT;
    const right = keyBit(key, path.length - 1 - i) === 1;
    block.set(right ? sibling : value, 0);
    block.set(right ? value : sibling, DIGEST_BYTES);
    value = hashBlock(hash, block);
  }
  return value;
}
