// The auditor's own copy of the log: every entry since the beginning, and both trees, computed here. It grows by segments of entries that lead to a root
// which the log has signed; within a segment by batches, each of which must lead to the hyper digest that its entries carry.
//
// It promises: nothing gets in that is not under a signed root, and nothing behind a batch whose hyper digest is wrong. Where a batch ends is seen from the
// entries: those of a batch share hyper digest and time. Two batches that share both (the second one holds known events alone) count as one, which
// leads to the same trees.
//
// On disk it keeps what a server keeps, so opening it again is quick. In memory it keeps the hyper tree, about 130 bytes an event, and the tiles of the
// history tree, about 36; the entries themselves are let go.
import { join } from 'node:path';
import { BATCH_EVENTS_MAX } from '../../src/balloon/balloon.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeHex, equalBytes, readU64 } from '../../src/crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../../src/crypto/hash.ts';
import { assert, QedError, type ErrorCode } from '../../src/errors.ts';
import { appendEntries, type Appended, type History } from '../../src/history/append.ts';
import { decodeEntry, ENTRY_BYTES, type Entry } from '../../src/history/entry.ts';
import {
  consistencyProof,
  entryAt,
  inclusionProof,
  rootAt,
  type HistoryView,
} from '../../src/history/view.ts';
import { KEY_AT, LEAF_BYTES } from '../../src/hyper/arena.ts';
import { type HyperTree } from '../../src/hyper/tree.ts';
import { openHyper, type BalloonEvent, type OpenedHyper } from '../../src/storage/open-hyper.ts';
import { type Store } from '../../src/storage/store.ts';
import { damaged, openReplicaStore, openView, stateWrite } from './replica-files.ts';

export interface ReplicaOptions {
  /** A directory; without it the replica is kept in memory. */
  readonly path?: string | undefined;
  readonly hash: Hash;
  readonly onEvent: (event: BalloonEvent) => void;
}

/** A batch that the log has signed and that does not follow from its entries. */
export interface WrongBatch {
  readonly why: QedError;
  /** The hyper digest that its entries lead to; undefined where they break another rule. */
  readonly replayed: Uint8Array | undefined;
  readonly versionLast: number;
  readonly entries: Uint8Array;
  /** The state before it. */
  readonly history: History;
  /** The last snapshot before it, null at the log's beginning. */
  readonly before: Pick<SignedSnapshot, 'snapshot' | 'audit'> | null;
  /** Entry `versionLast` in the tree behind the segment. */
  readonly inclusion: readonly Uint8Array[];
}

export interface Replica {
  /** Events that are verified. */
  readonly size: number;
  /** Different ones. */
  readonly distinct: number;
  /** Since it was opened. */
  readonly batches: number;
  readonly rootAt: (size: number) => Uint8Array;
  /** That the tree of `endSize` grew out of the one of `startSize`. */
  readonly consistency: (startSize: number, endSize: number) => readonly Uint8Array[];
  /** One of the different events, by number, and its first version. */
  readonly event: (number: number) => { readonly eventDigest: Uint8Array; readonly version: number };
  /** The history tree with these entries behind those that are here. */
  readonly append: (segment: Uint8Array) => Appended;
  /** Takes what `append` was found right for, batch by batch. Stops in front of the first batch that is wrong. */
  readonly adopt: (
    segment: Uint8Array,
    appended: Appended,
    signal: AbortSignal,
  ) => Promise<WrongBatch | undefined>;
  /** For evidence about the batch that stopped it; afterwards the replica takes nothing more. */
  readonly giveTree: () => HyperTree;
  readonly close: () => Promise<void>;
}

/** Others get their turn this often. */
const TURN_MS = 20;
export async function openReplica({ path, hash, onEvent }: ReplicaOptions): Promise<Replica> {
  const store = await openReplicaStore(path);
  try {
    const view = openView(hash, store);
    const imagePath = path === undefined ? undefined : join(path, 'hyper.image');
    return replicaOf({ store, view, ...openHyper(view, imagePath, onEvent) });
  } catch (error) {
    await store.close();
    throw error;
  }
}

interface Parts extends OpenedHyper {
  readonly store: Store;
  readonly view: HistoryView;
}

