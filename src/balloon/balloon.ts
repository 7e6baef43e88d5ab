// The balloon: both trees, advanced together, one batch at a time, as a deterministic state machine. The same records give the same
// bytes on every node: it reads no clock, no disk but through the reader it is given, and signs nothing.
//
// It promises: `plan` says the snapshot after a record and all that must be written, and changes nothing; `commit` makes it the present
// state at once. Between the two, and at any time, a question is answered wholly from the last committed state.
// Every proof is checked before it is handed out: stored bytes that were edited are found here (`store-corrupt`), not by a client.
import { concat, encodeU64, equalBytes, isSize, readU64, U64_BYTES } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { appendEntries, type History } from '../history/append.ts';
import { decodeEntry, encodeEntries, encodeEntry, type Entry } from '../history/entry.ts';
import { type HistoryReader, type HistoryWrite } from '../history/layout.ts';
import { openHistory } from '../history/open.ts';
import { consistencyProof, entryAt, inclusionProof, rootAt, type HistoryView } from '../history/view.ts';
import { checkConsistency, checkInclusion } from '../history/check.ts';
import { leafHash } from '../history/merkle.ts';
import { type Tile } from '../history/tile.ts';
import type { HyperTree } from '../hyper/tree.ts';
import { type IncrementalProof, type MembershipProof, type Snapshot } from './proof.ts';
import { checkMembership } from './verify.ts';

/** One item of the replicated log, as the balloon sees it. */
export interface Batch {
  /** Position of the record in the replicated log; grows, with gaps where other records stand. */
  readonly index: number;
  /** Milliseconds since 1970; never before the last batch's. */
  readonly time: number;
  /** 32 bytes each, one after the other; at least one. */
  readonly eventDigests: Uint8Array;
}

export interface Plan {
  readonly snapshot: Snapshot;
  /** The version of the batch's first event. */
  readonly versionFirst: number;
  /** To be written in one atomic step, before `commit`. */
  readonly writes: readonly HistoryWrite[];
  readonly state: State;
}

interface State {
  readonly history: History;
  /** Undefined while the log is empty. */
  readonly snapshot: Snapshot | undefined;
  readonly appliedIndex: number;
}

/** Events in one batch at most. */
export const BATCH_EVENTS_MAX = 10_000;

export class Balloon {
  readonly #hash: Hash;
  readonly #reader: HistoryReader;
  readonly #hyper: HyperTree;
  /** Of the history tree, for proofs. */
  readonly #upper = new Map<string, Tile>();
  #state: State;
  #planned: State | undefined;

  private constructor(hash: Hash, reader: HistoryReader, hyper: HyperTree, state: State) {
    this.#hash = hash;
    this.#reader = reader;
    this.#hyper = hyper;
    this.#state = state;
  }

  /** The log that the reader holds. `rebuildHyper` gives the hyper tree of its entries; for an empty log, an empty one. */
  static open(hash: Hash, reader: HistoryReader, rebuildHyper: (view: HistoryView) => HyperTree): Balloon {
    const stored = readState(reader);
    const history = openHistory(hash, reader, stored.size);
    if (stored.size > 0 && !equalBytes(history.root, stored.root)) {
      throw corrupt(`its tiles do not lead to the history digest stored for size ${stored.size}`);
    }
    const view = { hash, history, reader };
    const version = stored.size - 1;
    const snapshot =
      version < 0 ? undefined : { version, historyDigest: history.root, ...readEntry(view, version) };
    const state = { history, snapshot, appliedIndex: stored.appliedIndex };
    const balloon = new Balloon(hash, reader, rebuildHyper(view), state);
    // At the end of a full bundle the last entry is read from where no root computed so far vouches for it.
    if (snapshot !== undefined) balloon.snapshotAt(snapshot.version);
    return balloon;
  }

  /** Number of events. */
  get size(): number {
    return this.#state.history.size;
  }

  /** Index of the last applied record; 0 before the first. */
  get appliedIndex(): number {
    return this.#state.appliedIndex;
  }

  /** The present snapshot, undefined while the log is empty. */
  get snapshot(): Snapshot | undefined {
    return this.#state.snapshot;
  }

  /** The hyper tree, for those who keep an image of it. */
  get hyper(): Pick<HyperTree, 'size' | 'leafRecords'> {
    return this.#hyper;
  }

