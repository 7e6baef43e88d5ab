// An entry is what the history tree holds at a version, always 72 bytes:
//   eventDigest[32] ‖ hyperDigest[32] ‖ u64(time in ms)
// The entries of a batch differ in their event digest only, so a batch is encoded in one go.
import { readU64, U64_BYTES, writeU64 } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { assert } from '../errors.ts';

export const ENTRY_BYTES = 2 * DIGEST_BYTES + U64_BYTES;

export interface Entry {
  readonly eventDigest: Uint8Array;
  /** Root of the hyper tree after the whole batch of this entry. */
  readonly hyperDigest: Uint8Array;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export interface EntryBatch {
  /** 32 bytes each, one after the other. */
  readonly eventDigests: Uint8Array;
  readonly hyperDigest: Uint8Array;
  readonly time: number;
}

/** The entries of a batch, 72 bytes each, one after the other. */
export function encodeEntries({ eventDigests, hyperDigest, time }: EntryBatch): Uint8Array {
  assert(eventDigests.length % DIGEST_BYTES === 0, `event digests of ${eventDigests.length} bytes`);
  assert(hyperDigest.length === DIGEST_BYTES, `a hyper digest of ${hyperDigest.length} bytes`);
  const count = eventDigests.length / DIGEST_BYTES;
  const entries = new Uint8Array(count * ENTRY_BYTES);
  for (let i = 0; i < count; i++) {
    const at = i * ENTRY_BYTES;
    entries.set(eventDigests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), at);
    entries.set(hyperDigest, at + DIGEST_BYTES);
    writeU64(entries, at + 2 * DIGEST_BYTES, time);
  }
  return entries;
}

export function encodeEntry({ eventDigest, hyperDigest, time }: Entry): Uint8Array {
  assert(eventDigest.length === DIGEST_BYTES, `an event digest of ${eventDigest.length} bytes`);
  return encodeEntries({ eventDigests: eventDigest, hyperDigest, time });
}

/** Undefined when the bytes are no entry: another length, or a time of 2^53 and more. The digests are views of `bytes`. */
export function decodeEntry(bytes: Uint8Array): Entry | undefined {
  if (bytes.length !== ENTRY_BYTES) return undefined;
  const time = readU64(bytes, 2 * DIGEST_BYTES);
  if (time === undefined) return undefined;
  return {
    eventDigest: bytes.subarray(0, DIGEST_BYTES),
    hyperDigest: bytes.subarray(DIGEST_BYTES, 2 * DIGEST_BYTES),
    time,
  };
}
