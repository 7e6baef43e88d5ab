import { nativeHash } from '../crypto/hash-node.ts';
import { portableHash } from '../crypto/hash.ts';
import { HyperTwin } from '../../testutils/hyper-twin.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { checkAbsent, checkMember, type HyperPath } from './check.ts';
import { HyperTree } from './tree.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const joined = (keys: readonly string[]): Uint8Array => unhex(keys.join(''));

/** Keys of many shapes: random ones, and ones that agree with an earlier key in a random number of bits, up to 255. */
function makeKey(random: Random, earlier: readonly string[]): string {
  if (earlier.length === 0 || random.chance(0.5)) return hex(random.bytes(32));
  const key = unhex(random.pick(earlier));
  if (random.chance(0.15)) return hex(key);
  const shared = random.chance(0.3) ? 255 - random.below(3) : random.below(256);
  const fresh = random.bytes(32);
  for (let i = shared; i < 256; i++) {
    const mask = 0x80 >> (i & 7);
    const source = i === shared ? ~key[i >> 3]! : fresh[i >> 3]!;
    key[i >> 3] = (key[i >> 3]! & ~mask) | (source & mask);
  }
  return hex(key);
}

function checkQuestion(tree: HyperTree, twin: HyperTwin, key: string): void {
  const proof = tree.prove(unhex(key));
  const shown = {
    version: proof.version,
    path: proof.path.map((hash) => hash && hex(hash)),
    leaf: proof.leaf && { key: hex(proof.leaf.key), version: proof.leaf.version },
  };
  expect(shown).toEqual(twin.prove(key));
  const root = tree.root;
  const holds =
    proof.version === null
      ? checkAbsent(nativeHash, unhex(key), proof.leaf, proof.path, root)
      : checkMember(nativeHash, unhex(key), proof.version, proof.path, root);
  expect(holds).toBe(true);
}

describe('hyper tree', () => {
  it('starts empty, with the empty root and an empty absence proof', () => {
    const tree = new HyperTree(nativeHash);
    expect(hex(tree.root)).toBe('00'.repeat(32));
    expect(tree.prove(new Uint8Array(32))).toEqual({ version: null, path: [], leaf: null });
    expect(tree.size).toBe(0);
  });

  it.each([1, 2, 3, 4])('equals its slow twin after every batch, seed %i', (seed) => {
    const random = seededRandom(seed);
    const tree = new HyperTree(seed % 4 === 0 ? portableHash : nativeHash);
    const twin = new HyperTwin();
    const known: string[] = [];
    let version = random.below(2) * 2 ** 40;
    for (let batch = 0; batch < 10; batch++) {
      const keys = Array.from({ length: 1 + random.below(20) }, () => {
        const key = makeKey(random, known);
        known.push(key);
        return key;
      });
      const before = hex(tree.root);
      if (random.chance(0.3)) {
        tree.stage(joined([...keys, hex(random.bytes(32))]), version);
        tree.discard();
      }
      const staged = hex(tree.stage(joined(keys), version));
      expect(hex(tree.root)).toBe(before);
      checkQuestion(tree, twin, keys[0]!);
      for (const [i, key] of keys.entries()) twin.add(key, version + i);
      tree.commit();
      version += keys.length;
      expect(staged).toBe(twin.root());
      expect(hex(tree.root)).toBe(staged);
      expect(tree.size).toBe(twin.versions.size);
      for (let i = 0; i < 6; i++) checkQuestion(tree, twin, makeKey(random, known));
    }
    for (const key of known) checkQuestion(tree, twin, key);
  });

  it('gives the same root however the keys are cut into batches, also through the leaf records of an image', () => {
    const random = seededRandom(99);
    const keys = Array.from({ length: 3000 }, () => hex(random.bytes(32)));
    const whole = new HyperTree(nativeHash);
    whole.stage(joined(keys), 0);
    whole.commit();
    const pieces = new HyperTree(nativeHash);
    for (let at = 0; at < keys.length;) {
      const count = Math.min(1 + random.below(400), keys.length - at);
      pieces.stage(joined(keys.slice(at, at + count)), at);
      pieces.commit();
      at += count;
    }
    const loaded = new HyperTree(nativeHash);
    loaded.load([whole.leafRecords(0, 1200), pieces.leafRecords(1200, 2500)]);
    expect(loaded.size).toBe(2500);
    loaded.stage(joined(keys.slice(2500)), 2500);
    loaded.commit();
    expect(hex(pieces.root)).toBe(hex(whole.root));
    expect(hex(loaded.root)).toBe(hex(whole.root));
  });

  it('holds and loads more leaves than one chunk and one part, and refuses a key that comes twice', () => {
    const random = seededRandom(3);
    const count = 2 ** 18 + 20_000;
    const keys = random.bytes(32 * count);
    const staged = new HyperTree(nativeHash);
    for (let first = 0; first < count; first += 100_000) {
      staged.stage(keys.subarray(32 * first, 32 * (first + 100_000)), first);
      staged.commit();
    }
    const loaded = new HyperTree(nativeHash);
    loaded.load([staged.leafRecords(0, count)]);
    expect(hex(loaded.root)).toBe(hex(staged.root));
    for (const version of [0, 99_999, 100_000, 2 ** 18 - 1, 2 ** 18, count - 1]) {
      const key = keys.subarray(32 * version, 32 * version + 32);
      for (const tree of [staged, loaded]) {
        const proof = tree.prove(key);
        expect(proof.version).toBe(version);
        expect(checkMember(nativeHash, key, version, proof.path, tree.root)).toBe(true);
      }
    }
    const twice = [staged.leafRecords(0, 20_000), staged.leafRecords(7000, 7001)];
    expect(codeOf(() => new HyperTree(nativeHash).load(twice))).toBe('store-corrupt');
  });

  it('keeps the first version, inside a batch and across batches', () => {
    const tree = new HyperTree(nativeHash);
    const [a, b] = ['11'.repeat(32), '22'.repeat(32)];
    tree.stage(joined([a, b, a]), 10);
    tree.commit();
    tree.stage(joined([b, a]), 13);
    tree.commit();
    expect(tree.prove(unhex(a)).version).toBe(10);
    expect(tree.prove(unhex(b)).version).toBe(11);
    expect(tree.size).toBe(2);
  });

  it('forgets a batch that failed on its way', () => {
    const random = seededRandom(9);
    let blocksLeft = Infinity;
    const failing: typeof nativeHash = {
      digest: nativeHash.digest,
      digestTo: nativeHash.digestTo,
      blocks(blocks, out) {
        if (--blocksLeft < 0) throw new Error('out of memory');
        nativeHash.blocks(blocks, out);
      },
    };
    const [tree, other] = [new HyperTree(failing), new HyperTree(nativeHash)];
    for (let first = 0; first < 2000; first += 200) {
      const keys = random.bytes(32 * 200);
      blocksLeft = random.below(8);
      expect(() => tree.stage(random.bytes(32 * 300), first)).toThrow('out of memory');
      blocksLeft = Infinity;
      expect(hex(tree.stage(keys, first))).toBe(hex(other.stage(keys, first)));
      tree.commit();
      other.commit();
    }
    const key = random.bytes(32);
    expect(tree.prove(key)).toEqual(other.prove(key));
  });

  it('does not grow without bound when batches are discarded', () => {
    const random = seededRandom(5);
    const tree = new HyperTree(nativeHash);
    const twin = new HyperTwin();
    for (let round = 0; round < 200; round++) {
      tree.stage(random.bytes(32 * 50), 0);
      tree.discard();
    }
    const key = hex(random.bytes(32));
    tree.stage(unhex(key), 0);
    tree.commit();
    twin.add(key, 0);
    expect(hex(tree.root)).toBe(twin.root());
  });
});

