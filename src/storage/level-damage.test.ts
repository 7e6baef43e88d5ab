// The files of a store edited, cut and deleted, as a failing disk or a hex editor does it. Whatever happens to them, the store never shows
// anything but what some first part of the writes left, and says `store-corrupt` wherever it can know that something is missing.
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import { rowsOf } from '../../testutils/store-suite.ts';
import { keyOf, lastNumbered, numberedBatch, openSmall, valueOf } from '../../testutils/store-child.ts';
import { QedError } from '../errors.ts';
import { openLevelStore } from './level.ts';
import { checkTable, crc32c } from './tables.ts';

// Batches 1 to 60 lie in tables, 61 to 100 in the write-ahead log.
const IN_TABLES = 60;
const IN_ALL = 100;

let home = '';
/** All closed; everything in tables. */
const tables = () => join(home, 'tables');
/** Closed with the last batches in the log. */
const closed = () => join(home, 'closed');
/** The same as it lay on disk before the close, which is what kill -9 leaves. */
const killed = () => join(home, 'killed');

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'qed-test-'));
  const path = join(home, 'life');
  await writeBatches(path, 1, IN_TABLES);
  await (await openLevelStore(path)).close();
  cpSync(path, tables(), { recursive: true });
  await writeBatches(path, IN_TABLES + 1, IN_ALL, () => cpSync(path, killed(), { recursive: true }));
  cpSync(path, closed(), { recursive: true });
});
afterAll(() => rm(home, { recursive: true }));

async function writeBatches(path: string, from: number, to: number, beforeClose?: () => void): Promise<void> {
  // A write buffer that holds all of it, so that nothing is moved to a table behind our back.
  const store = await openLevelStore(path);
  for (let n = from; n <= to; n++) await store.write(numberedBatch(n), { durable: n % 2 === 0 });
  beforeClose?.();
  await store.close();
}

/** The number of the last batch that a damaged copy shows, or the code with which it refuses. Fails on anything wrong in between. */
async function outcome(origin: string, damage: (path: string) => void): Promise<number | string> {
  const path = join(home, 'copy');
  rmSync(path, { recursive: true, force: true });
  cpSync(origin, path, { recursive: true });
  damage(path);
  let store;
  try {
    store = await openSmall(path);
    return await lastNumbered(store);
  } catch (error) {
    if (error instanceof QedError) return error.code;
    throw error;
  } finally {
    await store?.close();
  }
}

const edit = (name: string, change: (bytes: Buffer) => Uint8Array | undefined) => (path: string) => {
  const file = join(path, name);
  const bytes = readFileSync(file);
  writeFileSync(file, change(bytes) ?? bytes);
};
const flip = (name: string, at: number, mask = 1) => edit(name, (bytes) => void (bytes[at]! ^= mask));
const cut = (name: string, at: number) => edit(name, (bytes) => bytes.subarray(0, at));
const remove = (name: string) => (path: string) => rmSync(join(path, name));

function fileIn(path: string, pattern: RegExp): { readonly name: string; readonly size: number } {
  const [name, ...others] = readdirSync(path).filter(
    (file) => pattern.test(file) && readFileSync(join(path, file)).length > 0,
  );
  expect(others).toEqual([]);
  return { name: name!, size: readFileSync(join(path, name!)).length };
}

/** Some places in a file: at its beginning and end, and seeded ones between. */
function places(size: number, count: number): number[] {
  const random = seededRandom(size);
  const ends = [0, 1, 6, size - 1, size - 2];
  return [...new Set([...ends, ...Array.from({ length: count }, () => random.below(size))])];
}

it('shows everything where nothing was damaged', async () => {
  expect(await outcome(tables(), () => undefined)).toBe(IN_TABLES);
  expect(await outcome(closed(), () => undefined)).toBe(IN_ALL);
  expect(await outcome(killed(), () => undefined)).toBe(IN_ALL);
});

