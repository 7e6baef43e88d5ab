// Hashes the changed nodes of a hyper tree level by level, deepest first, so that each level is a few calls of the batch hasher.
// A node's value first stands at its own depth; while its edge to the parent is longer than one level, it stays on the list
// and is hashed once a level with an empty sibling, until it stands at `top`.
import { BLOCK_BYTES, type Hash } from '../crypto/hash.ts';
import type { Arena } from './arena.ts';
import { DEPTH_MAX, LEAF_TAG } from './check.ts';

/** Changed nodes, each with some leaf below it, whose key gives the sides of a long edge. */
export interface ChangedNodes {
  readonly count: number;
  readonly slots: Int32Array;
  readonly leaves: Int32Array;
}

/** Blocks hashed at once: enough to feed the batch hasher, small enough to stay in the cache. */
const RUN = 2048;
const BLOCK_WORDS = BLOCK_BYTES / 4;
const HASH_WORDS = 8;
const TAG_WORDS = new Int32Array(LEAF_TAG.slice().buffer);

export class Rehasher {
  readonly #hash: Hash;
  readonly #arena: Arena;
  readonly #input = new Int32Array(RUN * BLOCK_WORDS);
  readonly #output = new Int32Array(RUN * HASH_WORDS);
  readonly #leafInput = new Int32Array(2 * RUN * BLOCK_WORDS);
  readonly #leafOutput = new Int32Array(2 * RUN * HASH_WORDS);
  readonly #leafTarget = new Int32Array(2 * RUN);

  constructor(hash: Hash, arena: Arena) {
    this.#hash = hash;
    this.#arena = arena;
    for (let i = 0; i < 2 * RUN; i++) this.#leafInput.set(TAG_WORDS, i * BLOCK_WORDS);
  }

  rehash(changed: ChangedNodes): void {
    const { order, starts } = orderByDepth(this.#arena, changed);
    let open: number[] = [];
    for (let depth = DEPTH_MAX - 1; depth >= 0; depth--) {
      const from = starts[depth]!;
      const to = starts[depth + 1]!;
      if (from === to && open.length === 0) continue;
      const stillOpen: number[] = [];
      for (let at = 0; at < open.length; at += RUN) {
        this.#lift(changed, open.slice(at, at + RUN), depth, stillOpen);
      }
      for (let at = from; at < to; at += RUN) {
        this.#join(changed, order.subarray(at, Math.min(at + RUN, to)), depth, stillOpen);
      }
      open = stillOpen;
    }
  }

  /** The hash of one leaf, for proofs and for a tree of a single key. */
  leafHash(leaf: number): Uint8Array {
    this.#arena.copyLeaf(leaf, this.#leafInput, TAG_WORDS.length);
    return this.#hash.digest(bytesOf(this.#leafInput, BLOCK_WORDS));
  }

  /** The value of a node as it stands at `depth`, between its own depth and its top; `leaf` lies below the node. */
  valueAt(slot: number, depth: number, leaf: number): Uint8Array {
    const block = new Uint8Array(BLOCK_BYTES);
    const arena = this.#arena;
    for (const [side, child] of [arena.left(slot), arena.right(slot)].entries()) {
      block.set(child < 0 ? this.leafHash(~child) : this.storedHash(child), side * 32);
    }
    let value = this.#hash.digest(block);
    for (let level = arena.depth(slot) - 1; level >= depth; level--) {
      block.fill(0);
      block.set(value, arena.keyBit(leaf, level) * 32);
      value = this.#hash.digest(block);
    }
    return value;
  }

  storedHash(slot: number): Uint8Array {
    const words = new Int32Array(HASH_WORDS);
    this.#arena.readHash(slot, words, 0);
    return new Uint8Array(words.buffer);
  }

  /** One more single-child level for nodes whose edge is not used up. */
  #lift(changed: ChangedNodes, open: readonly number[], depth: number, stillOpen: number[]): void {
    const input = this.#input;
    input.fill(0, 0, open.length * BLOCK_WORDS);
    for (const [i, which] of open.entries()) {
      const side = this.#arena.keyBit(changed.leaves[which]!, depth);
      this.#arena.readHash(changed.slots[which]!, input, i * BLOCK_WORDS + side * HASH_WORDS);
    }
    this.#finish(changed, open, depth, stillOpen);
  }

  /** The branching level of nodes: both children side by side. */
  #join(changed: ChangedNodes, run: Int32Array, depth: number, stillOpen: number[]): void {
    const arena = this.#arena;
    let leafCount = 0;
    for (let i = 0; i < run.length; i++) {
      const slot = changed.slots[run[i]!]!;
      for (let side = 0; side < 2; side++) {
        const child = side === 0 ? arena.left(slot) : arena.right(slot);
        const at = i * BLOCK_WORDS + side * HASH_WORDS;
        if (child >= 0) {
          arena.readHash(child, this.#input, at);
        } else {
          arena.copyLeaf(~child, this.#leafInput, leafCount * BLOCK_WORDS + TAG_WORDS.length);
          this.#leafTarget[leafCount++] = at;
        }
      }
    }
    this.#hashLeaves(leafCount);
    this.#finish(changed, run, depth, stillOpen);
  }

  #hashLeaves(count: number): void {
    if (count === 0) return;
    const output = this.#leafOutput;
    this.#hash.blocks(bytesOf(this.#leafInput, count * BLOCK_WORDS), bytesOf(output, count * HASH_WORDS));
    for (let i = 0; i < count; i++) {
      const at = this.#leafTarget[i]!;
      for (let word = 0; word < HASH_WORDS; word++) this.#input[at + word] = output[i * HASH_WORDS + word]!;
    }
  }

  #finish(changed: ChangedNodes, run: ArrayLike<number>, depth: number, stillOpen: number[]): void {
    const arena = this.#arena;
    this.#hash.blocks(
      bytesOf(this.#input, run.length * BLOCK_WORDS),
      bytesOf(this.#output, run.length * HASH_WORDS),
    );
    for (let i = 0; i < run.length; i++) {
      const slot = changed.slots[run[i]!]!;
      arena.writeHash(slot, this.#output, i * HASH_WORDS);
      if (arena.top(slot) < depth) stillOpen.push(run[i]!);
    }
  }
}

/** Positions in `changed`, sorted by depth; `starts[d]` is where depth d begins. */
function orderByDepth(arena: Arena, changed: ChangedNodes): { order: Int32Array; starts: Int32Array } {
  const starts = new Int32Array(DEPTH_MAX + 1);
  for (let i = 0; i < changed.count; i++) starts[arena.depth(changed.slots[i]!) + 1]!++;
  for (let depth = 0; depth < DEPTH_MAX; depth++) starts[depth + 1]! += starts[depth]!;
  const next = starts.slice();
  const order = new Int32Array(changed.count);
  for (let i = 0; i < changed.count; i++) order[next[arena.depth(changed.slots[i]!)]!++] = i;
  return { order, starts };
}

function bytesOf(words: Int32Array, count: number): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, count * 4);
}
