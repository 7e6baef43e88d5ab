// Writes that are gathered before they go to the store in one piece. Reads through here see them at once, so what was computed from them can be
// shown and built upon meanwhile. For whoever may show what is not yet written: because it can be had again, and is known to be true.
import { type Store, type Write } from './store.ts';

export interface Gathered {
  /** As of the store, with the gathered writes in it. */
  readonly get: Store['get'];
  /** Bytes of what is gathered, whatever replaced it since included. */
  readonly bytes: number;
  /** The arrays belong to the gathered writes from now on. */
  readonly add: (writes: readonly Write[]) => void;
  /**
   * Writes everything that was added, in one piece; of several writes to a key the last one. Flushes follow each other, and more may be added
   * meanwhile. When one fails so does every later one.
   */
  readonly flush: (options: { readonly durable: boolean }) => Promise<void>;
}

export function gatherWrites(store: Store): Gathered {
  let gathered = new Map<string, Write>();
  /** What is on its way to the store. */
  let writing = new Map<string, Write>();
  let bytes = 0;
  let last: Promise<void> = Promise.resolve();

  async function write(options: { readonly durable: boolean }): Promise<void> {
    if (gathered.size === 0 && !options.durable) return;
    writing = gathered;
    gathered = new Map();
    bytes = 0;
    await store.write([...writing.values()], options);
    writing = new Map();
  }

  return {
    get(key) {
      if (gathered.size === 0 && writing.size === 0) return store.get(key);
      const name = nameOf(key);
      const found = gathered.get(name) ?? writing.get(name);
      if (found === undefined) return store.get(key);
      return found.type === 'put' ? found.value.slice() : undefined;
    },
    get bytes() {
      return bytes;
    },
    add(writes) {
      for (const one of writes) {
        gathered.set(nameOf(one.key), one);
        bytes += one.key.length + (one.type === 'put' ? one.value.length : 0);
      }
    },
    flush(options) {
      const mine = last.then(() => write(options));
      last = mine;
      mine.catch(() => undefined);
      return mine;
    },
  };
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}