describe('a table', () => {
  it('is refused when it is cut, emptied or gone', async () => {
    const { name, size } = fileIn(tables(), /ldb$/);
    for (const at of [0, 48, size >> 1, size - 1]) {
      expect([at, await outcome(tables(), cut(name, at))]).toEqual([at, 'store-corrupt']);
    }
    expect(await outcome(tables(), remove(name))).toBe('store-corrupt');
  });

  it('is refused when opened with any byte edited', async () => {
    const { name, size } = fileIn(tables(), /ldb$/);
    for (const at of places(size, 8)) {
      expect([at, await outcome(tables(), flip(name, at))]).toEqual([at, 'store-corrupt']);
    }
  });

  // The same check without the store around it, so that it can be asked about every bit.
  it('holds a checksum over each of its bits, but for the padding of the footer', () => {
    const { name } = fileIn(tables(), /ldb$/);
    const table = readFileSync(join(tables(), name));
    expect(codeOf(() => checkTable(name, table))).toBe('accepted');
    const longer = Buffer.concat([table.subarray(0, -48), Buffer.alloc(9), table.subarray(-48)]);
    expect(codeOf(() => checkTable(name, longer))).toBe('store-corrupt');
    const unseen: number[] = [];
    const random = seededRandom(5);
    const inner = Array.from({ length: 150 }, () => random.below(table.length));
    for (const at of [...inner, ...Array.from({ length: 600 }, (_, i) => table.length - 1 - i)]) {
      const bit = 1 << random.below(8);
      table[at]! ^= bit;
      if (codeOf(() => checkTable(name, table)) !== 'store-corrupt') unseen.push(at);
      table[at]! ^= bit;
    }
    const padding = unseen.map((at) => table.length - at);
    expect(Math.max(...padding)).toBeLessThan(48);
    expect(Math.min(...padding)).toBeGreaterThan(8);
    expect(unseen.every((at) => table[at] === 0)).toBe(true);
  });

  it('refuses a value that is edited while the store is open, and shows the others', async () => {
    const path = join(home, 'live');
    cpSync(tables(), path, { recursive: true });
    const store = await openSmall(path);
    const { name } = fileIn(path, /ldb$/);
    edit(name, (bytes) => void (bytes[bytes.indexOf(valueOf(30, 1).subarray(0, 200)) + 7]! ^= 4))(path);
    expect(codeOf(() => store.get(keyOf(30, 1)))).toBe('store-corrupt');
    await expect(rowsOf(store, {})).rejects.toMatchObject({
      code: 'store-corrupt',
      message: expect.stringContaining(path) as string,
    });
    await expect(rowsOf(store, { reverse: true })).rejects.toMatchObject({ code: 'store-corrupt' });
    expect(await rowsOf(store, { to: keyOf(30, 0) })).toHaveLength(29 * 2);
    expect(Buffer.compare(store.get(keyOf(1, 1))!, valueOf(1, 1))).toBe(0);
    await store.close();
  });

  it('refuses an edited value when it is read, where the tables were not checked on opening', async () => {
    const path = join(home, 'unchecked');
    cpSync(tables(), path, { recursive: true });
    const { name } = fileIn(path, /ldb$/);
    edit(name, (bytes) => void (bytes[bytes.indexOf(valueOf(30, 1).subarray(0, 200)) + 7]! ^= 4))(path);
    await expect(openLevelStore(path)).rejects.toMatchObject({ code: 'store-corrupt' });
    const store = await openLevelStore(path, { checkTables: false });
    expect(codeOf(() => store.get(keyOf(30, 1)))).toBe('store-corrupt');
    await store.close();
  });
});

describe('the lists of files', () => {
  it.each([/^MANIFEST/, /^CURRENT$/, /^FLOOR$/])('%p is refused with any byte edited', async (pattern) => {
    for (const origin of [tables(), killed()]) {
      const { name, size } = fileIn(origin, pattern);
      for (const at of places(size, 5)) {
        expect([at, await outcome(origin, flip(name, at))]).toEqual([at, 'store-corrupt']);
      }
    }
  });

  it.each([/^MANIFEST/, /^CURRENT$/, /^FLOOR$/])('%p is refused when cut or zeroed', async (pattern) => {
    const { name, size } = fileIn(closed(), pattern);
    for (const at of [0, 1, size >> 1, size - 1]) {
      expect([at, await outcome(closed(), cut(name, at))]).toEqual([at, 'store-corrupt']);
    }
    expect(
      await outcome(
        closed(),
        edit(name, (bytes) => bytes.fill(0)),
      ),
    ).toBe('store-corrupt');
  });

  it('is refused without MANIFEST or CURRENT, and no file is thrown away', async () => {
    for (const pattern of [/^MANIFEST/, /^CURRENT$/]) {
      const { name } = fileIn(closed(), pattern);
      expect(await outcome(closed(), remove(name))).toBe('store-corrupt');
      const left = readdirSync(join(home, 'copy'));
      expect(left).toEqual(
        expect.arrayContaining(readdirSync(closed()).filter((file) => /ldb$|log$/.test(file))),
      );
    }
    const bare = (path: string) => [remove('CURRENT'), remove('FLOOR')].forEach((damage) => damage(path));
    expect(await outcome(tables(), bare)).toBe('store-corrupt');
  });

  it('does without FLOOR, which then is made anew', async () => {
    expect(await outcome(killed(), remove('FLOOR'))).toBe(IN_ALL);
    expect(readFileSync(join(home, 'copy', 'FLOOR'), 'utf8')).toContain(`\n${IN_ALL}\n`);
  });
});

