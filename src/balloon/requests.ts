// Which requests were done already, so that a client that got no answer can send the same one again and log its events once.
// Part of the replicated state: every node decides alike, from the records alone. Bounded: the last REQUESTS_MAX keys are kept, so a repetition
// is known as long as no more keyed requests than that came in between.
import {
  concat,
  decodeHex,
  encodeHex,
  encodeU64,
  equalBytes,
  readU64,
  U64_BYTES,
} from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type HistoryWrite } from '../history/layout.ts';
import { REQUEST_KEY_BYTES, type Request } from './record.ts';

export const REQUESTS_MAX = 65_536;

/** What became of one request. */
export interface Outcome {
  readonly versionFirst: number;
  readonly count: number;
  /** `repeated`: it was logged by an earlier record. `conflict`: its key was used for other events, and nothing was logged. */
  readonly kind: 'logged' | 'repeated' | 'conflict';
}

export interface Sorted {
  readonly outcomes: readonly Outcome[];
  /** The digests to log: those of the requests that are new. */
  readonly eventDigests: Uint8Array;
  readonly writes: readonly HistoryWrite[];
  readonly known: readonly Known[];
}

interface Known {
  readonly key: string;
  readonly versionFirst: number;
  readonly count: number;
  /** Hash over the event digests: the same key must mean the same events. */
  readonly content: Uint8Array;
}

// 'b' 'r' u64 of the first version → key, count, content
const PREFIX = Uint8Array.of(0x62, 0x72);
const VALUE_BYTES = REQUEST_KEY_BYTES + U64_BYTES + DIGEST_BYTES;
/** A row as it travels: u64 of the first version, then the stored value. */
export const REQUEST_ROW_BYTES = U64_BYTES + VALUE_BYTES;

export class Requests {
  readonly #hash: Hash;
  /** In the order in which they were logged: the first is the next to be forgotten. */
  readonly #known = new Map<string, Known>();

  constructor(hash: Hash) {
    this.#hash = hash;
  }

  /** Takes back what was stored: the rows from `requestsFrom` to `requestsTo`, in their order. */
  load(key: Uint8Array, value: Uint8Array): void {
    const versionFirst = key.length === PREFIX.length + U64_BYTES ? readU64(key, PREFIX.length) : undefined;
    const count = value.length === VALUE_BYTES ? readU64(value, REQUEST_KEY_BYTES) : undefined;
    if (versionFirst === undefined || count === undefined) {
      throw new QedError('store-corrupt', 'the stored log is damaged: a row of its requests cannot be read');
    }
    const known = encodeHex(value.subarray(0, REQUEST_KEY_BYTES));
    this.#known.set(known, { key: known, versionFirst, count, content: value.slice(-DIGEST_BYTES) });
  }

  /** All that is known, in order: the table that another node needs to decide alike. */
  rows(): Uint8Array {
    const rows = [...this.#known.values()].map(({ key, versionFirst, count, content }) =>
      concat(encodeU64(versionFirst), decodeHex(key) ?? new Uint8Array(0), encodeU64(count), content),
    );
    return concat(...rows);
  }

  /** What replaces all that is known by the rows of another node, for a log of `size` events; undefined when they cannot be such rows. */
  static replacement(
    rows: Uint8Array,
    size: number,
  ): { readonly key: Uint8Array; readonly value: Uint8Array }[] | undefined {
    const count = rows.length / REQUEST_ROW_BYTES;
    if (!Number.isInteger(count) || count > REQUESTS_MAX) return undefined;
    const pairs: { key: Uint8Array; value: Uint8Array }[] = [];
    for (let at = 0, next = 0; at < rows.length; at += REQUEST_ROW_BYTES) {
      const versionFirst = readU64(rows, at);
      const length = readU64(rows, at + U64_BYTES + REQUEST_KEY_BYTES);
      if (versionFirst === undefined || !length || versionFirst < next || versionFirst + length > size)
        return undefined;
      next = versionFirst + length;
      pairs.push({ key: rowKey(versionFirst), value: rows.slice(at + U64_BYTES, at + REQUEST_ROW_BYTES) });
    }
    return pairs;
  }

  clear(): void {
    this.#known.clear();
  }

  /** Tells new requests from repeated ones. Changes nothing: `commit` does. */
  sort(requests: readonly Request[], versionNext: number): Sorted {
    const outcomes: Outcome[] = [];
    const fresh = new Map<string, Known>();
    const digests: Uint8Array[] = [];
    let next = versionNext;
    for (const { key, eventDigests } of requests) {
      const count = eventDigests.length / DIGEST_BYTES;
      const name = key && encodeHex(key);
      const before = name === undefined ? undefined : (fresh.get(name) ?? this.#known.get(name));
      const content = key ? this.#hash.digest(eventDigests) : undefined;
      if (before && content) {
        const kind = equalBytes(before.content, content) ? 'repeated' : 'conflict';
        outcomes.push({ versionFirst: before.versionFirst, count: before.count, kind });
        continue;
      }
      if (name !== undefined && content) fresh.set(name, { key: name, versionFirst: next, count, content });
      outcomes.push({ versionFirst: next, count, kind: 'logged' });
      digests.push(eventDigests);
      next += count;
    }
    const known = [...fresh.values()];
    return { outcomes, eventDigests: concat(...digests), writes: this.#writes(known, requests), known };
  }

  commit({ known }: Sorted): void {
    for (const one of this.#forgotten(known.length)) this.#known.delete(one.key);
    for (const one of known) this.#known.set(one.key, one);
  }

  #writes(known: readonly Known[], requests: readonly Request[]): HistoryWrite[] {
    if (known.length === 0) return [];
    const keys = new Map(requests.flatMap(({ key }) => (key ? [[encodeHex(key), key]] : [])));
    const puts = known.map(({ key, versionFirst, count, content }): HistoryWrite => {
      const value = concat(keys.get(key) ?? new Uint8Array(0), encodeU64(count), content);
      return { type: 'put', key: rowKey(versionFirst), value };
    });
    const forgotten = this.#forgotten(known.length);
    return [
      ...puts,
      ...forgotten.map(({ versionFirst }): HistoryWrite => ({ type: 'del', key: rowKey(versionFirst) })),
    ];
  }

  /** Those that must go to make room for `count` more. */
  #forgotten(count: number): Known[] {
    const excess = this.#known.size + count - REQUESTS_MAX;
    const oldest: Known[] = [];
    if (excess <= 0) return oldest;
    for (const known of this.#known.values()) {
      if (oldest.length === excess) break;
      oldest.push(known);
    }
    return oldest;
  }
}

export const requestsFrom: Uint8Array = PREFIX;
export const requestsTo: Uint8Array = Uint8Array.of(0x62, 0x73);

function rowKey(versionFirst: number): Uint8Array {
  return concat(PREFIX, encodeU64(versionFirst));
}
