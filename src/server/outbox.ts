// The outbox: what becomes of signed snapshots after they exist. It follows the applied state from a stored cursor, not the requests, so a crash or a
// new leader repeats a publication and never skips one.
//
// Which snapshots are published is written down before they are, for good: that list is what agents ask for when gossip lost something
// (`GET /snapshots?from=`), and with the history digest beside each version it is the memory of what others have seen. A log that comes back with less
// than that, or with another history, was restored from an old copy: it must not sign again what it signed before, and does not start.
// Cadence: at once when idle, the newest state at most every 100 ms when busy, and the last one again when nothing happens, so that a log
// that stands still can be told from one that is gone.
import { type SignedSnapshot } from '../balloon/proof.ts';
import { concat, decodeUtf8, encodeU64, encodeUtf8, equalBytes, readU64 } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { type Store } from '../storage/store.ts';
import { withLines, type Collected } from './cosigning.ts';

export interface OutboxOptions {
  /** Of its own. It is closed with the outbox. */
  readonly store: Store;
  /** The last version of the log; undefined while it is empty. */
  readonly version: () => number | undefined;
  /** The signed snapshot of the record that ends with this version. */
  readonly signed: (version: number) => SignedSnapshot;
  /** Only one node of a cluster publishes. */
  readonly isLeader: () => boolean;
  /**
   * Asks others to vouch for a snapshot; what is published carries the lines that it resolves with. Where they are not complete it is published again
   * soon. When it rejects, nothing is published.
   */
  readonly cosign: (signedSnapshot: SignedSnapshot) => Promise<Collected>;
  readonly publish: (signedSnapshot: SignedSnapshot) => Promise<unknown>;
  readonly onFailure: (error: unknown) => void;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** Between two publications. */
  readonly cadenceMs?: number | undefined;
  /** After so long without a publication the last one is repeated. */
  readonly repeatMs?: number;
}

export interface Outbox {
  /** The log has grown, or this node leads now. */
  readonly notify: () => void;
  /** Another node has published this snapshot of our log, and it is ours as well. */
  readonly note: (signedSnapshot: SignedSnapshot, lines: string) => Promise<void>;
  /** What was published, in order: versions from `from` on, at most `limit`. */
  readonly published: (from: number, limit: number) => Promise<readonly Published[]>;
  /** Throws when the log does not continue what was published: `head-rollback` or `consistency-mismatch`. For a leader that has applied all there is. */
  readonly check: () => void;
  readonly figures: () => OutboxFigures;
  readonly close: () => Promise<void>;
}

export interface Published {
  readonly version: number;
  /** The cosignatures with which it was published last, a line each. */
  readonly lines: string;
}

export interface OutboxFigures {
  readonly published: number;
  readonly repeated: number;
  /** The last version that was published; undefined before the first. */
  readonly version: number | undefined;
}

const CADENCE_MS = 100;
const REPEAT_MS = 10_000;
const RETRY_MS = 1_000;

