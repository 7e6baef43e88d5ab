// The Raft log on disk: entries and hard state on the log of wal.ts, and the standing (members.ts) as its note.
//
// A save is durable when it resolves, saves resolve in the order of the calls, and those that wait go to disk together. A change of nothing but
// the commit index waits for the next save: it is learned again after a crash. What was saved lately stays in memory, so that
// neither replication nor applying reads the disk in the usual course.
import { assert, QedError } from '../errors.ts';
import { type Membership } from '../raft/membership.ts';
import {
  entrySize,
  limitSize,
  type Entry,
  type EntryType,
  type HardState,
  type RaftSnapshot,
} from '../raft/message.ts';
import { type LogStorage } from '../raft/storage.ts';
import { formatStanding, formatTable, parseTable, type Standing } from './members.ts';
import { type Wal, type WalRecord } from './wal.ts';

export interface Save {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: RaftSnapshot | undefined;
}

export interface Tail {
  /** How much of what is applied stays for members that are behind. */
  readonly records: number;
  readonly bytes: number;
}

const TYPES: readonly EntryType[] = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'];
const CACHE_BYTES = 16 * 1024 * 1024;
const CACHE_ENTRIES = 16_384;
const READ_BYTES = 8 * 1024 * 1024;

export class RaftStorage implements LogStorage {
  readonly #wal: Wal;
  #standing: Standing;
  /** The last one that went to the disk, except that its commit index may have moved on since. */
  #hardState: HardState;
  /** The last record that the database holds which is told to hold all up to the next Raft snapshot. */
  #database = 0;
  #saved: Promise<void> = Promise.resolve();
  #cache: Entry[] = [];
  #cacheBytes = 0;

  /** `standing` as of the last entry that was applied in an earlier life, or as the log began. */
  constructor(wal: Wal, standing: Standing) {
    this.#wal = wal;
    this.#standing = standing;
    // What is applied was committed, even where the note of that was lost.
    this.#hardState = { ...wal.hardState, commit: Math.max(wal.hardState.commit, standing.index) };
  }

  // --- what the core reads

