// The hyper tree: a Merkle map from event digest to the first version that logged it. Insert-only.
//
// It promises: `stage` tells the root after a batch while every reader still sees the state before it; `commit` makes the batch
// visible at once, `discard` forgets it. The same keys in the same order give the same root, however they were cut into batches.
//
// How: a binary trie in which a node exists only where two keys part (so a pair of keys that share 255 bits costs one node,
// not 255). A batch is sorted, led down to the leaves it meets, and merged in one walk that copies every node it changes
// into a fresh slot. The old root still names the old nodes; they become free when the batch is committed.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert } from '../errors.ts';
import { Arena, LEAF_BYTES, NONE } from './arena.ts';
import { EMPTY_ROOT, type HyperLeaf, type HyperPath } from './check.ts';
import { Rehasher } from './rehash.ts';
import { leavesByKey } from './sort.ts';

export interface HyperProof {
  /** The version under which the key was first logged, or null when it is not in the map. */
  readonly version: number | null;
  /** Sibling hashes from the key's place up to the root, null for an empty one. */
  readonly path: HyperPath;
  /** In an absence proof: the other key's leaf that stands in this place, or null when the place is empty. */
  readonly leaf: HyperLeaf | null;
}

interface Staged {
  readonly root: number;
  readonly rootHash: Uint8Array;
  readonly leafCount: number;
  readonly made: Int32Array;
  readonly replaced: Int32Array;
}

/** A depth below every node's: leaves stand under whatever node there is. */
const LEAF_DEPTH = 256;

export class HyperTree {
  readonly #arena = new Arena();
  readonly #rehasher: Rehasher;
  #root = NONE;
  #rootHash = EMPTY_ROOT;
  #staged: Staged | undefined;

  constructor(hash: Hash) {
    this.#rehasher = new Rehasher(hash, this.#arena);
  }

  /** The number of distinct keys. */
  get size(): number {
    return this.#arena.leafCount;
  }

  get root(): Uint8Array {
    return this.#rootHash.slice();
  }

  /** Plans a batch: key i (32 bytes each) is logged at `firstVersion + i`. Returns the root that `commit` will make visible. */
  stage(keys: Uint8Array, firstVersion: number): Uint8Array {
    assert(keys.length % DIGEST_BYTES === 0, `keys of ${keys.length} bytes`);
    const count = keys.length / DIGEST_BYTES;
    const first = this.#arena.leafCount;
    this.#arena.reserveLeaves(first + count);
    for (let i = 0; i < count; i++)
      this.#arena.writeLeaf(first + i, firstVersion + i, keys, i * DIGEST_BYTES);
    return this.#stageLeaves(first, count);
  }

  /** As `stage`, for leaf records as `leafRecords` gives them: keys not in the tree yet, in the order of their versions. */
  stageRecords(records: Uint8Array): Uint8Array {
    assert(records.length % LEAF_BYTES === 0, `leaf records of ${records.length} bytes`);
    const count = records.length / LEAF_BYTES;
    const first = this.#arena.leafCount;
    this.#arena.reserveLeaves(first + count);
    for (let i = 0; i < count; i++) {
      this.#arena.leafBytesAt(first + i).set(records.subarray(i * LEAF_BYTES, (i + 1) * LEAF_BYTES));
    }
    return this.#stageLeaves(first, count);
  }

  commit(): void {
    const staged = this.#takeStaged();
    this.#arena.setLeafCount(staged.leafCount);
    this.#arena.freeNodes(staged.replaced);
    this.#root = staged.root;
    this.#rootHash = staged.rootHash;
  }

  discard(): void {
    this.#arena.freeNodes(this.#takeStaged().made);
  }

