// Hashes the changed nodes of a hyper tree level by level, deepest first, so that each level is a few calls of the batch hasher.
// Every value goes straight to its place in the parent's block. While the edge to the parent is longer than one level,
// the value is taken up again, once a level, with an empty sibling, until it stands at the node's top.
import { BLOCK_BYTES, DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { BLOCK_WORDS, HASH_WORDS, type Arena } from './arena.ts';
import { DEPTH_MAX, LEAF_TAG } from './check.ts';

/** Where a value belongs: the parent's address (below zero for a staged copy) and the side, in one number. The root has no parent. */
export const ROOT_PLACE = 0x7fffffff;
export const placeUnder = (parent: number, side: number): number => (parent << 1) | side;

/** What a batch changed, as pairs in flat lists that are reused from batch to batch. */
export class Changes {
  /** Pairs of leaf and place. */
  readonly leaves = new Growing();
  /** For each depth, pairs of address and place. */
  readonly levels: readonly Growing[] = Array.from({ length: DEPTH_MAX }, () => new Growing());

  clear(): void {
    this.leaves.length = 0;
    for (const level of this.levels) level.length = 0;
  }
}

/** Blocks hashed at once: enough to feed the batch hasher, small enough to stay in the cache. */
const RUN = 1024;
const TAG_WORDS = new Int32Array(LEAF_TAG.slice().buffer);

export class Rehasher {
  readonly #hash: Hash;
  readonly #arena: Arena;
  readonly #input = new Int32Array(RUN * BLOCK_WORDS);
  readonly #output = new Int32Array(RUN * HASH_WORDS);
  readonly #leafInput = new Int32Array(RUN * BLOCK_WORDS);
  readonly #root = new Int32Array(HASH_WORDS);
  #open = new Growing();
  #stillOpen = new Growing();

  constructor(hash: Hash, arena: Arena) {
    this.#hash = hash;
    this.#arena = arena;
    for (let i = 0; i < RUN; i++) this.#leafInput.set(TAG_WORDS, i * BLOCK_WORDS);
  }

  /** Brings every changed value up to date and returns the root, which is one of them. */
  rehash(changes: Changes): Uint8Array {
    this.#hashLeaves(changes.leaves);
    for (let depth = DEPTH_MAX - 1; depth >= 0; depth--) {
      this.#stillOpen.length = 0;
      if (this.#open.length > 0) this.#lift(this.#open, depth);
      if (changes.levels[depth]!.length > 0) this.#join(changes.levels[depth]!, depth);
      [this.#open, this.#stillOpen] = [this.#stillOpen, this.#open];
    }
    return new Uint8Array(this.#root.slice().buffer);
  }

  /** The value of a node as it stands at `depth`, between its own depth and its top. */
  valueAt(slot: number, depth: number): Uint8Array {
    const block = new Int32Array(BLOCK_WORDS);
    this.#arena.readBlock(slot, block, 0);
    const bytes = new Uint8Array(block.buffer);
    let value = this.#hash.digest(bytes);
    for (let level = this.#arena.depth(slot) - 1; level >= depth; level--) {
      bytes.fill(0);
      bytes.set(value, this.#arena.keyBit(this.#arena.leafBelow(slot), level) * DIGEST_BYTES);
      value = this.#hash.digest(bytes);
    }
    return value;
  }

  /** The value of a node's left (0) or right (1) child. */
  childValue(slot: number, side: number): Uint8Array {
    const words = new Int32Array(HASH_WORDS);
    this.#arena.readValue(slot, side, words, 0);
    return new Uint8Array(words.buffer);
  }

  #hashLeaves(leaves: Growing): void {
    for (let at = 0; at < leaves.length; at += 2 * RUN) {
      const count = Math.min(RUN, (leaves.length - at) / 2);
      for (let i = 0; i < count; i++) {
        this.#arena.copyLeaf(leaves.items[at + 2 * i]!, this.#leafInput, i * BLOCK_WORDS + TAG_WORDS.length);
      }
      this.#hashBlocks(this.#leafInput, count);
      for (let i = 0; i < count; i++) this.#put(leaves.items[at + 2 * i + 1]!, i);
    }
  }

  /** The branching level of nodes: hash the block. */
  #join(nodes: Growing, depth: number): void {
    for (let at = 0; at < nodes.length; at += 2 * RUN) {
      const count = Math.min(RUN, (nodes.length - at) / 2);
      for (let i = 0; i < count; i++) {
        this.#arena.readBlock(nodes.items[at + 2 * i]!, this.#input, i * BLOCK_WORDS);
      }
      this.#finish(nodes, at, count, depth);
    }
  }

  /** One more single-child level for nodes whose edge is not used up. */
  #lift(nodes: Growing, depth: number): void {
    for (let at = 0; at < nodes.length; at += 2 * RUN) {
      const count = Math.min(RUN, (nodes.length - at) / 2);
      this.#input.fill(0, 0, count * BLOCK_WORDS);
      for (let i = 0; i < count; i++) {
        const side = this.#arena.keyBit(this.#arena.leafBelow(nodes.items[at + 2 * i]!), depth);
        this.#take(nodes.items[at + 2 * i + 1]!, i * BLOCK_WORDS + side * HASH_WORDS);
      }
      this.#finish(nodes, at, count, depth);
    }
  }

  #finish(nodes: Growing, at: number, count: number, depth: number): void {
    this.#hashBlocks(this.#input, count);
    for (let i = 0; i < count; i++) {
      const address = nodes.items[at + 2 * i]!;
      const place = nodes.items[at + 2 * i + 1]!;
      this.#put(place, i);
      if (this.#arena.top(address) < depth) this.#stillOpen.push(address, place);
    }
  }

  #hashBlocks(input: Int32Array, count: number): void {
    this.#hash.blocks(
      new Uint8Array(input.buffer, 0, count * BLOCK_BYTES),
      new Uint8Array(this.#output.buffer, 0, count * DIGEST_BYTES),
    );
  }

  #put(place: number, i: number): void {
    if (place === ROOT_PLACE) this.#root.set(this.#output.subarray(i * HASH_WORDS, (i + 1) * HASH_WORDS));
    else this.#arena.writeValue(place >> 1, place & 1, this.#output, i * HASH_WORDS);
  }

  #take(place: number, at: number): void {
    if (place === ROOT_PLACE) this.#input.set(this.#root, at);
    else this.#arena.readValue(place >> 1, place & 1, this.#input, at);
  }
}

/** A list of pairs of 32-bit integers that grows. */
export class Growing {
  items = new Int32Array(64);
  length = 0;

  push(first: number, second: number): void {
    if (this.length === this.items.length) {
      const grown = new Int32Array(this.length * 2);
      grown.set(this.items);
      this.items = grown;
    }
    this.items[this.length++] = first;
    this.items[this.length++] = second;
  }
}
