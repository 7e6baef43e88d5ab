// Hands the committed records to whoever applies them: each once, in order, in groups of what is there. While the database catches up from peers it
// hands out nothing, and goes on behind what the database then holds.
import { QedError } from '../errors.ts';
import { type Entry } from '../raft/message.ts';
import { type RaftStorage } from './raft-storage.ts';
import { type CommittedRecord } from './replicated-log.ts';

export interface DeliveryOptions {
  readonly storage: RaftStorage;
  /** The last record that the database had at the start. */
  readonly appliedIndex: number;
}

/** A group holds about so many bytes. */
const GROUP_BYTES = 8 * 1024 * 1024;

export class Delivery {
  readonly #storage: RaftStorage;
  #isPaused = false;
  #isOver = false;
  /** Groups that were handed out and are not done. */
  #applying = 0;
  #caughtUpTo = 0;
  #lastRecord: number;
  #wakers: (() => void)[] = [];

  constructor({ storage, appliedIndex }: DeliveryOptions) {
    this.#storage = storage;
    this.#lastRecord = this.#findLastRecord(appliedIndex);
  }

  /** The last committed record, as far as this life of the node knows; what the database had at its start is a record as well. */
  get lastRecord(): number {
    return this.#lastRecord;
  }

  /** Raft's own entries and membership changes are no records: nobody could wait until they are applied. */
  committed({ index, data }: Entry): void {
    if (data.length > 0) this.#lastRecord = Math.max(this.#lastRecord, index);
  }

  async *records(
    appliedIndex: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly CommittedRecord[]> {
    signal?.addEventListener('abort', this.wake);
    try {
      for (let at = appliedIndex; ;) {
        while (this.#isPaused || at >= this.#end) {
          if (this.#isOver || signal?.aborted) return;
          await this.#change();
          // The database may have caught up meanwhile.
          at = Math.max(at, this.#caughtUpTo);
        }
        if (this.#isOver || signal?.aborted) return;
        const { floor } = this.#storage.standing;
        if (at >= floor.database && at < floor.log) at = floor.log;
        if (at >= this.#end) continue;
        const entries = this.#read(at + 1);
        at += entries.length;
        const group = entries.flatMap(recordOf);
        if (group.length === 0) continue;
        this.#applying += 1;
        try {
          yield group;
        } finally {
          this.#applying -= 1;
          this.wake();
        }
      }
    } finally {
      signal?.removeEventListener('abort', this.wake);
    }
  }

  /** Resolves when all that was handed out is applied; no more is until `resume`. */
  async pause(signal: AbortSignal): Promise<void> {
    this.#isPaused = true;
    signal.addEventListener('abort', this.wake);
    while (this.#applying > 0 && !signal.aborted) await this.#change();
    signal.removeEventListener('abort', this.wake);
  }

  /** The database holds everything up to this record. */
  caughtUp(database: number): void {
    this.#caughtUpTo = database;
    this.#lastRecord = Math.max(this.#lastRecord, database);
  }

  resume(): void {
    this.#isPaused = false;
    this.wake();
  }

  /** There may be more to hand out. */
  readonly wake = (): void => {
    const wakers = this.#wakers;
    this.#wakers = [];
    for (const wake of wakers) wake();
  };

  end(): void {
    this.#isOver = true;
    this.wake();
  }

  /** Everything up to here is committed and can be read. */
  get #end(): number {
    return this.#storage.standing.index;
  }

  /** Of what was committed in earlier lives, behind what the database has. */
  #findLastRecord(appliedIndex: number): number {
    let last = appliedIndex;
    for (let at = Math.max(last + 1, this.#storage.firstIndex()); at <= this.#end;) {
      const entries = this.#storage.read(at, this.#end + 1, GROUP_BYTES);
      last = entries.flatMap(recordOf).at(-1)?.index ?? last;
      at += entries.length;
    }
    return last;
  }

  #read(next: number): readonly Entry[] {
    const first = this.#storage.firstIndex();
    if (next < first)
      throw new QedError('log-compacted', `record ${next} is needed, but the log begins at record ${first}`);
    return this.#storage.read(next, this.#end + 1, GROUP_BYTES);
  }

  /** Resolves at the next change that those who wait for records must look at. */
  #change(): Promise<void> {
    return new Promise((resolve) => this.#wakers.push(resolve));
  }
}

function recordOf({ type, index, term, data }: Entry): CommittedRecord[] {
  return type === 'EntryNormal' && data.length > 0 ? [{ index, term, payload: data }] : [];
}
