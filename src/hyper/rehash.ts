// What a batch changes in the hyper tree, and the hashes that follow from it, until they are written to their nodes or forgotten. The nodes
// themselves are only read, so that everybody else sees the tree as it was.
//
// Changed nodes are hashed level by level, deepest first, so that each level is a few calls of the batch hasher. A hash input is put
// together from the node's block and the new values of its changed children; the hasher's output is where new values stay. So of the
// 64 bytes of a block only the changed half is ever written back.
// While the edge to the parent is longer than one level, a value is taken up again, once a level, with an empty sibling, until it
// stands at the node's top.
import { BLOCK_BYTES, DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { BLOCK_WORDS, copyHash, HASH_WORDS, NONE, type Arena } from './arena.ts';
import { DEPTH_MAX, LEAF_TAG } from './check.ts';

/** Where a value belongs: the change of the parent and the side, in one number. The root has no parent. */
export const ROOT_PLACE = 0x7fffffff;
export const placeUnder = (parent: number, side: number): number => (parent << 1) | side;

// A change: the node's slot, the top that its value is to stand at, the place of its value; then for each side the new child, or NONE,
// and where its new value is, or UNCHANGED.
const CHANGE_WORDS = 8;
const TOP_AT = 1;
const PLACE_AT = 2;
const CHILD_AT = 4;
const VALUE_AT = 6;
const UNCHANGED = -1;

/** Blocks hashed at once: enough to feed the batch hasher, small enough to stay in the cache. */
const RUN = 1024;
const TAG_WORDS = new Int32Array(LEAF_TAG.slice().buffer);

/** A moment that `settle` goes back to. */
export interface Mark {
  readonly changes: number;
  readonly values: number;
}

export class Changes {
  readonly #hash: Hash;
  readonly #arena: Arena;
  #items = new Int32Array(1024 * CHANGE_WORDS);
  #count = 0;
  #values = new Int32Array(1024 * HASH_WORDS);
  #valueCount = 0;
  #rootValue = UNCHANGED;
  /** Not hashed yet: pairs of leaf and place, and changes by the depth of their nodes. */
  readonly #leaves = new Growing();
  readonly #levels: readonly Growing[] = Array.from({ length: DEPTH_MAX }, () => new Growing());
  /** Changes whose value does not stand at its top yet. */
  #open = new Growing();
  #stillOpen = new Growing();
  readonly #input = new Int32Array(RUN * BLOCK_WORDS);
  readonly #leafInput = new Int32Array(RUN * BLOCK_WORDS);

  constructor(hash: Hash, arena: Arena) {
    this.#hash = hash;
    this.#arena = arena;
    for (let i = 0; i < RUN; i++) this.#leafInput.set(TAG_WORDS, i * BLOCK_WORDS);
  }

  /** A new value of a leaf is due at `place`. */
  addLeaf(leaf: number, place: number): void {
    this.#leaves.push(leaf);
    this.#leaves.push(place);
  }

  /** A new value of a node is due, standing at depth `top`, at `place`. */
  addNode(slot: number, top: number, place: number): number {
    const change = this.enter(slot, top, place);
    this.#levels[this.#arena.depth(slot)]!.push(change);
    return change;
  }

  /** A node whose value is not due before `due` says so. */
  enter(slot: number, top: number, place: number): number {
    const at = this.#count * CHANGE_WORDS;
    if (at === this.#items.length) this.#items = grown(this.#items, 2 * at);
    this.#items[at] = slot;
    this.#items[at + TOP_AT] = top;
    this.#items[at + PLACE_AT] = place;
    this.#items[at + CHILD_AT] = NONE;
    this.#items[at + CHILD_AT + 1] = NONE;
    this.#items[at + VALUE_AT] = UNCHANGED;
    this.#items[at + VALUE_AT + 1] = UNCHANGED;
    return this.#count++;
  }

  due(change: number): void {
    this.#levels[this.#arena.depth(this.#slot(change))]!.push(change);
  }

  setChild(change: number, side: number, reference: number): void {
    this.#items[change * CHANGE_WORDS + CHILD_AT + side] = reference;
  }

  /** Computes all that is due, and returns the value at the root, if that is among it. */
  hash(): Uint8Array {
    this.#hashLeaves();
    for (let depth = DEPTH_MAX - 1; depth >= 0; depth--) {
      const level = this.#levels[depth]!;
      if (this.#open.length === 0 && level.length === 0) continue;
      this.#stillOpen.length = 0;
      this.#lift(this.#open, depth);
      this.#join(level, depth);
      level.length = 0;
      [this.#open, this.#stillOpen] = [this.#stillOpen, this.#open];
    }
    const at = Math.max(0, this.#rootValue) * DIGEST_BYTES;
    return new Uint8Array(this.#values.buffer, at, DIGEST_BYTES).slice();
  }

  /** Writes the changes to their nodes. */
  write(from = 0): void {
    const [items, values, arena] = [this.#items, this.#values, this.#arena];
    for (let at = from * CHANGE_WORDS; at < this.#count * CHANGE_WORDS; at += CHANGE_WORDS) {
      for (let side = 0; side < 2; side++) {
        const child = items[at + CHILD_AT + side]!;
        const value = items[at + VALUE_AT + side]!;
        if (child !== NONE) arena.setChild(items[at]!, side, child);
        if (value !== UNCHANGED) arena.writeValue(items[at]!, side, values, value * HASH_WORDS);
      }
    }
  }

  clear(): void {
    this.#count = 0;
    this.#valueCount = 0;
    this.#rootValue = UNCHANGED;
    this.#leaves.length = 0;
    this.#open.length = 0;
    for (const level of this.#levels) level.length = 0;
  }

  mark(): Mark {
    return { changes: this.#count, values: this.#valueCount };
  }

  /** Hashes, writes and forgets what came behind the mark, all but the value that it led to, which belongs at `place`. */
  settle(mark: Mark, place: number): Uint8Array {
    const root = this.hash();
    this.write(mark.changes);
    const value = this.#valueOf(place) * HASH_WORDS;
    this.#values.copyWithin(mark.values * HASH_WORDS, value, value + HASH_WORDS);
    this.#setValue(place, mark.values);
    this.#count = mark.changes;
    this.#valueCount = mark.values + 1;
    return root;
  }

  #slot(change: number): number {
    return this.#items[change * CHANGE_WORDS]!;
  }

  #valueOf(place: number): number {
    if (place === ROOT_PLACE) return this.#rootValue;
    return this.#items[(place >> 1) * CHANGE_WORDS + VALUE_AT + (place & 1)]!;
  }

  #setValue(place: number, value: number): void {
    if (place === ROOT_PLACE) this.#rootValue = value;
    else this.#items[(place >> 1) * CHANGE_WORDS + VALUE_AT + (place & 1)] = value;
  }

  #hashLeaves(): void {
    const leaves = this.#leaves;
    for (let at = 0; at < leaves.length; at += 2 * RUN) {
      const count = Math.min(RUN, (leaves.length - at) / 2);
      for (let i = 0; i < count; i++) {
        this.#arena.copyLeaf(leaves.items[at + 2 * i]!, this.#leafInput, i * BLOCK_WORDS + TAG_WORDS.length);
      }
      const first = this.#hashBlocks(this.#leafInput, count);
      for (let i = 0; i < count; i++) this.#setValue(leaves.items[at + 2 * i + 1]!, first + i);
    }
    leaves.length = 0;
  }

  /** The branching level of nodes: hash the block, with the new values in it. */
  #join(changes: Growing, depth: number): void {
    const [items, input, arena] = [this.#items, this.#input, this.#arena];
    for (let from = 0; from < changes.length; from += RUN) {
      const count = Math.min(RUN, changes.length - from);
      const values = this.#values;
      for (let i = 0; i < count; i++) {
        const at = changes.items[from + i]! * CHANGE_WORDS;
        for (let side = 0; side < 2; side++) {
          const to = i * BLOCK_WORDS + side * HASH_WORDS;
          const value = items[at + VALUE_AT + side]!;
          if (value === UNCHANGED) arena.readValue(items[at]!, side, input, to);
          else copyHash(values, value * HASH_WORDS, input, to);
        }
      }
      this.#finish(changes, from, count, depth);
    }
  }

  /** One more single-child level for values whose edge is not used up. */
  #lift(changes: Growing, depth: number): void {
    const arena = this.#arena;
    for (let from = 0; from < changes.length; from += RUN) {
      const count = Math.min(RUN, changes.length - from);
      this.#input.fill(0, 0, count * BLOCK_WORDS);
      for (let i = 0; i < count; i++) {
        const at = changes.items[from + i]! * CHANGE_WORDS;
        const side = arena.keyBit(arena.leafBelow(this.#items[at]!), depth);
        const value = this.#valueOf(this.#items[at + PLACE_AT]!) * HASH_WORDS;
        copyHash(this.#values, value, this.#input, i * BLOCK_WORDS + side * HASH_WORDS);
      }
      this.#finish(changes, from, count, depth);
    }
  }

  #finish(changes: Growing, from: number, count: number, depth: number): void {
    const first = this.#hashBlocks(this.#input, count);
    const items = this.#items;
    for (let i = 0; i < count; i++) {
      const change = changes.items[from + i]!;
      this.#setValue(items[change * CHANGE_WORDS + PLACE_AT]!, first + i);
      if (items[change * CHANGE_WORDS + TOP_AT]! < depth) this.#stillOpen.push(change);
    }
  }

  /** Hashes blocks into new values, and returns the first of these. */
  #hashBlocks(input: Int32Array, count: number): number {
    const first = this.#valueCount;
    const words = (first + count) * HASH_WORDS;
    if (words > this.#values.length) this.#values = grown(this.#values, 2 * words);
    this.#hash.blocks(
      new Uint8Array(input.buffer, 0, count * BLOCK_BYTES),
      new Uint8Array(this.#values.buffer, first * DIGEST_BYTES, count * DIGEST_BYTES),
    );
    this.#valueCount += count;
    return first;
  }
}

/** A list of 32-bit integers that grows, and keeps its room when it is emptied. */
class Growing {
  items = new Int32Array(64);
  length = 0;

  push(item: number): void {
    if (this.length === this.items.length) this.items = grown(this.items, 2 * this.length);
    this.items[this.length++] = item;
  }
}

function grown(items: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(length);
  larger.set(items);
  return larger;
}
