// A proof that an event is in the log, in the form of C2SP tlog-proof, which other tools read as well:
//
//   c2sp.org/tlog-proof@v1
//   extra <base64: hyperDigest[32] ‖ u64(time)>      what the log's entry holds besides the event digest
//   index <version, decimal>
//   <inclusion proof: base64, a hash a line>
//   <empty line>
//   <checkpoint, as the log signed it>
//
// The entry is rebuilt from the event digest that the caller brings and from `extra`, which needs no trust: a wrong one leads to another root.
// It proves that the event is at that version; not that it is its first one, and no absence. For these there is the saved proof in JSON.
import { type SignedMembership } from '../balloon/proof.ts';
import { checkCosignatures, type Primitives, type Trust } from '../balloon/verify.ts';
import { openCheckpoint } from '../crypto/checkpoint.ts';
import { type Vouched } from '../crypto/policy.ts';
import { portableVerify } from '../crypto/ed25519.ts';
import {
  concat,
  decodeBase64,
  decodeDecimal,
  encodeBase64,
  encodeDecimal,
  encodeU64,
  isUnicode,
  readU64,
  U64_BYTES,
} from '../crypto/encoding.ts';
import { DIGEST_BYTES, portableHash } from '../crypto/hash.ts';
import { NOTE_BYTES_MAX } from '../crypto/note.ts';
import { QedError } from '../errors.ts';
import { checkInclusion } from '../history/check.ts';
import { encodeEntry } from '../history/entry.ts';
import { leafHash } from '../history/merkle.ts';

export const TLOG_PROOF_MARK = 'c2sp.org/tlog-proof@v1';

/** Beside the checkpoint: 64 hashes of 45 characters, and two more lines. */
const TEXT_CHARS_MAX = NOTE_BYTES_MAX + 4096;
const HASHES_MAX = 64;

export interface TlogProof {
  readonly version: number;
  readonly hyperDigest: Uint8Array;
  /** Milliseconds since 1970, by the log's clock. */
  readonly time: number;
  readonly hashes: readonly Uint8Array[];
  /** Signed note. */
  readonly checkpoint: string;
}

export interface VerifiedTlogProof extends Vouched {
  readonly version: number;
  readonly time: number;
  /** Number of events in the log of the checkpoint. */
  readonly size: number;
}

/** Undefined for an absence, which this format cannot tell. */
export function tlogProofOf({ proof, signedSnapshot }: SignedMembership): TlogProof | undefined {
  const { version, entry, history } = proof;
  if (version === null || entry === null || history === null) return undefined;
  return { version, ...entry, hashes: history, checkpoint: signedSnapshot.checkpoint };
}

export function formatTlogProof({ version, hyperDigest, time, hashes, checkpoint }: TlogProof): string {
  const extra = encodeBase64(concat(hyperDigest, encodeU64(time)));
  const lines = [
    TLOG_PROOF_MARK,
    `extra ${extra}`,
    `index ${encodeDecimal(version)}`,
    ...hashes.map(encodeBase64),
  ];
  return `${lines.join('\n')}\n\n${checkpoint}`;
}

export function parseTlogProof(text: string): TlogProof {
  const isText = typeof text === 'string' && text.length <= TEXT_CHARS_MAX && isUnicode(text);
  if (!isText) throw malformed('it is too long or no text');
  const end = text.indexOf('\n\n');
  const [mark, extra, index, ...base64] = text.slice(0, Math.max(end, 0)).split('\n');
  if (end < 0 || mark !== TLOG_PROOF_MARK) throw malformed(`it does not begin with ${TLOG_PROOF_MARK}`);
  const rest = decodeBase64(after('extra ', extra));
  const time = rest?.length === DIGEST_BYTES + U64_BYTES ? readU64(rest, DIGEST_BYTES) : undefined;
  if (rest === undefined || time === undefined)
    throw malformed('its extra line is not the rest of an entry of qed');
  const version = decodeDecimal(after('index ', index));
  if (version === undefined) throw malformed('its index is not a canonical decimal below 2^53');
  if (base64.length > HASHES_MAX) throw malformed(`it has more than ${HASHES_MAX} hashes`);
  const hashes = base64.map(readHash);
  return {
    version,
    hyperDigest: rest.subarray(0, DIGEST_BYTES),
    time,
    hashes,
    checkpoint: text.slice(end + 2),
  };
}

/** Throws a QedError of kind `refused` unless the event is in the log at the version that it returns. */
export function verifyTlogProof(
  text: string,
  eventDigest: Uint8Array,
  trust: Trust,
  { hash, verify }: Primitives = { hash: portableHash, verify: portableVerify },
): VerifiedTlogProof {
  if (eventDigest.length !== DIGEST_BYTES) {
    throw new QedError('digest-malformed', `an event digest has 32 bytes, not ${eventDigest.length}`);
  }
  const { version, hyperDigest, time, hashes, checkpoint } = parseTlogProof(text);
  const { size, root } = openCheckpoint(checkpoint, trust.log, verify);
  const vouched = checkCosignatures(checkpoint, trust, verify);
  const leaf = leafHash(hash, encodeEntry({ eventDigest, hyperDigest, time }));
  if (!checkInclusion(hash, leaf, version, size, hashes, root)) {
    throw new QedError('history-mismatch', `the event is not entry ${version} of the log of ${size} events`);
  }
  return { version, time, size, ...vouched };
}

function after(word: string, line: string | undefined): string {
  if (line?.startsWith(word) === true) return line.slice(word.length);
  throw malformed(`it has no line "${word}…" where one must be`);
}

function readHash(base64: string): Uint8Array {
  const hash = decodeBase64(base64);
  if (hash?.length !== DIGEST_BYTES) throw malformed('a hash is not the canonical base64 of 32 bytes');
  return hash;
}

function malformed(why: string): QedError {
  return new QedError('proof-malformed', `the tlog-proof is malformed: ${why}`);
}