function replicaOf({ store, view: opened, hyper, image }: Parts): Replica {
  const { hash } = opened;
  let view = opened;
  let last = opened.history.size === 0 ? undefined : lastEntry(opened);
  let batches = 0;
  let isGiven = false;

  /** Puts a batch into the hyper tree, if that leads to what its entries say. */
  function takeBatch(entries: Uint8Array, version: number): Wrong | undefined {
    const entry = decodeEntry(entries.subarray(entries.length - ENTRY_BYTES));
    if (entry === undefined) return wrong('proof-malformed', 'it carries a time of 2^53 and more');
    if (last !== undefined && entry.time < last.time)
      return wrong('time-backwards', `it carries a time before that of the batch in front of it`);
    const replayed = hyper.stage(digestsOf(entries), version);
    if (!equalBytes(replayed, entry.hyperDigest)) {
      hyper.discard();
      return wrong(
        'hyper-mismatch',
        `its entries lead to the hyper digest ${encodeHex(replayed)}, not to the one that they carry`,
        replayed,
      );
    }
    hyper.commit();
    last = { ...entry, eventDigest: entry.eventDigest.slice(), hyperDigest: replayed };
    batches += 1;
    return undefined;
  }

  async function adopt(
    segment: Uint8Array,
    appended: Appended,
    signal: AbortSignal,
  ): Promise<WrongBatch | undefined> {
    assert(!isGiven, 'a replica that gave its tree away was told to grow');
    const { size } = view.history;
    let turnAt = performance.now() + TURN_MS;
    for (const [first, end] of runsOf(segment)) {
      if (signal.aborted) return keep(segment.subarray(0, first * ENTRY_BYTES)).then(() => undefined);
      const entries = segment.subarray(first * ENTRY_BYTES, end * ENTRY_BYTES);
      const found = takeBatch(entries, size + first);
      if (found !== undefined) {
        await keep(segment.subarray(0, first * ENTRY_BYTES));
        return describe(found, entries.slice(), appended);
      }
      if (performance.now() < turnAt) continue;
      await new Promise((resolve) => setImmediate(resolve));
      turnAt = performance.now() + TURN_MS;
    }
    await keep(segment, appended);
    return undefined;
  }

  /** Entries whose batches are in the hyper tree. */
  async function keep(entries: Uint8Array, appended?: Appended): Promise<void> {
    if (entries.length === 0) return;
    const { history, writes } = appended ?? appendEntries(hash, view.history, entries);
    await store.write([...writes, stateWrite(history)], { durable: false });
    view = { ...view, history };
    image?.follow(hyper);
  }

  function describe(found: Wrong, entries: Uint8Array, appended: Appended): WrongBatch {
    const { history } = view;
    const versionLast = history.size + entries.length / ENTRY_BYTES - 1;
    const fresh = new Map<string, Uint8Array>();
    for (const write of appended.writes)
      if (write.type === 'put') fresh.set(encodeHex(write.key), write.value);
    const reader = { get: (key: Uint8Array) => fresh.get(encodeHex(key)) ?? store.get(key) };
    const behind = { hash, history: appended.history, reader };
    const inclusion = inclusionProof(behind, versionLast, appended.history.size);
    return { ...found, versionLast, entries, history, before: lastSnapshot(), inclusion };
  }

  function lastSnapshot(): WrongBatch['before'] {
    const { size, root } = view.history;
    if (last === undefined) return null;
    const snapshot = { version: size - 1, historyDigest: root, ...last };
    return { snapshot, audit: inclusionProof(view, size - 1, size) };
  }

  return {
    get size() {
      return view.history.size;
    },
    get distinct() {
      return hyper.size;
    },
    get batches() {
      return batches;
    },
    rootAt: (size) => rootAt(view, size),
    consistency: (startSize, endSize) => consistencyProof(view, startSize, endSize),
    event(number) {
      const record = hyper.leafRecords(number, number + 1);
      return { version: readU64(record) ?? 0, eventDigest: record.slice(KEY_AT, LEAF_BYTES) };
    },
    append: (segment) => appendEntries(hash, view.history, segment),
    adopt,
    giveTree() {
      isGiven = true;
      return hyper;
    },
    async close() {
      await image?.close();
      await store.close();
    },
  };
}

interface Wrong {
  readonly why: QedError;
  readonly replayed: Uint8Array | undefined;
}

function wrong(code: ErrorCode, message: string, replayed?: Uint8Array): Wrong {
  return { why: new QedError(code, message), replayed };
}

function lastEntry(view: HistoryView): Entry {
  const entry = decodeEntry(entryAt(view, view.history.size - 1));
  if (entry === undefined) throw damaged('its last entry cannot be read');
  return entry;
}

/** Entries of one batch, by their places in a segment: the first, and the one behind the last. */
type Run = readonly [first: number, end: number];

/** Where the batches of a segment begin and end. No batch is longer than the rules allow. */
function* runsOf(segment: Uint8Array): Generator<Run> {
  const bytes = Buffer.from(segment.buffer, segment.byteOffset, segment.length);
  const count = segment.length / ENTRY_BYTES;
  for (let first = 0; first < count;) {
    let end = first + 1;
    const endMax = Math.min(count, first + BATCH_EVENTS_MAX);
    while (end < endMax && isOneBatch(bytes, first * ENTRY_BYTES, end * ENTRY_BYTES)) end += 1;
    yield [first, end];
    first = end;
  }
}

/** Whether two entries share hyper digest and time: all but their event digest. */
function isOneBatch(bytes: Buffer, one: number, other: number): boolean {
  const [from, to] = [DIGEST_BYTES, ENTRY_BYTES];
  return bytes.compare(bytes, one + from, one + to, other + from, other + to) === 0;
}

function digestsOf(entries: Uint8Array): Uint8Array {
  const digests = new Uint8Array((entries.length / ENTRY_BYTES) * DIGEST_BYTES);
  for (let at = 0, to = 0; at < entries.length; at += ENTRY_BYTES, to += DIGEST_BYTES)
    digests.set(entries.subarray(at, at + DIGEST_BYTES), to);
  return digests;
}
