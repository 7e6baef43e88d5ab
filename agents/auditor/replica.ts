// The auditor's own copy of the log: every entry since the beginning, and both trees, computed here. It grows by segments of entries that lead to a root
// which the log has signed; within a segment by batches, each of which must lead to the hyper digest that its entries carry.
//
// It promises: nothing gets in that is not under a signed root, and nothing behind a batch whose hyper digest is wrong. Where a batch ends is seen from the
// entries: those of a batch share hyper digest and time. Two batches that share both (the second one holds known events alone) count as one, which
// leads to the same trees.
//
// On disk it keeps what a server keeps, so opening it again is quick. In memory it keeps the hyper tree, about 130 bytes an event, and the tiles of the
// history tree, about 36; the entries themselves are let go.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Balloon, BATCH_EVENTS_MAX, type Plan } from '../../src/balloon/balloon.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeHex, equalBytes, readU64 } from '../../src/crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../../src/crypto/hash.ts';
import { assert, QedError } from '../../src/errors.ts';
import { appendEntries, type History } from '../../src/history/append.ts';
import { decodeEntry, ENTRY_BYTES } from '../../src/history/entry.ts';
import { HISTORY_PREFIX } from '../../src/history/layout.ts';
import { TILE_LEVELS } from '../../src/history/position.ts';
import { consistencyProof, inclusionProof, rootAt, type HistoryView } from '../../src/history/view.ts';
import { KEY_AT, LEAF_BYTES } from '../../src/hyper/arena.ts';
import { type HyperTree } from '../../src/hyper/tree.ts';
import { openTrees, type BalloonEvent } from '../../src/storage/durable-balloon.ts';
import { type ImageWriter } from '../../src/storage/image.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { openMemoryStore } from '../../src/storage/memory.ts';
import { type Store, type Write } from '../../src/storage/store.ts';

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

export interface Known {
  readonly eventDigest: Uint8Array;
  readonly version: number;
}

export interface Replica {
  /** Events that are verified. */
  readonly size: number;
  /** Different ones. */
  readonly distinct: number;
  readonly batches: number;
  readonly rootAt: (size: number) => Uint8Array;
  /** That the tree of `endSize` grew out of the one of `startSize`. */
  readonly consistency: (startSize: number, endSize: number) => readonly Uint8Array[];
  /** One of the different events, by number. */
  readonly event: (number: number) => Known;
  /** Whether these entries, put behind those that are here, lead to the root. */
  readonly leadsTo: (entries: Uint8Array, root: Uint8Array) => boolean;
  /** Takes entries that lead to the root of the snapshot, batch by batch. Stops in front of the first batch that is wrong. */
  readonly adopt: (entries: Uint8Array, signal: AbortSignal) => Promise<WrongBatch | undefined>;
  /** For evidence about the batch that stopped it; afterwards the replica takes nothing more. */
  readonly giveTree: () => HyperTree;
  readonly close: () => Promise<void>;
}

/** Written at once. */
const WRITE_BYTES = 4 * 1024 * 1024;
/** Others get their turn this often. */
const TURN_MS = 20;

