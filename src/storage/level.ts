// The store on disk: one LevelDB database in a directory, through classic-level.
//
// What LevelDB leaves out is added here, because a log that proves things must know when its own disk lies:
// - A value comes back with a checksum of our own over key and value, in memory or on disk, or not at all (`store-corrupt`).
// - The checksums of LevelDB's tables are compared when the store is opened (tables.ts).
// - LevelDB skips damage in the middle of its write-ahead log and carries on. So each write puts a mark with its number and deletes the
//   mark before: where a write is missing and a later one is there, two marks are left, and the store does not open.
// - The file FLOOR tells the number of the last write at the last open or clean close. Where the database has less, its tail was cut.
// What nobody can tell from the files alone: whether the last writes before a kill or a power failure are missing because they were torn
// then, or were damaged later. The caller knows which writes were acknowledged, or has them in a log of its own.
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ClassicLevel } from 'classic-level';
import { QedError } from '../errors.ts';
import { openGate } from './gate.ts';
import { CORRUPT_HINT, storeError } from './level-errors.ts';
import { checkRange, checkWrites, type Range, type Store, type Write } from './store.ts';
import { checkTables } from './tables.ts';

export interface LevelOptions {
  /** Blocks kept in memory after they were read. */
  readonly cacheBytes?: number;
  /** Writes kept in memory before they go to a table; twice that much at most. */
  readonly writeBufferBytes?: number;
  /** Reads all tables once when opening. On unless said otherwise: about a second for a gigabyte that the system has cached. */
  readonly checkTables?: boolean;
}

type Level = ClassicLevel<Uint8Array, Uint8Array>;

const FLOOR = 'FLOOR';
/** First line of FLOOR, and the value under FORMAT_KEY. A store with another one was written by another version of qed. */
const FORMAT = 'qed store v1';
// The first byte of a key in LevelDB says whose it is.
const FORMAT_KEY = Uint8Array.of(0);
const MARK = 1;
const CALLER = 2;
const SEAL_BYTES = 4;
/** A range reads this much at a time. */
const READ_AHEAD_BYTES = 256 * 1024;
const READ_AHEAD_ROWS = 1000;

/** Opens the database in the directory `path`, and makes it where there is none. */
export async function openLevelStore(path: string, options: LevelOptions = {}): Promise<Store> {
  const found = await attempt(path, () => lookAt(path));
  const db: Level = new ClassicLevel(path, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    createIfMissing: found.fresh,
    // Digests hardly shrink, and the check of the tables need not unpack anything.
    compression: false,
    cacheSize: options.cacheBytes ?? 64 * 1024 * 1024,
    writeBufferSize: options.writeBufferBytes ?? 16 * 1024 * 1024,
  });
  await attempt(path, () => db.open());
  try {
    if (options.checkTables !== false) await attempt(path, () => checkTables(path, () => liveTables(db)));
    const last = await attempt(path, () => takeUp(db, path, found.floor));
    return levelStore(db, path, last);
  } catch (error) {
    await db.close();
    throw error;
  }
}

function levelStore(db: Level, path: string, lastOnOpening: number): Store {
  const gate = openGate(`the database at ${path}`);
  let last = lastOnOpening;
  /** Whether the last write was not a durable one. */
  let unsynced = false;

  async function commit(writes: readonly Write[], durable: boolean): Promise<void> {
    // Three times as fast as `db.batch` with a list of forty.
    const batch = db.batch();
    for (const write of [...writes, ...marks(last + 1)]) {
      if (write.type === 'put') batch.put(write.key, write.value);
      else batch.del(write.key);
    }
    await batch.write({ sync: durable });
    last += 1;
    if (durable && unsynced) await syncLogs(path);
    unsynced = !durable;
  }

  return {
    get(key) {
      gate.check();
      const inner = innerKey(key);
      try {
        const sealed = db.getSync(inner);
        return sealed && unseal(path, inner, sealed);
      } catch (error) {
        throw storeError(path, error);
      }
    },
    async *range(range) {
      gate.check();
      checkRange(range);
      const iterator = db.iterator(innerRange(range));
      try {
        while (true) {
          const rows = await iterator.nextv(READ_AHEAD_ROWS);
          if (rows.length === 0) return;
          for (const [inner, sealed] of rows) {
            gate.check();
            yield [new Uint8Array(inner.subarray(1)), unseal(path, inner, sealed)];
          }
        }
      } catch (error) {
        gate.check();
        throw storeError(path, error);
      } finally {
        await iterator.close();
      }
    },
    async write(writes, { durable = true } = {}) {
      checkWrites(writes);
      const sealed = writes.map(innerWrite);
      await gate.write(() => attempt(path, () => commit(sealed, durable)));
    },
    close: () =>
      gate.close(async (failed) => {
        try {
          if (!failed && unsynced) await attempt(path, () => commit([], true));
          // On a full disk, say, the older number stays, which is as true.
          if (!failed) await writeFloor(path, last).catch(() => undefined);
        } finally {
          await db.close();
        }
      }),
  };
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storeError(path, error);
  }
}

// --- Opening: what is there, and is it whole?

interface Found {
  /** Nothing is there yet: LevelDB may make a database. Never where files are left of one, for it would throw them away. */
  readonly fresh: boolean;
  /** The number in FLOOR; undefined where there is no such file. */
  readonly floor: number | undefined;
}

