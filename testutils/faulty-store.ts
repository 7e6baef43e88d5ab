// A store whose k-th write breaks once, in one of two ways: `lost` (nothing was written) or `done` (all was written); both are reported
// as failed. After that it behaves as the interface says: it refuses every write until it is opened again.
import { QedError } from '../src/errors.ts';
import { type Store } from '../src/storage/store.ts';

export type Break = 'lost' | 'done';

/** `which` counts from 0. */
export function breakWrite(store: Store, which: number, kind: Break): Store {
  let count = 0;
  let broken = false;
  return {
    get: (key) => store.get(key),
    range: (range) => store.range(range),
    async write(writes, options) {
      if (broken) throw new QedError('store-closed', 'an earlier write failed');
      if (count++ !== which) return store.write(writes, options);
      broken = true;
      if (kind === 'done') await store.write(writes, options);
      throw new QedError('store-failed', 'this write was made to fail');
    },
    close: () => store.close(),
  };
}
