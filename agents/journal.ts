// Every verified snapshot that an agent has met, numbered in the order in which it met them: what sinks are served from. A snapshot is in it once; a second,
// different one of the same version is not taken but handed back, with the first: together they prove that the log shows two histories.
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { concat, decodeUtf8, encodeU64, encodeUtf8, equalBytes, readU64 } from '../src/crypto/encoding.ts';
import { assert, QedError } from '../src/errors.ts';
import { formatLine, parseLine } from '../src/gossip/snapshots.ts';
import { type Store, type Write } from '../src/storage/store.ts';
import { openQueue, type Item, type Queue } from './queue.ts';

export interface Journal {
  /** Its items are for `entryOf`. */
  readonly queue: Queue;
  readonly entryOf: (item: Item) => Entry;
  /** The highest version in it; -1 before the first. */
  readonly versionLast: number;
  /** Everything that the log has published up to here was taken; -1 if nothing is known. */
  readonly complete: number;
  /** Takes them in this order. They must have been verified. `complete` goes into the same write. */
  readonly add: (list: readonly SignedSnapshot[], complete?: number) => Promise<JournalAdded>;
  /** In the order of versions, from one on; one consistent state. */
  readonly from: (version: number) => AsyncIterable<Entry>;
  /** The version before this one; null if there is none. */
  readonly versionBefore: (version: number) => Promise<number | null>;
}

export interface JournalAdded {
  readonly added: readonly SignedSnapshot[];
  readonly conflicts: readonly Conflict[];
}

export interface Conflict {
  readonly known: SignedSnapshot;
  readonly other: SignedSnapshot;
}

/** A snapshot as sinks take it. */
export interface Entry {
  readonly version: number;
  /** The signed snapshot as one line of JSON, without a newline. */
  readonly line: string;
}

const ITEMS = 0x6a; // j
const VERSIONS = 0x76; // v
const COMPLETE = Uint8Array.of(0x63); // c

export async function openJournal(store: Store, itemsMax: number): Promise<Journal> {
  let versionLast = (await edge(store, true)) ?? -1;
  let complete = (readU64(store.get(COMPLETE) ?? encodeU64(0)) ?? 0) - 1;
  /** Whatever lies before it was dropped, or never there: nobody can tell any more whether a snapshot from there is known. */
  let floor = 0;
  let last: Promise<unknown> = Promise.resolve();
  const queue = await openQueue({
    store,
    prefix: ITEMS,
    itemsMax,
    alsoDrop(value) {
      const version = readU64(value)!;
      floor = Math.max(floor, version + 1);
      return [{ type: 'del', key: versionKey(version) }];
    },
  });
  if (queue.first > 1) floor = (await edge(store, false)) ?? 0;

  function known(version: number): SignedSnapshot | undefined {
    const value = store.get(versionKey(version));
    return value && parseLine(textOf(value));
  }

  /** One after the other: each is compared with what the one before has stored. */
  async function addNow(list: readonly SignedSnapshot[], completeNow = complete): Promise<JournalAdded> {
    const fresh = new Map<number, SignedSnapshot>();
    const conflicts: Conflict[] = [];
    for (const signedSnapshot of list) {
      const { version, historyDigest } = signedSnapshot.snapshot;
      if (version < floor) continue;
      const before = fresh.get(version) ?? known(version);
      if (before === undefined) fresh.set(version, signedSnapshot);
      else if (!equalBytes(before.snapshot.historyDigest, historyDigest)) {
        conflicts.push({ known: before, other: signedSnapshot });
      }
    }
    const added = [...fresh.values()];
    const also = added.map((one): Write => {
      return { type: 'put', key: versionKey(one.snapshot.version), value: encodeUtf8(formatLine(one)) };
    });
    if (completeNow > complete) also.push({ type: 'put', key: COMPLETE, value: encodeU64(completeNow + 1) });
    const items = added.map(({ snapshot }) => encodeU64(snapshot.version));
    if (also.length > 0) await queue.append(items, also);
    complete = Math.max(complete, completeNow);
    for (const version of fresh.keys()) versionLast = Math.max(versionLast, version);
    return { added, conflicts };
  }

  return {
    queue,
    entryOf({ value }) {
      const version = readU64(value);
      const line = version === undefined ? undefined : store.get(versionKey(version));
      assert(version !== undefined && line !== undefined, 'an item of the journal without its snapshot');
      return { version, line: textOf(line) };
    },
    get versionLast() {
      return versionLast;
    },
    get complete() {
      return complete;
    },
    add(list, completeNow) {
      const added = last.then(() => addNow(list, completeNow));
      last = added.catch(() => undefined);
      return added;
    },
    async *from(version) {
      const range = { from: versionKey(version), to: Uint8Array.of(VERSIONS + 1) };
      for await (const [key, value] of store.range(range))
        yield { version: readU64(key, 1)!, line: textOf(value) };
    },
    async versionBefore(version) {
      const range = { from: versionKey(0), to: versionKey(version), reverse: true, limit: 1 };
      for await (const [key] of store.range(range)) return readU64(key, 1) ?? null;
      return null;
    },
  };
}

function versionKey(version: number): Uint8Array {
  return concat(Uint8Array.of(VERSIONS), encodeU64(version));
}

/** The lowest or highest version. */
async function edge(store: Store, reverse: boolean): Promise<number | undefined> {
  const range = { from: Uint8Array.of(VERSIONS), to: Uint8Array.of(VERSIONS + 1), reverse, limit: 1 };
  for await (const [key] of store.range(range)) return readU64(key, 1);
  return undefined;
}

function textOf(value: Uint8Array): string {
  const text = decodeUtf8(value);
  if (text === undefined) throw new QedError('store-corrupt', 'the journal holds a line that is no text');
  return text;
}
