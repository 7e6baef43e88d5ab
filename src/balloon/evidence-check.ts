// The judge of evidence: says what a document of evidence proves to somebody who trusts nothing but the log's vkey. Loads in a browser.
//
// What it calls conclusive follows from the log's signatures, from SHA-256, and from the way in which the trees are computed. An honest log cannot be
// convicted, whoever made the document: every entry is bound to its place under a signed root, every word of the map to a signed hyper digest, and
// a batch ends where the log signed that one ended. Like every verifier here it returns what is shown, or throws a QedError of kind `refused`;
// that is `evidence-void` where all parts are genuine and nothing in them contradicts anything.
import { openCheckpoint, type Checkpoint } from '../crypto/checkpoint.ts';
import { portableVerify } from '../crypto/ed25519.ts';
import { encodeHex, equalBytes } from '../crypto/encoding.ts';
import { portableHash } from '../crypto/hash.ts';
import { QedError, type RefusalCode } from '../errors.ts';
import { checkConsistency, checkInclusion, grownRoots } from '../history/check.ts';
import { decodeEntry, encodeEntry, ENTRY_BYTES, type Entry } from '../history/entry.ts';
import { leafHash } from '../history/merkle.ts';
import { checkAbsent, checkMember, EMPTY_ROOT, insertedRoot, type HyperLeaf } from '../hyper/check.ts';
import {
  parseEvidence,
  type EntryUnder,
  type EvidenceKind,
  type EvidenceRead,
  type HyperStep,
  type Notes,
  type ReadAs,
} from './evidence.ts';
import { type SignedMembership } from './proof.ts';
import {
  checkMembership,
  checkSignedSnapshot,
  verifyMembership,
  type Primitives,
  type Trust,
} from './verify.ts';

export interface CheckedEvidence {
  readonly kind: EvidenceKind;
  /** Whether nothing but what the key signed can explain it. Else it is the word of whoever kept it. */
  readonly conclusive: boolean;
  /** What it shows, in a sentence. */
  readonly statement: string;
}

const PORTABLE: Primitives = { hash: portableHash, verify: portableVerify };

/** The log's key and the primitives, with which everything here is checked. */
interface Judging extends Primitives {
  readonly trust: Pick<Trust, 'log'>;
  readonly open: (note: string) => Checkpoint;
}

/** Refuses what shows nothing: what cannot be read, is not signed by the log, or does not show what it says. */
export function verifyEvidence(
  json: unknown,
  { log }: Pick<Trust, 'log'>,
  primitives: Primitives = PORTABLE,
): CheckedEvidence {
  const evidence = parseEvidence(json);
  const open = (note: string): Checkpoint => openCheckpoint(note, log, primitives.verify);
  return { kind: evidence.kind, ...judge(evidence, { trust: { log }, open, ...primitives }) };
}

type Finding = Omit<CheckedEvidence, 'kind'>;

function judge(evidence: EvidenceRead, judging: Judging): Finding {
  switch (evidence.kind) {
    case 'split-view':
      return judgeSplitView(evidence.notes, judging);
    case 'inconsistent':
      return judgeGrowth(evidence, judging);
    case 'two-answers':
      return judgeAnswers(evidence.memberships, judging);
    case 'false-map':
      return judgeMap(evidence, judging);
    case 'false-batch':
      return judgeBatch(evidence, judging);
    case 'hyper-mismatch':
      return judgeReplay(evidence, judging);
    case 'refused-proof':
      return judgeRefusal(evidence, judging);
  }
}

function judgeSplitView(notes: Notes, { open }: Judging): Finding {
  const [one, other] = [open(notes[0]), open(notes[1])];
  if (one.size !== other.size) throw nothing('the two checkpoints are of different sizes');
  if (equalBytes(one.root, other.root)) throw nothing('the two checkpoints have the same root');
  const roots = `${encodeHex(one.root)} and ${encodeHex(other.root)}`;
  return conclusive(`${one.origin} has signed two histories of ${one.size} events: ${roots}`);
}

