// The checks under attack: every altered proof is refused; on any input at all they say what RFC 9162 word for word says; they never throw.
import fc from 'fast-check';
import { growLog } from '../../testutils/history-log.ts';
import {
  historyTwin,
  testEntry,
  twinCheckConsistency,
  twinCheckInclusion,
  twinLeaf,
} from '../../testutils/history-twin.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { portableHash } from '../crypto/hash.ts';
import { checkConsistency, checkInclusion } from './check.ts';

const twin = historyTwin(testEntry);
const root = (size: number): Uint8Array => twin.mth(0n, BigInt(size));
const leaf = (version: number): Uint8Array => twinLeaf(testEntry(BigInt(version)));

interface Inclusion {
  readonly leaf: Uint8Array;
  readonly version: number;
  readonly size: number;
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}
interface Consistency {
  readonly start: number;
  readonly startRoot: Uint8Array;
  readonly end: number;
  readonly endRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

const isIncluded = (claim: Inclusion): boolean =>
  checkInclusion(nativeHash, claim.leaf, claim.version, claim.size, claim.proof, claim.root);
const isConsistent = (claim: Consistency): boolean =>
  checkConsistency(nativeHash, claim.start, claim.startRoot, claim.end, claim.endRoot, claim.proof);

function inclusion(version: number, size: number): Inclusion {
  const proof = twin.path(BigInt(version), BigInt(size));
  return { leaf: leaf(version), version, size, proof, root: root(size) };
}
function consistency(start: number, end: number): Consistency {
  const proof = twin.proof(BigInt(start), BigInt(end));
  return { start, startRoot: root(start), end, endRoot: root(end), proof };
}

const sizes = [
  ...Array.from({ length: 20 }, (_, i) => i + 1),
  31,
  32,
  33,
  63,
  64,
  65,
  127,
  128,
  129,
  255,
  256,
  257,
];
const pairs = sizes.flatMap((size) =>
  Array.from({ length: size }, (_, version) => [version, size] as const).filter(
    ([version]) => size < 40 || version % 11 === 0 || version > size - 3,
  ),
);

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const flipped = new Uint8Array(bytes);
  flipped[Math.floor(bit / 8)]! ^= 1 << (bit % 8);
  return flipped;
}

/** Every way to alter a list of hashes by one step: a flipped bit, a dropped, added, doubled, swapped or misshapen element. */
function alteredProofs(proof: readonly Uint8Array[]): Uint8Array[][] {
  const altered: Uint8Array[][] = [];
  const at = (i: number, ...instead: Uint8Array[]): number =>
    altered.push([...proof.slice(0, i), ...instead, ...proof.slice(i + 1)]);
  for (const [i, hash] of proof.entries()) {
    for (const bit of [0, 7, 100, 255]) at(i, flip(hash, bit));
    at(i);
    at(i, hash, hash);
    at(i, hash.subarray(1));
    at(i, Uint8Array.of(...hash, 0));
    at(i, new Uint8Array(32));
    if (i > 0) altered.push([...proof.slice(0, i - 1), hash, proof[i - 1]!, ...proof.slice(i + 1)]);
  }
  altered.push([...proof, new Uint8Array(32)], [new Uint8Array(32), ...proof], [...proof, root(3)]);
  if (proof.length > 1) altered.push([...proof].reverse(), []);
  return altered;
}

describe('inclusion', () => {
  it('holds, and no altered proof does', () => {
    for (const [version, size] of pairs) {
      const claim = inclusion(version, size);
      expect(isIncluded(claim)).toBe(true);
      const altered = alteredProofs(claim.proof).filter((proof) => isIncluded({ ...claim, proof }));
      expect(altered).toEqual([]);
    }
  });

  it('nothing else about it can be altered', () => {
    for (const [version, size] of pairs) {
      const claim = inclusion(version, size);
      const altered: Partial<Inclusion>[] = [
        { version: version - 1 },
        { version: version + 1 },
        { version: version + size },
        { version: size },
        { version: version + 2 ** 32 },
        { size: size - 1, root: root(size - 1) },
        { size: size + 1, root: root(size + 1) },
        { size: 0 },
        { size: version },
        { root: root(size + 1) },
        { root: flip(claim.root, 0) },
        { root: claim.root.subarray(1) },
        { root: new Uint8Array(0) },
        { leaf: leaf(version + 1) },
        { leaf: flip(claim.leaf, 255) },
        { leaf: claim.leaf.subarray(1) },
        { leaf: testEntry(BigInt(version)) },
      ];
      expect(altered.filter((change) => isIncluded({ ...claim, ...change }))).toEqual([]);
    }
  });

  it('a node is not taken for a leaf', () => {
    const claim = inclusion(4, 8);
    const node = twin.mth(4n, 6n);
    const proof = claim.proof.slice(1);
    expect(isIncluded({ ...claim, leaf: node, proof })).toBe(false);
    expect(isIncluded({ ...claim, leaf: node, proof, version: 2, size: 4 })).toBe(true); // Why size and root must belong together.
  });
});

