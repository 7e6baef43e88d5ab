// What qed asks of a database: ordered byte keys, reads at once, and one kind of write: a batch that is whole and durable.
// Two implementations, level.ts (disk) and memory.ts, pass the one suite in testutils/store-suite.ts.
//
// What a reopened store holds is what some first part of all writes left, in the order of the calls: at least everything up to the
// last durable one that was acknowledged. Where that is not so, because a file was damaged or edited, opening fails with `store-corrupt`.
// Arrays never pass through: what is handed in is copied before the call returns, what comes out belongs to the caller.
import { assert } from '../errors.ts';

/** The empty key and the empty value are as good as any other. */
export const KEY_BYTES_MAX = 1024;
export const VALUE_BYTES_MAX = 64 * 1024 * 1024;
export const RANGE_LIMIT_MAX = 2 ** 31 - 1;

export type Write =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export interface Range {
  /** First key, inclusive. Without it the range starts at the very first key. */
  readonly from?: Uint8Array;
  /** End, exclusive. Without it the range ends behind the very last key. */
  readonly to?: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
}

export interface Store {
  /**
   * The value, or undefined where there is none. Never undefined for a damaged value: that throws `store-corrupt`. Who knows that
   * a key must be there treats undefined as damage too.
   */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Keys in byte order, from one consistent state: the one at the first step of the iteration. */
  range(range: Range): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  /**
   * All or nothing, in the order of the calls; within a batch the last write to a key counts. When it resolves, every later read sees
   * the writes, and with `durable` (the default) they and all earlier ones are fsynced, even where the batch is empty. Without it a
   * crash of the machine may lose the latest writes: for callers that can repeat them from a log of their own.
   * When it rejects, the outcome is unknown: the store refuses every further write (`store-closed`) until it is opened again. Reads go on,
   * from the state before the failed write or the one after it.
   */
  write(writes: readonly Write[], options?: { readonly durable?: boolean }): Promise<void>;
  /** Waits for the writes under way and makes them all durable. From the call on every other call is refused; a second close is a no-op. */
  close(): Promise<void>;
}

/** The door check of every implementation's `write`. */
export function checkWrites(writes: readonly Write[]): void {
  for (const write of writes) {
    assert(write.key.length <= KEY_BYTES_MAX, `a store key of ${write.key.length} bytes`);
    assert(
      write.type === 'del' || write.value.length <= VALUE_BYTES_MAX,
      'a store value is larger than VALUE_BYTES_MAX',
    );
  }
}

/** The door check of every implementation's `range`. */
export function checkRange({ limit = 0 }: Range): void {
  assert(Number.isSafeInteger(limit) && limit >= 0 && limit <= RANGE_LIMIT_MAX, `a range limit of ${limit}`);
}
