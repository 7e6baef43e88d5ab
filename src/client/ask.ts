// Asking: proofs, snapshots, and what a node says about itself. With trust, each answer is checked against the question before it is returned.
import {
  parseIncremental,
  parseMembership,
  parseSignedSnapshot,
  type IncrementalProof,
  type SignedMembership,
  type SignedSnapshot,
} from '../balloon/proof.ts';
import { checkMembership, verifyIncremental } from '../balloon/verify.ts';
import { openCheckpoint, parseCheckpoint } from '../crypto/checkpoint.ts';
import { decodeUtf8, encodeHex, equalBytes } from '../crypto/encoding.ts';
import { parseNote } from '../crypto/note.ts';
import { QedError } from '../errors.ts';
import { readEventAnswer, readInfo, type EventAnswer, type Info } from './answers.ts';
import { type ApiRequest } from './call.ts';
import {
  askIncremental,
  bytesOf,
  checkDigest,
  checkVersion,
  deadline,
  get,
  notRolledBack,
  postJson,
  settle,
  type Event,
  type Session,
} from './session.ts';

export type MembershipQuestion = ({ readonly event: Event } | { readonly eventDigest: Uint8Array }) & {
  /** Was it there at this version? Default: now. */
  readonly version?: number | undefined;
};

export interface Membership extends SignedMembership {
  readonly eventDigest: Uint8Array;
  /** Whether the log held the event at `versionAsked`. */
  readonly exists: boolean;
  /** The first version that logged it, also when that lies behind the one asked about. */
  readonly version: number | null;
  readonly versionAsked: number;
  readonly verified: boolean;
}

export interface ReadOptions {
  /** Answers from a state that holds all that any node acknowledged before the question, or not at all. Default: false. */
  readonly linearizable?: boolean | undefined;
}

/**
 * The log at `end` grew out of the log at `start`. Signed states are ends of batches, so with trust these are the snapshots of the batches that
 * cover the versions asked about, and the proof is between them.
 */
export interface Incremental {
  readonly start: number;
  readonly end: number;
  readonly proof: IncrementalProof;
  /** Undefined without trust. */
  readonly signedSnapshots: { readonly start: SignedSnapshot; readonly end: SignedSnapshot } | undefined;
  readonly verified: boolean;
}

export interface SnapshotFound extends SignedSnapshot {
  readonly verified: boolean;
}

export interface CheckpointFound {
  readonly checkpoint: string;
  readonly size: number;
  readonly root: Uint8Array;
  readonly verified: boolean;
}

export interface EventFound extends EventAnswer {
  /** The log proved this version to hold the digest. False for a repeated event, whose proof is about its first version. */
  readonly verified: boolean;
}

export interface Health {
  readonly ready: boolean;
  /** What the node says about it. */
  readonly said: string;
}

export function membership(session: Session, question: MembershipQuestion): Promise<Membership> {
  const { hash } = session.primitives;
  const eventDigest = 'eventDigest' in question ? question.eventDigest : hash.digest(bytesOf(question.event));
  return askMembership(session, eventDigest, question.version, deadline(session));
}

export async function askMembership(
  session: Session,
  eventDigest: Uint8Array,
  version: number | undefined,
  until: number,
): Promise<Membership> {
  checkDigest(eventDigest);
  if (version !== undefined) checkVersion(version);
  const question = { eventDigest: encodeHex(eventDigest), ...(version === undefined ? {} : { version }) };
  return notRolledBack(session, async (asked, since) => {
    const json = await asked.caller.callJson(postJson('/proofs/membership', question), until);
    const answer = parseMembership(json);
    await checkAnswer(asked, answer, eventDigest, since, until);
    const versionLast = answer.signedSnapshot.snapshot.version;
    const versionAsked = version ?? versionLast;
    if (versionAsked > versionLast) {
      throw new QedError('proof-question', `the proof reaches version ${versionLast}, not ${versionAsked}`);
    }
    const first = answer.proof.version;
    const exists = first !== null && first <= versionAsked;
    return {
      ...answer,
      eventDigest,
      exists,
      version: first,
      versionAsked,
      verified: session.head !== undefined,
    };
  });
}

async function checkAnswer(
  session: Session,
  { proof, signedSnapshot }: SignedMembership,
  eventDigest: Uint8Array,
  since: number,
  until: number,
): Promise<void> {
  if (session.head === undefined) return;
  await settle(session, signedSnapshot, since, until);
  checkMembership(proof, eventDigest, signedSnapshot.snapshot, session.primitives.hash);
}

