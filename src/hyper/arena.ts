// The memory of the hyper tree: leaves and inner nodes as fixed records in chunks of typed arrays, so that a key costs about
// 120 bytes, nothing is copied when the tree grows, and the garbage collector has nothing to look at.
//
// A reference is one 32-bit integer: an inner node is its slot (>= 0), a leaf is ~index (< 0).
// Leaves and slots are append-only; leaves keep the order in which keys were first logged.
//
//   leaf   40 bytes: u64 version, big-endian, then the key. Behind the leaf tag this is the leaf's hash input.
//   node   80 bytes: left, right, depth of the branching bit, some leaf below for the bits of the edge,
//          and the block: the values of both children, which is the node's hash input.
//
// A node's own value lives in its parent's block, as the parent needs it: standing at its top, one below the parent's
// branching bit, with the single-child levels between the top and the node's depth already hashed in. So a changed node
// finds the value of its unchanged child in its own block, and never has to visit that child.
//
// A batch on its way must not be seen. Leaves and nodes that it makes go behind the counts, where no old reference leads; what it
// changes in older nodes is kept apart (rehash.ts) until it is committed.
import { assert } from '../errors.ts';

export const NONE = 0x7fffffff;
export const LEAF_BYTES = 40;
export const KEY_AT = 8;

/** A chunk has ten or twenty megabytes, of which only what is used takes memory: long enough for huge pages where the system gives them. */
const CHUNK_BITS = 18;
const CHUNK = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK - 1;
export const HASH_WORDS = 8;
export const BLOCK_WORDS = 16;
const DEPTH_AT = 2;
const LEAF_AT = 3;
const BLOCK_AT = 4;
const NODE_WORDS = BLOCK_AT + BLOCK_WORDS;
const LEAF_WORDS = LEAF_BYTES / 4;
/** A place is a slot and a side in 31 bits. */
const COUNT_MAX = 0x3ffffffe;

export class Arena {
  readonly #leafWords: Int32Array[] = [];
  readonly #leafBytes: Uint8Array[] = [];
  readonly #nodes: Int32Array[] = [];
  #leafCount = 0;
  #slotCount = 0;
  #madeCount = 0;

  get leafCount(): number {
    return this.#leafCount;
  }

  /** Makes room for leaves up to `count`; what their bytes hold is the caller's matter until the count is moved. */
  reserveLeaves(count: number): void {
    assert(count <= COUNT_MAX, `a hyper tree of ${count} keys`);
    while (this.#leafBytes.length * CHUNK < count) {
      const words = new Int32Array(CHUNK * LEAF_WORDS);
      this.#leafWords.push(words);
      this.#leafBytes.push(new Uint8Array(words.buffer));
    }
  }

  /** What was made since the last commit is part of the tree, which has `leafCount` leaves. */
  commit(leafCount: number): void {
    this.#leafCount = leafCount;
    this.#slotCount += this.#madeCount;
    this.discard();
  }

  discard(): void {
    this.#madeCount = 0;
  }

  leafBytesAt(leaf: number): Uint8Array {
    const at = (leaf & CHUNK_MASK) * LEAF_BYTES;
    return this.#leafBytes[leaf >>> CHUNK_BITS]!.subarray(at, at + LEAF_BYTES);
  }

  writeLeaf(leaf: number, version: number, keys: Uint8Array, keyAt: number): void {
    const bytes = this.#leafBytes[leaf >>> CHUNK_BITS]!;
    const at = (leaf & CHUNK_MASK) * LEAF_BYTES;
    writeU32(bytes, at, Math.floor(version / 0x100000000));
    writeU32(bytes, at + 4, version);
    for (let i = 0; i < 32; i++) bytes[at + KEY_AT + i] = keys[keyAt + i]!;
  }

  moveLeaf(from: number, to: number): void {
    this.leafBytesAt(to).set(this.leafBytesAt(from));
  }

  /** Moves leaf `order[i]` to place `first + i`, each leaf once. `order` is a permutation of these places; it ends as the identity. */
  permuteLeaves(first: number, order: Int32Array): void {
    const kept = new Uint8Array(LEAF_BYTES);
    for (let start = 0; start < order.length; start++) {
      if (order[start] === first + start) continue;
      kept.set(this.leafBytesAt(first + start));
      let to = start;
      for (let from = order[to]! - first; from !== start; from = order[to]! - first) {
        this.#copyLeafRecord(first + from, first + to);
        order[to] = first + to;
        to = from;
      }
      this.leafBytesAt(first + to).set(kept);
      order[to] = first + to;
    }
  }

  /**
   * Groups the leaves 0..`count` by the first byte of their keys, in place, and returns where each group starts.
   * Only 256 places are written to in turn, which the processor's page tables can follow; a full sort in one go would lose its time there.
   */
  groupLeaves(count: number): Int32Array {
    const starts = new Int32Array(257);
    for (let leaf = 0; leaf < count; leaf++) starts[(this.keyPrefix(leaf) >>> 24) + 1]!++;
    for (let group = 0; group < 256; group++) starts[group + 1]! += starts[group]!;
    const next = starts.slice(0, 256);
    const spare = count;
    this.reserveLeaves(count + 1);
    for (let group = 0; group < 256; group++) {
      while (next[group]! < starts[group + 1]!) {
        const leaf = next[group]!;
        const belongs = this.keyPrefix(leaf) >>> 24;
        if (belongs !== group) {
          const to = next[belongs]!;
          this.#copyLeafRecord(to, spare);
          this.#copyLeafRecord(leaf, to);
          this.#copyLeafRecord(spare, leaf);
        }
        next[belongs]!++;
      }
    }
    return starts;
  }

