// The balloon on a store: plan, one atomic write, commit. And recovery, which is the same path: open the trees from the stored bytes,
// load the image of the hyper tree, replay the entries after it, and compare with the digest that the last entry carries.
//
// It promises: when `apply` resolves, the record is written durably, and visible; until then nobody sees a part of it.
// When a write fails its outcome is unknown: nothing of it is shown, and every later `apply` is refused until the log is opened again.
// Of several records, or batches of a peer, that go into one write, those before the last are shown a moment before it: they are committed, or
// under a signed digest, already.
//
// Where the records can be had again from a log of one's own (`durable: false`), they are committed when they come here. Then `apply` resolves
// when the record is visible, and what it writes is gathered until `flush`: most rows of the history tree's end are replaced a few records later,
// and never reach the disk. What a crash loses of it is applied again. Nothing is lost from the middle: one write has it all or nothing.
//
// Two marks outlive a restart. While batches of a peer are adopted, the table of requests is not that of the trees: no record may be applied before
// it is replaced. And a node whose digests differ from its cluster's applies nothing more, ever.
import { Balloon, batchIndex, batchKey, batchKeyVersion } from '../balloon/balloon.ts';
import { type Snapshot } from '../balloon/proof.ts';
import { type Comparison, type Record } from '../balloon/record.ts';
import { Requests, requestsFrom, requestsTo, type Outcome } from '../balloon/requests.ts';
import { encodeHex, encodeUtf8, equalBytes, decodeUtf8 } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { decodeEntry, encodeEntries, ENTRY_BYTES } from '../history/entry.ts';
import { type HistoryReader } from '../history/layout.ts';
import { gatherWrites } from './gathered.ts';
import { type ImageWriter } from './image.ts';
import { openHyper, type BalloonEvent } from './open-hyper.ts';
import { type Range, type Store, type Write } from './store.ts';

export { type BalloonEvent } from './open-hyper.ts';

export interface DurableBalloonOptions {
  readonly store: Store;
  readonly hash: Hash;
  /** Where the image of the hyper tree is kept. Without it every opening replays all entries. */
  readonly imagePath?: string;
  /** False where the records can be had again from a log of one's own: then they are written by `flush`, without waiting for the disk. */
  readonly durable?: boolean;
  /** What an operator should know: progress of a long opening, an image that is damaged or cannot be written. */
  readonly onEvent?: (event: BalloonEvent) => void;
}

export interface Applied {
  /** The state after the record. */
  readonly snapshot: Snapshot;
  /** What became of each request of the record. */
  readonly outcomes: readonly Outcome[];
}

export interface NextRecord {
  readonly index: number;
  readonly record: Record | Comparison;
}

/** A batch as a peer hands it over. */
export interface ForeignBatch {
  readonly index: number;
  /** 72 bytes each, one after the other. Whoever adopts them has found them to be under a signed history digest. */
  readonly entries: Uint8Array;
}

export interface BatchEnd {
  readonly version: number;
  readonly index: number;
}

export interface DurableBalloon {
  /** For questions. Only `apply` and `adopt` may change it. */
  readonly balloon: Omit<Balloon, 'plan' | 'commit' | 'discard'>;
  /**
   * Applies the next record of the replicated log; one at a time. `alsoWrite` goes into the same atomic write. A comparison changes nothing;
   * where it does not fit it is `diverged`, and so is every later call.
   */
  readonly apply: (
    index: number,
    record: Record | Comparison,
    alsoWrite?: readonly Write[],
  ) => Promise<Applied>;
  /** Applies the next records, as many from the front as make one write, at least one. A comparison stands alone. */
  readonly applyAll: (records: readonly NextRecord[]) => Promise<readonly Applied[]>;
  /**
   * Takes the next batches from a peer instead of records, all in one write. `hyper-mismatch` when the trees do not lead to what the entries of
   * one of them hold; those before it are adopted.
   */
  readonly adopt: (batches: readonly ForeignBatch[]) => Promise<void>;
  /** Writes what is gathered; with `durable` everything applied so far survives a crash of the machine when it resolves. */
  readonly flush: (options?: { readonly durable: boolean }) => Promise<void>;
  /** Ends the adopting of batches with the peer's table of requests, all of it durable. False when that is no table for this log. */
  readonly endAdoption: (requestRows: Uint8Array) => Promise<boolean>;
  /** Whether batches were adopted and the table of requests is still missing. */
  readonly isAdopting: boolean;
  /** Why this node must not serve any more: its digests are not those of its cluster. */
  readonly divergence: QedError | undefined;
  /** The table of requests that belongs to the present state. */
  readonly requestRows: () => Uint8Array;
  /** The batches that end at `from` and later, but before `to`. */
  readonly batchEnds: (from: number, to: number, limit: number) => Promise<readonly BatchEnd[]>;
  /** The version that ends the batch of `version`: its snapshot is the first that covers it. */
  readonly batchEnd: (version: number) => Promise<number>;
  readonly close: () => Promise<void>;
}

