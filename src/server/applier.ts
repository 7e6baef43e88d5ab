// Applies what the replicated log has committed, record after record, and tells those who proposed a record what it led to.
//
// One loop, from the last applied record on: after a start it works through what the database missed, by the same steps as ever after.
// What is applied is in the log, durably, and can be proven; so it is answered before it is in the database, where it comes with what follows it in
// the next moments.
// A database that cannot be written, or a log that cannot be read, ends the loop for good: `failure` says why, and who waits is told that
// the outcome is unknown, because the record is in the log and the next start will apply it.
// A database that catches up from peers jumps over records: `moved` says so, and who waits for one of them is told the same.
import { decodeLogItem } from '../balloon/record.ts';
import { QedError } from '../errors.ts';
import { type AppendOptions, type ReplicatedLog } from '../replication/replicated-log.ts';
import { type Applied, type DurableBalloon } from '../storage/durable-balloon.ts';

export interface ApplierOptions {
  readonly log: Pick<ReplicatedLog, 'append' | 'committed' | 'compact'>;
  readonly durable: Pick<DurableBalloon, 'applyAll' | 'flush'> & {
    readonly balloon: { readonly appliedIndex: number };
  };
  /** Record bytes until the database is made durable, and the log may forget them. */
  readonly syncBytes?: number;
  readonly onFailure: (failure: QedError) => void;
  /** A record was applied. Must not throw. */
  readonly onApplied?: (() => void) | undefined;
}

export interface Applier {
  /** Appends a record to the log; resolves when it is applied. */
  readonly propose: (payload: Uint8Array, options?: AppendOptions) => Promise<Applied>;
  /** Resolves when all records up to `index` are applied. */
  readonly reach: (index: number) => Promise<void>;
  /** The database got everything up to `index` from elsewhere. The loop was told by the log, and goes on behind it. */
  readonly moved: (index: number) => void;
  readonly failure: QedError | undefined;
  /** Ends the loop behind the record that is being applied. */
  readonly close: () => Promise<void>;
}

interface Waiter<Result> {
  readonly index: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: QedError) => void;
}

const SYNC_BYTES = 64 * 1024 * 1024;
/** How long what is applied may wait until it is written to the database. */
const WRITE_MS = 50;

export function startApplier(options: ApplierOptions): Applier {
  const { log, durable, syncBytes = SYNC_BYTES, onFailure } = options;
  const stop = new AbortController();
  let position = durable.balloon.appliedIndex;
  let unsyncedBytes = 0;
  let failure: QedError | undefined;
  let hasEnded = false;
  let writeTimer: NodeJS.Timeout | undefined;
  /** Appends on their way. While there are any, a record may be applied before its proposer has learned its index. */
  let proposing = 0;
  const early = new Map<number, Applied>();
  const waiters = new Map<number, Waiter<Applied>>();
  const reachers = new Set<Waiter<void>>();

  async function run(): Promise<void> {
    for await (const group of log.committed(position, { signal: stop.signal })) {
      const records = group.map(({ index, payload }) => ({ index, record: decodeLogItem(payload) }));
      for (let at = 0; at < group.length;) {
        for (const applied of await durable.applyAll(records.slice(at))) {
          unsyncedBytes += group[at]!.payload.length;
          settle(group[at]!.index, applied);
          at += 1;
        }
        writeTimer ??= setTimeout(write, WRITE_MS);
        if (stop.signal.aborted) return;
      }
      if (unsyncedBytes >= syncBytes) await compact();
    }
  }

  function settle(index: number, applied: Applied): void {
    position = index;
    const waiter = waiters.get(index);
    waiters.delete(index);
    if (waiter) waiter.resolve(applied);
    else if (proposing > 0) early.set(index, applied);
    tellReachers();
    options.onApplied?.();
  }

  function tellReachers(): void {
    for (const reacher of reachers) {
      if (reacher.index > position) continue;
      reachers.delete(reacher);
      reacher.resolve();
    }
  }

  function moved(index: number): void {
    if (index <= position) return;
    position = index;
    for (const waiter of waiters.values()) {
      if (waiter.index > index) continue;
      waiters.delete(waiter.index);
      waiter.reject(jumpedOver());
    }
    tellReachers();
    options.onApplied?.();
  }

  function write(): void {
    writeTimer = undefined;
    durable.flush().catch(fail);
  }

  /** First the database is durable, then the log may forget. */
  async function compact(): Promise<void> {
    const { appliedIndex } = durable.balloon;
    await durable.flush({ durable: true });
    unsyncedBytes = 0;
    await log.compact(appliedIndex);
  }

  function fail(error: unknown): void {
    if (failure) return;
    failure =
      error instanceof QedError ? error : new QedError('bug', 'a record cannot be applied', { cause: error });
    stop.abort();
    onFailure(failure);
  }

  /** Nobody is left waiting. */
  function end(): void {
    hasEnded = true;
    clearTimeout(writeTimer);
    for (const { reject } of waiters.values()) reject(unknownOutcome(failure));
    for (const { reject } of reachers)
      reject(failure ?? new QedError('store-closed', 'the node is stopping'));
    waiters.clear();
    reachers.clear();
  }

  async function propose(payload: Uint8Array, options: AppendOptions = {}): Promise<Applied> {
    if (hasEnded) throw new QedError('store-closed', 'records are not applied any more', { cause: failure });
    proposing += 1;
    try {
      const index = await log.append(payload, options);
      const applied = early.get(index);
      if (applied) return applied;
      return await new Promise((resolve, reject) => {
        if (hasEnded) reject(unknownOutcome(failure));
        else if (index <= position) reject(jumpedOver());
        else waiters.set(index, { index, resolve, reject });
      });
    } finally {
      proposing -= 1;
      if (proposing === 0) early.clear();
    }
  }

  const running = run().catch(fail).finally(end);

  return {
    propose,
    reach: (index) =>
      new Promise((resolve, reject) => {
        if (index <= position) resolve();
        else if (hasEnded) reject(failure ?? new QedError('store-closed', 'the node is stopping'));
        else reachers.add({ index, resolve, reject });
      }),
    moved,
    get failure() {
      return failure;
    },
    async close() {
      stop.abort();
      await running;
    },
  };
}

/** The record is applied, but what became of its requests is known to the peers alone. */
function jumpedOver(): QedError {
  return new QedError('outcome-unknown', 'the record came to this node among many that it had missed', {
    hint: 'Send it again with the same idempotency key, or look for the event first.',
  });
}

function unknownOutcome(failure: QedError | undefined): QedError {
  const why = failure ? failure.message : 'the node is stopping';
  return new QedError('outcome-unknown', `the record is in the log, but is not applied yet: ${why}`, {
    hint: 'The node applies it when it starts again. Look before sending it again.',
    cause: failure,
  });
}
