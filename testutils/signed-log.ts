// A whole log in memory with a key of its own: what an honest server would answer, as JSON, for tests of those who verify it.
// Also event digests to fill logs with, among them ones that share up to 255 bits.
import { type Batch, type Balloon } from '../src/balloon/balloon.ts';
import {
  formatIncremental,
  formatMembership,
  formatSignedSnapshot,
  type IncrementalJson,
  type MembershipJson,
  type SignedSnapshotJson,
  type Snapshot,
} from '../src/balloon/proof.ts';
import { signSnapshot } from '../src/balloon/sign.ts';
import { type Primitives, type Trust } from '../src/balloon/verify.ts';
import { nativeVerify, privateKeyFromSeed } from '../src/crypto/ed25519-node.ts';
import { type Verify } from '../src/crypto/ed25519.ts';
import { concat, encodeHex } from '../src/crypto/encoding.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { createCosigner, createLogSigner, type Cosigner, type LogSigner } from '../src/crypto/signer.ts';
import { type HyperTree } from '../src/hyper/tree.ts';
import { memoryBalloon } from './memory-balloon.ts';
import { type Random } from './random.ts';

/** Native, and each signature is checked once: most of what tests alter is not the note. */
export const NATIVE: Primitives = { hash: nativeHash, verify: remembered(nativeVerify) };

function remembered(verify: Verify): Verify {
  const known = new Map<string, boolean>();
  return (publicKey, message, signature) => {
    const question = [publicKey, message, signature].map(encodeHex).join(' ');
    const answer = known.get(question) ?? verify(publicKey, message, signature);
    if (known.size < 10_000) known.set(question, answer);
    return answer;
  };
}

export interface SignedLog {
  readonly balloon: Balloon;
  readonly signer: LogSigner;
  readonly trust: Trust;
  /** The snapshot after each batch. */
  readonly snapshots: readonly Snapshot[];
  readonly signedSnapshot: (version: number) => SignedSnapshotJson;
  readonly membership: (eventDigest: Uint8Array) => MembershipJson;
  readonly incremental: (start: number, end: number) => IncrementalJson;
}

/** The log of these batches of event digests. Another seed gives the log another key. */
export function signedLog(
  batches: readonly (readonly Uint8Array[])[],
  { origin = 'example.org/log', seed = 1, tree }: { origin?: string; seed?: number; tree?: HyperTree } = {},
): SignedLog {
  const { balloon, apply } = memoryBalloon(nativeHash, undefined, tree);
  const signer = createLogSigner(origin, keyOfSeed(seed));
  const snapshots = batches.map((digests, i) => apply(batchOf(i + 1, digests)));
  return {
    balloon,
    signer,
    trust: { log: signer.verifier },
    snapshots,
    signedSnapshot: (version) => formatSignedSnapshot(signSnapshot(balloon, version, signer)),
    membership(eventDigest) {
      const { proof, snapshot } = balloon.membership(eventDigest);
      return formatMembership({ proof, signedSnapshot: signSnapshot(balloon, snapshot.version, signer) });
    },
    incremental: (start, end) => formatIncremental(balloon.incremental(start, end)),
  };
}

/** A record that follows from its index alone, but for the digests. */
export function batchOf(index: number, digests: readonly Uint8Array[]): Batch {
  return { index, time: 1_700_000_000_000 + index * 1000, eventDigests: concat(...digests) };
}

export function witness(seed: number, name = `example.net/witness${seed}`): Cosigner {
  return createCosigner(name, keyOfSeed(seed));
}

export function keyOfSeed(seed: number): ReturnType<typeof privateKeyFromSeed> {
  return privateKeyFromSeed(new Uint8Array(32).fill(seed));
}

/** A digest that agrees with the given one in exactly the first `bits` bits and is random behind. */
export function digestNear(random: Random, digest: Uint8Array, bits: number): Uint8Array {
  const near = random.bytes(32);
  for (let i = 0; i <= bits; i++) {
    const mask = 0x80 >> (i & 7);
    const source = i === bits ? ~digest[i >> 3]! : digest[i >> 3]!;
    near[i >> 3] = (near[i >> 3]! & ~mask) | (source & mask);
  }
  return near;
}

/** Batches of event digests of many shapes: random ones, duplicates, and near ones. */
export function digestBatches(random: Random, counts: readonly number[]): Uint8Array[][] {
  const known: Uint8Array[] = [];
  const next = (): Uint8Array => {
    if (known.length === 0 || random.chance(0.6)) return random.bytes(32);
    if (random.chance(0.4)) return random.pick(known);
    return digestNear(random, random.pick(known), random.chance(0.2) ? 255 : random.below(256));
  };
  return counts.map((count) =>
    Array.from({ length: count }, () => {
      const digest = next();
      known.push(digest);
      return digest;
    }),
  );
}
