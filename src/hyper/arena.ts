// The memory of the hyper tree: leaves and inner nodes as fixed records in chunks of typed arrays, so that ten million keys
// cost about 85 bytes each, nothing is copied when the tree grows, and the garbage collector has nothing to look at.
//
// A reference is one 32-bit integer: an inner node is its slot (>= 0), a leaf is ~index (< 0).
// Leaves are append-only and keep the order in which keys were first logged. Slots of inner nodes are reused.
//
//   leaf   40 bytes: u64 version, big-endian, then the key. Behind the leaf tag this is the leaf's hash input.
//   node   11 words: left, right, shape (depth of the branching bit | top << 8), and the hash in the last eight.
//
// A node's hash is stored as its parent needs it: standing at depth `top`, one below the parent's branching bit, with the
// single-child levels between `top` and the node's own depth already hashed in.
import { assert } from '../errors.ts';

export const NONE = 0x7fffffff;
export const LEAF_BYTES = 40;
export const KEY_AT = 8;

const CHUNK_BITS = 16;
const CHUNK = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK - 1;
const NODE_WORDS = 11;
const HASH_AT = 3;
const LEAF_WORDS = LEAF_BYTES / 4;
/** References are 31 bits wide. */
const COUNT_MAX = 0x7ffffffe;

export class Arena {
  readonly #nodes: Int32Array[] = [];
  readonly #leafWords: Int32Array[] = [];
  readonly #leafBytes: Uint8Array[] = [];
  #leafCount = 0;
  #slotCount = 0;
  #free = new Int32Array(1024);
  #freeCount = 0;

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

  setLeafCount(count: number): void {
    this.#leafCount = count;
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

  allocateNode(left: number, right: number, depth: number, top: number): number {
    const slot = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#slotCount++;
    if (slot >= this.#nodes.length * CHUNK) this.#nodes.push(new Int32Array(CHUNK * NODE_WORDS));
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS;
    words[at] = left;
    words[at + 1] = right;
    words[at + 2] = depth | (top << 8);
    return slot;
  }

  freeNodes(slots: Int32Array): void {
    const needed = this.#freeCount + slots.length;
    if (needed > this.#free.length) {
      const grown = new Int32Array(needed * 2);
      grown.set(this.#free.subarray(0, this.#freeCount));
      this.#free = grown;
    }
    this.#free.set(slots, this.#freeCount);
    this.#freeCount = needed;
  }

  left(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS]!;
  }

  right(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + 1]!;
  }

  depth(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + 2]! & 0xff;
  }

  top(slot: number): number {
    return this.#nodes[slot >>> CHUNK_BITS]![(slot & CHUNK_MASK) * NODE_WORDS + 2]! >>> 8;
  }

  /** The child on the side of a leaf's key, in one look at the node. */
  childToward(slot: number, leaf: number): number {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS;
    return words[at + this.keyBit(leaf, words[at + 2]! & 0xff)]!;
  }

  readHash(slot: number, to: Int32Array, toAt: number): void {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS + HASH_AT;
    for (let i = 0; i < 8; i++) to[toAt + i] = words[at + i]!;
  }

  writeHash(slot: number, from: Int32Array, fromAt: number): void {
    const words = this.#nodes[slot >>> CHUNK_BITS]!;
    const at = (slot & CHUNK_MASK) * NODE_WORDS + HASH_AT;
    for (let i = 0; i < 8; i++) words[at + i] = from[fromAt + i]!;
  }
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
