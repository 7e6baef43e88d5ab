// The hyper tree: a Merkle map from event digest to the first version that logged it. Insert-only.
//
// It promises: `stage` tells the root after a batch while every reader still sees the state before it; `commit` makes the batch
// visible at once, `discard` forgets it. The same keys in the same order give the same root, however they were cut into batches.
//
// How: a binary trie in which a node exists only where two keys part (so a pair of keys that share 255 bits costs one node,
// not 255). A batch is sorted, led down to the leaves it meets, and merged in one walk, which makes a list of changes; `commit`
// writes them to their nodes.
import { BLOCK_BYTES, DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { Arena, KEY_AT, LEAF_BYTES, NONE } from './arena.ts';
import { EMPTY_ROOT, type HyperLeaf, type HyperPath } from './check.ts';
import { Changes, placeUnder, ROOT_PLACE } from './rehash.ts';
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
}

/** Leaves built and hashed at a time when a tree is loaded: their nodes fit the processor's cache. */
const PART = 16_384;
/** A depth below every node's: leaves stand under whatever node there is. */
const LEAF_DEPTH = 256;

export class HyperTree {
  readonly #arena = new Arena();
  readonly #hash: Hash;
  readonly #changes: Changes;
  #root = NONE;
  #rootHash = EMPTY_ROOT;
  #staged: Staged | undefined;

