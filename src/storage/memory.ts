// A store in memory: for tests, and for measuring everything but the disk.
// Given a disk of its own it can be closed, crashed and opened again, and then loses what a machine without power would lose.
//
// A map from key to value makes reads and writes cheap. Only a range needs order: the sorted keys are made when one is asked for and
// kept until the set of keys changes, so overwriting values costs nothing.
import { QedError } from '../errors.ts';
import { openGate } from './gate.ts';
import { checkRange, checkWrites, type Range, type Store, type Write } from './store.ts';

/** What outlives a store in memory. Keys are strings of one char a byte, which sort as the bytes do. */
export interface MemoryDisk {
  readonly values: Map<string, Uint8Array>;
  /** How to undo each write since the last durable one, oldest first: what its keys held before. */
  readonly undo: Map<string, Uint8Array | undefined>[];
  /** Who has it open. */
  holder: object | undefined;
}

export function memoryDisk(): MemoryDisk {
  return { values: new Map(), undo: [], holder: undefined };
}

/** The power fails: of the writes that were not yet durable all are lost but the first `keep`, and whoever had the disk open is cut off. */
export function crashDisk(disk: MemoryDisk, keep = 0): void {
  disk.holder = undefined;
  for (const before of disk.undo.splice(keep).reverse()) {
    for (const [key, value] of before) {
      if (value === undefined) disk.values.delete(key);
      else disk.values.set(key, value);
    }
  }
  disk.undo.splice(0);
}

export function openMemoryStore(disk?: MemoryDisk): Store {
  const { values, ...rest } = disk ?? memoryDisk();
  if (rest.holder) throw new QedError('store-locked', 'the store in memory is open already');
  const gate = openGate('the store in memory');
  const holder = {};
  if (disk) disk.holder = holder;
  let sorted: readonly string[] | undefined;

  function checkHolder(): void {
    if (disk && disk.holder !== holder) throw new QedError('store-closed', 'the store in memory has crashed');
  }

  function check(): void {
    gate.check();
    checkHolder();
  }

  function apply(writes: readonly (readonly [string, Uint8Array | undefined])[], durable: boolean): void {
    const before = new Map<string, Uint8Array | undefined>();
    for (const [key, value] of writes) {
      const old = values.get(key);
      if (disk && !before.has(key)) before.set(key, old);
      if ((old === undefined) !== (value === undefined)) sorted = undefined;
      if (value === undefined) values.delete(key);
      else values.set(key, value);
    }
    if (durable) disk?.undo.splice(0);
    else disk?.undo.push(before);
  }

  /** The rows of a range as they are now. Stored arrays are never changed, so the references are a state of their own. */
  function select({ from, to, reverse = false, limit = Infinity }: Range): (readonly [string, Uint8Array])[] {
    sorted ??= [...values.keys()].sort();
    const start = from === undefined ? 0 : position(sorted, stringOf(from));
    const end = to === undefined ? sorted.length : position(sorted, stringOf(to));
    const size = Math.min(Math.max(end - start, 0), limit);
    const keys = reverse ? sorted.slice(end - size, end).reverse() : sorted.slice(start, start + size);
    return keys.map((key) => [key, values.get(key)!] as const);
  }

  return {
    get(key) {
      check();
      return values.get(stringOf(key))?.slice();
    },
    async *range(range) {
      check();
      checkRange(range);
      const rows = select(range);
      await Promise.resolve(); // Others get a turn here, as they do while a disk is read.
      for (const [key, value] of rows) {
        check();
        yield [bytesOf(key), value.slice()];
      }
    },
    async write(writes, { durable = true } = {}) {
      checkWrites(writes);
      const copies = writes.map(copyOf);
      await gate.write(async () => {
        await Promise.resolve();
        checkHolder();
        apply(copies, durable);
      });
    },
    close() {
      return gate.close(async () => {
        await Promise.resolve();
        if (disk?.holder !== holder) return;
        disk.holder = undefined;
        disk.undo.splice(0);
      });
    },
  };
}

function copyOf(write: Write): readonly [string, Uint8Array | undefined] {
  return [stringOf(write.key), write.type === 'put' ? new Uint8Array(write.value) : undefined];
}

function stringOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function bytesOf(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(key, 'latin1'));
}

/** Index of the first key that is not before the asked one. */
function position(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
