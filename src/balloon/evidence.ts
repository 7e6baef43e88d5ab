// Evidence: what shows to others that a log, or somebody with its key, has contradicted itself. One JSON document, checked offline by the vkey alone:
//
//   { "format": "qed-evidence/v1", "kind", "vkey", … }            the vkey is a remark for people: who checks brings his own
//   split-view      "notes": [a, b]                               two checkpoints of one size with two roots
//   inconsistent    "notes": [older, newer], "startRoot", "hashes"   the newer log does not begin with the older one
//   two-answers     "memberships": [a, b]                         two proofs about one event that both hold and cannot both be true
//   false-map       "signedSnapshot", "eventDigest", "version", "hyper", "entry", "history"   what the hyper tree says of an event, and an
//                   entry under the same signature that says otherwise
//   false-batch     "note", "peaks", "before", "entries", "steps"   the entries of a batch and the way of each into the hyper tree: they
//                   lead to another hyper digest than the signed one
//   hyper-mismatch  "signedSnapshot", "entry", "history", "replayed"   the signed hyper digest of a batch, and what replaying the log gave
//   refused-proof   "eventDigest", "answer", "code"               what the log answered, and the code with which a verifier refuses it
//
// A log that is asked can answer anything, and nobody else saw it; what it signed it cannot take back. So evidence is conclusive only when it leaves one
// explanation: the key signed what cannot be true together, or trees that are not computed as docs/spec.md says. The last two are not conclusive:
// one has to replay the log, or to believe whoever says that the log gave this answer. Neither is `inconsistent` where the log answered with a
// proof that leads nowhere: it only shows that this proof fails. A proof that leads to the newer root from another start is: see `contradiction`.
// Here are the kinds, how they are written and read; evidence-check.ts says what they prove. Both load in a browser.
import { decodeBase64, encodeBase64, encodeHex } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { NOTE_BYTES_MAX } from '../crypto/note.ts';
import { formatVkey, type Verifier } from '../crypto/vkey.ts';
import { type ErrorCode } from '../errors.ts';
import { type History } from '../history/append.ts';
import { startRootOf } from '../history/check.ts';
import { ENTRY_BYTES, type Entry } from '../history/entry.ts';
import { tilePeaks } from '../history/tile.ts';
import { type HyperTree } from '../hyper/tree.ts';
import {
  formatHyper,
  formatMembership,
  formatSignedSnapshot,
  guarded,
  malformed,
  parseIncremental,
  readDigest,
  readDigests,
  readHyper,
  readList,
  readMembership,
  readNumber,
  readObject,
  readSignedSnapshot,
  type Fields,
  type MembershipJson,
  type MembershipProof,
  type MembershipProofJson,
  type SignedMembership,
  type SignedSnapshot,
  type SignedSnapshotJson,
} from './proof.ts';

export const EVIDENCE_FORMAT = 'qed-evidence/v1';
/** Of a file. A false batch of 10,000 events in a log of 300,000 has 17 MB. */
export const EVIDENCE_BYTES_MAX = 64 * 1024 * 1024;
const BATCH_EVENTS_MAX = 10_000;

interface Head {
  readonly format: typeof EVIDENCE_FORMAT;
  readonly vkey: string;
}

/** An entry at its place. */
export interface PlacedEntry extends Entry {
  readonly version: number;
}

interface EntryJson {
  readonly eventDigest: string;
  readonly hyperDigest: string;
  readonly time: number;
}

type PlacedEntryJson = EntryJson & { readonly version: number };

/** An entry with its inclusion proof. */
export interface EntryShown extends Entry {
  readonly history: readonly Uint8Array[];
}

type EntryShownJson = EntryJson & { readonly history: readonly string[] };

/** What the hyper tree says of an event: its first version, or null for none. */
export interface HyperStep {
  readonly version: number | null;
  readonly hyper: MembershipProof['hyper'];
}

interface HyperStepJson {
  readonly version: number | null;
  readonly hyper: MembershipProofJson['hyper'];
}