describe('consistency', () => {
  it('holds, and no altered proof does', () => {
    for (const [before, end] of pairs) {
      const claim = consistency(before + 1, end);
      expect(isConsistent(claim)).toBe(true);
      const altered = alteredProofs(claim.proof).filter((proof) => isConsistent({ ...claim, proof }));
      expect(altered).toEqual([]);
    }
  });

  it('nothing else about it can be altered', () => {
    for (const [before, end] of pairs) {
      const start = before + 1;
      const claim = consistency(start, end);
      const altered: Partial<Consistency>[] = [
        { startRoot: root(start + 1) },
        { startRoot: flip(claim.startRoot, 9) },
        { startRoot: claim.startRoot.subarray(1) },
        { endRoot: root(end + 1) },
        { endRoot: flip(claim.endRoot, 9) },
        { endRoot: new Uint8Array(0) },
        { start: start - 1, startRoot: root(start - 1) },
        { start: start + 1, startRoot: root(start + 1) },
        { end: end - 1, endRoot: root(end - 1) },
        { end: end + 1, endRoot: root(end + 1) },
        { start: 0 },
        { start: 0, startRoot: root(0), proof: [] },
        { start: 0, startRoot: root(0), end: 0, endRoot: root(0), proof: [] },
        { start: end + 1 },
        ...(start < end ? [{ start: end }, { end: start }, { start: end, proof: [] }] : []),
      ];
      expect(altered.filter((change) => isConsistent({ ...claim, ...change }))).toEqual([]);
    }
  });

  it('equal sizes need equal roots and nothing more', () => {
    const claim = consistency(7, 7);
    expect(claim.proof).toEqual([]);
    expect(isConsistent(claim)).toBe(true);
    expect(isConsistent({ ...claim, endRoot: root(8) })).toBe(false);
    expect(isConsistent({ ...claim, proof: [root(7)] })).toBe(false);
    const short = root(7).subarray(1);
    expect(isConsistent({ ...claim, startRoot: short, endRoot: short })).toBe(false);
  });
});

describe('on any input', () => {
  const number = fc.oneof(fc.integer({ min: 0, max: 70 }), fc.maxSafeNat());
  const strange = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(NaN, -0, Infinity, 2 ** 53, 0.5));
  const hash = fc.oneof(fc.integer({ min: 1, max: 70 }).map(root), fc.nat(70).map(leaf));
  const bytes = fc.oneof({ weight: 9, arbitrary: hash }, { weight: 1, arbitrary: fc.uint8Array() });

  it('what holds for other sizes than the true ones is what RFC 9162 lets through', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(70), number, number, (size, at, version, other) => {
        const included = { ...inclusion(at % size, size), version, size: other };
        expect(isIncluded(included)).toBe(rfcInclusion(included));
        const grown = { ...consistency((at % size) + 1, size), start: version, end: other };
        expect(isConsistent(grown)).toBe(rfcConsistency(grown));
      }),
      { numRuns: 1_500 },
    );
  });

  it('they say no and never throw', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(number, strange), { minLength: 2, maxLength: 2 }),
        fc.array(bytes),
        bytes,
        bytes,
        ([a, b], proof, left, right) => {
          isIncluded({ leaf: left, version: a!, size: b!, proof, root: right });
          isConsistent({ start: a!, startRoot: left, end: b!, endRoot: right, proof });
        },
      ),
      { numRuns: 1_500 },
    );
    for (const odd of [NaN, -1, -0, 0.5, 2 ** 53, Infinity]) {
      expect(isIncluded({ ...inclusion(0, 1), size: odd })).toBe(false);
      expect(isIncluded({ ...inclusion(0, 1), version: odd })).toBe(false);
      expect(isConsistent({ ...consistency(1, 2), start: odd })).toBe(false);
      expect(isConsistent({ ...consistency(1, 2), end: odd })).toBe(false);
    }
    expect(isIncluded({ ...inclusion(3, 8), proof: new Array<Uint8Array>(3) })).toBe(false);
  });

  it('the portable hash says the same', () => {
    const { leaf: hash32, version, size, proof, root: top } = inclusion(11, 20);
    expect(checkInclusion(portableHash, hash32, version, size, proof, top)).toBe(true);
    expect(growLog(portableHash, [20])[0]!.history.root).toEqual(top);
  });

  const rfcInclusion = (claim: Inclusion): boolean =>
    twinCheckInclusion(claim.leaf, BigInt(claim.version), BigInt(claim.size), claim.proof, claim.root);
  const rfcConsistency = (claim: Consistency): boolean =>
    twinCheckConsistency(BigInt(claim.start), claim.startRoot, BigInt(claim.end), claim.endRoot, claim.proof);
});
