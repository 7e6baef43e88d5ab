// What the log says and a verifier checks: snapshots and proofs, as bytes inside and as JSON outside, a format/parse pair each.
// The parsers take anything that JSON.parse may give and accept only what the formatters write: exact fields, lower-case hex,
// safe integers, bounded lists. Whatever else comes is refused with `proof-malformed`, and nothing has been believed.
import { decodeHex, encodeHex, equalBytes, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { NOTE_BYTES_MAX } from '../crypto/note.ts';
import { QedError } from '../errors.ts';
import { DEPTH_MAX, EMPTY_ROOT } from '../hyper/check.ts';

/** The state of the log after a batch. */
export interface Snapshot {
  /** The last version of the batch. */
  readonly version: number;
  readonly eventDigest: Uint8Array;
  readonly historyDigest: Uint8Array;
  readonly hyperDigest: Uint8Array;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export interface SignedSnapshot {
  readonly snapshot: Snapshot;
  /** Inclusion proof of entry `version` in the tree of `version + 1` entries: it ties the hyper digest to the signed root. */
  readonly audit: readonly Uint8Array[];
  /** Signed note, for that size. */
  readonly checkpoint: string;
}

export interface MembershipProof {
  readonly eventDigest: Uint8Array;
  readonly exists: boolean;
  /** The first version that logged the event. */
  readonly version: number | null;
  readonly hyper: {
    readonly path: readonly (Uint8Array | null)[];
    readonly leaf: { readonly eventDigest: Uint8Array; readonly version: number } | null;
  };
  /** What entry `version` holds besides the event digest. */
  readonly entry: { readonly hyperDigest: Uint8Array; readonly time: number } | null;
  /** Inclusion proof of entry `version` in the tree of the snapshot. */
  readonly history: readonly Uint8Array[] | null;
}

export interface SignedMembership {
  readonly proof: MembershipProof;
  readonly signedSnapshot: SignedSnapshot;
}

/** The log at version `end` grew out of the log at version `start`. */
export interface IncrementalProof {
  readonly start: number;
  readonly end: number;
  readonly hashes: readonly Uint8Array[];
}

/** No RFC 9162 proof for sizes below 2^53 is longer. */
const HISTORY_PROOF_MAX = 64;

// --- bytes to JSON

export interface SnapshotJson {
  version: number;
  eventDigest: string;
  historyDigest: string;
  hyperDigest: string;
  time: number;
}

export interface SignedSnapshotJson {
  snapshot: SnapshotJson;
  audit: string[];
  checkpoint: string;
}

export interface MembershipProofJson {
  eventDigest: string;
  exists: boolean;
  version: number | null;
  hyper: { path: (string | null)[]; leaf: { eventDigest: string; version: number } | null };
  entry: { hyperDigest: string; time: number } | null;
  history: string[] | null;
}

export interface MembershipJson extends MembershipProofJson {
  signedSnapshot: SignedSnapshotJson;
}

export interface IncrementalJson {
  start: number;
  end: number;
  hashes: string[];
}

export function formatSnapshot(snapshot: Snapshot): SnapshotJson {
  return {
    version: snapshot.version,
    eventDigest: encodeHex(snapshot.eventDigest),
    historyDigest: encodeHex(snapshot.historyDigest),
    hyperDigest: encodeHex(snapshot.hyperDigest),
    time: snapshot.time,
  };
}

export function formatSignedSnapshot({ snapshot, audit, checkpoint }: SignedSnapshot): SignedSnapshotJson {
  return { snapshot: formatSnapshot(snapshot), audit: audit.map(encodeHex), checkpoint };
}

export function formatMembershipProof(proof: MembershipProof): MembershipProofJson {
  return {
    eventDigest: encodeHex(proof.eventDigest),
    exists: proof.exists,
    version: proof.version,
    hyper: formatHyper(proof.hyper),
    entry: proof.entry && { hyperDigest: encodeHex(proof.entry.hyperDigest), time: proof.entry.time },
    history: proof.history && proof.history.map(encodeHex),
  };
}

export function formatHyper({ path, leaf }: MembershipProof['hyper']): MembershipProofJson['hyper'] {
  return {
    path: path.map((hash) => hash && encodeHex(hash)),
    leaf: leaf && { eventDigest: encodeHex(leaf.eventDigest), version: leaf.version },
  };
}

export function formatMembership({ proof, signedSnapshot }: SignedMembership): MembershipJson {
  return { ...formatMembershipProof(proof), signedSnapshot: formatSignedSnapshot(signedSnapshot) };
}

export function formatIncremental({ start, end, hashes }: IncrementalProof): IncrementalJson {
  return { start, end, hashes: hashes.map(encodeHex) };
}

// --- JSON to bytes

export function parseSnapshot(json: unknown): Snapshot {
  return guarded(() => readSnapshot(json, 'snapshot'));
}

export function parseSignedSnapshot(json: unknown): SignedSnapshot {
  return guarded(() => readSignedSnapshot(json, 'signed snapshot'));
}

export function parseMembershipProof(json: unknown): MembershipProof {
  return guarded(() => readMembershipProof(readObject(json, 'membership', MEMBERSHIP_FIELDS)));
}

export function parseMembership(json: unknown): SignedMembership {
  return guarded(() => readMembership(json));
}

export function readMembership(json: unknown): SignedMembership {
  const fields = readObject(json, 'membership', [...MEMBERSHIP_FIELDS, 'signedSnapshot']);
  const signedSnapshot = readSignedSnapshot(fields['signedSnapshot'], 'signedSnapshot');
  return { proof: readMembershipProof(fields), signedSnapshot };
}

export function parseIncremental(json: unknown): IncrementalProof {
  return guarded(() => {
    const fields = readObject(json, 'incremental', ['start', 'end', 'hashes']);
    return {
      start: readNumber(fields['start'], 'start'),
      end: readNumber(fields['end'], 'end'),
      hashes: readDigests(fields['hashes'], 'hashes'),
    };
  });
}

const MEMBERSHIP_FIELDS = ['eventDigest', 'exists', 'version', 'hyper', 'entry', 'history'];

// The readers below are for all formats that are made of the same parts; whoever calls them does so within `guarded`.

export type Fields = Readonly<Record<string, unknown>>;

function readMembershipProof(fields: Fields): MembershipProof {
  if (typeof fields['exists'] !== 'boolean') throw malformed('exists', 'is not true or false');
  return {
    eventDigest: readDigest(fields['eventDigest'], 'eventDigest'),
    exists: fields['exists'],
    version: fields['version'] === null ? null : readNumber(fields['version'], 'version'),
    hyper: readHyper(fields['hyper']),
    entry: fields['entry'] === null ? null : readEntry(fields['entry']),
    history: fields['history'] === null ? null : readDigests(fields['history'], 'history'),
  };
}

export function readHyper(json: unknown): MembershipProof['hyper'] {
  const fields = readObject(json, 'hyper', ['path', 'leaf']);
  return {
    path: readList(fields['path'], 'hyper.path', DEPTH_MAX).map(readSibling),
    leaf: fields['leaf'] === null ? null : readLeaf(fields['leaf']),
  };
}

/** Null for an empty place. Its 32 zero bytes would lead to the same root, so they are refused: a path has one spelling. */
function readSibling(json: unknown): Uint8Array | null {
  if (json === null) return null;
  const hash = readDigest(json, 'hyper.path');
  if (equalBytes(hash, EMPTY_ROOT)) throw malformed('hyper.path', 'spells an empty place in zeros, not null');
  return hash;
}

function readLeaf(json: unknown): { eventDigest: Uint8Array; version: number } {
  const fields = readObject(json, 'hyper.leaf', ['eventDigest', 'version']);
  return {
    eventDigest: readDigest(fields['eventDigest'], 'hyper.leaf.eventDigest'),
    version: readNumber(fields['version'], 'hyper.leaf.version'),
  };
}

function readEntry(json: unknown): { hyperDigest: Uint8Array; time: number } {
  const fields = readObject(json, 'entry', ['hyperDigest', 'time']);
  return {
    hyperDigest: readDigest(fields['hyperDigest'], 'entry.hyperDigest'),
    time: readNumber(fields['time'], 'entry.time'),
  };
}

export function readSignedSnapshot(json: unknown, what: string): SignedSnapshot {
  const fields = readObject(json, what, ['snapshot', 'audit', 'checkpoint']);
  const checkpoint = fields['checkpoint'];
  if (typeof checkpoint !== 'string' || checkpoint.length > NOTE_BYTES_MAX) {
    throw malformed('checkpoint', `is not a text of at most ${NOTE_BYTES_MAX} bytes`);
  }
  return {
    snapshot: readSnapshot(fields['snapshot'], 'snapshot'),
    audit: readDigests(fields['audit'], 'audit'),
    checkpoint,
  };
}

function readSnapshot(json: unknown, what: string): Snapshot {
  const fields = readObject(json, what, ['version', 'eventDigest', 'historyDigest', 'hyperDigest', 'time']);
  return {
    version: readNumber(fields['version'], 'snapshot.version'),
    eventDigest: readDigest(fields['eventDigest'], 'snapshot.eventDigest'),
    historyDigest: readDigest(fields['historyDigest'], 'snapshot.historyDigest'),
    hyperDigest: readDigest(fields['hyperDigest'], 'snapshot.hyperDigest'),
    time: readNumber(fields['time'], 'snapshot.time'),
  };
}

/** A plain object with these fields and no others. */
export function readObject(json: unknown, what: string, names: readonly string[]): Fields {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw malformed(what, 'is not an object');
  const own = Object.keys(json);
  const unknown = own.find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw malformed(what, `has an unknown field ${JSON.stringify(unknown.slice(0, 64))}`);
  const missing = names.find((name) => !own.includes(name));
  if (missing !== undefined) throw malformed(what, `has no field "${missing}"`);
  return Object.fromEntries(Object.entries(json));
}

/** The length is read once and the items by index, so that no list, whatever it does, makes us read on and on. */
export function readList(json: unknown, what: string, lengthMax: number): readonly unknown[] {
  const list: readonly unknown[] | undefined = Array.isArray(json) ? json : undefined;
  const length = list?.length ?? Infinity;
  if (list === undefined || length > lengthMax) {
    throw malformed(what, `is not a list of at most ${lengthMax} items`);
  }
  return Array.from({ length }, (_, at) => list[at]);
}

export function readDigests(json: unknown, what: string): readonly Uint8Array[] {
  return readList(json, what, HISTORY_PROOF_MAX).map((item) => readDigest(item, what));
}

export function readDigest(json: unknown, what: string): Uint8Array {
  const digest = typeof json === 'string' ? decodeHex(json, DIGEST_BYTES) : undefined;
  if (digest === undefined) throw malformed(what, 'is not 64 lower-case hex digits');
  return digest;
}

export function readNumber(json: unknown, what: string): number {
  if (!isSize(json)) throw malformed(what, 'is not an integer from 0 to 2^53 - 1');
  return json;
}

export function malformed(what: string, why: string): QedError {
  return new QedError('proof-malformed', `the proof is malformed: ${what} ${why}`);
}

/** An object made to throw when it is read, whatever it throws, is malformed too. */
export function guarded<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof QedError && error.code === 'proof-malformed') throw error;
    throw new QedError('proof-malformed', 'the proof is malformed: it cannot be read', { cause: error });
  }
}
