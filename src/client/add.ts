// Adding: one event, many, or digests that the caller made. Each logical add has one idempotency key over all its repetitions, so it is logged once.
// Events stay here and only digests travel, unless the session says otherwise.
import { type SignedSnapshot, type Snapshot } from '../balloon/proof.ts';
import { concat, encodeBase64, equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { readAddAnswer, readBulkAnswer, type AddAnswer, type BulkAnswer } from './answers.ts';
import { askMembership } from './ask.ts';
import { type ApiRequest } from './call.ts';
import {
  bytesOf,
  checkDigest,
  deadline,
  IDEMPOTENCY_KEY_BYTES,
  notRolledBack,
  postBytes,
  postJson,
  settle,
  type Event,
  type Session,
} from './session.ts';

export interface AddOptions {
  /** 16 bytes. The same key with the same events is logged once, however often it is sent. Default: random. */
  readonly idempotencyKey?: Uint8Array | undefined;
}

export interface Added {
  readonly eventDigest: Uint8Array;
  readonly version: number;
  readonly signedSnapshot: SignedSnapshot;
  readonly verified: boolean;
}

/** `verified` means the signed snapshot. That a single event is in the log is for `membership` to prove. */
export interface AddedBulk {
  readonly eventDigests: readonly Uint8Array[];
  readonly versionFirst: number;
  readonly versionLast: number;
  readonly signedSnapshot: SignedSnapshot;
  readonly verified: boolean;
}

const BULK_EVENTS_MAX = 10_000;
const DIGESTS_PATH = '/events/bulk/digests';

export async function add(session: Session, event: Event, options: AddOptions = {}): Promise<Added> {
  const bytes = bytesOf(event);
  const eventDigest = session.primitives.hash.digest(bytes);
  const key = keyOf(session, options);
  const until = deadline(session);
  const { sendEvents } = session;
  const request = sendEvents ? postEvent(bytes, key) : postBytes(DIGESTS_PATH, eventDigest, key);
  return notRolledBack(session, async (asked, since) => {
    const json = await asked.caller.callJson(request, until);
    const answer = sendEvents ? readAddAnswer(json) : oneOf(readBulkAnswer(json));
    checkDigests([answer.eventDigest], [eventDigest]);
    await afterLogging(answer.version, () => checkAdded(asked, answer, since, until));
    return { ...answer, verified: session.head !== undefined };
  });
}

async function checkAdded(session: Session, answer: AddAnswer, since: number, until: number): Promise<void> {
  if (session.head === undefined) return;
  const { eventDigest, version, signedSnapshot } = answer;
  await settle(session, signedSnapshot, since, until);
  checkCovers(signedSnapshot.snapshot, version, eventDigest);
  if (!session.proveAdds || version === signedSnapshot.snapshot.version) return;
  const proven = await askMembership(session, eventDigest, undefined, until);
  if (proven.version === null || proven.version > version) {
    throw new QedError('proof-question', `the log proves that the event is not in it at version ${version}`);
  }
}

export async function addBulk(
  session: Session,
  events: readonly Event[],
  options: AddOptions = {},
): Promise<AddedBulk> {
  const bytes = events.map(bytesOf);
  const digests = bytes.map((event) => session.primitives.hash.digest(event));
  if (!session.sendEvents) return addDigests(session, digests, options);
  const body = { events: bytes.map((event) => ({ eventBase64: encodeBase64(event) })) };
  return sendBulk(session, postJson('/events/bulk', body, keyOf(session, options)), digests);
}

export async function addDigests(
  session: Session,
  eventDigests: readonly Uint8Array[],
  options: AddOptions = {},
): Promise<AddedBulk> {
  eventDigests.forEach(checkDigest);
  const request = postBytes(DIGESTS_PATH, concat(...eventDigests), keyOf(session, options));
  return sendBulk(session, request, eventDigests);
}

async function sendBulk(
  session: Session,
  request: ApiRequest,
  digests: readonly Uint8Array[],
): Promise<AddedBulk> {
  const last = digests.at(-1);
  if (last === undefined) throw new QedError('batch-empty', 'there is no event to add');
  if (digests.length > BULK_EVENTS_MAX) {
    const message = `${digests.length} events at once; at most ${BULK_EVENTS_MAX} are taken`;
    throw new QedError('batch-too-large', message);
  }
  const until = deadline(session);
  return notRolledBack(session, async (asked, since) => {
    const answer = readBulkAnswer(await asked.caller.callJson(request, until));
    checkDigests(answer.eventDigests, digests);
    await afterLogging(answer.versionLast, async () => {
      if (session.head === undefined) return;
      await settle(asked, answer.signedSnapshot, since, until);
      checkCovers(answer.signedSnapshot.snapshot, answer.versionLast, last);
    });
    return { ...answer, verified: session.head !== undefined };
  });
}

/** No bytes at all are more often a mistake than an event, so the API takes the empty event in words only. */
function postEvent(event: Uint8Array, key: Uint8Array): ApiRequest {
  return event.length === 0 ? postJson('/events', { event: '' }, key) : postBytes('/events', event, key);
}

function keyOf({ random }: Session, { idempotencyKey }: AddOptions): Uint8Array {
  return idempotencyKey ?? random(IDEMPOTENCY_KEY_BYTES);
}

function oneOf({ eventDigests, versionLast, signedSnapshot }: BulkAnswer): AddAnswer {
  return { eventDigest: eventDigests[0]!, version: versionLast, signedSnapshot };
}

function checkDigests(got: readonly Uint8Array[], want: readonly Uint8Array[]): void {
  if (got.length === want.length && got.every((digest, at) => equalBytes(digest, want[at]!))) return;
  throw new QedError('proof-question', 'the log answered about other events than those that were sent');
}

/** The snapshot reaches the version; where it ends there, it names the very event. */
function checkCovers(snapshot: Snapshot, version: number, eventDigest: Uint8Array): void {
  if (version > snapshot.version) {
    throw new QedError(
      'snapshot-mismatch',
      `the log says version ${version}, but signed only up to ${snapshot.version}`,
    );
  }
  if (version === snapshot.version && !equalBytes(snapshot.eventDigest, eventDigest)) {
    throw new QedError('snapshot-mismatch', `the log signed another event as version ${version}`);
  }
}

/** The event is in the log, but the check of the answer could not be completed: whoever repeats the add would log it again. */
async function afterLogging(version: number, check: () => Promise<void>): Promise<void> {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof QedError)) throw error;
    if (error.kind === 'refused' && error.code !== 'cosignatures-missing') throw error;
    const hint = 'Do not add it again. Ask for its membership when the log can be reached.';
    const message = `the log took the events up to version ${version}, but the answer could not be checked: ${error.message}`;
    throw new QedError(error.code, message, { hint, cause: error });
  }
}
