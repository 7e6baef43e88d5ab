// From the bytes of a body to events and their digests. Everything is checked here, before anything waits or is proposed: a request is taken
// whole or refused with the place of its first mistake.
// JSON and NDJSON must be UTF-8, nested no deeper than our own forms need, and text must be Unicode: a byte or surrogate that would silently
// become another one would be logged as another event.
import { isUtf8 } from 'node:buffer';
import { BATCH_EVENTS_MAX } from '../balloon/balloon.ts';
import { encodeUtf8, isUnicode } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { nativeDigest } from '../crypto/hash-node.ts';
import { QedError } from '../errors.ts';
import { checkForm } from './form.ts';
import { eventBody } from './schemas.ts';

export const EVENT_BYTES_MAX = 1024 * 1024;
export const JSON_DEPTH_MAX = 8;

export interface Events {
  /** 32 bytes each, one after the other. */
  readonly eventDigests: Uint8Array;
  /** The events themselves, where they are to be kept and more than digests came. */
  readonly events: readonly Uint8Array[] | undefined;
}

/** Whether the events themselves are needed, or their digests are enough. */
export interface ReadOptions {
  readonly keepEvents: boolean;
}

/** A route takes the media types that it names, and no others. */
export function checkMedia(mediaType: string | undefined, taken: readonly string[]): void {
  if (mediaType !== undefined && taken.includes(mediaType)) return;
  throw new QedError('media-unsupported', `the body must be ${taken.join(' or ')}`, {
    hint: 'Say so in the header Content-Type.',
  });
}

/** The body as it came; none at all is a mistake. */
export function bytesOf(body: unknown): Uint8Array {
  if (body instanceof Uint8Array) return body;
  throw bad('the body is missing');
}

export function parseJson(bytes: Uint8Array): unknown {
  if (bytes.length === 0) throw bad('the body is empty, where JSON is expected');
  if (!isUtf8(bytes)) throw bad('the body is not UTF-8');
  if (isDeep(bytes)) throw bad(`the JSON is nested more than ${JSON_DEPTH_MAX} levels deep`);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new QedError('bad-request', 'the body is not JSON', { cause });
  }
}

/** Counts brackets outside of strings, before anything is built of them. */
function isDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === 0x22) isInString = !isInString;
    else if (isInString) at += byte === 0x5c ? 1 : 0;
    else if (byte === 0x5b || byte === 0x7b) depth += 1;
    else if (byte === 0x5d || byte === 0x7d) depth -= 1;
    if (depth > JSON_DEPTH_MAX) return true;
  }
  return false;
}

/** One event as JSON: text, whose UTF-8 bytes are the event, or base64. */
export function readEvent(json: unknown): string | Uint8Array {
  const body = checkForm(eventBody, json);
  return 'event' in body ? checkText(body.event, '"event"') : base64Bytes(body.eventBase64, '"eventBase64"');
}

export function oneEvent(event: string | Uint8Array, { keepEvents }: ReadOptions): Events {
  checkSize(event);
  return { eventDigests: digestOf(event), events: keepEvents ? [bytesOfEvent(event)] : undefined };
}

/** {"events":[…]}: each item a text, or {"eventBase64":…}. Checked by hand: a schema for each of 10,000 items would cost more than hashing them. */
export function readBulk(json: unknown, options: ReadOptions): Events {
  const items = bulkItems(json);
  return digestAll(items.length, options, (at) => {
    const item = items[at];
    const where = `"events.${at}"`;
    if (typeof item === 'string') return checkText(item, where);
    if (isBase64Item(item)) return base64Bytes(item.eventBase64, where);
    throw bad(`${where}: neither a text nor {"eventBase64":…}`);
  });
}

function bulkItems(json: unknown): readonly unknown[] {
  const isRight =
    typeof json === 'object' && json !== null && 'events' in json && Object.keys(json).length === 1;
  if (!isRight || !Array.isArray(json.events)) throw bad('the body is not {"events":[…]} and nothing else');
  return json.events;
}

function isBase64Item(item: unknown): item is { eventBase64: string } {
  if (typeof item !== 'object' || item === null || !('eventBase64' in item)) return false;
  return typeof item.eventBase64 === 'string' && Object.keys(item).length === 1;
}

/** One event a line, each as POST /events takes it. */
export function readLines(bytes: Uint8Array, options: ReadOptions): Events {
  if (!isUtf8(bytes)) throw bad('the body is not UTF-8');
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString().split('\n');
  if (lines.at(-1) === '') lines.pop();
  return digestAll(lines.length, options, (at) => {
    try {
      return readEvent(parseJson(encodeUtf8(lines[at]!)));
    } catch (error) {
      throw error instanceof QedError ? new QedError(error.code, `line ${at + 1}: ${error.message}`) : error;
    }
  });
}

/** Digests that the caller computed, 32 bytes each. */
export function readDigests(bytes: Uint8Array): Events {
  const count = bytes.length / DIGEST_BYTES;
  if (!Number.isInteger(count)) {
    throw new QedError(
      'digest-malformed',
      `a body of ${bytes.length} bytes does not hold digests of 32 bytes each`,
    );
  }
  checkCount(count);
  return { eventDigests: bytes, events: undefined };
}

function digestAll(
  count: number,
  { keepEvents }: ReadOptions,
  read: (at: number) => string | Uint8Array,
): Events {
  checkCount(count);
  const eventDigests = new Uint8Array(count * DIGEST_BYTES);
  const events: Uint8Array[] = [];
  for (let at = 0; at < count; at++) {
    const event = read(at);
    checkSize(event, at);
    eventDigests.set(digestOf(event), at * DIGEST_BYTES);
    if (keepEvents) events.push(bytesOfEvent(event));
  }
  return { eventDigests, events: keepEvents ? events : undefined };
}

function checkCount(count: number): void {
  if (count === 0) throw new QedError('batch-empty', 'the batch holds no event');
  if (count > BATCH_EVENTS_MAX) {
    throw new QedError(
      'batch-too-large',
      `the batch holds ${count} events; at most ${BATCH_EVENTS_MAX} are taken`,
    );
  }
}

/** `at` says which one of several it is. */
function checkSize(event: string | Uint8Array, at?: number): void {
  // A text that is this short in UTF-16 is short enough in UTF-8 as well, and most are.
  if (event.length * 3 <= EVENT_BYTES_MAX) return;
  const bytes = Buffer.byteLength(event);
  if (bytes <= EVENT_BYTES_MAX) return;
  const name = at === undefined ? 'the event' : `event ${at}`;
  throw new QedError('body-too-large', `${name} has ${bytes} bytes; at most ${EVENT_BYTES_MAX} are taken`);
}

function bytesOfEvent(event: string | Uint8Array): Uint8Array {
  return typeof event === 'string' ? encodeUtf8(event) : event;
}

/** The digest of the bytes, or of the UTF-8 bytes of the text. */
export function digestOf(event: string | Uint8Array): Uint8Array {
  return nativeDigest(event);
}

export function checkText(text: string, where: string): string {
  if (!isUnicode(text)) throw bad(`${where}: a lone surrogate is not text`);
  return text;
}

/** Node's decoder takes many spellings; only the one that the encoder writes is taken here. */
export function base64Bytes(text: string, where: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw bad(`${where}: not canonical base64`);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function bad(message: string): QedError {
  return new QedError('bad-request', message);
}
