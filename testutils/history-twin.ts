// RFC 9162 word for word: the tree, its proofs and their verification, slow and obvious, on big integers. It shares nothing with
// src/history, so that each can find the other's mistakes. Also: entries to fill trees with, and logs made of a few distinct entries
// between blank ones, which have any size up to 2^53 - 1.
import { createHash } from 'node:crypto';

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

export const twinLeaf = (entry: Uint8Array): Uint8Array => sha256(Uint8Array.of(0), entry);
export const twinNode = (left: Uint8Array, right: Uint8Array): Uint8Array =>
  sha256(Uint8Array.of(1), left, right);

export interface HistoryTwin {
  /** MTH(D[from:to]), section 2.1.1. */
  readonly mth: (from: bigint, to: bigint) => Uint8Array;
  /** PATH(m, D_n), section 2.1.3.1. */
  readonly path: (m: bigint, n: bigint) => Uint8Array[];
  /** PROOF(m, D_n), section 2.1.4.1. */
  readonly proof: (m: bigint, n: bigint) => Uint8Array[];
}

/** `known` may give the hash of a range without a look at its entries. */
export function historyTwin(
  entry: (version: bigint) => Uint8Array,
  known: (from: bigint, to: bigint) => Uint8Array | undefined = () => undefined,
): HistoryTwin {
  const seen = new Map<string, Uint8Array>();

  function mth(from: bigint, to: bigint): Uint8Array {
    const name = `${from.toString()}:${to.toString()}`;
    const hash = seen.get(name) ?? known(from, to) ?? mthByDefinition(from, to);
    seen.set(name, hash);
    return hash;
  }

  function mthByDefinition(from: bigint, to: bigint): Uint8Array {
    if (from === to) return sha256();
    if (to - from === 1n) return twinLeaf(entry(from));
    const k = largestPowerBelow(to - from);
    return twinNode(mth(from, from + k), mth(from + k, to));
  }

  function path(m: bigint, from: bigint, to: bigint): Uint8Array[] {
    if (to - from === 1n) return [];
    const k = largestPowerBelow(to - from);
    return m < k
      ? [...path(m, from, from + k), mth(from + k, to)]
      : [...path(m - k, from + k, to), mth(from, from + k)];
  }

  function subproof(m: bigint, from: bigint, to: bigint, b: boolean): Uint8Array[] {
    if (m === to - from) return b ? [] : [mth(from, to)];
    const k = largestPowerBelow(to - from);
    return m <= k
      ? [...subproof(m, from, from + k, b), mth(from + k, to)]
      : [...subproof(m - k, from + k, to, false), mth(from, from + k)];
  }

  return { mth, path: (m, n) => path(m, 0n, n), proof: (m, n) => subproof(m, 0n, n, true) };
}

function largestPowerBelow(n: bigint): bigint {
  let k = 1n;
  while (k * 2n < n) k *= 2n;
  return k;
}

/** Section 2.1.3.2, step by step. */
export function twinCheckInclusion(
  leaf: Uint8Array,
  index: bigint,
  size: bigint,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (index >= size) return false;
  let [fn, sn, r] = [index, size - 1n, leaf];
  for (const p of proof) {
    if (sn === 0n) return false;
    if (fn % 2n === 1n || fn === sn) {
      r = twinNode(p, r);
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n];
    } else {
      r = twinNode(r, p);
    }
    [fn, sn] = [fn / 2n, sn / 2n];
  }
  return sn === 0n && same(r, root);
}

/** Section 2.1.4.2, step by step, and equal sizes: an empty proof and equal roots. */
export function twinCheckConsistency(
  first: bigint,
  firstRoot: Uint8Array,
  second: bigint,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (first === 0n || first > second) return false;
  if (first === second) return proof.length === 0 && same(firstRoot, secondRoot);
  if (proof.length === 0) return false;
  const steps = (first & (first - 1n)) === 0n ? [firstRoot, ...proof] : [...proof];
  let [fn, sn] = [first - 1n, second - 1n];
  while (fn % 2n === 1n) [fn, sn] = [fn / 2n, sn / 2n];
  let [fr, sr] = [steps[0]!, steps[0]!];
  for (const c of steps.slice(1)) {
    if (sn === 0n) return false;
    if (fn % 2n === 1n || fn === sn) {
      [fr, sr] = [twinNode(c, fr), twinNode(c, sr)];
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n];
    } else {
      sr = twinNode(sr, c);
    }
    [fn, sn] = [fn / 2n, sn / 2n];
  }
  return sn === 0n && same(fr, firstRoot) && same(sr, secondRoot);
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

/** The entry of a version in all test logs: 72 bytes that no other version has. */
export function testEntry(version: bigint): Uint8Array {
  const digest = sha256(new TextEncoder().encode(`event ${version.toString()}`));
  const entry = new Uint8Array(72);
  entry.set(digest);
  entry.set(sha256(digest), 32);
  entry.set(digest.subarray(0, 5), 66);
  return entry;
}

const made: Uint8Array[] = [];

/** The entries of versions `from` up to `to`, end to end. */
export function testEntries(from: number, to: number): Uint8Array {
  const entries = new Uint8Array((to - from) * 72);
  for (let version = from; version < to; version++) {
    entries.set((made[version] ??= testEntry(BigInt(version))), (version - from) * 72);
  }
  return entries;
}

const blankEntry = new Uint8Array(72);
const blankHashes = [twinLeaf(blankEntry)];
while (blankHashes.length <= 56) blankHashes.push(twinNode(blankHashes.at(-1)!, blankHashes.at(-1)!));

export interface SparseLog {
  readonly entry: (version: bigint) => Uint8Array;
  /** Hash of the perfect subtree over the 2^height entries from index × 2^height on. */
  readonly subtree: (height: number, index: bigint) => Uint8Array;
  readonly twin: HistoryTwin;
}

/** A log without an end: the named versions hold their test entry, all others a blank one. */
export function sparseLog(versions: readonly bigint[]): SparseLog {
  const entry = (version: bigint): Uint8Array =>
    versions.includes(version) ? testEntry(version) : blankEntry;
  const twin = historyTwin(entry, (from, to) => {
    const height = blankHashes.findIndex((_, exponent) => 1n << BigInt(exponent) === to - from);
    const isBlank = !versions.some((version) => version >= from && version < to);
    return isBlank ? blankHashes[height] : undefined;
  });
  const subtree = (height: number, index: bigint): Uint8Array => {
    const count = 1n << BigInt(height);
    return twin.mth(index * count, (index + 1n) * count);
  };
  return { entry, subtree, twin };
}
