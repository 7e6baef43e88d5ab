// The verifier: decides what a signed snapshot, a membership proof or an incremental proof proves. Loads in a browser.
//
// It trusts two things: the keys in `Trust`, and the question the caller asked. Never what came with the proof: size and root are
// read only from a checkpoint that the log's key has signed, the hyper digest only from an entry under that root, sides and
// positions only from the question. Every function returns what is proven or throws a QedError of kind `refused`;
// no input makes it throw anything else.
import { openCheckpoint } from '../crypto/checkpoint.ts';
import { portableVerify, type Verify } from '../crypto/ed25519.ts';
import { encodeHex, equalBytes, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES, portableHash, type Hash } from '../crypto/hash.ts';
import { checkPolicy, type Policy, type Vouched } from '../crypto/policy.ts';
import { type Verifier } from '../crypto/vkey.ts';
import { QedError, type RefusalCode } from '../errors.ts';
import { checkConsistency, checkInclusion } from '../history/check.ts';
import { encodeEntry } from '../history/entry.ts';
import { leafHash } from '../history/merkle.ts';
import { checkAbsent, checkMember } from '../hyper/check.ts';
import {
  parseIncremental,
  parseMembership,
  parseSignedSnapshot,
  type MembershipProof,
  type SignedSnapshot,
  type Snapshot,
} from './proof.ts';

export interface Trust {
  /** The log's key; its name is the origin that every checkpoint must carry. */
  readonly log: Verifier;
  /** Whose cosignatures a checkpoint must carry besides the log's signature. Without it, nobody's. */
  readonly policy?: Policy | undefined;
}

/** Hash and signature check: portable by default, native ones where the caller has them. */
export interface Primitives {
  readonly hash: Hash;
  readonly verify: Verify;
}

const PORTABLE: Primitives = { hash: portableHash, verify: portableVerify };

export interface VerifiedSnapshot extends Vouched {
  readonly snapshot: Snapshot;
}

export interface MembershipQuestion {
  readonly eventDigest: Uint8Array;
  /** Ask about the log as it was at this version; without it, as it is in the snapshot. */
  readonly version?: number;
}

export interface VerifiedMembership extends VerifiedSnapshot {
  /** Was the event in the log at the version asked about? */
  readonly exists: boolean;
  /** The first version that logged it, also when that lies behind the version asked about; null when it is not in the log at all. */
  readonly version: number | null;
  /** When that version was logged, by the log's clock. */
  readonly time: number | null;
}

export function verifySignedSnapshot(json: unknown, trust: Trust, primitives = PORTABLE): VerifiedSnapshot {
  return checkSignedSnapshot(parseSignedSnapshot(json), trust, primitives);
}

export function verifyMembership(
  json: unknown,
  question: MembershipQuestion,
  trust: Trust,
  primitives = PORTABLE,
): VerifiedMembership {
  checkQuestion(question);
  const { proof, signedSnapshot } = parseMembership(json);
  const verified = checkSignedSnapshot(signedSnapshot, trust, primitives);
  checkMembership(proof, question.eventDigest, verified.snapshot, primitives.hash);
  const asked = question.version ?? verified.snapshot.version;
  if (asked > verified.snapshot.version) {
    throw refusal('proof-question', `the proof reaches version ${verified.snapshot.version}, not ${asked}`);
  }
  const exists = proof.version !== null && proof.version <= asked;
  return { ...verified, exists, version: proof.version, time: proof.entry?.time ?? null };
}

/** `start` and `end` are snapshots that were verified before, asked about as the versions they end at. */
export function verifyIncremental(
  json: unknown,
  question: { readonly start: Snapshot; readonly end: Snapshot },
  primitives = PORTABLE,
): void {
  const { start, end } = question;
  if (start.version > end.version) {
    throw new QedError('range-reversed', `version ${start.version} lies behind version ${end.version}`);
  }
  const proof = parseIncremental(json);
  if (proof.start !== start.version || proof.end !== end.version) {
    throw refusal(
      'proof-question',
      `the proof is about versions ${proof.start} to ${proof.end}, not ${start.version} to ${end.version}`,
    );
  }
  const [startSize, endSize] = [start.version + 1, end.version + 1];
  const { hash } = primitives;
  if (!checkConsistency(hash, startSize, start.historyDigest, endSize, end.historyDigest, proof.hashes)) {
    throw refusal(
      'consistency-mismatch',
      `version ${end.version} did not grow out of version ${start.version}`,
    );
  }
}

