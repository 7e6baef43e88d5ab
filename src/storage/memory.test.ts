import { codeOf } from '../../testutils/code-of.ts';
import { describeStore, rowsOf } from '../../testutils/store-suite.ts';
import { crashDisk, memoryDisk, openMemoryStore } from './memory.ts';

describeStore('memory', () => {
  const disk = memoryDisk();
  return Promise.resolve({
    open: () => new Promise((resolve) => resolve(openMemoryStore(disk))),
    remove: () => Promise.resolve(),
  });
});

describe('a crash of the disk in memory', () => {
  const key = (name: string) => new TextEncoder().encode(name);
  const put = (name: string) => ({ type: 'put', key: key(name), value: key(name) }) as const;

  /** Two durable writes, then three that are not: one overwrites, one deletes. */
  async function crashed(keep?: number): Promise<string[]> {
    const disk = memoryDisk();
    const store = openMemoryStore(disk);
    await store.write([put('a'), put('b')], { durable: false });
    await store.write([put('c')]);
    await store.write([{ type: 'put', key: key('a'), value: key('new') }], { durable: false });
    await store.write([{ type: 'del', key: key('b') }, put('d'), { type: 'del', key: key('d') }], {
      durable: false,
    });
    await store.write([put('e')], { durable: false });
    crashDisk(disk, keep);
    expect(codeOf(() => store.get(key('a')))).toBe('store-closed');
    await expect(store.write([put('f')])).rejects.toMatchObject({ code: 'store-closed' });
    const rows = await rowsOf(openMemoryStore(disk), {});
    return rows.map((row) => row.map((bytes) => new TextDecoder().decode(bytes)).join('='));
  }

  it.each([
    [undefined, ['a=a', 'b=b', 'c=c']],
    [1, ['a=new', 'b=b', 'c=c']],
    [2, ['a=new', 'c=c']],
    [3, ['a=new', 'c=c', 'e=e']],
  ])('keeping %p of the writes that were not durable', async (keep, expected) => {
    expect(await crashed(keep)).toEqual(expected);
  });

  it('loses a write under way', async () => {
    const disk = memoryDisk();
    const store = openMemoryStore(disk);
    const write = store.write([put('a')]);
    crashDisk(disk);
    await expect(write).rejects.toMatchObject({ code: 'store-closed' });
    expect(openMemoryStore(disk).get(key('a'))).toBeUndefined();
  });

  it('loses nothing that was closed', async () => {
    const disk = memoryDisk();
    const store = openMemoryStore(disk);
    await store.write([put('a')], { durable: false });
    await store.close();
    crashDisk(disk);
    expect(openMemoryStore(disk).get(key('a'))).toEqual(key('a'));
  });

  it('is not undone by the close of the one that was cut off', async () => {
    const disk = memoryDisk();
    const before = openMemoryStore(disk);
    crashDisk(disk);
    const after = openMemoryStore(disk);
    await before.close();
    await after.write([put('a')]);
    expect(codeOf(() => openMemoryStore(disk))).toBe('store-locked');
  });
});
