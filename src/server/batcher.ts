// Gathers adds into records. Nothing on its way: what is there goes at once. Otherwise requests gather until there is room for one more record
// on its way, and a turn of the event loop longer. So the batches grow with the load by themselves, and no add ever waits for a timer.
//
// Every request gets exactly one answer: what became of it together with the state after its record; or an error that says whether it may
// still be logged (`outcome-unknown`) or never was (`busy`, and whatever refused the record before it was proposed).
import { encodeRecord, REQUEST_KEY_BYTES, type Request } from '../balloon/record.ts';
import { type Outcome } from '../balloon/requests.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type Applied } from '../storage/durable-balloon.ts';
import { createQueue, type QueueLimits, type Weight } from './queue.ts';

export interface AddRequest extends Request {
  /** The events themselves, in the order of their digests, where they are to be kept. */
  readonly events?: readonly Uint8Array[] | undefined;
}

export interface Added extends Outcome {
  /** The version that ends the record: its snapshot is the state that all of the record's requests are answered from. */
  readonly snapshotVersion: number;
}

export interface BatcherLimits extends QueueLimits {
  /** How long a request may take, waiting included. */
  readonly waitMs: number;
  /** Records on their way at once. */
  readonly recordsMax: number;
}

export interface BatcherOptions {
  readonly limits: BatcherLimits;
  readonly now: () => number;
  /** Puts a record into the log and resolves when it is applied. */
  readonly propose: (payload: Uint8Array, requests: readonly AddRequest[]) => Promise<Applied>;
  readonly onRecord: (record: { readonly events: number; readonly seconds: number }) => void;
}

export interface Batcher {
  readonly add: (request: AddRequest) => Promise<Added>;
  /** Events and bytes that wait for a record. */
  readonly waiting: Weight;
  /** Takes no more; resolves when everybody has an answer. */
  readonly close: () => Promise<void>;
}

export const batcherLimits: BatcherLimits = {
  eventsMax: 100_000,
  bytesMax: 64 * 1024 * 1024,
  waitMs: 10_000,
  recordsMax: 1,
};

interface Waiter extends Weight {
  readonly request: AddRequest;
  readonly resolve: (added: Added) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

export function createBatcher({ limits, now, propose, onRecord }: BatcherOptions): Batcher {
  const queue = createQueue<Waiter>(limits);
  let onTheWay = 0;
  let isScheduled = false;
  let closed: (() => void) | undefined;

  function add(request: AddRequest): Promise<Added> {
    if (closed)
      return Promise.reject(new QedError('store-closed', 'the node is stopping and takes no more events'));
    return new Promise((resolve, reject) => {
      const { events, bytes } = weightOf(request);
      const timer = setTimeout(() => giveUp(waiter), limits.waitMs);
      const waiter: Waiter = { request, events, bytes, resolve, reject, timer };
      if (queue.offer(waiter)) {
        schedule();
        return;
      }
      clearTimeout(waiter.timer);
      reject(new QedError('busy', `${queue.events} events wait already`, { hint: 'Try again soon.' }));
    });
  }

  /** At the end of this turn of the event loop: requests that arrived together go together. */
  function schedule(): void {
    if (isScheduled || onTheWay >= limits.recordsMax) return;
    isScheduled = true;
    setImmediate(sendWaiting);
  }

  /** A turn later: whoever was just answered may have its next request on the way, and fewer records are less work for each request. */
  function scheduleAfterAnswers(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(() => setImmediate(sendWaiting));
  }

  function sendWaiting(): void {
    isScheduled = false;
    while (onTheWay < limits.recordsMax && queue.length > 0) void send(queue.take());
  }

  async function send(waiters: readonly Waiter[]): Promise<void> {
    onTheWay += 1;
    const start = performance.now();
    const requests = waiters.map(({ request }) => request);
    try {
      const { outcomes, snapshot } = await propose(encodeRecord({ time: now(), requests }), requests);
      waiters.forEach(({ resolve }, at) => resolve(addedOf(outcomes[at]!, snapshot.version)));
      onRecord({ events: eventsOf(waiters), seconds: (performance.now() - start) / 1000 });
    } catch (error) {
      for (const { reject } of waiters) reject(error);
    }
    for (const { timer } of waiters) clearTimeout(timer);
    onTheWay -= 1;
    if (queue.length > 0) scheduleAfterAnswers();
    else if (onTheWay === 0) closed?.();
  }

  function giveUp(waiter: Waiter): void {
    const seconds = limits.waitMs / 1000;
    waiter.reject(
      queue.remove(waiter)
        ? new QedError('busy', `no record had room for the request within ${seconds} s`, {
            hint: 'Try again later.',
          })
        : new QedError('outcome-unknown', `the record was proposed, but not applied within ${seconds} s`, {
            hint: 'It may be logged yet. Send it again with the same idempotency key, or look for the event first.',
          }),
    );
  }

  return {
    add,
    get waiting() {
      return { events: queue.events, bytes: queue.bytes };
    },
    close: () =>
      new Promise((resolve) => {
        closed = resolve;
        if (onTheWay === 0 && queue.length === 0) resolve();
      }),
  };
}

/** Field by field, as in all that is made for each request: to spread an object takes many times as long. */
function addedOf({ kind, versionFirst, count }: Outcome, snapshotVersion: number): Added {
  return { kind, versionFirst, count, snapshotVersion };
}

function weightOf({ eventDigests, events = [] }: AddRequest): Weight {
  const bytes = events.reduce((sum, event) => sum + event.length, eventDigests.length + REQUEST_KEY_BYTES);
  return { events: eventDigests.length / DIGEST_BYTES, bytes };
}

function eventsOf(waiters: readonly Waiter[]): number {
  return waiters.reduce((sum, { events }) => sum + events, 0);
}
