// Checks RFC 9162 proofs (sections 2.1.3.2 and 2.1.4.2). Pure, loads in a browser, answers false to whatever is not exactly right,
// and never throws on numbers, bytes and lists of any value.
//
// A proof binds its numbers only through the roots: size and root of a tree must come from ONE trusted place (a checkpoint).
// Someone free to choose a size for a given root finds many that fit.
import { equalBytes, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { nodeHash } from './merkle.ts';
import { consistencySpans, inclusionSpans } from './position.ts';

/** Is the leaf with this hash entry `version` of the tree with this size and root? */
export function checkInclusion(
  hash: Hash,
  leaf: Uint8Array,
  version: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isSize(version) || !isSize(size) || version >= size) return false;
  const spans = inclusionSpans(version, size);
  if (proof.length !== spans.length || !areHashes([leaf, root, ...proof])) return false;
  let node = leaf;
  for (const [i, span] of spans.entries()) {
    const sibling = proof[i]!;
    node = span.from > version ? nodeHash(hash, node, sibling) : nodeHash(hash, sibling, node);
  }
  return equalBytes(node, root);
}

/** Does the tree of `endSize` entries begin with the very tree of `startSize` entries? */
export function checkConsistency(
  hash: Hash,
  startSize: number,
  startRoot: Uint8Array,
  endSize: number,
  endRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!isSize(startSize) || !isSize(endSize) || startSize === 0 || startSize > endSize) return false;
  const spans = consistencySpans(startSize, endSize);
  if (proof.length !== spans.length || !areHashes([startRoot, endRoot, ...proof])) return false;

  // Climb from the last whole subtree of the old tree to both roots at once: what lies to the left belongs to both trees,
  // what lies to the right came later.
  const seeded = spans[0]?.to === startSize;
  let oldNode = seeded ? proof[0]! : startRoot;
  let newNode = oldNode;
  for (let i = seeded ? 1 : 0; i < spans.length; i++) {
    const sibling = proof[i]!;
    if (spans[i]!.from >= startSize) {
      newNode = nodeHash(hash, newNode, sibling);
    } else {
      oldNode = nodeHash(hash, sibling, oldNode);
      newNode = nodeHash(hash, sibling, newNode);
    }
  }
  return equalBytes(oldNode, startRoot) && equalBytes(newNode, endRoot);
}

function areHashes(list: readonly (Uint8Array | undefined)[]): boolean {
  return list.every((bytes) => bytes?.length === DIGEST_BYTES);
}