function judgeGrowth({ notes, startRoot, hashes }: ReadAs<'inconsistent'>, { open, hash }: Judging): Finding {
  const [older, newer] = [open(notes[0]), open(notes[1])];
  const { size, origin } = older;
  if (size === 0 || size >= newer.size)
    throw nothing(`a log of ${newer.size} events cannot begin with one of ${size}`);
  const leadsFrom = (root: Uint8Array): boolean =>
    checkConsistency(hash, size, root, newer.size, newer.root, hashes);
  if (leadsFrom(older.root)) throw nothing('the newer log begins with the older one');
  const where = `the history of ${newer.size} events that ${origin} has signed`;
  if (startRoot === null) {
    return word(`the proof does not show that ${where} begins with the one of ${size}; another proof might`);
  }
  if (!leadsFrom(startRoot))
    throw refusal('consistency-mismatch', 'the proof does not lead to the newer checkpoint');
  return conclusive(
    `${where} begins with ${size} events of root ${encodeHex(startRoot)}, but for them it has signed ${encodeHex(older.root)}`,
  );
}

function judgeAnswers([one, other]: ReadAs<'two-answers'>['memberships'], judging: Judging): Finding {
  const { eventDigest } = one.proof;
  for (const { proof, signedSnapshot } of [one, other]) {
    const { snapshot } = checkSignedSnapshot(signedSnapshot, judging.trust, judging);
    checkMembership(proof, eventDigest, snapshot, judging.hash);
  }
  const says = contradicts(one, other) ?? contradicts(other, one);
  if (says === undefined) throw nothing('both answers can be true');
  return conclusive(`${judging.trust.log.name} has signed that event ${encodeHex(eventDigest)} ${says}`);
}

/** Both hold. An event that is there at a version stays there, with the same entry. */
function contradicts(one: SignedMembership, other: SignedMembership): string | undefined {
  const { version, entry } = one.proof;
  if (version === null || entry === null) return undefined;
  const first = `was first logged at version ${version}`;
  if (other.proof.version === null || other.proof.entry === null) {
    const last = other.signedSnapshot.snapshot.version;
    return version <= last ? `${first}, and that it was not there up to version ${last}` : undefined;
  }
  if (version !== other.proof.version) return `${first}, and that this was version ${other.proof.version}`;
  const { time, hyperDigest } = other.proof.entry;
  const isSame = entry.time === time && equalBytes(entry.hyperDigest, hyperDigest);
  return isSame ? undefined : `${first} with two different entries`;
}

function judgeMap(evidence: ReadAs<'false-map'>, judging: Judging): Finding {
  const { eventDigest, version, entry, signedSnapshot } = evidence;
  checkEntry(evidence, judging);
  checkStep(eventDigest, evidence, signedSnapshot.snapshot.hyperDigest, judging);
  const isThere = equalBytes(entry.eventDigest, eventDigest);
  const isFalse =
    version === null || version > entry.version ? isThere : version === entry.version && !isThere;
  if (!isFalse) throw nothing('what the map says fits the entry');
  const claim = version === null ? 'is not in the log' : `was first logged at version ${version}`;
  return conclusive(
    `${judging.trust.log.name} has signed that event ${encodeHex(eventDigest)} ${claim}, and that version ${entry.version} is event ${encodeHex(entry.eventDigest)}`,
  );
}

function judgeBatch(evidence: ReadAs<'false-batch'>, judging: Judging): Finding {
  const { origin, size, root } = judging.open(evidence.note);
  const entries = entriesOf(evidence.entries);
  const versionFirst = size - entries.length;
  const hyperBefore = checkPlace(evidence, { versionFirst, root, entries }, judging);
  const { hyperDigest, time } = entries[0]!;
  const isOne = entries.every((entry) => entry.time === time && equalBytes(entry.hyperDigest, hyperDigest));
  if (!isOne) throw nothing('the entries are not those of one batch');
  const replayed = replay(entries, versionFirst, evidence.steps, hyperBefore, judging);
  if (equalBytes(replayed, hyperDigest)) throw nothing('the entries lead to the hyper digest of their batch');
  return conclusive(
    `${origin} has signed a false map: versions ${versionFirst} to ${size - 1} lead to the hyper digest ${encodeHex(replayed)}, not to ${encodeHex(hyperDigest)}`,
  );
}

function entriesOf(bytes: Uint8Array): readonly Entry[] {
  return Array.from({ length: bytes.length / ENTRY_BYTES }, (_, at) => {
    const entry = decodeEntry(bytes.subarray(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES));
    if (entry === undefined)
      throw refusal('proof-malformed', `entry ${at} of the batch has no time below 2^53`);
    return entry;
  });
}

interface Batch {
  readonly versionFirst: number;
  /** The signed history digest after it. */
  readonly root: Uint8Array;
  readonly entries: readonly Entry[];
}