describe('hyper proofs under attack', () => {
  const random = seededRandom(7);
  const keys: string[] = [];
  for (let i = 0; i < 24; i++) keys.push(makeKey(random, keys));
  const tree = new HyperTree(nativeHash);
  tree.stage(joined(keys), 0);
  tree.commit();
  const root = tree.root;
  const questions = [...new Set([...keys, ...Array.from({ length: 26 }, () => makeKey(random, keys))])];

  function pathVariants(path: HyperPath): HyperPath[] {
    const variants: HyperPath[] = [
      [...path, null],
      [null, ...path],
      [...path, root],
      path.slice(1),
      path.slice(0, -1),
    ];
    for (const [i, hash] of path.entries()) {
      const changed = (hash ?? new Uint8Array(32)).slice();
      changed[i % 32]! ^= 1 << (i & 7);
      variants.push(path.with(i, changed), path.toSpliced(i, 1), path.with(i, hash === null ? root : null));
      if (i > 0 && !sameHash(path[i - 1]!, hash)) variants.push(path.with(i, path[i - 1]!).with(i - 1, hash));
    }
    return path.length === 0 ? variants.slice(0, 3) : variants;
  }
  const sameHash = (a: Uint8Array | null, b: Uint8Array | null): boolean => (a && hex(a)) === (b && hex(b));

  it('accepts none that was altered', () => {
    let refused = 0;
    for (const key of questions) {
      const asked = unhex(key);
      const { version, path, leaf } = tree.prove(asked);
      const accepts = (altered: HyperPath): boolean =>
        version === null
          ? checkAbsent(nativeHash, asked, leaf, altered, root)
          : checkMember(nativeHash, asked, version, altered, root);
      expect(accepts(path)).toBe(true);
      for (const altered of pathVariants(path)) {
        // A path that starts with an added empty sibling under an empty place is a different path of the same kind: refused as well.
        expect(accepts(altered)).toBe(false);
        refused++;
      }
      if (version !== null) {
        expect(checkMember(nativeHash, asked, version + 1, path, root)).toBe(false);
        expect(checkAbsent(nativeHash, asked, null, path, root)).toBe(false);
        expect(checkAbsent(nativeHash, asked, { key: asked, version }, path, root)).toBe(false);
      } else {
        expect(checkMember(nativeHash, asked, 0, path, root)).toBe(false);
        if (leaf) {
          expect(checkAbsent(nativeHash, asked, { ...leaf, version: leaf.version + 1 }, path, root)).toBe(
            false,
          );
          expect(checkMember(nativeHash, asked, leaf.version, path, root)).toBe(false);
          expect(checkAbsent(nativeHash, asked, null, path, root)).toBe(false);
        }
      }
    }
    expect(refused).toBeGreaterThan(5000);
  });

  it('refuses the absence of a key by the leaf of another path', () => {
    for (const key of questions) {
      const { version, path } = tree.prove(unhex(key));
      if (version === null || path.length === 0) continue;
      for (const other of keys) {
        if (other === key) continue;
        const theirs = tree.prove(unhex(other));
        const leaf = { key: unhex(other), version: theirs.version ?? 0 };
        expect(checkAbsent(nativeHash, unhex(key), leaf, theirs.path, root)).toBe(false);
      }
    }
  });

  it('refuses more than 256 siblings', () => {
    const path = Array.from({ length: 257 }, () => null);
    expect(checkMember(nativeHash, new Uint8Array(32), 0, path, root)).toBe(false);
    expect(checkAbsent(nativeHash, new Uint8Array(32), { key: root, version: 0 }, path, root)).toBe(false);
  });
});