  constructor(hash: Hash) {
    this.#hash = hash;
    this.#changes = new Changes(hash, this.#arena);
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

  /**
   * Fills an empty tree from leaf records, as `leafRecords` gave them: distinct keys. It is built group by group of keys that
   * stand close together, so that each group stays in the processor's cache. Loaded leaves stand in key order afterwards.
   * A key that comes twice is refused; the tree is then of no use.
   */
  load(segments: Iterable<Uint8Array>): void {
    assert(this.#root === NONE, 'a hyper tree can only be loaded while it is empty');
    const arena = this.#arena;
    let count = 0;
    for (const records of segments) {
      arena.reserveLeaves(count + records.length / LEAF_BYTES);
      for (let at = 0; at < records.length; at += LEAF_BYTES) {
        arena.leafBytesAt(count++).set(records.subarray(at, at + LEAF_BYTES));
      }
    }
    if (count === 0) return;
    const starts = arena.groupLeaves(count);
    for (let group = 0; group < 256; group++) {
      arena.permuteLeaves(starts[group]!, leavesByKey(arena, starts[group]!, starts[group + 1]!));
    }
    const insert = new Insert(arena, NONE, this.#changes);
    const rootHash = insert.addSorted(count);
    this.#staged = { root: insert.root, rootHash, leafCount: count };
    this.commit();
  }

  commit(): void {
    const staged = this.#takeStaged();
    this.#changes.write();
    this.#changes.clear();
    this.#arena.commit(staged.leafCount);
    this.#root = staged.root;
    this.#rootHash = staged.rootHash;
  }

  discard(): void {
    this.#takeStaged();
    this.#changes.clear();
    this.#arena.discard();
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
    const { path, leaf } = this.#pathTo(asked, bit);
    if (bit === LEAF_DEPTH) return { version: this.#arena.version(met), path, leaf: null };
    if (!leaf) return { version: null, path, leaf: null };
    const other = { key: this.#arena.leafBytesAt(met).slice(KEY_AT), version: this.#arena.version(met) };
    return { version: null, path, leaf: other };
  }

  #takeStaged(): Staged {
    const staged = this.#staged;
    assert(staged !== undefined, 'no batch is staged in the hyper tree');
    this.#staged = undefined;
    return staged;
  }

  #stageLeaves(first: number, count: number): Uint8Array {
    assert(this.#staged === undefined, 'a batch is already staged in the hyper tree');
    // Of a batch that failed on its way, nothing may be left in this one.
    this.#changes.clear();
    this.#arena.discard();
    const insert = new Insert(this.#arena, this.#root, this.#changes);
    const added = insert.addLeaves(first, count);
    const rootHash = added === 0 ? this.#rootHash : this.#changes.hash();
    this.#staged = { root: insert.root, rootHash, leafCount: first + added };
    return rootHash.slice();
  }

  /** The leaf that the key's bits lead to; it shares with the key every bit that any node on the way looks at. */
  #leafMet(asked: number): number {
    const prefix = this.#arena.keyPrefix(asked);
    let reference = this.#root;
    while (reference >= 0) reference = this.#arena.childToward(reference, asked, prefix);
    return ~reference;
  }

  /** The path to the place of `asked`, which parts from the leaf it leads to at `bit`; `leaf`: the place holds a leaf. */
  #pathTo(asked: number, bit: number): { path: HyperPath; leaf: boolean } {
    const arena = this.#arena;
    const path: (Uint8Array | null)[] = [];
    const prefix = arena.keyPrefix(asked);
    let reference = this.#root;
    while (reference >= 0 && arena.depth(reference) < bit) {
      while (path.length < arena.depth(reference)) path.push(null);
      path.push(arena.childValue(reference, 1 - arena.keyBit(asked, arena.depth(reference))));
      reference = arena.childToward(reference, asked, prefix);
    }
    if (reference < 0) return { path: path.reverse(), leaf: true };
    // The key leaves the trie on the edge above a node: its place is empty, and the node's value stands beside it.
    while (path.length < bit) path.push(null);
    path.push(this.#valueAt(reference, bit + 1));
    return { path: path.reverse(), leaf: false };
  }

  /** The value of a node as it stands at `depth`, between its own depth and its top. */
  #valueAt(slot: number, depth: number): Uint8Array {
    const arena = this.#arena;
    let value = this.#hash.digest(arena.block(slot));
    for (let level = arena.depth(slot) - 1; level >= depth; level--) {
      const bytes = new Uint8Array(BLOCK_BYTES);
      bytes.set(value, arena.keyBit(arena.leafBelow(slot), level) * DIGEST_BYTES);
      value = this.#hash.digest(bytes);
    }
    return value;
  }
}

/** One batch on its way into the trie. */
class Insert {
  root: number;
  readonly #arena: Arena;
  readonly #changes: Changes;
  /** New leaves in key order; for each, the first bit in which it differs from the old leaf that it meets. */
  #order: Int32Array = new Int32Array(0);
  #parting: Int32Array = new Int32Array(0);

  constructor(arena: Arena, root: number, changes: Changes) {
    this.#arena = arena;
    this.root = root;
    this.#changes = changes;
  }

  /** Adds those of the leaves whose keys are new, packs them together, and says how many they are. */
  addLeaves(first: number, count: number): number {
    this.#order = withoutRepeats(this.#arena, leavesByKey(this.#arena, first, first + count));
    if (this.root !== NONE) this.#meetOldLeaves();
    if (this.#order.length < count) this.#pack(first, count);
    const added = this.#order.length;
    if (added === 0) return 0;
    if (this.root === NONE) this.root = this.#build(0, added, 0, ROOT_PLACE);
    else this.root = this.#merge(this.root, 0, added, 0, ROOT_PLACE);
    return added;
  }

  /** Fills an empty trie from leaves that stand in key order, hashing each part of it while it is in the processor's cache. */
  addSorted(count: number): Uint8Array {
    this.#order = Int32Array.from({ length: count }, (_, i) => i);
    const changes = this.#changes;
    let rootHash = EMPTY_ROOT;
    const build = (from: number, to: number, top: number, place: number): number => {
      const mark = changes.mark();
      let reference: number;
      if (to - from <= PART) {
        reference = this.#build(from, to, top, place);
      } else {
        const depth = this.#arena.firstDifference(from, to - 1);
        reference = this.#arena.makeNode(depth, from);
        const change = changes.enter(reference, top, place);
        const middle = this.#partition(from, to, depth);
        changes.setChild(change, 0, build(from, middle, depth + 1, placeUnder(change, 0)));
        changes.setChild(change, 1, build(middle, to, depth + 1, placeUnder(change, 1)));
        changes.due(change);
      }
      rootHash = changes.settle(mark, place);
      return reference;
    };
    this.root = build(0, count, 0, ROOT_PLACE);
    return rootHash;
  }

  /**
   * Leads all keys down together, a level a pass, so that the processor waits for many memory reads at once.
   * Drops the keys that are there already.
   */
  #meetOldLeaves(): void {
    const arena = this.#arena;
    const order = this.#order;
    const met = new Int32Array(order.length).fill(this.root);
    const prefixes = new Int32Array(order.length);
    for (let i = 0; i < order.length; i++) prefixes[i] = arena.keyPrefix(order[i]!);
    const under = new Int32Array(order.length);
    for (let i = 0; i < under.length; i++) under[i] = i;
    let underCount = this.root < 0 ? 0 : under.length;
    while (underCount > 0) {
      let still = 0;
      for (let i = 0; i < underCount; i++) {
        const at = under[i]!;
        const child = arena.childToward(met[at]!, order[at]!, prefixes[at]!);
        met[at] = child;
        if (child >= 0) under[still++] = at;
      }
      underCount = still;
    }
    let kept = 0;
    for (let i = 0; i < order.length; i++) {
      const bit = arena.firstDifference(order[i]!, ~met[i]!);
      if (bit === LEAF_DEPTH) continue;
      order[kept] = order[i]!;
      met[kept++] = bit;
    }
    this.#order = order.subarray(0, kept);
    this.#parting = met.subarray(0, kept);
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
   * The subtree at `reference` with the new leaves `from`..`to` merged in. All of them lead to this subtree.
   * Its value will stand at depth `top` and belongs to `place`.
   */
  #merge(reference: number, from: number, to: number, top: number, place: number): number {
    if (to - from === 1) return this.#mergeOne(reference, from, top, place);
    const arena = this.#arena;
    const bit = Math.min(this.#parting[from]!, this.#parting[to - 1]!);
    if (reference < 0 || bit < arena.depth(reference))
      return this.#splitEdge(reference, from, to, top, bit, place);

    const depth = arena.depth(reference);
    const change = this.#changes.addNode(reference, top, place);
    const middle = this.#partition(from, to, depth);
    if (from < middle) this.#mergeChild(reference, 0, change, from, middle);
    if (middle < to) this.#mergeChild(reference, 1, change, middle, to);
    return reference;
  }

  /** The same for a single new leaf, as most of the way is gone, without looking for where others part from it. */
  #mergeOne(reference: number, at: number, top: number, place: number): number {
    const arena = this.#arena;
    const bit = this.#parting[at]!;
    let change = NONE;
    let side = 0;
    let below = reference;
    let belowTop = top;
    let belowPlace = place;
    while (below >= 0 && arena.depth(below) <= bit) {
      const depth = arena.depth(below);
      change = this.#changes.addNode(below, belowTop, belowPlace);
      side = arena.keyBit(this.#order[at]!, depth);
      below = arena.child(below, side);
      belowTop = depth + 1;
      belowPlace = placeUnder(change, side);
    }
    const slot = this.#splitEdge(below, at, at + 1, belowTop, bit, belowPlace);
    if (change === NONE) return slot;
    this.#changes.setChild(change, side, slot);
    return reference;
  }

  #mergeChild(reference: number, side: number, change: number, from: number, to: number): void {
    const child = this.#arena.child(reference, side);
    const top = this.#arena.depth(reference) + 1;
    const merged = this.#merge(child, from, to, top, placeUnder(change, side));
    if (merged !== child) this.#changes.setChild(change, side, merged);
  }

  /** Some leaves part from the edge above `reference` at `bit`, its earliest parting: a new node stands there. */
  #splitEdge(reference: number, from: number, to: number, top: number, bit: number, place: number): number {
    const slot = this.#arena.makeNode(bit, this.#order[from]!);
    const change = this.#changes.addNode(slot, top, place);
    // Sorted, the leaves that part here stand at one end, on the side of their bit; for the rest the edge goes on.
    const middle = this.#partition(from, to, bit);
    const partSide = from < middle && this.#parting[from] === bit ? 0 : 1;
    const [partFrom, partTo, goFrom, goTo] =
      partSide === 0 ? [from, middle, middle, to] : [middle, to, from, middle];
    const goPlace = placeUnder(change, 1 - partSide);
    const parted = this.#build(partFrom, partTo, bit + 1, placeUnder(change, partSide));
    const going =
      goFrom < goTo
        ? this.#merge(reference, goFrom, goTo, bit + 1, goPlace)
        : this.#moveDown(reference, bit + 1, goPlace);
    this.#changes.setChild(change, partSide, parted);
    this.#changes.setChild(change, 1 - partSide, going);
    return slot;
  }

  /** An unchanged subtree under a new parent: its edge is shorter, so its value is hashed anew. */
  #moveDown(reference: number, top: number, place: number): number {
    if (reference < 0) this.#changes.addLeaf(~reference, place);
    else this.#changes.addNode(reference, top, place);
    return reference;
  }

  /** A subtree of new leaves alone. */
  #build(from: number, to: number, top: number, place: number): number {
    const leaf = this.#order[from]!;
    if (to - from === 1) {
      this.#changes.addLeaf(leaf, place);
      return ~leaf;
    }
    const depth = this.#arena.firstDifference(leaf, this.#order[to - 1]!);
    if (depth === LEAF_DEPTH) throw new QedError('store-corrupt', 'the hyper image holds a key twice');
    const slot = this.#arena.makeNode(depth, leaf);
    const change = this.#changes.addNode(slot, top, place);
    const middle = this.#partition(from, to, depth);
    this.#changes.setChild(change, 0, this.#build(from, middle, depth + 1, placeUnder(change, 0)));
    this.#changes.setChild(change, 1, this.#build(middle, to, depth + 1, placeUnder(change, 1)));
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
