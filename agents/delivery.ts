// Delivers a queue to one receiver: in order, at least once, with a stored place, and again for ever when it fails. One that fails holds up nobody else.
// The place is stored after the receiver has everything before it; a kill in between repeats the last batch.
import { encodeU64, encodeUtf8, concat, readU64 } from '../src/crypto/encoding.ts';
import { type Store } from '../src/storage/store.ts';
import { type Item, type Queue } from './queue.ts';

export interface DeliveryOptions {
  /** Says in logs and metrics who the receiver is, and finds its place again. */
  readonly name: string;
  readonly queue: Queue;
  readonly store: Store;
  /** Resolves when the receiver has them for good. */
  readonly send: (items: readonly Item[], signal: AbortSignal) => Promise<void>;
  readonly batchMax: number;
  /** `sinceMs`: how long it has failed by now. */
  readonly onFailure: (error: unknown, sinceMs: number) => void;
  readonly onRecovery: () => void;
  /** The queue has dropped so many before they were delivered. */
  readonly onHole: (count: number) => void;
  readonly now: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly jitter: () => number;
}

export interface Delivery {
  readonly name: string;
  readonly figures: () => DeliveryFigures;
  readonly close: () => Promise<void>;
}

export interface DeliveryFigures {
  readonly delivered: number;
  readonly failures: number;
  readonly waiting: number;
  readonly lost: number;
  /** Undefined while all is well. */
  readonly failure: string | undefined;
}

const BACKOFF_FIRST_MS = 100;
const BACKOFF_LAST_MS = 30_000;
/** The first byte of the key of a place. */
const PLACE = 0x6b;

export function startDelivery(options: DeliveryOptions): Delivery {
  const { name, queue, store, now } = options;
  const stop = new AbortController();
  const isStopped = (): boolean => stop.signal.aborted;
  const key = concat(Uint8Array.of(PLACE), encodeUtf8(name));
  let place = readU64(store.get(key) ?? encodeU64(0)) ?? 0;
  let failingSince: number | undefined;
  let tries = 0;
  let failure: string | undefined;
  const counts = { delivered: 0, failures: 0, lost: 0 };

  async function deliverNext(): Promise<void> {
    const items = await queue.read(place, options.batchMax);
    const [first] = items;
    const last = items.at(-1);
    if (first === undefined || last === undefined) return queue.wait(place, stop.signal);
    if (first.number > place + 1) {
      counts.lost += first.number - place - 1;
      options.onHole(first.number - place - 1);
    }
    await options.send(items, stop.signal);
    await store.write([{ type: 'put', key, value: encodeU64(last.number) }]);
    place = last.number;
    counts.delivered += items.length;
    if (failingSince === undefined) return;
    failingSince = undefined;
    failure = undefined;
    tries = 0;
    options.onRecovery();
  }

  async function fail(error: unknown): Promise<void> {
    if (isStopped()) return;
    failingSince ??= now();
    counts.failures += 1;
    tries += 1;
    failure = error instanceof Error ? error.message : String(error);
    options.onFailure(error, now() - failingSince);
    const backoff = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(tries - 1, 20), BACKOFF_LAST_MS);
    await pause(backoff * (0.5 + options.jitter() / 2), stop.signal);
  }

  async function run(): Promise<void> {
    while (!isStopped()) await deliverNext().catch(fail);
  }

  const running = run();

  return {
    name,
    figures: () => ({ ...counts, waiting: queue.next - 1 - place, failure }),
    async close() {
      stop.abort();
      await running;
    },
  };
}

/** Resolves after that time, or at once when the signal is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