/** Events that go into one write, one record more or less. Until it begins, nothing else runs: some tens of milliseconds. */
export const GROUP_EVENTS = 4_096;
/** As much is gathered at most, one group more or less. */
const GATHERED_BYTES = 1024 * 1024;

/** One record of several that go into one write. */
interface Step {
  readonly applied: Applied;
  readonly show: () => void;
  readonly forget: () => void;
}

function nothing(): void {
  // A record that changes nothing has nothing to show or forget.
}

export async function openDurableBalloon(options: DurableBalloonOptions): Promise<DurableBalloon> {
  const { store, hash } = options;
  const gathered = gatherWrites(store);
  const { balloon, image } = openTrees(options, gathered);
  const requests = new Requests(hash);
  for await (const [key, value] of store.range({ from: requestsFrom, to: requestsTo }))
    requests.load(key, value);
  const durable = options.durable ?? true;
  let failure: unknown;
  let isAdopting = store.get(ADOPTING_KEY) !== undefined;
  let divergence = readDivergence(store.get(DIVERGED_KEY));

  function checkWhole(): void {
    if (divergence) throw divergence;
    if (failure === undefined) return;
    throw new QedError(
      'store-closed',
      'an earlier write failed, so its outcome is unknown; open the log again',
      { cause: failure },
    );
  }

  async function apply(
    index: number,
    record: Record | Comparison,
    alsoWrite: readonly Write[] = [],
  ): Promise<Applied> {
    const [applied] = await applyAll([{ index, record }], alsoWrite);
    assert(applied !== undefined, 'a record was not applied');
    return applied;
  }

  async function applyAll(
    records: readonly NextRecord[],
    alsoWrite: readonly Write[] = [],
  ): Promise<readonly Applied[]> {
    checkWhole();
    assert(!isAdopting, 'a record is applied before the batches of a peer are all adopted');
    const steps: Step[] = [];
    const sizeBefore = balloon.size;
    for (const { index, record } of records) {
      if ('historyDigest' in record && steps.length > 0) break;
      if ('historyDigest' in record) return [await compare(index, record)];
      if (balloon.size - sizeBefore >= GROUP_EVENTS) break;
      steps.at(-1)?.show();
      try {
        steps.push(take(index, record));
      } catch (error) {
        // Its turn comes again, alone, when those before it are written.
        if (steps.length === 0) throw error;
        break;
      }
    }
    const last = steps.at(-1);
    gathered.add(alsoWrite);
    if (!durable) last?.show();
    if (durable || gathered.bytes > GATHERED_BYTES)
      await flush().catch((error: unknown) => {
        last?.forget();
        throw error;
      });
    last?.show();
    image?.follow(balloon.hyper);
    return steps.map(({ applied }) => applied);
  }

  /** Gathers what a record writes. It is seen by nobody before `show`, and the next record comes only then. */
  function take(index: number, record: Record): Step {
    const sorted = requests.sort(record.requests, balloon.size);
    const { outcomes } = sorted;
    const { snapshot: before } = balloon;
    if (before !== undefined && sorted.eventDigests.length === 0)
      return { applied: { snapshot: before, outcomes }, show: nothing, forget: nothing };
    // A new leader's clock may be behind the last one's. Every node sees the same two times, so every node decides alike.
    const time = Math.max(record.time, before?.time ?? 0);
    const plan = balloon.plan({ index, time, eventDigests: sorted.eventDigests });
    gathered.add([...plan.writes, ...sorted.writes]);
    let isShown = false;
    return {
      applied: { snapshot: plan.snapshot, outcomes },
      show() {
        if (isShown) return;
        isShown = true;
        balloon.commit(plan);
        requests.commit(sorted);
      },
      forget() {
        if (!isShown) balloon.discard();
      },
    };
  }

  async function compare(index: number, theirs: Comparison): Promise<Applied> {
    const { version } = theirs;
    const own = version < balloon.size ? balloon.snapshotAt(version).snapshot : undefined;
    const { snapshot } = balloon;
    const isSame =
      own !== undefined &&
      equalBytes(own.historyDigest, theirs.historyDigest) &&
      equalBytes(own.hyperDigest, theirs.hyperDigest);
    if (isSame && snapshot) return { snapshot, outcomes: [] };
    const text = describeDivergence(index, own, theirs);
    divergence = diverged(text);
    gathered.add([{ type: 'put', key: DIVERGED_KEY, value: encodeUtf8(text) }]);
    await flush({ durable: true });
    throw divergence;
  }

  async function adopt(batches: readonly ForeignBatch[]): Promise<void> {
    checkWhole();
    try {
      for (const batch of batches) adoptOne(batch);
    } finally {
      await flush();
      image?.follow(balloon.hyper);
    }
  }

  function adoptOne({ index, entries }: ForeignBatch): void {
    const isWhole = entries.length > 0 && entries.length % ENTRY_BYTES === 0;
    const time = isWhole ? decodeEntry(entries.subarray(0, ENTRY_BYTES))?.time : undefined;
    if (time === undefined) throw new QedError('proof-malformed', 'a batch of a peer that holds no entries');
    const plan = balloon.plan({ index, time, eventDigests: digestsOf(entries) });
    const { hyperDigest } = plan.snapshot;
    if (!equalBytes(encodeEntries({ eventDigests: digestsOf(entries), time, hyperDigest }), entries)) {
      balloon.discard();
      throw new QedError(
        'hyper-mismatch',
        `the batch from version ${plan.versionFirst} on leads to the hyper digest ${encodeHex(hyperDigest)}, not to that in its entries`,
      );
    }
    gathered.add([...plan.writes, { type: 'put', key: ADOPTING_KEY, value: Uint8Array.of(1) }]);
    balloon.commit(plan);
    isAdopting = true;
  }

  async function flush(options = { durable }): Promise<void> {
    try {
      await gathered.flush(options);
    } catch (error) {
      failure = error;
      throw error;
    }
  }

  /** Ranges are read from the store itself, so what is gathered has to be there. */
  async function* range(range: Range): ReturnType<Store['range']> {
    await flush({ durable: false });
    yield* store.range(range);
  }

  async function endAdoption(requestRows: Uint8Array): Promise<boolean> {
    checkWhole();
    const rows = Requests.replacement(requestRows, balloon.size);
    if (!rows) return false;
    const writes: Write[] = [{ type: 'del', key: ADOPTING_KEY }];
    for await (const [key] of range({ from: requestsFrom, to: requestsTo }))
      writes.push({ type: 'del', key });
    for (const { key, value } of rows) writes.push({ type: 'put', key, value });
    gathered.add(writes);
    await flush({ durable: true });
    isAdopting = false;
    requests.clear();
    for (const { key, value } of rows) requests.load(key, value);
    return true;
  }

  async function batchEnds(from: number, to: number, limit: number): Promise<readonly BatchEnd[]> {
    const ends: BatchEnd[] = [];
    for await (const [key, value] of range({ from: batchKey(from), to: batchKey(to), limit })) {
      const [version, index] = [batchKeyVersion(key), batchIndex(value)];
      if (version === undefined || index === undefined)
        throw new QedError('store-corrupt', 'the stored log is damaged: the end of a batch cannot be read');
      ends.push({ version, index });
    }
    return ends;
  }

  async function batchEnd(version: number): Promise<number> {
    balloon.checkVersion(version);
    for await (const [key] of range({ from: batchKey(version), limit: 1 })) {
      const end = batchKeyVersion(key);
      if (end !== undefined && end < balloon.size) return end;
    }
    throw new QedError(
      'store-corrupt',
      `the stored log is damaged: it does not say where the batch of ${version} ends`,
    );
  }

  return {
    balloon,
    apply,
    applyAll,
    adopt,
    flush,
    endAdoption,
    get isAdopting() {
      return isAdopting;
    },
    get divergence() {
      return divergence;
    },
    requestRows: () => requests.rows(),
    batchEnds,
    batchEnd,
    async close() {
      await image?.close();
      // What cannot be written is applied again from the log.
      await flush({ durable: false }).catch(() => undefined);
      await store.close();
    },
  };
}