export type Evidence =
  | (Head & { readonly kind: 'split-view'; readonly notes: readonly [string, string] })
  | (Head & {
      readonly kind: 'inconsistent';
      readonly notes: readonly [string, string];
      /** The root with which the newer log begins in truth, where `hashes` prove one. */
      readonly startRoot: string | null;
      readonly hashes: readonly string[];
    })
  | (Head & {
      readonly kind: 'two-answers';
      readonly memberships: readonly [MembershipJson, MembershipJson];
    })
  | (Head & {
      readonly kind: 'false-map';
      readonly signedSnapshot: SignedSnapshotJson;
      readonly eventDigest: string;
      readonly entry: PlacedEntryJson;
      readonly history: readonly string[];
    } & HyperStepJson)
  | (Head & {
      readonly kind: 'false-batch';
      /** Of the size at which the batch ends. */
      readonly note: string;
      /** The perfect subtrees of the history before the batch, left to right. */
      readonly peaks: readonly string[];
      /** The last entry before the batch, included in the tree of that size; null at the log's beginning. */
      readonly before: EntryShownJson | null;
      /** All entries of the batch, 72 bytes each, in base64. */
      readonly entries: string;
      /** For each entry, what the map says of its event just before the event is put there. */
      readonly steps: readonly HyperStepJson[];
    })
  | (Head & {
      readonly kind: 'hyper-mismatch';
      readonly signedSnapshot: SignedSnapshotJson;
      readonly entry: PlacedEntryJson;
      readonly history: readonly string[];
      readonly replayed: string;
    })
  | (Head & {
      readonly kind: 'refused-proof';
      readonly eventDigest: string;
      readonly answer: unknown;
      readonly code: ErrorCode;
    });

export type EvidenceKind = Evidence['kind'];

// --- writing

const head = (log: Verifier): Head => ({ format: EVIDENCE_FORMAT, vkey: formatVkey(log) });

export function splitView(log: Verifier, one: string, other: string): Evidence {
  return { ...head(log), kind: 'split-view', notes: [one, other] };
}

export interface Growth {
  readonly startRoot: Uint8Array | null;
  readonly hashes: readonly Uint8Array[];
}

/** With a `startRoot`, the hashes lead from it to the newer root; else they are what the log answered. */
export function inconsistent(
  log: Verifier,
  older: string,
  newer: string,
  { startRoot, hashes }: Growth,
): Evidence {
  const fields = { startRoot: startRoot && encodeHex(startRoot), hashes: hashes.map(encodeHex) };
  return { ...head(log), kind: 'inconsistent', notes: [older, newer], ...fields };
}

/**
 * The strongest evidence in two verified snapshots that could not be joined. `incremental` is what the log answered when it was asked for the proof
 * between the two, as JSON: where it leads to the newer root from another start than the older root, the log has convicted itself.
 */
export function contradiction(
  log: Verifier,
  [one, other]: readonly [SignedSnapshot, SignedSnapshot],
  incremental: unknown,
  hash: Hash,
): Evidence {
  const [older, newer] = one.snapshot.version <= other.snapshot.version ? [one, other] : [other, one];
  const [startSize, endSize] = [older.snapshot.version + 1, newer.snapshot.version + 1];
  if (startSize === endSize) return splitView(log, older.checkpoint, newer.checkpoint);
  const hashes = hashesOf(incremental);
  const startRoot = startRootOf(hash, startSize, endSize, newer.snapshot.historyDigest, hashes) ?? null;
  return inconsistent(log, older.checkpoint, newer.checkpoint, { startRoot, hashes });
}

function hashesOf(incremental: unknown): readonly Uint8Array[] {
  try {
    return parseIncremental(incremental).hashes;
  } catch {
    return [];
  }
}

export function twoAnswers(log: Verifier, one: SignedMembership, other: SignedMembership): Evidence {
  return { ...head(log), kind: 'two-answers', memberships: [formatMembership(one), formatMembership(other)] };
}

export interface BatchShown {
  /** The history before the batch. */
  readonly history: History;
  /** The hyper tree before the batch. The batch is put into it event by event: it is of no use for anything else afterwards. */
  readonly tree: HyperTree;
  /** The last snapshot before the batch, with its audit proof; null at the log's beginning. */
  readonly before: Pick<SignedSnapshot, 'snapshot' | 'audit'> | null;
  /** All entries of the batch, 72 bytes each, as the log shows them. */
  readonly entries: Uint8Array;
  /** What the log signed for the size at the batch's end. */
  readonly note: string;
}

/** For a batch whose entries lead to the signed history digest, but not to the hyper digest that they carry. */
export function falseBatch(log: Verifier, { history, tree, before, entries, note }: BatchShown): Evidence {
  const steps: HyperStepJson[] = [];
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
    const eventDigest = entries.slice(at, at + DIGEST_BYTES);
    const { version, path, leaf } = tree.prove(eventDigest);
    const other = leaf && { eventDigest: leaf.key, version: leaf.version };
    steps.push({ version, hyper: formatHyper({ path, leaf: other }) });
    tree.stage(eventDigest, history.size + at / ENTRY_BYTES);
    tree.commit();
  }
  return {
    ...head(log),
    kind: 'false-batch',
    note,
    peaks: history.edge.flatMap(tilePeaks).reverse().map(encodeHex),
    before: before && { ...formatEntry(before.snapshot), history: before.audit.map(encodeHex) },
    entries: encodeBase64(entries),
    steps,
  };
}