  /** Leaves `from`..`to` in the order in which they were first logged: what an image keeps. */
  leafRecords(from: number, to: number): Uint8Array {
    assert(0 <= from && from <= to && to <= this.size, `leaf records ${from} to ${to} of ${this.size}`);
    const records = new Uint8Array((to - from) * LEAF_BYTES);
    for (let leaf = from; leaf < to; leaf++) {
      records.set(this.#arena.leafBytesAt(leaf), (leaf - from) * LEAF_BYTES);
    }
    return records;
  }

  prove(key: Uint8Array): HyperProof {
    if (this.#root === NONE) return { version: null, path: [], leaf: null };
    // The key is compared as a leaf in the first unused place, which no reader can see and the next stage overwrites.
    const asked = this.#staged?.leafCount ?? this.size;
    this.#arena.reserveLeaves(asked + 1);
    this.#arena.writeLeaf(asked, 0, key, 0);
    const met = this.#leafMet(asked);
    const bit = this.#arena.firstDifference(asked, met);
    const { path, leaf } = this.#pathTo(asked, bit, met);
    const found = { version: this.#arena.version(met), key: this.#arena.leafBytesAt(met).slice(8) };
    if (bit === LEAF_DEPTH) return { version: found.version, path, leaf: null };
    return { version: null, path, leaf: leaf ? found : null };
  }

  /** The first version of a key, or undefined. */
  find(key: Uint8Array): number | undefined {
    return this.prove(key).version ?? undefined;
  }

  #takeStaged(): Staged {
    const staged = this.#staged;
    assert(staged !== undefined, 'no batch is staged in the hyper tree');
    this.#staged = undefined;
    return staged;
  }

  #stageLeaves(first: number, count: number): Uint8Array {
    assert(this.#staged === undefined, 'a batch is already staged in the hyper tree');
    const insert = new Insert(this.#arena, this.#root);
    const added = insert.addLeaves(first, count);
    this.#rehasher.rehash({
      count: insert.made.length,
      slots: insert.made.items,
      leaves: insert.leaves.items,
    });
    this.#staged = {
      root: insert.root,
      rootHash: this.#hashOf(insert.root),
      leafCount: first + added,
      made: insert.made.taken(),
      replaced: insert.replaced.taken(),
    };
    return this.#staged.rootHash.slice();
  }

  #hashOf(reference: number): Uint8Array {
    if (reference === NONE) return EMPTY_ROOT;
    return reference < 0 ? this.#rehasher.leafHash(~reference) : this.#rehasher.storedHash(reference);
  }

  /** The leaf that the key's bits lead to; it shares with the key every bit that any node on the way looks at. */
  #leafMet(asked: number): number {
    let reference = this.#root;
    while (reference >= 0) reference = this.#arena.childToward(reference, asked);
    return ~reference;
  }

  /** The path to the place of `asked`, which parts from `met`, the leaf it leads to, at `bit`. */
  #pathTo(asked: number, bit: number, met: number): { path: HyperPath; leaf: boolean } {
    const arena = this.#arena;
    const path: (Uint8Array | null)[] = [];
    let reference = this.#root;
    while (reference >= 0 && arena.depth(reference) < bit) {
      while (path.length < arena.depth(reference)) path.push(null);
      const toRight = arena.keyBit(asked, arena.depth(reference)) === 1;
      path.push(this.#hashOf(toRight ? arena.left(reference) : arena.right(reference)));
      reference = arena.childToward(reference, asked);
    }
    if (reference < 0) return { path: path.reverse(), leaf: true };
    // The key leaves the trie on the edge above a node: its place is empty, and the node's value stands beside it.
    while (path.length < bit) path.push(null);
    path.push(this.#rehasher.valueAt(reference, bit + 1, met));
    return { path: path.reverse(), leaf: false };
  }
}

/** One batch on its way into the trie: the nodes it makes, the nodes they replace. */
class Insert {
  readonly made = new Growing();
  /** A leaf below each made node: its key gives the bits of the node's edge. */
  readonly leaves = new Growing();
  readonly replaced = new Growing();
  readonly #arena: Arena;
  root: number;
  /** New leaves in key order; for each, the old leaf it meets and the first bit in which the two differ. */
  #order: Int32Array = new Int32Array(0);
  #met: Int32Array = new Int32Array(0);
  #parting: Int32Array = new Int32Array(0);

  constructor(arena: Arena, root: number) {
    this.#arena = arena;
    this.root = root;
  }

  /** Adds those of the leaves whose keys are new, packs them together, and says how many they are. */
  addLeaves(first: number, count: number): number {
    this.#order = withoutRepeats(this.#arena, leavesByKey(this.#arena, first, first + count));
    if (this.root !== NONE) this.#meetOldLeaves();
    if (this.#order.length < count) this.#pack(first, count);
    const added = this.#order.length;
    if (added > 0)
      this.root = this.root === NONE ? this.#build(0, added, 0) : this.#merge(this.root, 0, added, 0, 0);
    return added;
  }

  /**
   * Leads all keys down together, a level a pass, so that the processor waits for many memory reads at once.
   * Drops the keys that are there already.
   */
  #meetOldLeaves(): void {
    const arena = this.#arena;
    const order = this.#order;
    const met = new Int32Array(order.length).fill(this.root);
    let under = this.root < 0 ? new Int32Array(0) : Int32Array.from(order.keys());
    while (under.length > 0) {
      let still = 0;
      for (let i = 0; i < under.length; i++) {
        const at = under[i]!;
        const child = arena.childToward(met[at]!, order[at]!);
        met[at] = child;
        if (child >= 0) under[still++] = at;
      }
      under = under.subarray(0, still);
    }
    const parting = new Int32Array(order.length);
    let kept = 0;
    for (let i = 0; i < order.length; i++) {
      const bit = arena.firstDifference(order[i]!, ~met[i]!);
      if (bit === LEAF_DEPTH) continue;
      order[kept] = order[i]!;
      met[kept] = ~met[i]!;
      parting[kept++] = bit;
    }
    this.#order = order.subarray(0, kept);
    this.#met = met;
    this.#parting = parting;
  }