export async function incremental(session: Session, start: number, end: number): Promise<Incremental> {
  checkVersion(start);
  checkVersion(end);
  if (start > end) throw new QedError('range-reversed', `version ${start} lies behind version ${end}`);
  const until = deadline(session);
  if (session.head === undefined) {
    const proof = parseIncremental(await askIncremental(session, start, end, until));
    return { start, end, proof, signedSnapshots: undefined, verified: false };
  }
  const first = await askSnapshot(session, start, until);
  const last = await askSnapshot(session, end, until);
  const versions = { start: first.snapshot.version, end: last.snapshot.version };
  const json = await askIncremental(session, versions.start, versions.end, until);
  verifyIncremental(json, { start: first.snapshot, end: last.snapshot }, session.primitives);
  const signedSnapshots = { start: first, end: last };
  return { ...versions, proof: parseIncremental(json), signedSnapshots, verified: true };
}

export async function snapshot(session: Session, version?: number): Promise<SnapshotFound> {
  if (version !== undefined) checkVersion(version);
  const signed = await askSnapshot(session, version, deadline(session));
  return { ...signed, verified: session.head !== undefined };
}

async function askSnapshot(
  session: Session,
  version: number | undefined,
  until: number,
): Promise<SignedSnapshot> {
  const request = get(`/snapshots/${version ?? 'latest'}`);
  if (version === undefined) {
    return notRolledBack(session, (asked, since) => askSettled(asked, request, since, until));
  }
  const signed = await askSettled(session, request, -1, until);
  if (signed.snapshot.version >= version) return signed;
  const message = `the snapshot ends at version ${signed.snapshot.version} and does not cover ${version}`;
  throw new QedError('proof-question', message);
}

async function askSettled(
  session: Session,
  request: ApiRequest,
  since: number,
  until: number,
): Promise<SignedSnapshot> {
  const signed = parseSignedSnapshot(await session.caller.callJson(request, until));
  await settle(session, signed, since, until);
  return signed;
}

export async function event(session: Session, version: number): Promise<EventFound> {
  checkVersion(version);
  const until = deadline(session);
  const found = readEventAnswer(await session.caller.callJson(get(`/events/${version}`), until));
  if (found.version !== version) {
    throw new QedError('proof-question', `the log answered about version ${found.version}, not ${version}`);
  }
  const { hash } = session.primitives;
  if (found.event !== undefined && !equalBytes(hash.digest(found.event), found.eventDigest)) {
    throw new QedError('proof-question', `the bytes of event ${version} are not those of its digest`);
  }
  if (session.head === undefined) return { ...found, verified: false };
  const proven = await askMembership(session, found.eventDigest, version, until);
  if (proven.version === null || proven.version > version) {
    throw new QedError('proof-question', `the log proves that version ${version} does not hold this event`);
  }
  if (proven.version < version) return { ...found, verified: false };
  const { entry } = proven.proof;
  if (entry === null || entry.time !== found.time || !equalBytes(entry.hyperDigest, found.hyperDigest)) {
    throw new QedError('proof-question', `the log proves another entry for version ${version}`);
  }
  return { ...found, verified: true };
}

/** A checkpoint carries no proof of its own; the signed snapshot of its last version does. */
export async function checkpoint(session: Session): Promise<CheckpointFound> {
  const { trust, primitives } = session;
  const until = deadline(session);
  const { bytes } = await session.caller.call(get('/checkpoint'), until);
  const note = decodeUtf8(bytes) ?? '';
  if (trust === undefined) {
    const { size, root } = parseCheckpoint(parseNote(note).text);
    return { checkpoint: note, size, root, verified: false };
  }
  const { size, root } = openCheckpoint(note, trust.log, primitives.verify);
  if (size > 0) {
    const { snapshot: found } = await askSnapshot(session, size - 1, until);
    if (found.version + 1 !== size || !equalBytes(found.historyDigest, root)) {
      throw new QedError('consistency-mismatch', `the log signed two histories of size ${size}`);
    }
  }
  return { checkpoint: note, size, root, verified: true };
}

export async function info(session: Session): Promise<Info> {
  return readInfo(await session.caller.callJson(get('/info'), deadline(session)));
}

export async function health(session: Session): Promise<Health> {
  const request = { ...get('/healthcheck'), once: true };
  const { status, bytes } = await session.caller.call(request, deadline(session));
  return { ready: status === 200, said: (decodeUtf8(bytes) ?? '').slice(0, 1_000) };
}