export async function openReplica({ path, hash, onEvent }: ReplicaOptions): Promise<Replica> {
  const store = await openStore(path);
  try {
    const imagePath = path === undefined ? {} : { imagePath: join(path, 'hyper.image') };
    const { balloon, hyper, image } = openTrees({ store, hash, onEvent, ...imagePath });
    return replicaOf({ store, hash, balloon, hyper, image });
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openStore(path: string | undefined): Promise<Store> {
  if (path === undefined) return withoutEntries(openMemoryStore());
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return openLevelStore(join(path, 'db'), {
    cacheBytes: 8 * 1024 * 1024,
    writeBufferBytes: 8 * 1024 * 1024,
  });
}

/** Keeps the tiles alone, of which roots and proofs are made. */
function withoutEntries(store: Store): Store {
  const isTile = ({ key }: Write): boolean => key[0] === HISTORY_PREFIX && key[1]! < TILE_LEVELS;
  return { ...store, write: (writes, options) => store.write(writes.filter(isTile), options) };
}

interface Parts {
  readonly store: Store;
  readonly hash: Hash;
  readonly balloon: Balloon;
  readonly hyper: HyperTree;
  readonly image: ImageWriter | undefined;
}

/** Entries of one batch, by their places in a segment: the first, and the one behind the last. */
type Run = readonly [first: number, end: number];

type Planned =
  { readonly plan: Plan } | { readonly why: QedError; readonly replayed: Uint8Array | undefined };

function replicaOf({ store, hash, balloon, hyper, image }: Parts): Replica {
  let batches = 0;
  let isGiven = false;

  /** What a batch leads to, if that is what its entries say. */
  function planBatch(entries: Uint8Array): Planned {
    const index = balloon.size + entries.length / ENTRY_BYTES;
    const time = decodeEntry(entries.subarray(0, ENTRY_BYTES))?.time;
    if (time === undefined) {
      return { why: new QedError('proof-malformed', 'it has a time of 2^53 and more'), replayed: undefined };
    }
    try {
      const plan = balloon.plan({ index, time, eventDigests: digestsOf(entries) });
      const replayed = plan.snapshot.hyperDigest;
      if (equalBytes(replayed, hyperDigestOf(entries))) return { plan };
      balloon.discard();
      const why = new QedError(
        'hyper-mismatch',
        `its entries lead to the hyper digest ${encodeHex(replayed)}`,
      );
      return { why, replayed };
    } catch (error) {
      // The batch breaks a rule that every node of the log keeps: time that runs backwards, say.
      if (error instanceof QedError && error.kind === 'caller') return { why: error, replayed: undefined };
      throw error;
    }
  }

  function lastSnapshot(): WrongBatch['before'] {
    const { snapshot, view } = balloon;
    return snapshot === undefined
      ? null
      : { snapshot, audit: inclusionProof(view, snapshot.version, snapshot.version + 1) };
  }

  /** Entry `version` in the tree behind a whole segment, whose batches are not all adopted. */
  function inclusionBehind({ history, reader }: HistoryView, segment: Uint8Array, version: number) {
    const behind = appendEntries(hash, history, segment);
    const fresh = new Map<string, Uint8Array>();
    for (const write of behind.writes) if (write.type === 'put') fresh.set(nameOf(write.key), write.value);
    const get = (key: Uint8Array): Uint8Array | undefined => fresh.get(nameOf(key)) ?? reader.get(key);
    return inclusionProof({ hash, history: behind.history, reader: { get } }, version, behind.history.size);
  }

  async function adopt(segment: Uint8Array, signal: AbortSignal): Promise<WrongBatch | undefined> {
    assert(!isGiven, 'a replica that gave its tree away was told to grow');
    const before = balloon.view;
    let writes: Write[] = [];
    let unwritten = 0;
    let turnAt = performance.now() + TURN_MS;

    async function flush(): Promise<void> {
      if (writes.length > 0) await store.write(writes, { durable: false });
      image?.follow(hyper);
      writes = [];
      unwritten = 0;
    }

    for (const [first, end] of runsOf(segment)) {
      const entries = segment.subarray(first * ENTRY_BYTES, end * ENTRY_BYTES);
      const planned = planBatch(entries);
      if ('why' in planned) {
        await flush();
        const { history } = balloon.view;
        const versionLast = history.size + end - first - 1;
        const inclusion = inclusionBehind(before, segment, versionLast);
        return {
          ...planned,
          versionLast,
          entries: entries.slice(),
          history,
          before: lastSnapshot(),
          inclusion,
        };
      }
      balloon.commit(planned.plan);
      batches += 1;
      writes.push(...planned.plan.writes);
      unwritten += entries.length;
      if (unwritten >= WRITE_BYTES) await flush();
      if (performance.now() < turnAt) continue;
      await new Promise((resolve) => setImmediate(resolve));
      turnAt = performance.now() + TURN_MS;
      if (signal.aborted) break;
    }
    await flush();
    return undefined;
  }

  return {
    get size() {
      return balloon.size;
    },
    get distinct() {
      return hyper.size;
    },
    get batches() {
      return batches;
    },
    rootAt: (size) => rootAt(balloon.view, size),
    consistency: (startSize, endSize) => consistencyProof(balloon.view, startSize, endSize),
    event(number) {
      const record = hyper.leafRecords(number, number + 1);
      return { version: readU64(record) ?? 0, eventDigest: record.slice(KEY_AT, LEAF_BYTES) };
    },
    leadsTo: (entries, root) =>
      equalBytes(appendEntries(hash, balloon.view.history, entries).history.root, root),
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

/** Where the batches of a segment begin and end. No batch is longer than the rules allow. */
function* runsOf(segment: Uint8Array): Generator<Run> {
  const bytes = Buffer.from(segment.buffer, segment.byteOffset, segment.length);
  const count = segment.length / ENTRY_BYTES;
  for (let first = 0; first < count;) {
    let end = first + 1;
    const endMax = Math.min(count, first + BATCH_EVENTS_MAX);
    while (end < endMax && isOneBatch(bytes, first, end)) end += 1;
    yield [first, end];
    first = end;
  }
}

/** Hyper digest and time: all of an entry but its event digest. */
function isOneBatch(bytes: Buffer, one: number, other: number): boolean {
  const [oneAt, otherAt] = [one * ENTRY_BYTES, other * ENTRY_BYTES];
  return (
    bytes.compare(
      bytes,
      oneAt + DIGEST_BYTES,
      oneAt + ENTRY_BYTES,
      otherAt + DIGEST_BYTES,
      otherAt + ENTRY_BYTES,
    ) === 0
  );
}

function digestsOf(entries: Uint8Array): Uint8Array {
  const digests = new Uint8Array((entries.length / ENTRY_BYTES) * DIGEST_BYTES);
  for (let at = 0, to = 0; at < entries.length; at += ENTRY_BYTES, to += DIGEST_BYTES)
    digests.set(entries.subarray(at, at + DIGEST_BYTES), to);
  return digests;
}

function hyperDigestOf(entries: Uint8Array): Uint8Array {
  return entries.subarray(DIGEST_BYTES, 2 * DIGEST_BYTES);
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}
