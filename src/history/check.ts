// Checks RFC 9162 proofs (sections 2.1.3.2 and 2.1.4.2). Pure, loads in a browser, answers false to whatever is not exactly right,
// and never throws on numbers, bytes and lists of any value.
//
// A proof binds its numbers only through the roots: size and root of a tree must come from ONE trusted place (a checkpoint).
// Someone free to choose a size for a given root finds many that fit.
import { equalBytes, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { nodeHash } from './merkle.ts';
import { consistencySpans, inclusionSpans, subtreesOf } from './position.ts';

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
  if (!areHashes([startRoot, endRoot])) return false;
  const roots = climb(hash, startSize, startRoot, endSize, proof);
  return roots !== undefined && equalBytes(roots.start, startRoot) && equalBytes(roots.end, endRoot);
}

/**
 * The root at `startSize` that a proof shows for the tree of `endSize` entries: it fits no other one, so a signed root that differs was never how this
 * tree began. Undefined when the proof does not lead to `endRoot`, or cannot tell: from a perfect tree on, it holds no root of its own.
 */
export function startRootOf(
  hash: Hash,
  startSize: number,
  endSize: number,
  endRoot: Uint8Array,
  proof: readonly Uint8Array[],
): Uint8Array | undefined {
  const roots = climb(hash, startSize, undefined, endSize, proof);
  return roots && equalBytes(roots.end, endRoot) ? roots.start : undefined;
}

/**
 * Climbs from the last whole subtree of the old tree to both roots at once: what lies to the left belongs to both trees, what lies to the right
 * came later.
 */
function climb(
  hash: Hash,
  startSize: number,
  startRoot: Uint8Array | undefined,
  endSize: number,
  proof: readonly Uint8Array[],
): { readonly start: Uint8Array; readonly end: Uint8Array } | undefined {
  if (!isSize(startSize) || !isSize(endSize) || startSize === 0 || startSize > endSize) return undefined;
  const spans = consistencySpans(startSize, endSize);
  if (proof.length !== spans.length || !areHashes(proof)) return undefined;
  const seeded = spans[0]?.to === startSize;
  let start = seeded ? proof[0] : startRoot;
  if (start === undefined) return undefined;
  let end = start;
  for (let i = seeded ? 1 : 0; i < spans.length; i++) {
    const sibling = proof[i]!;
    if (spans[i]!.from >= startSize) {
      end = nodeHash(hash, end, sibling);
    } else {
      start = nodeHash(hash, sibling, start);
      end = nodeHash(hash, sibling, end);
    }
  }
  return { start, end };
}

/**
 * The roots of a tree before and after leaves were added to it, from the perfect subtrees that it consisted of, left to right. Undefined when a tree
 * of this size does not consist of so many. Before the first leaf there is no root.
 */
export function grownRoots(
  hash: Hash,
  size: number,
  peaks: readonly Uint8Array[],
  leaves: readonly Uint8Array[],
): { readonly start: Uint8Array | undefined; readonly end: Uint8Array | undefined } | undefined {
  if (!isSize(size) || !isSize(size + leaves.length) || !areHashes([...peaks, ...leaves])) return undefined;
  const subtrees = subtreesOf({ from: 0, to: size });
  if (subtrees.length !== peaks.length) return undefined;
  const edge = subtrees.map(({ height }, at) => ({ height, value: peaks[at]! }));
  const fold = () =>
    edge.reduceRight<Uint8Array | undefined>(
      (right, { value }) => (right ? nodeHash(hash, value, right) : value),
      undefined,
    );
  const start = fold();
  for (const leaf of leaves) {
    let grown = { height: 0, value: leaf };
    for (let last = edge.at(-1); last?.height === grown.height; last = edge.at(-1)) {
      edge.pop();
      grown = { height: grown.height + 1, value: nodeHash(hash, last.value, grown.value) };
    }
    edge.push(grown);
  }
  return { start, end: fold() };
}

function areHashes(list: readonly (Uint8Array | undefined)[]): boolean {
  return list.every((bytes) => bytes?.length === DIGEST_BYTES);
}