describe('the write-ahead log', () => {
  it('is refused with any damage after a clean close', async () => {
    const { name, size } = fileIn(closed(), /log$/);
    for (const at of places(size, 4)) {
      expect([at, await outcome(closed(), flip(name, at))]).toEqual([at, 'store-corrupt']);
      expect([at, await outcome(closed(), cut(name, at))]).toEqual([at, 'store-corrupt']);
    }
    expect(await outcome(closed(), remove(name))).toBe('store-corrupt');
  });

  it('shows the whole batches before a torn end, as a power failure leaves it', async () => {
    const { name, size } = fileIn(killed(), /log$/);
    let before = IN_TABLES;
    for (const at of places(size, 9).sort((a, b) => a - b)) {
      const last = Number(await outcome(killed(), cut(name, at)));
      expect(last).toBeGreaterThanOrEqual(before);
      before = last;
    }
    expect(await outcome(killed(), cut(name, size - 1))).toBe(IN_ALL - 1);
    expect(
      await outcome(
        killed(),
        edit(name, (bytes) => bytes.fill(0, size - 100)),
      ),
    ).toBe(IN_ALL - 1);
  });

  // LevelDB drops the rest of a block of 32 KiB in which a checksum fails and goes on with the next: nothing in the middle may be missing.
  it('is refused when it is damaged in its middle, where whole batches follow', async () => {
    const { name, size } = fileIn(killed(), /log$/);
    expect(size).toBeGreaterThan(4 * 32768);
    for (const at of places(size - 2 * 32768, 8)) {
      expect([at, await outcome(killed(), flip(name, at))]).toEqual([at, 'store-corrupt']);
    }
  });

  it('shows a first part of the writes, or refuses, wherever it is damaged', async () => {
    const { name, size } = fileIn(killed(), /log$/);
    for (const at of places(2 * 32768, 6).map((back) => size - 1 - back)) {
      const last = await outcome(killed(), flip(name, at, 0x80));
      expect(last === 'store-corrupt' || Number(last) >= IN_TABLES).toBe(true);
    }
  });

  it('is refused when one of two logs is gone', async () => {
    const { name } = fileIn(killed(), /log$/);
    const earlier = join(home, 'earlier');
    cpSync(killed(), earlier, { recursive: true });
    await writeBatches(earlier, IN_ALL + 1, IN_ALL + 20);
    const next = fileIn(earlier, /log$/).name;
    const withNext = (path: string) => cpSync(join(earlier, next), join(path, next));
    expect(await outcome(killed(), withNext)).toBe(IN_ALL + 20);
    const withoutFirst = (path: string) => [withNext, remove(name)].forEach((damage) => damage(path));
    expect(await outcome(killed(), withoutFirst)).toBe('store-corrupt');
    expect(
      await outcome(killed(), (path) => [withNext, cut(name, 70_000)].forEach((damage) => damage(path))),
    ).toBe('store-corrupt');
  });
});

it('leaves alone what another program wrote', async () => {
  const path = join(home, 'foreign');
  const { ClassicLevel } = await import('classic-level');
  const theirs = new ClassicLevel(path);
  await theirs.put('their key', 'their value');
  await theirs.close();
  await expect(openLevelStore(path)).rejects.toMatchObject({
    code: 'store-failed',
    hint: 'Name another path.',
  });
  await theirs.open();
  expect(await theirs.keys().all()).toEqual(['their key']);
  await theirs.close();
});

it('finishes a creation that was cut short at any step', async () => {
  const path = join(home, 'young');
  await (await openLevelStore(path)).close();
  const { ClassicLevel } = await import('classic-level');
  const bare = new ClassicLevel(join(home, 'bare'));
  await bare.open();
  await bare.close();
  expect(await outcome(join(home, 'bare'), () => undefined)).toBe(0);
  expect(await outcome(path, remove('FLOOR'))).toBe(0);
  expect(
    await outcome(path, (copy) =>
      [/^CURRENT/, /^FLOOR/, /log$/].forEach((file) => {
        for (const name of readdirSync(copy).filter((found) => file.test(found))) remove(name)(copy);
      }),
    ),
  ).toBe(0);
});

it('is not new where it once was whole', async () => {
  const path = join(home, 'begun');
  const store = await openLevelStore(path);
  cpSync(path, join(home, 'begun, killed'), { recursive: true });
  await store.close();
  const { name } = fileIn(path, /log$/);
  for (const origin of [path, join(home, 'begun, killed')]) {
    expect(await outcome(origin, cut(name, 0))).toBe('store-corrupt');
  }
});

it('computes CRC-32C as published', () => {
  // RFC 3720, B.4.
  expect(crc32c(new Uint8Array(32)).toString(16)).toBe('8a9136aa');
  expect(crc32c(new Uint8Array(32).fill(255)).toString(16)).toBe('62a8ab43');
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)).toString(16)).toBe('46dd794e');
  expect(crc32c(new TextEncoder().encode('123456789')).toString(16)).toBe('e3069283');
});