/** The entries are the last ones under the note, and `before` stands in front of them. Returns the hyper digest from which the batch started. */
function checkPlace(
  { peaks, before }: Pick<ReadAs<'false-batch'>, 'peaks' | 'before'>,
  { versionFirst, root, entries }: Batch,
  { hash }: Judging,
): Uint8Array {
  const leaves = entries.map((entry) => leafHash(hash, encodeEntry(entry)));
  const grown = grownRoots(hash, versionFirst, peaks, leaves);
  if (grown?.end === undefined || !equalBytes(grown.end, root)) {
    throw refusal('history-mismatch', 'the entries do not lead to the signed history digest');
  }
  const { start } = grown;
  if (before === null && start === undefined) return EMPTY_ROOT;
  const leaf = before && leafHash(hash, encodeEntry(before));
  if (leaf && start && checkInclusion(hash, leaf, versionFirst - 1, versionFirst, before.history, start))
    return before.hyperDigest;
  throw refusal('history-mismatch', 'the entry before the batch is not the one that stands there');
}

/** Puts the batch into the map, event by event, each by its own path under the root that the one before left. */
function replay(
  entries: readonly Entry[],
  versionFirst: number,
  steps: readonly HyperStep[],
  hyperBefore: Uint8Array,
  judging: Judging,
): Uint8Array {
  if (steps.length !== entries.length)
    throw refusal('proof-malformed', `${steps.length} steps for ${entries.length} entries`);
  let root = hyperBefore;
  for (const [at, { eventDigest }] of entries.entries()) {
    const step = steps[at]!;
    checkStep(eventDigest, step, root, judging);
    if (step.version !== null) continue;
    const added = { key: eventDigest, version: versionFirst + at };
    root = insertedRoot(judging.hash, added, otherLeaf(step), step.hyper.path);
  }
  return root;
}

/** The map under this root says of the event what the step says. */
function checkStep(eventDigest: Uint8Array, step: HyperStep, root: Uint8Array, { hash }: Judging): void {
  const { version, hyper } = step;
  const says =
    version === null
      ? checkAbsent(hash, eventDigest, otherLeaf(step), hyper.path, root)
      : hyper.leaf === null && checkMember(hash, eventDigest, version, hyper.path, root);
  if (!says) throw refusal('hyper-mismatch', `the map does not say that of event ${encodeHex(eventDigest)}`);
}

function otherLeaf({ hyper: { leaf } }: HyperStep): HyperLeaf | null {
  return leaf && { key: leaf.eventDigest, version: leaf.version };
}

function checkEntry({ signedSnapshot, entry, history }: EntryUnder, judging: Judging): void {
  const { snapshot } = checkSignedSnapshot(signedSnapshot, judging.trust, judging);
  const leaf = leafHash(judging.hash, encodeEntry(entry));
  const size = snapshot.version + 1;
  if (checkInclusion(judging.hash, leaf, entry.version, size, history, snapshot.historyDigest)) return;
  throw refusal('history-mismatch', `the entry of version ${entry.version} is not under the signed root`);
}

function judgeReplay(evidence: ReadAs<'hyper-mismatch'>, judging: Judging): Finding {
  const { entry, replayed } = evidence;
  checkEntry(evidence, judging);
  if (equalBytes(entry.hyperDigest, replayed)) throw nothing('replaying gave what the log has signed');
  return word(
    `${judging.trust.log.name} has signed the hyper digest ${encodeHex(entry.hyperDigest)} for the batch of version ${entry.version}; ` +
      `it is said that replaying its entries gives ${encodeHex(replayed)}. Whoever doubts that replays the log up to there`,
  );
}

function judgeRefusal({ eventDigest, answer, code }: ReadAs<'refused-proof'>, judging: Judging): Finding {
  try {
    verifyMembership(answer, { eventDigest }, judging.trust, judging);
  } catch (error) {
    if (!(error instanceof QedError) || error.kind !== 'refused') throw error;
    if (error.code !== code)
      throw nothing(`the answer is refused with ${error.code}, not with the code that it names`);
    return word(
      `an answer about event ${encodeHex(eventDigest)} is refused with ${error.code}: ${error.message}. ` +
        `Answers are not signed: that ${judging.trust.log.name} gave it is the word of whoever kept it`,
    );
  }
  throw nothing('the answer holds');
}

function conclusive(statement: string): Finding {
  return { conclusive: true, statement };
}

function word(statement: string): Finding {
  return { conclusive: false, statement };
}

function nothing(why: string): QedError {
  return refusal('evidence-void', `the evidence shows nothing: ${why}`);
}

function refusal(code: RefusalCode, message: string): QedError {
  return new QedError(code, message);
}