export async function openOutbox(options: OutboxOptions): Promise<Outbox> {
  const { store, now, cadenceMs = CADENCE_MS, repeatMs = REPEAT_MS } = options;
  let cursor = await lastPublished(store);
  if (cursor !== undefined && options.isLeader()) {
    try {
      checkContinues(cursor, options);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  let repeats = 0;
  let publications = 0;
  let publishedAt = -Infinity;
  const stop = new AbortController();
  let wake: () => void = () => undefined;
  let isAwake = false;

  const isStopped = (): boolean => stop.signal.aborted;

  function notify(): void {
    isAwake = true;
    wake();
  }

  /** Until there may be something to do, or so long has passed. */
  async function rest(milliseconds: number, isUntilNotified: boolean): Promise<void> {
    if ((isUntilNotified && isAwake) || isStopped()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        if (!isUntilNotified && !isStopped()) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function record({ snapshot }: SignedSnapshot, lines: string): Promise<void> {
    const { version, historyDigest } = snapshot;
    // Said again with fewer cosignatures, it keeps those that it had.
    const isFirst = store.get(encodeU64(version)) === undefined;
    if (isFirst || lines.length >= linesAt(store, version).length) {
      const value = concat(historyDigest, encodeUtf8(lines));
      await store.write([{ type: 'put', key: encodeU64(version), value }]);
    }
    if (cursor === undefined || version > cursor) cursor = version;
  }

  /** One look at the log; says how long it may rest now. */
  async function step(): Promise<number> {
    isAwake = false;
    const version = options.version();
    if (version === undefined || !options.isLeader()) return repeatMs;
    if (cursor === undefined || version > cursor) {
      await vouchAndSend(version);
      publications += 1;
      return 0;
    }
    if (version < cursor) return repeatMs;
    if (untilRepeat() > 0) return untilRepeat();
    await vouchAndSend(cursor);
    repeats += 1;
    return Math.max(1, untilRepeat());
  }

  const untilRepeat = (): number => publishedAt + repeatMs - now();

  /** What others vouch for now is written down with it: a repetition brings cosignatures of its own time. */
  async function vouchAndSend(version: number): Promise<void> {
    const signedSnapshot = options.signed(version);
    const { lines, isComplete } = await options.cosign(signedSnapshot);
    if (isStopped()) return;
    await record(signedSnapshot, lines);
    send(withLines(signedSnapshot, lines));
    if (!isComplete) repeatSoon();
  }

  /** Nobody waits for the network. What did not leave is repeated soon. */
  function send(signedSnapshot: SignedSnapshot): void {
    publishedAt = now();
    options.publish(signedSnapshot).catch((error: unknown) => {
      options.onFailure(error);
      repeatSoon();
      notify();
    });
  }

  function repeatSoon(): void {
    publishedAt = Math.min(publishedAt, now() - repeatMs + RETRY_MS);
  }

  async function run(): Promise<void> {
    while (!isStopped()) {
      try {
        const restMs = await step();
        if (restMs > 0) await rest(restMs, true);
        else await rest(cadenceMs, false);
      } catch (error) {
        if (isStopped()) return;
        options.onFailure(error);
        await rest(RETRY_MS, false);
      }
    }
  }

  /** What was written down last may not have left: it goes first. */
  function begin(): void {
    const version = options.version();
    if (cursor === undefined || version === undefined || version <= cursor || !options.isLeader()) return;
    send(withLines(options.signed(cursor), linesAt(store, cursor)));
  }

  begin();
  const running = run();

  return {
    notify,
    async note(signedSnapshot, lines) {
      if (!isStopped()) await record(signedSnapshot, lines);
    },
    async published(from, limit) {
      const list: Published[] = [];
      for await (const [key, value] of store.range({ from: encodeU64(from), limit }))
        list.push({ version: versionOf(key), lines: linesOf(value) });
      return list;
    },
    check() {
      if (cursor !== undefined) checkContinues(cursor, options);
    },
    figures: () => ({ published: publications, repeated: repeats, version: cursor }),
    async close() {
      stop.abort();
      wake();
      await running;
      await store.close();
    },
  };
}

async function lastPublished(store: Store): Promise<number | undefined> {
  for await (const [key] of store.range({ reverse: true, limit: 1 })) return versionOf(key);
  return undefined;
}

function checkContinues(cursor: number, { store, version, signed }: OutboxOptions): void {
  const last = version() ?? -1;
  if (last < cursor) {
    throw new QedError(
      'head-rollback',
      `the log ends at version ${last}, but version ${cursor} was published`,
      {
        hint: 'The data was restored from an older copy. Restore a newer one, or begin another log with another key.',
      },
    );
  }
  const seen = store.get(encodeU64(cursor));
  assert(seen !== undefined, 'the last published version is not there');
  if (equalBytes(signed(cursor).snapshot.historyDigest, seen.subarray(0, DIGEST_BYTES))) return;
  throw new QedError(
    'consistency-mismatch',
    `another history was published for version ${cursor} than this log has`,
    {
      hint: 'The data is of another log with the same key. Find the data that belongs to what was published.',
    },
  );
}

function linesAt(store: Store, version: number): string {
  const value = store.get(encodeU64(version));
  return value === undefined ? '' : linesOf(value);
}

function linesOf(value: Uint8Array): string {
  return decodeUtf8(value.subarray(DIGEST_BYTES)) ?? '';
}

function versionOf(key: Uint8Array): number {
  const version = readU64(key);
  if (version === undefined) throw new QedError('store-corrupt', 'the outbox holds a key that is no version');
  return version;
}