export interface EntryUnder {
  readonly signedSnapshot: SignedSnapshot;
  readonly entry: PlacedEntry;
  /** Inclusion of the entry in the tree of the snapshot. */
  readonly history: readonly Uint8Array[];
}

/** An entry, and what the hyper tree under the same signature says of an event: together they cannot be true. */
export function falseMap(
  log: Verifier,
  under: EntryUnder,
  { eventDigest, version, hyper }: Pick<MembershipProof, 'eventDigest' | 'version' | 'hyper'>,
): Evidence {
  const map = { eventDigest: encodeHex(eventDigest), version, hyper: formatHyper(hyper) };
  return { ...head(log), kind: 'false-map', ...formatEntryUnder(under), ...map };
}

/** Where `falseBatch` cannot be made: whoever gets this has to replay the log. */
export function hyperMismatch(log: Verifier, under: EntryUnder, replayed: Uint8Array): Evidence {
  return { ...head(log), kind: 'hyper-mismatch', ...formatEntryUnder(under), replayed: encodeHex(replayed) };
}

/** `answer` is a membership as JSON, and `code` the one with which `verifyMembership` refuses it. */
export function refusedProof(
  log: Verifier,
  eventDigest: Uint8Array,
  answer: unknown,
  code: ErrorCode,
): Evidence {
  return { ...head(log), kind: 'refused-proof', eventDigest: encodeHex(eventDigest), answer, code };
}

function formatEntryUnder({ signedSnapshot, entry, history }: EntryUnder) {
  return {
    signedSnapshot: formatSignedSnapshot(signedSnapshot),
    entry: { version: entry.version, ...formatEntry(entry) },
    history: history.map(encodeHex),
  };
}

function formatEntry({ eventDigest, hyperDigest, time }: Entry): EntryJson {
  return { eventDigest: encodeHex(eventDigest), hyperDigest: encodeHex(hyperDigest), time };
}

// --- reading

export type Notes = readonly [string, string];

/** The parts of evidence, each in its documented form. Nothing of it is verified. */
export type EvidenceRead =
  | { readonly kind: 'split-view'; readonly notes: Notes }
  | ({ readonly kind: 'inconsistent'; readonly notes: Notes } & Growth)
  | { readonly kind: 'two-answers'; readonly memberships: readonly [SignedMembership, SignedMembership] }
  | ({ readonly kind: 'false-map'; readonly eventDigest: Uint8Array } & EntryUnder & HyperStep)
  | {
      readonly kind: 'false-batch';
      readonly note: string;
      readonly peaks: readonly Uint8Array[];
      readonly before: EntryShown | null;
      readonly entries: Uint8Array;
      readonly steps: readonly HyperStep[];
    }
  | ({ readonly kind: 'hyper-mismatch'; readonly replayed: Uint8Array } & EntryUnder)
  | {
      readonly kind: 'refused-proof';
      readonly eventDigest: Uint8Array;
      readonly answer: unknown;
      readonly code: string;
    };

export type ReadAs<Kind extends EvidenceKind> = Extract<EvidenceRead, { readonly kind: Kind }>;

/** Takes anything that JSON.parse may give; whatever is not in the documented form is refused with `proof-malformed`. */
export function parseEvidence(json: unknown): EvidenceRead {
  return guarded(() => {
    const kind = typeof json === 'object' && json !== null && 'kind' in json ? json.kind : undefined;
    if (!isKind(kind)) throw malformed('kind', `is none of ${Object.keys(readers).join(', ')}`);
    const { names, read } = readers[kind];
    const fields = readObject(json, 'the evidence', ['format', 'kind', 'vkey', ...names]);
    if (fields['format'] !== EVIDENCE_FORMAT) throw malformed('format', `is not ${EVIDENCE_FORMAT}`);
    readText(fields['vkey'], 'vkey', TEXT_MAX);
    return read(fields);
  });
}

function isKind(json: unknown): json is EvidenceKind {
  return typeof json === 'string' && Object.hasOwn(readers, json);
}

interface Reader {
  readonly names: readonly string[];
  readonly read: (fields: Fields) => EvidenceRead;
}

const TEXT_MAX = 1_024;
const ENTRY = ['eventDigest', 'hyperDigest', 'time'];
const STEP = ['version', 'hyper'];
const ENTRY_UNDER = ['signedSnapshot', 'entry', 'history'];