  /** The history tree of the present state. */
  get view(): HistoryView {
    return { hash: this.#hash, history: this.#state.history, reader: this.#reader, upper: this.#upper };
  }

  /** What a record leads to. Must be followed by `commit` or `discard` before the next plan. */
  plan(batch: Batch): Plan {
    this.#checkBatch(batch);
    const versionFirst = this.size;
    const hyperDigest = this.#hyper.stage(batch.eventDigests, versionFirst);
    const entries = encodeEntries({ ...batch, hyperDigest });
    const { history, writes } = appendEntries(this.#hash, this.#state.history, entries);
    const snapshot: Snapshot = {
      version: history.size - 1,
      eventDigest: batch.eventDigests.slice(-DIGEST_BYTES),
      historyDigest: history.root,
      hyperDigest,
      time: batch.time,
    };
    const state = { history, snapshot, appliedIndex: batch.index };
    const positions: HistoryWrite[] = [
      { type: 'put', key: batchKey(snapshot.version), value: encodeU64(batch.index) },
      {
        type: 'put',
        key: STATE_KEY,
        value: encodeState({ ...state, size: history.size, root: history.root }),
      },
    ];
    this.#planned = state;
    return { snapshot, versionFirst, writes: [...writes, ...positions], state };
  }

  /** Makes the last plan the present state. */
  commit(plan: Plan): void {
    assert(plan.state === this.#planned, 'a plan other than the last one was committed to the balloon');
    this.#hyper.commit();
    this.#state = plan.state;
    this.#planned = undefined;
  }

  /** Forgets the last plan. */
  discard(): void {
    this.#hyper.discard();
    this.#planned = undefined;
  }

  /** The proof for an event, and the snapshot that it belongs to. */
  membership(eventDigest: Uint8Array): { proof: MembershipProof; snapshot: Snapshot } {
    checkDigest(eventDigest);
    const snapshot = this.#present();
    const { version, path, leaf } = this.#hyper.prove(eventDigest);
    const hyper = { path, leaf: leaf && { eventDigest: leaf.key, version: leaf.version } };
    const absent = { eventDigest, exists: false, version: null, hyper, entry: null, history: null };
    const proof =
      version === null ? absent : { ...absent, exists: true, version, ...this.#presence(version) };
    trusted(`the membership of an event at version ${String(version)}`, () =>
      checkMembership(proof, eventDigest, snapshot, this.#hash),
    );
    return { proof, snapshot };
  }

  /** Proves that version `end` grew out of version `start`. */
  incremental(start: number, end: number): IncrementalProof {
    this.checkVersion(start);
    this.checkVersion(end);
    if (start > end) throw new QedError('range-reversed', `version ${start} lies behind version ${end}`);
    const { view } = this;
    const hashes = consistencyProof(view, start + 1, end + 1);
    const [startRoot, endRoot] = [this.#rootAfter(start), this.#rootAfter(end)];
    if (!checkConsistency(this.#hash, start + 1, startRoot, end + 1, endRoot, hashes)) {
      throw corrupt(`its tiles do not lead from version ${start} to version ${end}`);
    }
    return { start, end, hashes };
  }

  /**
   * The snapshot of the batch that ends with `version`, with its audit proof. The present one was computed from its record, so it needs no root
   * that ties it to the present. What was read is its audit proof, where the last entry fills a tile, and, behind an opening, its entry; the
   * one check that the proof leads from the entry to the root finds damage in both.
   */
  snapshotAt(version: number): { snapshot: Snapshot; audit: readonly Uint8Array[] } {
    this.checkVersion(version);
    const present = this.#present();
    const snapshot = version === present.version ? present : this.#readSnapshot(version);
    const audit = inclusionProof(this.view, version, version + 1);
    const leaf = leafHash(this.#hash, encodeEntry(snapshot));
    if (!checkInclusion(this.#hash, leaf, version, version + 1, audit, snapshot.historyDigest)) {
      throw corrupt(`entry ${version} is not under the history digest of size ${version + 1}`);
    }
    return { snapshot, audit };
  }

  #readSnapshot(version: number): Snapshot {
    return { version, historyDigest: this.#rootAfter(version), ...readEntry(this.view, version) };
  }

  /**
   * The history digest that ended with `version`. It is computed from stored tiles, so it is tied to the present one: a damaged tile gives
   * a wrong digest with proofs that fit it, and to sign that would be to sign a second history.
   */
  #rootAfter(version: number): Uint8Array {
    const { view, size } = this;
    const root = rootAt(view, version + 1);
    const hashes = consistencyProof(view, version + 1, size);
    if (!checkConsistency(this.#hash, version + 1, root, size, view.history.root, hashes)) {
      throw corrupt(`its tiles do not lead from version ${version} to the present`);
    }
    return root;
  }

  /** What the history tree holds at a version. */
  entry(version: number): Entry {
    this.checkVersion(version);
    const { view, size } = this;
    const entry = readEntry(view, version);
    const proof = inclusionProof(view, version, size);
    const leaf = leafHash(this.#hash, encodeEntry(entry));
    if (!checkInclusion(this.#hash, leaf, version, size, proof, view.history.root)) {
      throw corrupt(`entry ${version} is not under the present history digest`);
    }
    return entry;
  }

  /** Throws unless the log has reached this version. */
  checkVersion(version: number): void {
    if (!isSize(version)) {
      throw new QedError(
        'version-malformed',
        `${String(version)} is not a version: an integer from 0 to 2^53 - 1`,
      );
    }
    const last = this.#present().version;
    if (version > last)
      throw new QedError('version-unknown', `the log ends at version ${last}, before ${version}`);
  }

  #present(): Snapshot {
    const { snapshot } = this.#state;
    if (snapshot === undefined) throw new QedError('log-empty', 'the log holds no event yet');
    return snapshot;
  }

  #presence(version: number): Pick<MembershipProof, 'entry' | 'history'> {
    const { hyperDigest, time } = readEntry(this.view, version);
    return { entry: { hyperDigest, time }, history: inclusionProof(this.view, version, this.size) };
  }

  #checkBatch({ index, time, eventDigests }: Batch): void {
    const count = eventDigests.length / DIGEST_BYTES;
    if (count === 0) throw new QedError('batch-empty', 'a batch without events');
    if (!Number.isInteger(count)) {
      throw new QedError('digest-malformed', `event digests of ${eventDigests.length} bytes: not 32 each`);
    }
    if (count > BATCH_EVENTS_MAX) {
      throw new QedError(
        'batch-too-large',
        `a batch of ${count} events; at most ${BATCH_EVENTS_MAX} are taken`,
      );
    }
    if (!isSize(index) || index <= this.appliedIndex) {
      throw new QedError(
        'record-out-of-order',
        `record ${index} does not follow record ${this.appliedIndex}`,
      );
    }
    const timeMin = this.#state.snapshot?.time ?? 0;
    if (!isSize(time) || time < timeMin) {
      throw new QedError(
        'time-backwards',
        `the batch of record ${index} is of time ${time}, before ${timeMin}`,
      );
    }
  }
}

/** The last version of a batch, from the key that `batchKey` made. */
export function batchKeyVersion(key: Uint8Array): number | undefined {
  return key.length === BATCH_PREFIX.length + U64_BYTES ? readU64(key, BATCH_PREFIX.length) : undefined;
}

/** The index of the record, from the value that is kept at `batchKey`. */
export function batchIndex(value: Uint8Array): number | undefined {
  return value.length === U64_BYTES ? readU64(value) : undefined;
}

/** Where the index of the record is kept whose batch ends with `version`. */
export function batchKey(version: number): Uint8Array {
  return Uint8Array.of(...BATCH_PREFIX, ...encodeU64(version));
}

// How the balloon's own keys lie beside those of the history tree: 'b' 's' for the state, 'b' 'b' u64 for the end of a batch.
const STATE_KEY = Uint8Array.of(0x62, 0x73);
const BATCH_PREFIX = Uint8Array.of(0x62, 0x62);
const STATE_BYTES = 2 * U64_BYTES + DIGEST_BYTES;

interface StoredState {
  readonly appliedIndex: number;
  readonly size: number;
  readonly root: Uint8Array;
}

function encodeState({ appliedIndex, size, root }: StoredState): Uint8Array {
  return concat(encodeU64(appliedIndex), encodeU64(size), root);
}

function readState(reader: HistoryReader): StoredState {
  const bytes = reader.get(STATE_KEY);
  if (bytes === undefined) return { appliedIndex: 0, size: 0, root: new Uint8Array(0) };
  const appliedIndex = bytes.length === STATE_BYTES ? readU64(bytes) : undefined;
  const size = bytes.length === STATE_BYTES ? readU64(bytes, U64_BYTES) : undefined;
  if (appliedIndex === undefined || !size) throw corrupt('its stored position cannot be read');
  const lastIndex = reader.get(batchKey(size - 1));
  if (lastIndex === undefined || !equalBytes(lastIndex, encodeU64(appliedIndex))) {
    throw corrupt(`its stored position ${appliedIndex} is not that of its last batch`);
  }
  return { appliedIndex, size, root: bytes.slice(2 * U64_BYTES) };
}

function readEntry(view: HistoryView, version: number): Entry {
  const entry = decodeEntry(entryAt(view, version));
  if (entry === undefined) throw corrupt(`entry ${version} cannot be read`);
  return entry;
}

function checkDigest(eventDigest: Uint8Array): void {
  if (eventDigest.length !== DIGEST_BYTES) {
    throw new QedError('digest-malformed', `an event digest has 32 bytes, not ${eventDigest.length}`);
  }
}

/** Runs a check of our own answer. When it refuses, what we have stored is damaged. */
function trusted(what: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw corrupt(`it no longer proves ${what}`, error);
  }
}

function corrupt(why: string, cause?: unknown): QedError {
  return new QedError('store-corrupt', `the stored log is damaged: ${why}`, {
    hint: 'Do not use this copy. Rebuild it from a peer or a backup.',
    ...(cause === undefined ? {} : { cause }),
  });
}
