// A record: what travels through the replicated log. It carries one batch: a time, and the event digests of one or more requests. Now and then
// the leader puts a comparison between the records: the digests that it has at a version, for every node to hold against its own.
//
//   record      1 ‖ u64 time in ms ‖ u16 number of requests ‖ requests ‖ event digests, 32 bytes each
//   request     key[16] ‖ u16 count        the next `count` digests are this request's; a key of 16 zero bytes is no key
//   comparison  2 ‖ u64 version ‖ history digest[32] ‖ hyper digest[32]
//
// A request's key makes it safe to repeat: see requests.ts. Whoever proposes a record has checked it; a record that cannot be read was not
// written by us, so reading one back throws `bug`.
import { concat, encodeU64, readU64, U64_BYTES, writeU64 } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { assert } from '../errors.ts';

export const REQUEST_KEY_BYTES = 16;

export interface Request {
  /** Undefined when the caller gave none: then a repetition is a new request. */
  readonly key: Uint8Array | undefined;
  /** 32 bytes each, one after the other; at least one. */
  readonly eventDigests: Uint8Array;
}

export interface Record {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly requests: readonly Request[];
}

/** The digests that the proposer has at the end of a batch. */
export interface Comparison {
  readonly version: number;
  readonly historyDigest: Uint8Array;
  readonly hyperDigest: Uint8Array;
}

const VERSION = 1;
const COMPARISON = 2;
const COMPARISON_BYTES = 1 + U64_BYTES + 2 * DIGEST_BYTES;
const HEAD_BYTES = 1 + U64_BYTES + 2;
const REQUEST_BYTES = REQUEST_KEY_BYTES + 2;
const U16_MAX = 0xffff;

export function encodeRecord({ time, requests }: Record): Uint8Array {
  assert(requests.length > 0 && requests.length <= U16_MAX, `a record of ${requests.length} requests`);
  const digestBytes = requests.reduce((sum, { eventDigests }) => sum + eventDigests.length, 0);
  const bytes = new Uint8Array(HEAD_BYTES + requests.length * REQUEST_BYTES + digestBytes);
  const view = new DataView(bytes.buffer);
  bytes[0] = VERSION;
  writeU64(bytes, 1, time);
  view.setUint16(1 + U64_BYTES, requests.length);
  let at = HEAD_BYTES;
  let digestsAt = HEAD_BYTES + requests.length * REQUEST_BYTES;
  for (const { key, eventDigests } of requests) {
    const count = eventDigests.length / DIGEST_BYTES;
    assert(
      Number.isInteger(count) && count > 0 && count <= U16_MAX,
      `a request of ${eventDigests.length} bytes`,
    );
    assert(key === undefined || key.length === REQUEST_KEY_BYTES, 'a request key is not 16 bytes');
    if (key) bytes.set(key, at);
    view.setUint16(at + REQUEST_KEY_BYTES, count);
    bytes.set(eventDigests, digestsAt);
    at += REQUEST_BYTES;
    digestsAt += eventDigests.length;
  }
  return bytes;
}

export function decodeRecord(bytes: Uint8Array): Record {
  assert(bytes.length >= HEAD_BYTES && bytes[0] === VERSION, 'a record of an unknown form');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const time = readU64(bytes, 1);
  const requestCount = view.getUint16(1 + U64_BYTES);
  let digestsAt = HEAD_BYTES + requestCount * REQUEST_BYTES;
  assert(time !== undefined && requestCount > 0 && digestsAt <= bytes.length, 'a record that cannot be read');
  const requests: Request[] = [];
  for (let i = 0; i < requestCount; i++) {
    const at = HEAD_BYTES + i * REQUEST_BYTES;
    const length = view.getUint16(at + REQUEST_KEY_BYTES) * DIGEST_BYTES;
    const eventDigests = bytes.slice(digestsAt, digestsAt + length);
    assert(length > 0 && eventDigests.length === length, 'a record that is cut off');
    requests.push({ key: decodeKey(bytes, at), eventDigests });
    digestsAt += length;
  }
  assert(digestsAt === bytes.length, 'a record with bytes left over');
  return { time, requests };
}

function decodeKey(bytes: Uint8Array, at: number): Uint8Array | undefined {
  for (let i = at; i < at + REQUEST_KEY_BYTES; i++) {
    if (bytes[i] !== 0) return bytes.slice(at, at + REQUEST_KEY_BYTES);
  }
  return undefined;
}

export function encodeComparison({ version, historyDigest, hyperDigest }: Comparison): Uint8Array {
  return concat(Uint8Array.of(COMPARISON), encodeU64(version), historyDigest, hyperDigest);
}

/** Whatever the log holds: a record, or a comparison. */
export function decodeLogItem(bytes: Uint8Array): Record | Comparison {
  if (bytes[0] !== COMPARISON) return decodeRecord(bytes);
  const version = readU64(bytes, 1);
  assert(version !== undefined && bytes.length === COMPARISON_BYTES, 'a comparison that cannot be read');
  const digestsAt = 1 + U64_BYTES;
  return {
    version,
    historyDigest: bytes.slice(digestsAt, digestsAt + DIGEST_BYTES),
    hyperDigest: bytes.slice(digestsAt + DIGEST_BYTES),
  };
}