// 'b' 'a' while batches of a peer are adopted; 'b' 'd' once the digests differed: the text that says so.
const ADOPTING_KEY = Uint8Array.of(0x62, 0x61);
const DIVERGED_KEY = Uint8Array.of(0x62, 0x64);

function readDivergence(text: Uint8Array | undefined): QedError | undefined {
  return text && diverged(decodeUtf8(text) ?? 'an unreadable mark');
}

function diverged(text: string): QedError {
  return new QedError('diverged', `this node computed other digests than its cluster: ${text}`, {
    hint: 'Stop it, and get its data from the cluster: qed rebuild. What is here now is set aside.',
  });
}

function describeDivergence(
  index: number,
  own: Pick<Snapshot, 'historyDigest' | 'hyperDigest'> | undefined,
  { version, historyDigest, hyperDigest }: Comparison,
): string {
  const show = (history: Uint8Array, hyper: Uint8Array): string =>
    `${encodeHex(history)}, ${encodeHex(hyper)}`;
  const ours = own ? show(own.historyDigest, own.hyperDigest) : 'nothing';
  return `record ${index} compares version ${version}; here ${ours}; there ${show(historyDigest, hyperDigest)}`;
}

function digestsOf(entries: Uint8Array): Uint8Array {
  const digests = new Uint8Array((entries.length / ENTRY_BYTES) * DIGEST_BYTES);
  for (let at = 0; at < entries.length; at += ENTRY_BYTES)
    digests.set(entries.subarray(at, at + DIGEST_BYTES), (at / ENTRY_BYTES) * DIGEST_BYTES);
  return digests;
}

/** Opens both trees; `reader` shows what is in the store. */
function openTrees(
  { hash, imagePath, onEvent = () => undefined }: DurableBalloonOptions,
  reader: HistoryReader,
): { readonly balloon: Balloon; readonly image: ImageWriter | undefined } {
  let image: ImageWriter | undefined;
  const balloon = Balloon.open(hash, reader, (view) => {
    const opened = openHyper(view, imagePath, onEvent);
    image = opened.image;
    return opened.hyper;
  });
  return { balloon, image };
}