const readers: Readonly<Record<EvidenceKind, Reader>> = {
  'split-view': {
    names: ['notes'],
    read: ({ notes }) => ({ kind: 'split-view', notes: readPair(notes, 'notes', readNote) }),
  },
  inconsistent: {
    names: ['notes', 'startRoot', 'hashes'],
    read: ({ notes, startRoot, hashes }) => ({
      kind: 'inconsistent',
      notes: readPair(notes, 'notes', readNote),
      startRoot: startRoot === null ? null : readDigest(startRoot, 'startRoot'),
      hashes: readDigests(hashes, 'hashes'),
    }),
  },
  'two-answers': {
    names: ['memberships'],
    read: ({ memberships }) => ({
      kind: 'two-answers',
      memberships: readPair(memberships, 'memberships', readMembership),
    }),
  },
  'false-map': {
    names: [...ENTRY_UNDER, 'eventDigest', ...STEP],
    read: (fields) => ({
      kind: 'false-map',
      ...readEntryUnder(fields),
      eventDigest: readDigest(fields['eventDigest'], 'eventDigest'),
      ...readStep(fields),
    }),
  },
  'false-batch': {
    names: ['note', 'peaks', 'before', 'entries', 'steps'],
    read: ({ note, peaks, before, entries, steps }) => ({
      kind: 'false-batch',
      note: readNote(note),
      peaks: readDigests(peaks, 'peaks'),
      before: before === null ? null : readShown(before),
      entries: readEntries(entries),
      steps: readList(steps, 'steps', BATCH_EVENTS_MAX).map((step) =>
        readStep(readObject(step, 'a step', STEP)),
      ),
    }),
  },
  'hyper-mismatch': {
    names: [...ENTRY_UNDER, 'replayed'],
    read: (fields) => ({
      kind: 'hyper-mismatch',
      ...readEntryUnder(fields),
      replayed: readDigest(fields['replayed'], 'replayed'),
    }),
  },
  'refused-proof': {
    names: ['eventDigest', 'answer', 'code'],
    read: ({ eventDigest, answer, code }) => ({
      kind: 'refused-proof',
      eventDigest: readDigest(eventDigest, 'eventDigest'),
      answer,
      code: readText(code, 'code', TEXT_MAX),
    }),
  },
};

function readPair<Item>(json: unknown, what: string, read: (item: unknown) => Item): readonly [Item, Item] {
  const list = readList(json, what, 2);
  if (list.length < 2) throw malformed(what, 'are not two');
  return [read(list[0]), read(list[1])];
}

function readNote(json: unknown): string {
  return readText(json, 'a note', NOTE_BYTES_MAX);
}

function readText(json: unknown, what: string, lengthMax: number): string {
  if (typeof json === 'string' && json.length <= lengthMax) return json;
  throw malformed(what, `is not a text of at most ${lengthMax} characters`);
}

function readEntryUnder(fields: Fields): EntryUnder {
  const entry = readObject(fields['entry'], 'entry', ['version', ...ENTRY]);
  return {
    signedSnapshot: readSignedSnapshot(fields['signedSnapshot'], 'signedSnapshot'),
    entry: { version: readNumber(entry['version'], 'entry.version'), ...readEntry(entry, 'entry') },
    history: readDigests(fields['history'], 'history'),
  };
}

function readShown(json: unknown): EntryShown {
  const fields = readObject(json, 'before', [...ENTRY, 'history']);
  return { ...readEntry(fields, 'before'), history: readDigests(fields['history'], 'before.history') };
}

function readEntry(fields: Fields, what: string): Entry {
  return {
    eventDigest: readDigest(fields['eventDigest'], `${what}.eventDigest`),
    hyperDigest: readDigest(fields['hyperDigest'], `${what}.hyperDigest`),
    time: readNumber(fields['time'], `${what}.time`),
  };
}

function readStep({ version, hyper }: Fields): HyperStep {
  return { version: version === null ? null : readNumber(version, 'version'), hyper: readHyper(hyper) };
}

function readEntries(json: unknown): Uint8Array {
  const isShort = typeof json === 'string' && json.length <= 2 * BATCH_EVENTS_MAX * ENTRY_BYTES;
  const entries = isShort ? decodeBase64(json) : undefined;
  const count = (entries?.length ?? 0) / ENTRY_BYTES;
  if (entries === undefined || !Number.isInteger(count) || count < 1 || count > BATCH_EVENTS_MAX) {
    throw malformed(
      'entries',
      `are not the base64 of 1 to ${BATCH_EVENTS_MAX} entries of ${ENTRY_BYTES} bytes`,
    );
  }
  return entries;
}
