// A replicated log of one member: its own log on disk is the majority, so durable is committed, and it leads from the start, in a term of its own.
// Records are not held back for each other: each goes to disk with the group that gathers while the one before is fsynced.
import { randomBytes } from 'node:crypto';
import { assert, QedError } from '../errors.ts';
import { nodeDisk, type Disk } from './disk.ts';
import { type CommittedRecord, type LogStatus, type ReplicatedLog } from './replicated-log.ts';
import { RECORD_BYTES_MAX } from './segment.ts';
import { openWal, type Wal, type WalOptions } from './wal.ts';

export interface SingleLogOptions extends Pick<WalOptions, 'directory' | 'segmentBytes'> {
  readonly nodeId: string;
  readonly disk?: Disk;
  readonly random?: WalOptions['random'];
  /** Payload bytes that may wait to be committed; more is `busy`. */
  readonly waitingBytesMax?: number;
}

const WAITING_BYTES_MAX = 64 * 1024 * 1024;
const WAITING_RECORDS_MAX = 65_536;
/** A group for the consumer holds about so many bytes. */
const COMMITTED_BYTES = 8 * 1024 * 1024;
/** The member's own number in the hard state. */
const SELF = 1;
const DATA = 0;

export async function openSingleLog({
  directory,
  nodeId,
  disk = nodeDisk,
  random = randomBytes,
  waitingBytesMax = WAITING_BYTES_MAX,
  ...rest
}: SingleLogOptions): Promise<ReplicatedLog> {
  const wal = await openWal({ directory, disk, random, ...rest });
  const term = Math.max(wal.hardState.term, wal.last.term) + 1;
  try {
    await wal.append([], { term, vote: SELF, commit: wal.last.index });
  } catch (error) {
    await wal.close();
    throw error;
  }
  return new SingleLog(wal, nodeId, waitingBytesMax);
}

class SingleLog implements ReplicatedLog {
  readonly repair: string | undefined;
  readonly #wal: Wal;
  readonly #nodeId: string;
  readonly #waitingBytesMax: number;
  readonly #term: number;
  #nextIndex: number;
  #waitingBytes = 0;
  #waitingRecords = 0;
  #leads = true;
  #isClosed = false;
  /** Wake those who wait for records, when there are more, or none will ever come. */
  readonly #wakers = new Set<() => void>();
  readonly #listeners = new Set<(status: LogStatus) => void>();

  constructor(wal: Wal, nodeId: string, waitingBytesMax: number) {
    this.#wal = wal;
    this.#nodeId = nodeId;
    this.#waitingBytesMax = waitingBytesMax;
    this.#term = wal.hardState.term;
    this.#nextIndex = wal.last.index + 1;
    const { cut } = wal;
    this.repair =
      cut && `cut ${cut.bytes} bytes of an unfinished write off ${cut.path} at byte ${cut.offset}`;
  }

  async append(payload: Uint8Array, { signal }: { readonly signal?: AbortSignal } = {}): Promise<number> {
    this.#admit(payload, signal);
    const index = this.#nextIndex++;
    const durable = this.#write(index, payload);
    await (signal ? unlessAborted(durable, signal) : durable);
    return index;
  }

  async *committed(
    appliedIndex: number,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<readonly CommittedRecord[]> {
    const { last } = this.#wal;
    if (appliedIndex > last.index)
      throw new QedError(
        'store-corrupt',
        `the database has applied record ${appliedIndex}, but the log ends at record ${last.index}`,
        {
          hint: 'The log lost acknowledged records or belongs to other data. Put the right directory back, or rebuild this node.',
        },
      );
    for (let next = appliedIndex + 1; ;) {
      while (next > this.#wal.last.index && !this.#isClosed && !signal?.aborted) await this.#change(signal);
      if (this.#isClosed || signal?.aborted) return;
      const group = this.#read(next);
      next += group.length;
      yield group;
    }
  }

  compact(index: number): Promise<void> {
    return this.#orStepDown(this.#wal.compact(index));
  }

  status(): LogStatus {
    return {
      nodeId: this.#nodeId,
      role: this.#leads ? 'leader' : 'follower',
      leaderId: this.#leads ? this.#nodeId : undefined,
      term: this.#term,
      committedIndex: this.#wal.last.index,
      firstIndex: this.#wal.firstIndex,
      lastIndex: this.#wal.last.index,
      members: [{ nodeId: this.#nodeId, isVoter: true }],
      failure: this.#wal.failure,
    };
  }

  onLeadership(listener: (status: LogStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    this.#stepDown();
    await this.#wal.close();
  }

  #admit(payload: Uint8Array, signal: AbortSignal | undefined): void {
    if (this.#isClosed) throw new QedError('store-closed', 'the log is closed');
    if (payload.length > RECORD_BYTES_MAX)
      throw new QedError(
        'batch-too-large',
        `a record holds at most ${RECORD_BYTES_MAX} bytes, not ${payload.length}`,
      );
    if (signal?.aborted)
      throw new QedError('busy', 'the caller gave up before its record was proposed', {
        cause: signal.reason,
      });
    const isFull = this.#waitingBytes + payload.length > this.#waitingBytesMax && this.#waitingRecords > 0;
    if (isFull || this.#waitingRecords >= WAITING_RECORDS_MAX)
      throw new QedError('busy', `${this.#waitingRecords} records wait to be written`, {
        hint: 'Try again soon.',
      });
  }

  async #write(index: number, payload: Uint8Array): Promise<void> {
    this.#waitingBytes += payload.length;
    this.#waitingRecords += 1;
    try {
      await this.#orStepDown(this.#wal.append([{ type: DATA, index, term: this.#term, payload }]));
      this.#wake();
    } finally {
      this.#waitingBytes -= payload.length;
      this.#waitingRecords -= 1;
    }
  }

  async #orStepDown(change: Promise<void>): Promise<void> {
    try {
      await change;
    } catch (error) {
      if (this.#wal.failure) this.#stepDown();
      throw error;
    }
  }

  #read(next: number): readonly CommittedRecord[] {
    const { firstIndex, last } = this.#wal;
    if (next < firstIndex)
      throw new QedError(
        'log-compacted',
        `record ${next} is needed, but the log begins at record ${firstIndex}`,
      );
    const records = this.#wal.read(next, last.index, COMMITTED_BYTES);
    assert(
      records.every(({ type, index }, at) => type === DATA && index === next + at),
      'a record that is not ours',
    );
    return records;
  }

  /** Resolves at the next change that those who wait for records must look at. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wakers.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal?.addEventListener('abort', wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  #stepDown(): void {
    if (!this.#leads) return;
    this.#leads = false;
    for (const listener of this.#listeners) listener(this.status());
  }
}

/** Whoever gives up on the way does not learn the outcome; the record goes its way. */
function unlessAborted(durable: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void =>
      reject(
        new QedError('outcome-unknown', 'the caller gave up while its record was on its way', {
          cause: signal.reason,
        }),
      );
    signal.addEventListener('abort', giveUp, { once: true });
    void durable.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