async function lookAt(path: string): Promise<Found> {
  // The recursive mkdir says "no such file" where a disk is read-only; the plain one tells the truth.
  await mkdir(path, { recursive: true }).catch(() => mkdir(path));
  const names = await readdir(path);
  if (!names.includes(FLOOR))
    return { fresh: !names.some((name) => /\.(ldb|log)$/.test(name)), floor: undefined };
  const content = await readFile(join(path, FLOOR), 'utf8');
  const floor = Number(content.split('\n')[1]);
  if (!Number.isSafeInteger(floor) || content !== floorContent(floor))
    throw damage(path, 'FLOOR does not hold what qed writes there');
  return { fresh: false, floor };
}

/** The number of the last write, once it is known that none before it is missing. */
async function takeUp(db: Level, path: string, floor: number | undefined): Promise<number> {
  const format = db.getSync(FORMAT_KEY);
  if (format === undefined) await begin(db, path, floor);
  else if (Buffer.from(unseal(path, FORMAT_KEY, format)).toString() !== FORMAT) throw foreign(path);
  const found = await db.keys({ gte: Uint8Array.of(MARK), lt: Uint8Array.of(MARK + 1), limit: 2 }).all();
  const last = found.length === 1 ? numberOfMark(found[0]!) : undefined;
  if (last === undefined) throw damage(path, 'writes are missing from its middle');
  if (last < (floor ?? 0))
    throw damage(path, `it ends at write ${last}, but write ${String(floor)} was there`);
  await writeFloor(path, last);
  return last;
}

/** Puts the first mark into an empty database. One that is empty but should not be, or holds somebody else's keys, is left alone. */
async function begin(db: Level, path: string, floor: number | undefined): Promise<void> {
  if (floor !== undefined) throw damage(path, 'its first write is missing');
  if ((await db.keys({ limit: 1 }).all()).length > 0) throw foreign(path);
  const format: Write = { type: 'put', key: FORMAT_KEY, value: seal(FORMAT_KEY, Buffer.from(FORMAT)) };
  await db.batch([format, ...marks(0)], { sync: true });
}

function damage(path: string, what: string): QedError {
  return new QedError('store-corrupt', `the database at ${path} is damaged: ${what}`, { hint: CORRUPT_HINT });
}

function foreign(path: string): QedError {
  return new QedError('store-failed', `the database at ${path} was written by another program or version`, {
    hint: 'Name another path.',
  });
}

/** The numbers of the table files that LevelDB reads from. Others may lie beside them, half written before a kill. */
function liveTables(db: Level): number[] {
  const listing = db.getProperty('leveldb.sstables');
  return Array.from(listing.matchAll(/^ (\d+):\d+\[/gm), ([, number]) => Number(number));
}

function floorContent(last: number): string {
  const lines = `${FORMAT}\n${last}\n`;
  return `${lines}${crc32(lines)}\n`;
}

/** FLOOR is changed in one step, and an older one is as true as a newer one, only weaker. */
async function writeFloor(path: string, last: number): Promise<void> {
  const file = await open(join(path, `${FLOOR}.new`), 'w');
  try {
    await file.writeFile(floorContent(last));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(join(path, `${FLOOR}.new`), join(path, FLOOR));
}

/**
 * LevelDB fsyncs the log it writes to, not the one before, which may hold earlier writes until a table with them is done.
 * A log that is gone meanwhile is in a table, and tables are fsynced.
 */
async function syncLogs(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    if (!name.endsWith('.log')) continue;
    const file = await open(join(path, name), 'r').catch(ignoreMissing);
    try {
      await file?.datasync();
    } finally {
      await file?.close();
    }
  }
}

function ignoreMissing(error: unknown): undefined {
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT')
    return undefined;
  throw error;
}

// --- Keys and values as LevelDB has them

function marks(number: number): Write[] {
  const put: Write = { type: 'put', key: markKey(number), value: seal(markKey(number), new Uint8Array()) };
  return number === 0 ? [put] : [put, { type: 'del', key: markKey(number - 1) }];
}

function markKey(number: number): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = MARK;
  new DataView(key.buffer).setBigUint64(1, BigInt(number));
  return key;
}

function numberOfMark(key: Uint8Array): number {
  return Number(new DataView(key.buffer, key.byteOffset).getBigUint64(1));
}

function innerKey(key: Uint8Array): Uint8Array {
  const inner = new Uint8Array(1 + key.length);
  inner[0] = CALLER;
  inner.set(key, 1);
  return inner;
}

function innerWrite(write: Write): Write {
  const key = innerKey(write.key);
  return write.type === 'del' ? { type: 'del', key } : { type: 'put', key, value: seal(key, write.value) };
}

function innerRange({ from, to, reverse = false, limit = -1 }: Range) {
  return {
    gte: from ? innerKey(from) : Uint8Array.of(CALLER),
    lt: to ? innerKey(to) : Uint8Array.of(CALLER + 1),
    reverse,
    limit,
    highWaterMarkBytes: READ_AHEAD_BYTES,
  };
}

/** value ‖ CRC-32 of key and value. The value comes first so that it keeps the alignment of the buffer it is read into. */
function seal(key: Uint8Array, value: Uint8Array): Uint8Array {
  const sealed = new Uint8Array(value.length + SEAL_BYTES);
  sealed.set(value);
  new DataView(sealed.buffer).setUint32(value.length, crc32(value, crc32(key)));
  return sealed;
}

function unseal(path: string, key: Uint8Array, sealed: Uint8Array): Uint8Array {
  const size = sealed.length - SEAL_BYTES;
  if (size >= 0) {
    const value = new Uint8Array(sealed.buffer, sealed.byteOffset, size);
    const sum = new DataView(sealed.buffer, sealed.byteOffset).getUint32(size);
    if (sum === crc32(value, crc32(key))) return value;
  }
  throw damage(path, `the checksum of the value of key ${Buffer.from(key).toString('hex')} does not hold`);
}