  initialState(): { readonly hardState: HardState; readonly membership: Membership } {
    return { hardState: this.#hardState, membership: this.#standing.membership };
  }

  firstIndex(): number {
    return this.#wal.firstIndex;
  }

  lastIndex(): number {
    return this.#wal.last.index;
  }

  term(index: number): number | undefined {
    return index + 1 < this.firstIndex() ? undefined : this.#wal.termAt(index);
  }

  entries(from: number, to: number, maxSize: number): readonly Entry[] | undefined {
    return from < this.firstIndex() ? undefined : this.read(from, to, maxSize);
  }

  /** Of the present standing: nothing else of the state machine travels in it. */
  snapshot(): RaftSnapshot | undefined {
    const { index, term, membership, table } = this.#standing;
    return index === 0 ? undefined : { index, term, membership, data: formatTable(table) };
  }

  // --- what the driver reads

  get standing(): Standing {
    return this.#standing;
  }

  get failure(): QedError | undefined {
    return this.#wal.failure;
  }

  /** Entries [from, to) on disk, within `maxSize` but at least one. */
  read(from: number, to: number, maxSize: number): readonly Entry[] {
    const cached = this.#cached(from, to);
    if (cached !== undefined) return limitSize(cached, maxSize);
    const entries: Entry[] = [];
    let size = 0;
    for (let next = from; next < to && size <= maxSize;) {
      const records = this.#wal.read(next, to - 1, Math.min(maxSize, READ_BYTES));
      entries.push(...records.map(toEntry));
      next += records.length;
      size += records.reduce((sum, { payload }) => sum + payload.length, 0);
      if (size >= READ_BYTES) break;
    }
    return limitSize(entries, maxSize);
  }

  // --- writing

  save({ hardState, entries, snapshot }: Save): Promise<void> {
    if (snapshot !== undefined) this.#install(snapshot);
    const before = this.#hardState;
    const { term, vote } = hardState ?? before;
    this.#hardState = { term, vote, commit: Math.max(before.commit, hardState?.commit ?? 0) };
    const isNews =
      snapshot !== undefined || entries.length > 0 || term !== before.term || vote !== before.vote;
    if (!isNews) return this.#saved;
    const first = entries[0];
    if (first !== undefined) this.#forget(first.index);
    return this.#write(this.#wal.append(entries.map(toRecord), this.#hardState), entries);
  }

  /** Durable before the database gets the first record that this log may not have. */
  beginCatchUp(): Promise<void> {
    this.#standing = { ...this.#standing, isCatchingUp: true };
    return this.#write(this.#wal.append([], undefined, formatStanding(this.#standing)), []);
  }

  /** A standing that moved on: kept at once when members changed, otherwise with the next compaction. */
  advance(standing: Standing): void {
    const isNews =
      standing.membership !== this.#standing.membership || standing.table !== this.#standing.table;
    this.#standing = standing;
    if (isNews) this.#note(this.#wal.append([], undefined, formatStanding(standing)));
  }

  /** Drops what is applied up to `index`, durably, except for a tail. */
  async compact(index: number, tail: Tail): Promise<void> {
    const to = this.#tailStart(Math.min(index, this.#standing.index), tail);
    if (to <= this.#wal.firstIndex) return;
    const { isCatchingUp } = this.#standing;
    this.#standing = { ...this.#standing, isCatchingUp: isCatchingUp && index > this.#standing.index };
    await this.#wal.append([], undefined, formatStanding(this.#standing));
    await this.#wal.compact(to);
  }

  /** To be said before a Raft snapshot is saved: the database holds everything up to it, and its last record is this one. */
  expectSnapshot(database: number): void {
    this.#database = database;
  }

  async close(): Promise<void> {
    const state = this.#hardState;
    const { failure, last, hardState } = this.#wal;
    if (failure === undefined && state.commit > hardState.commit && state.commit <= last.index)
      await this.#wal.append([], state).catch(() => undefined);
    await this.#saved.catch(() => undefined);
    await this.#wal.close();
  }

  /** The log becomes the Raft snapshot, in one write with the hard state and the entries that are saved with it. */
  #install({ index, term, membership, data }: RaftSnapshot): void {
    const table = parseTable(data);
    assert(table !== undefined, 'a Raft snapshot without members');
    const floor = { database: this.#database, log: index };
    const standing = {
      ...this.#standing,
      index,
      term,
      membership,
      table,
      seeds: [],
      floor,
      isCatchingUp: false,
    };
    this.#forget(0);
    const reset = this.#wal.reset({ index, term }, formatStanding(standing));
    this.#note(reset.then(() => void (this.#standing = standing)));
  }

  /** Whoever saves next learns when this has failed. */
  #note(written: Promise<void>): void {
    void this.#write(written, []).catch(() => undefined);
  }

  #write(written: Promise<void>, entries: readonly Entry[]): Promise<void> {
    const done = written.then(() => this.#remember(entries));
    this.#saved = done;
    return done;
  }

  #tailStart(index: number, { records, bytes }: Tail): number {
    const lowest = Math.max(this.#wal.firstIndex, index - records);
    let start = index;
    for (let kept = 0; start > lowest && kept < bytes; start--) kept += this.#wal.bytesOf(start);
    return start;
  }

  // --- the cache: consecutive entries, the last ones that were saved

  #cached(from: number, to: number): readonly Entry[] | undefined {
    const first = this.#cache[0]?.index;
    if (first === undefined || from < first || to > first + this.#cache.length) return undefined;
    return this.#cache.slice(from - first, to - first);
  }

  #forget(from: number): void {
    const first = this.#cache[0]?.index ?? 0;
    for (const entry of this.#cache.splice(Math.max(0, from - first))) this.#cacheBytes -= entrySize(entry);
  }

  #remember(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first === undefined) return;
    const last = this.#cache.at(-1);
    if (last !== undefined && last.index + 1 !== first.index)
      this.#forget(last.index + 1 < first.index ? 0 : first.index);
    for (const entry of entries) {
      this.#cache.push(entry);
      this.#cacheBytes += entrySize(entry);
    }
    if (this.#cacheBytes <= CACHE_BYTES && this.#cache.length <= CACHE_ENTRIES) return;
    const keep = this.#cache.slice(this.#cache.length / 2);
    this.#cache = keep;
    this.#cacheBytes = keep.reduce((sum, entry) => sum + entrySize(entry), 0);
  }
}

function toRecord({ type, index, term, data }: Entry): WalRecord {
  return { type: TYPES.indexOf(type), index, term, payload: data };
}

function toEntry({ type, index, term, payload }: WalRecord): Entry {
  const name = TYPES[type];
  if (name === undefined)
    throw new QedError(
      'store-corrupt',
      `record ${index} of the log has type ${type}, which this version does not know`,
    );
  return { type: name, index, term, data: payload };
}
