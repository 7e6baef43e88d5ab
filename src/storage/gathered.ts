// Writes that are gathered before they go to the store in one piece. Reads through here see them at once, so what was computed from them can be
// shown and built upon meanwhile. For whoever may show what is not yet written: because it can be had again, and is known to be true.
import { type Store, type Write } from './store.ts';

export interface Gathered {
  /** As of the store, with the gathered writes in it. */
  readonly get: Store['get'];
  readonly add: (writes: readonly Write[]) => void;
  /** Writes everything that was added; of several writes to a key the last one. */
  readonly flush: (options: { readonly durable: boolean }) => Promise<void>;
}

export function gatherWrites(store: Store): Gathered {
  const gathered = new Map<string, Write>();
  return {
    get(key) {
      const write = gathered.size === 0 ? undefined : gathered.get(nameOf(key));
      if (write === undefined) return store.get(key);
      return write.type === 'put' ? write.value.slice() : undefined;
    },
    add(writes) {
      for (const write of writes) gathered.set(nameOf(write.key), write);
    },
    async flush(options) {
      if (gathered.size === 0) return;
      await store.write([...gathered.values()], options);
      gathered.clear();
    },
  };
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}
