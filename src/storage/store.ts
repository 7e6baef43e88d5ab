// What qed asks of a database: ordered byte keys, reads at once, and one kind of write: a batch that is whole and durable.
// Two implementations, level.ts (disk) and memory.ts, pass the one suite in testutils/store-suite.ts.

export type Write =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export interface Range {
  /** First key, inclusive. */
  readonly from: Uint8Array;
  /** End, exclusive. */
  readonly to: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
}

export interface Store {
  /** The value, or undefined where there is none. Never undefined for a damaged one: that throws `store-corrupt`. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Keys in byte order, from one consistent state: the one at the first step of the iteration. */
  range(range: Range): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  /**
   * All or nothing, in the order of the calls. When it resolves, every later read sees the writes, and with `durable` (the default)
   * they and all earlier ones are fsynced. Without it a crash of the machine may lose the latest writes, never one from the middle:
   * for callers that can repeat them from a log of their own.
   * When it rejects, the outcome is unknown: the store refuses every further call (`store-closed`) until it is opened again.
   */
  write(writes: readonly Write[], options?: { readonly durable?: boolean }): Promise<void>;
  /** Waits for what is under way. A second close is a no-op. */
  close(): Promise<void>;
}
