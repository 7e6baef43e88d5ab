// What one client carries from call to call: the way to the log, the verified head, and the clock. Adding and asking are built on it.
import { type SignedSnapshot } from '../balloon/proof.ts';
import { type Primitives, type Trust } from '../balloon/verify.ts';
import { encodeHex, encodeUtf8, isSize, isUnicode } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type ApiRequest, type Caller } from './call.ts';
import { type Head } from './head.ts';

export interface Session {
  readonly caller: Caller;
  /** Undefined without trust: then nothing is verified. */
  readonly head: Head | undefined;
  readonly trust: Trust | undefined;
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

/** A follower that lags behind the head gets this many chances to catch up before it counts as a rollback. */
const ROLLBACK_TRIES = 5;
const ROLLBACK_WAIT_MS = 50;

/** The time after which a call that starts now gives up. */
export function deadline({ now, deadlineMs }: Session): number {
  return now() + deadlineMs;
}

/** Asks about the present, which must not lie before the head that was known when we asked. */
export async function notRolledBack<Result>(
  { caller, head, sleep }: Session,
  ask: (since: number) => Promise<Result>,
): Promise<Result> {
  const since = (await head?.version()) ?? -1;
  for (let tries = 1; ; tries++) {
    try {
      return await ask(Math.max(since, 0));
    } catch (error) {
      const lags = error instanceof QedError && error.code === 'head-rollback';
      if (!lags || tries === ROLLBACK_TRIES) throw error;
      caller.turn();
      await sleep(ROLLBACK_WAIT_MS * 2 ** tries);
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
  await session.head?.settle(signed, since, (start, end) => askIncremental(session, start, end, until));
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