  #copyLeafRecord(from: number, to: number): void {
    const source = this.#leafWords[from >>> CHUNK_BITS]!;
    const sourceAt = (from & CHUNK_MASK) * LEAF_WORDS;
    const target = this.#leafWords[to >>> CHUNK_BITS]!;
    const targetAt = (to & CHUNK_MASK) * LEAF_WORDS;
    for (let word = 0; word < LEAF_WORDS; word++) target[targetAt + word] = source[sourceAt + word]!;
  }

  version(leaf: number): number {
    const bytes = this.#leafBytes[leaf >>> CHUNK_BITS]!;
    const at = (leaf & CHUNK_MASK) * LEAF_BYTES;
    return readU32(bytes, at) * 0x100000000 + readU32(bytes, at + 4);
  }

  /** The first 32 bits of a leaf's key, as an unsigned number. */
  keyPrefix(leaf: number): number {
    return readU32(this.#leafBytes[leaf >>> CHUNK_BITS]!, (leaf & CHUNK_MASK) * LEAF_BYTES + KEY_AT);
  }

  keyBit(leaf: number, bit: number): number {
    const byte =
      this.#leafBytes[leaf >>> CHUNK_BITS]![(leaf & CHUNK_MASK) * LEAF_BYTES + KEY_AT + (bit >>> 3)]!;
    return (byte >>> (7 - (bit & 7))) & 1;
  }

  /** The first bit in which the keys of two leaves differ; 256 when they are equal. */
  firstDifference(a: number, b: number): number {
    const aBytes = this.#leafBytes[a >>> CHUNK_BITS]!;
    const bBytes = this.#leafBytes[b >>> CHUNK_BITS]!;
    const aAt = (a & CHUNK_MASK) * LEAF_BYTES + KEY_AT;
    const bAt = (b & CHUNK_MASK) * LEAF_BYTES + KEY_AT;
    for (let i = 0; i < 32; i++) {
      const difference = aBytes[aAt + i]! ^ bBytes[bAt + i]!;
      if (difference !== 0) return i * 8 + Math.clz32(difference) - 24;
    }
    return 256;
  }

  /** Copies version and key, the last 40 bytes of a leaf's hash input. */
  copyLeaf(leaf: number, to: Int32Array, toAt: number): void {
    const words = this.#leafWords[leaf >>> CHUNK_BITS]!;
    const at = (leaf & CHUNK_MASK) * LEAF_WORDS;
    for (let i = 0; i < LEAF_WORDS; i++) to[toAt + i] = words[at + i]!;
  }

  makeNode(depth: number, leaf: number): number {
    const slot = this.#slotCount + this.#madeCount++;
    assert(slot <= COUNT_MAX, `a hyper tree of ${slot} nodes`);
    if (slot >= this.#nodes.length * CHUNK) this.#nodes.push(new Int32Array(CHUNK * NODE_WORDS));
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS;
    words[at + DEPTH_AT] = depth;
    words[at + LEAF_AT] = leaf;
    return slot;
  }

  setChild(slot: number, side: number, reference: number): void {
    this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + side] = reference;
  }

  child(slot: number, side: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + side]!;
  }

  depth(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + DEPTH_AT]!;
  }

  /** The child on the side of a leaf's key, in one look at the node. The first 32 bits of the key nearly always decide, so they come along. */
  childToward(slot: number, leaf: number, prefix: number): number {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS;
    const depth = words[at + DEPTH_AT]!;
    const side = depth < 32 ? (prefix >>> (31 - depth)) & 1 : this.keyBit(leaf, depth);
    return words[at + side]!;
  }

  /** Some leaf below the node. */
  leafBelow(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + LEAF_AT]!;
  }

  /** The values of both children, as bytes. */
  block(slot: number): Uint8Array {
    const at = (slot & CHUNK_MASK) * NODE_WORDS + BLOCK_AT;
    return new Uint8Array(this.#nodes[slot >>> CHUNK_BITS]!.slice(at, at + BLOCK_WORDS).buffer);
  }

  /** The value of the left (0) or right (1) child, as bytes. */
  childValue(slot: number, side: number): Uint8Array {
    const words = new Int32Array(HASH_WORDS);
    this.readValue(slot, side, words, 0);
    return new Uint8Array(words.buffer);
  }

  readValue(slot: number, side: number, to: Int32Array, toAt: number): void {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS + BLOCK_AT + side * HASH_WORDS;
    copyHash(words, at, to, toAt);
  }

  writeValue(slot: number, side: number, from: Int32Array, fromAt: number): void {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS + BLOCK_AT + side * HASH_WORDS;
    copyHash(from, fromAt, words, at);
  }
}

/** Written out, it takes two thirds of the time of a loop; a batch copies three hashes for each node that it changes. */
export function copyHash(from: Int32Array, at: number, to: Int32Array, toAt: number): void {
  to[toAt] = from[at]!;
  to[toAt + 1] = from[at + 1]!;
  to[toAt + 2] = from[at + 2]!;
  to[toAt + 3] = from[at + 3]!;
  to[toAt + 4] = from[at + 4]!;
  to[toAt + 5] = from[at + 5]!;
  to[toAt + 6] = from[at + 6]!;
  to[toAt + 7] = from[at + 7]!;
}

function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