/** The parts of a signed snapshot fit together and the log's key has signed them. */
export function checkSignedSnapshot(
  { snapshot, audit, checkpoint }: SignedSnapshot,
  trust: Trust,
  { hash, verify }: Primitives = PORTABLE,
): VerifiedSnapshot {
  const { size, root } = openCheckpoint(checkpoint, trust.log, verify);
  if (size !== snapshot.version + 1 || !equalBytes(root, snapshot.historyDigest)) {
    throw refusal(
      'snapshot-mismatch',
      `the snapshot of version ${snapshot.version} is not the one that its checkpoint of size ${size} signs`,
    );
  }
  const leaf = leafHash(hash, encodeEntry(snapshot));
  if (!checkInclusion(hash, leaf, snapshot.version, size, audit, root)) {
    throw refusal(
      'snapshot-mismatch',
      `the last entry of version ${snapshot.version} is not under the signed root`,
    );
  }
  return { snapshot, ...checkCosignatures(checkpoint, trust, verify) };
}

/** As the policy asks; without one, nothing is asked. */
export function checkCosignatures(checkpoint: string, { policy }: Trust, verify: Verify): Vouched {
  return policy ? checkPolicy(checkpoint, policy, verify) : { cosignatures: [], quorumTime: null };
}

/** The proof answers for this event, in the log that ends with this snapshot. */
export function checkMembership(
  proof: MembershipProof,
  eventDigest: Uint8Array,
  snapshot: Snapshot,
  hash: Hash = portableHash,
): void {
  if (!equalBytes(proof.eventDigest, eventDigest)) {
    throw refusal(
      'proof-question',
      `the proof is about event ${encodeHex(proof.eventDigest)}, not ${encodeHex(eventDigest)}`,
    );
  }
  if (proof.exists) checkPresence(proof, snapshot, hash);
  else checkAbsence(proof, snapshot, hash);
}

function checkPresence(proof: MembershipProof, snapshot: Snapshot, hash: Hash): void {
  const { eventDigest, version, entry, history, hyper } = proof;
  if (version === null || entry === null || history === null || hyper.leaf !== null) {
    throw refusal(
      'proof-malformed',
      'a proof of presence needs version, entry and history, and no other leaf',
    );
  }
  if (!checkMember(hash, eventDigest, version, hyper.path, snapshot.hyperDigest)) {
    throw refusal('hyper-mismatch', `the map of the log does not hold the event at version ${version}`);
  }
  const leaf = leafHash(hash, encodeEntry({ eventDigest, ...entry }));
  const size = snapshot.version + 1;
  if (!checkInclusion(hash, leaf, version, size, history, snapshot.historyDigest)) {
    throw refusal(
      'history-mismatch',
      `the entry of version ${version} is not under the signed root of size ${size}`,
    );
  }
}

function checkAbsence(proof: MembershipProof, snapshot: Snapshot, hash: Hash): void {
  const { eventDigest, version, entry, history, hyper } = proof;
  if (version !== null || entry !== null || history !== null) {
    throw refusal('proof-malformed', 'a proof of absence has no version, entry or history');
  }
  const other = hyper.leaf && { key: hyper.leaf.eventDigest, version: hyper.leaf.version };
  if (!checkAbsent(hash, eventDigest, other, hyper.path, snapshot.hyperDigest)) {
    throw refusal(
      'hyper-mismatch',
      'the map of the log does not show an empty or foreign place for the event',
    );
  }
}

/** The caller's own mistakes. */
function checkQuestion({ eventDigest, version }: MembershipQuestion): void {
  if (eventDigest.length !== DIGEST_BYTES) {
    throw new QedError('digest-malformed', `an event digest has 32 bytes, not ${eventDigest.length}`);
  }
  if (version !== undefined && !isSize(version)) {
    throw new QedError(
      'version-malformed',
      `${String(version)} is not a version: an integer from 0 to 2^53 - 1`,
    );
  }
}

function refusal(code: RefusalCode, message: string): QedError {
  return new QedError(code, message);
}