  /** Closes the gaps that dropped leaves left, so that leaves stay dense and in the order of their versions. */
  #pack(first: number, count: number): void {
    const place = new Int32Array(count).fill(-1);
    for (const leaf of this.#order) place[leaf - first] = 0;
    let next = first;
    for (let i = 0; i < count; i++) {
      if (place[i]! < 0) continue;
      if (next !== first + i) this.#arena.moveLeaf(first + i, next);
      place[i] = next++;
    }
    for (let i = 0; i < this.#order.length; i++) this.#order[i] = place[this.#order[i]! - first]!;
  }

  /**
   * The subtree at `reference` with the new leaves `from`..`to` merged in, its value standing at `top`.
   * All these leaves lead to this subtree; `below` is an old leaf under it.
   */
  #merge(reference: number, from: number, to: number, top: number, below: number): number {
    const arena = this.#arena;
    if (from === to) return this.#atTop(reference, top, below);
    const met = this.#met[from]!;
    const bit = Math.min(this.#parting[from]!, this.#parting[to - 1]!);
    if (reference < 0 || bit < arena.depth(reference))
      return this.#splitEdge(reference, from, to, top, bit, met);

    const depth = arena.depth(reference);
    const middle = this.#partition(from, to, depth);
    const left = this.#merge(arena.left(reference), from, middle, depth + 1, met);
    const right = this.#merge(arena.right(reference), middle, to, depth + 1, met);
    this.replaced.push(reference);
    return this.#make(left, right, depth, top, met);
  }

  /** Some leaves part from the edge above `reference` at `bit`, its earliest parting: a new node stands there. */
  #splitEdge(reference: number, from: number, to: number, top: number, bit: number, below: number): number {
    // Sorted, the leaves that part here stand at one end, on the side of their bit; for the rest the edge goes on.
    const partLeft = this.#parting[from] === bit && this.#arena.keyBit(this.#order[from]!, bit) === 0;
    const middle = this.#partition(from, to, bit);
    const left = partLeft
      ? this.#build(from, middle, bit + 1)
      : this.#merge(reference, from, middle, bit + 1, below);
    const right = partLeft
      ? this.#merge(reference, middle, to, bit + 1, below)
      : this.#build(middle, to, bit + 1);
    return this.#make(left, right, bit, top, below);
  }

  /** An unchanged subtree; when its edge has become shorter its stored value must be hashed anew. */
  #atTop(reference: number, top: number, below: number): number {
    const arena = this.#arena;
    if (reference < 0 || arena.top(reference) === top) return reference;
    this.replaced.push(reference);
    return this.#make(arena.left(reference), arena.right(reference), arena.depth(reference), top, below);
  }

  /** A subtree of new leaves alone. */
  #build(from: number, to: number, top: number): number {
    const leaf = this.#order[from]!;
    if (to - from === 1) return ~leaf;
    const depth = this.#arena.firstDifference(leaf, this.#order[to - 1]!);
    const middle = this.#partition(from, to, depth);
    const left = this.#build(from, middle, depth + 1);
    return this.#make(left, this.#build(middle, to, depth + 1), depth, top, leaf);
  }

  #make(left: number, right: number, depth: number, top: number, leaf: number): number {
    const slot = this.#arena.allocateNode(left, right, depth, top);
    this.made.push(slot);
    this.leaves.push(leaf);
    return slot;
  }

  /** The first of the sorted leaves whose key has a one at `bit`. */
  #partition(from: number, to: number, bit: number): number {
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.#arena.keyBit(this.#order[middle]!, bit) === 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}

/** Keeps the first leaf of each key; equal keys stand together, in the order in which they came. */
function withoutRepeats(arena: Arena, order: Int32Array): Int32Array {
  let kept = 0;
  for (let i = 0; i < order.length; i++) {
    if (kept > 0 && arena.firstDifference(order[kept - 1]!, order[i]!) === LEAF_DEPTH) continue;
    order[kept++] = order[i]!;
  }
  return order.subarray(0, kept);
}

/** A list of 32-bit integers that grows. */
class Growing {
  items = new Int32Array(64);
  length = 0;

  push(item: number): void {
    if (this.length === this.items.length) {
      const grown = new Int32Array(this.length * 2);
      grown.set(this.items);
      this.items = grown;
    }
    this.items[this.length++] = item;
  }

  taken(): Int32Array {
    return this.items.subarray(0, this.length);
  }
}
