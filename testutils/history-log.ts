// A history tree over a map in memory, as a caller of src/history would hold it: append, commit, keep the new state.
import { encodeHex } from '../src/crypto/encoding.ts';
import { type Hash } from '../src/crypto/hash.ts';
import { appendEntries, emptyHistory, type History } from '../src/history/append.ts';
import { type HistoryReader, type HistoryWrite } from '../src/history/layout.ts';
import { type HistoryView } from '../src/history/view.ts';
import { testEntries } from './history-twin.ts';

export interface MemoryValues extends HistoryReader {
  readonly values: Map<string, Uint8Array>;
  readonly write: (writes: readonly HistoryWrite[]) => void;
}

/** A key as a string that sorts and compares as the bytes do. */
export const keyName = (key: Uint8Array): string => String.fromCharCode(...key);

export function memoryValues(values = new Map<string, Uint8Array>()): MemoryValues {
  return {
    values,
    get: (key) => values.get(keyName(key)),
    write: (writes) => {
      for (const write of writes) {
        if (write.type === 'put') values.set(keyName(write.key), write.value);
        else values.delete(keyName(write.key));
      }
    },
  };
}

/** The views after each batch, all over the one map, which keeps growing. The sum of `batches` is the size of the last. */
export function growLog(hash: Hash, batches: readonly number[], reader = memoryValues()): HistoryView[] {
  let history: History = emptyHistory(hash);
  return batches.map((count) => {
    const entries = testEntries(history.size, history.size + count);
    const appended = appendEntries(hash, history, entries);
    reader.write(appended.writes);
    history = appended.history;
    return { hash, history, reader };
  });
}

/** Hashes as text, which compares fast and reads well when it differs. */
export function hexOf(hashes: readonly Uint8Array[] | Uint8Array): string {
  return hashes instanceof Uint8Array ? encodeHex(hashes) : hashes.map(encodeHex).join(' ');
}
