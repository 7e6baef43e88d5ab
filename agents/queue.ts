// What is to be delivered, in order, on a Store: numbered items that stay until there are more than may be kept. Many readers, each with a place
// of its own; an item that was appended survives the death of the process.
import { concat, encodeU64, readU64 } from '../src/crypto/encoding.ts';
import { type Store, type Write } from '../src/storage/store.ts';

export interface Item {
  /** From 1 on, without holes. */
  readonly number: number;
  readonly value: Uint8Array;
}

export interface Queue {
  /** The number that the next item gets. */
  readonly next: number;
  /** The number of the oldest item that is kept. */
  readonly first: number;
  /** Appends, with further writes, in one step. */
  readonly append: (values: readonly Uint8Array[], also?: readonly Write[]) => Promise<void>;
  /** Items behind `after`, at most `limit`, oldest first. */
  readonly read: (after: number, limit: number) => Promise<readonly Item[]>;
  /** Resolves when there is an item behind `after`, or when the signal is aborted. */
  readonly wait: (after: number, signal: AbortSignal) => Promise<void>;
}

export interface QueueOptions {
  readonly store: Store;
  /** The first byte of its keys. */
  readonly prefix: number;
  readonly itemsMax: number;
  /** What goes together with an item that is dropped. */
  readonly alsoDrop?: (value: Uint8Array) => readonly Write[];
}

/** So many are dropped at one time, so that dropping costs little. */
const DROP_AT_ONCE = 256;

export async function openQueue(options: QueueOptions): Promise<Queue> {
  const { store, prefix, itemsMax, alsoDrop = () => [] } = options;
  let first = (await edge(store, prefix, false)) ?? 1;
  let next = ((await edge(store, prefix, true)) ?? 0) + 1;
  let last: Promise<unknown> = Promise.resolve();
  const waiting = new Set<() => void>();

  async function drop(): Promise<void> {
    const count = next - first - itemsMax;
    if (count < Math.min(DROP_AT_ONCE, itemsMax)) return;
    const items = await read(first - 1, count);
    const writes = items.flatMap(({ number, value }): Write[] => [
      { type: 'del', key: keyOf(prefix, number) },
      ...alsoDrop(value),
    ]);
    await store.write(writes, { durable: false });
    first += items.length;
  }

  async function read(after: number, limit: number): Promise<readonly Item[]> {
    const items: Item[] = [];
    const range = { from: keyOf(prefix, Math.max(after + 1, first)), to: keyOf(prefix, next), limit };
    for await (const [key, value] of store.range(range)) items.push({ number: readU64(key, 1)!, value });
    return items;
  }

  async function appendNow(values: readonly Uint8Array[], also: readonly Write[]): Promise<void> {
    const writes = values.map((value, at): Write => ({ type: 'put', key: keyOf(prefix, next + at), value }));
    // A kill leaves what was handed to the system. What a power failure takes is fetched, or raised, again.
    await store.write([...writes, ...also], { durable: false });
    next += values.length;
    await drop();
    for (const wake of [...waiting]) wake();
  }

  return {
    get next() {
      return next;
    },
    get first() {
      return first;
    },
    append(values, also = []) {
      const mine = last.then(() => appendNow(values, also));
      last = mine.catch(() => undefined);
      return mine;
    },
    read,
    async wait(after, signal) {
      if (next - 1 > after || signal.aborted) return;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        waiting.add(wake);
        signal.addEventListener('abort', wake);
      });
    },
  };
}

function keyOf(prefix: number, number: number): Uint8Array {
  return concat(Uint8Array.of(prefix), encodeU64(number));
}

async function edge(store: Store, prefix: number, reverse: boolean): Promise<number | undefined> {
  const range = { from: Uint8Array.of(prefix), to: Uint8Array.of(prefix + 1), reverse, limit: 1 };
  for await (const [key] of store.range(range)) return readU64(key, 1);
  return undefined;
}
