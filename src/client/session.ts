// What one client carries from call to call: the way to the log, the verified head, and the clock. Adding and asking are built on it.
import { type SignedSnapshot } from '../balloon/proof.ts';
import { type Primitives, type Trust } from '../balloon/verify.ts';
import { encodeHex, encodeUtf8, isSize, isUnicode } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type ApiRequest, type Caller } from './call.ts';
import { type Head } from './head.ts';
import { type Vouching } from './vouch.ts';

export interface Session {
  readonly caller: Caller;
  /** Undefined without trust: then nothing is verified. */
  readonly head: Head | undefined;
  readonly trust: Trust | undefined;
  /** Undefined without a policy. */
  readonly vouching: Vouching | undefined;
  /** The newest state must not be older than this, by the log's clock, or by that of the policy's quorum. */
  readonly maxAgeMs: number | undefined;
  readonly primitives: Primitives;
  readonly now: () => number;
  readonly random: (length: number) => Uint8Array;
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly deadlineMs: number;
  readonly sendEvents: boolean;
  readonly proveAdds: boolean;
}

/** Text stands for its UTF-8 bytes. */
export type Event = Uint8Array | string;

export const IDEMPOTENCY_KEY_BYTES = 16;

/** A node that lags behind the head, and those that are asked after it, get this many chances before it counts as a rollback. */
const ROLLBACK_TRIES = 5;
const ROLLBACK_WAIT_MS = 50;

/** The time after which a call that starts now gives up. */
export function deadline({ now, deadlineMs }: Session): number {
  return now() + deadlineMs;
}

/** The same session, whose questions are answered from a state that holds all that any node acknowledged before. */
export function freshly(session: Session): Session {
  const { call, callJson, turn } = session.caller;
  const caller: Caller = {
    call: (request, until) => call({ ...request, fresh: true }, until),
    callJson: (request, until) => callJson({ ...request, fresh: true }, until),
    turn,
  };
  return { ...session, caller };
}

/** Asks about the present, which must not lie before the head that was known when we asked. Who lags is told what is wanted. */
export async function notRolledBack<Result>(
  session: Session,
  ask: (session: Session, since: number) => Promise<Result>,
): Promise<Result> {
  const since = (await session.head?.version()) ?? -1;
  for (let tries = 1; ; tries++) {
    try {
      return await ask(tries === 1 ? session : freshly(session), Math.max(since, 0));
    } catch (error) {
      const lags = error instanceof QedError && error.code === 'head-rollback';
      if (!lags || tries === ROLLBACK_TRIES) throw error;
      session.caller.turn();
      await session.sleep(ROLLBACK_WAIT_MS * 2 ** (tries - 1));
    }
  }
}

/** Verifies a signed snapshot and its place in the history; does nothing without trust. `since` is -1 for questions about the past. */
export async function settle(
  session: Session,
  signed: SignedSnapshot,
  since: number,
  until: number,
): Promise<void> {
  const { head, vouching, caller, now } = session;
  if (head === undefined) return;
  const place = (one: SignedSnapshot, from: number): Promise<unknown> =>
    head.settle(one, from, (start, end) => askIncremental(session, start, end, until));
  await place(signed, since);
  const quorumTime = await vouching?.vouch(signed, {
    async published(version) {
      const path = `/snapshots?from=${version}&limit=${PUBLISHED_MAX}`;
      const list = readPublished(await caller.callJson(get(path), until));
      // A node that hears no gossip lists only what it published itself.
      if (list.length === 0) caller.turn();
      return list;
    },
    settle: (one) => place(one, -1),
    waitMs: until - now() - VOUCH_MARGIN_MS,
  });
  if (since >= 0) checkAge(session, signed, quorumTime ?? null);
}

/** Published snapshots in one answer. Most often the first one has a quorum. */
const PUBLISHED_MAX = 8;
/** So long before the deadline it is said that nobody vouched, which is more than that there was no answer. */
const VOUCH_MARGIN_MS = 200;

function readPublished(json: unknown): readonly unknown[] {
  const list: unknown =
    typeof json === 'object' && json !== null && 'snapshots' in json ? json.snapshots : undefined;
  if (Array.isArray(list) && list.length <= PUBLISHED_MAX) return list;
  throw new QedError('server-failed', 'the server answered with something else than a list of snapshots');
}

/** A cosignature says that the cosigner saw this state at its time, so an idle log can show that it is not frozen. */
function checkAge({ maxAgeMs, now }: Session, { snapshot }: SignedSnapshot, quorumTime: number | null): void {
  if (maxAgeMs === undefined) return;
  const age = now() - Math.max(snapshot.time, (quorumTime ?? 0) * 1000);
  if (age <= maxAgeMs) return;
  throw new QedError(
    'head-stale',
    `the newest state of the log is ${age} ms old; ${maxAgeMs} ms are allowed`,
  );
}

export function askIncremental(
  { caller }: Session,
  start: number,
  end: number,
  until: number,
): Promise<unknown> {
  return caller.callJson(postJson('/proofs/incremental', { start, end }), until);
}

export const get = (path: string): ApiRequest => ({ method: 'GET', path });

/** A POST with an idempotency key may change the log. */
export function postJson(path: string, json: unknown, key?: Uint8Array): ApiRequest {
  return post(path, 'application/json', encodeUtf8(JSON.stringify(json)), key);
}

export function postBytes(path: string, body: Uint8Array, key: Uint8Array): ApiRequest {
  return post(path, 'application/octet-stream', body, key);
}

function post(path: string, type: string, body: Uint8Array, key: Uint8Array | undefined): ApiRequest {
  if (key === undefined) return { method: 'POST', path, headers: { 'content-type': type }, body };
  if (key.length !== IDEMPOTENCY_KEY_BYTES) {
    throw new QedError('bad-request', `an idempotency key has 16 bytes, not ${key.length}`);
  }
  const headers = { 'content-type': type, 'idempotency-key': encodeHex(key) };
  return { method: 'POST', path, headers, body, changes: true };
}

export function bytesOf(event: Event): Uint8Array {
  if (typeof event !== 'string') return event;
  if (isUnicode(event)) return encodeUtf8(event);
  throw new QedError('bad-request', 'the event holds a lone surrogate, so it is no text', {
    hint: 'Give its bytes instead.',
  });
}

export function checkDigest(eventDigest: Uint8Array): void {
  if (eventDigest.length === DIGEST_BYTES) return;
  throw new QedError('digest-malformed', `an event digest has 32 bytes, not ${eventDigest.length}`);
}

export function checkVersion(version: number): void {
  if (isSize(version)) return;
  throw new QedError(
    'version-malformed',
    `${String(version)} is not a version: an integer from 0 to 2^53 - 1`,
  );
}
