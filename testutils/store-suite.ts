// What every Store must do, whatever is behind it: one suite, run against memory and disk.
// `place` makes somewhere that a store can be opened, closed and opened again, one test each.
import fc from 'fast-check';
import { KEY_BYTES_MAX, VALUE_BYTES_MAX, type Range, type Store, type Write } from '../src/storage/store.ts';
import { codeOf } from './code-of.ts';

export interface StorePlace {
  /** Opens the store; after a close, the same one again. */
  open(): Promise<Store>;
  remove(): Promise<void>;
}

export function describeStore(name: string, place: () => Promise<StorePlace>): void {
  describe(`${name} as a store`, () => {
    let here: StorePlace;
    let store: Store;

    beforeEach(async () => {
      here = await place();
      store = await here.open();
    });
    afterEach(async () => {
      await store.close();
      await here.remove();
    });

    async function reopen(): Promise<void> {
      await store.close();
      store = await here.open();
    }

    async function fill(...keys: string[]): Promise<void> {
      await store.write(keys.map((key) => put(key, key)));
    }

    async function keysOf(range: Range): Promise<string[]> {
      return (await rowsOf(store, range)).map(([key]) => text(key));
    }

    describe('get and write', () => {
      it('gives back what was put, and undefined for what was not or is deleted', async () => {
        expect(store.get(bytes('a'))).toBeUndefined();
        await store.write([put('a', '1'), put('b', '2')]);
        expect(store.get(bytes('a'))).toEqual(bytes('1'));
        await store.write([put('a', '3'), del('b'), del('never')]);
        expect(store.get(bytes('a'))).toEqual(bytes('3'));
        expect(store.get(bytes('b'))).toBeUndefined();
      });

      it.each([
        ['empty key', new Uint8Array(), bytes('v')],
        ['empty value', bytes('k'), new Uint8Array()],
        ['key of zeros', new Uint8Array(3), bytes('v')],
        ['key of 0xff', new Uint8Array(3).fill(255), bytes('v')],
        ['longest key', new Uint8Array(KEY_BYTES_MAX).fill(7), bytes('v')],
        ['value of 1 MiB', bytes('k'), new Uint8Array(1 << 20).map((_, i) => i * 31)],
      ])('keeps an %s, also when reopened', async (_, key, value) => {
        await store.write([{ type: 'put', key, value }]);
        expect(sameBytes(store.get(key), value)).toBe(true);
        await reopen();
        expect(sameBytes(store.get(key), value)).toBe(true);
        expect(await rowsOf(store, {})).toHaveLength(1);
      });

      it('gives plain Uint8Arrays', async () => {
        await fill('a');
        expect(store.get(bytes('a'))?.constructor).toBe(Uint8Array);
        for (const [key, value] of await rowsOf(store, {})) {
          expect([key.constructor, value.constructor]).toEqual([Uint8Array, Uint8Array]);
        }
      });

      it('refuses keys and values that are too large, and stays open', async () => {
        const long = new Uint8Array(KEY_BYTES_MAX + 1);
        await expect(store.write([{ type: 'del', key: long }])).rejects.toMatchObject({ code: 'bug' });
        const large = new Uint8Array(VALUE_BYTES_MAX + 1);
        await expect(
          store.write([put('a', '1'), { type: 'put', key: bytes('b'), value: large }]),
        ).rejects.toMatchObject({ code: 'bug' });
        expect(await keysOf({})).toEqual([]);
      });

      it('lets the last write to a key in a batch count', async () => {
        await store.write([put('a', '1'), put('a', '2'), put('b', '1'), del('b'), del('c'), put('c', '1')]);
        expect(text(store.get(bytes('a'))!)).toBe('2');
        expect(await keysOf({})).toEqual(['a', 'c']);
      });

      it('takes an empty batch, durable or not', async () => {
        await store.write([]);
        await store.write([], { durable: false });
        await reopen();
        expect(await keysOf({})).toEqual([]);
      });

      it('takes a batch of 10,000 writes', async () => {
        await store.write(Array.from({ length: 10_000 }, (_, i) => put(`key ${i}`, `value ${i}`)));
        await reopen();
        expect(text(store.get(bytes('key 9999'))!)).toBe('value 9999');
        expect(await keysOf({})).toHaveLength(10_000);
      });

      it('keeps writes in the order of the calls, durable or not', async () => {
        await Promise.all(
          Array.from({ length: 200 }, (_, i) => store.write([put('a', `${i}`)], { durable: i % 7 === 0 })),
        );
        expect(text(store.get(bytes('a'))!)).toBe('199');
        await reopen();
        expect(text(store.get(bytes('a'))!)).toBe('199');
      });
    });

    describe('copies', () => {
      it.each(['Uint8Array', 'Buffer'])('takes a copy of a %s before write returns', async (kind) => {
        const make = (word: string) => (kind === 'Buffer' ? Buffer.from(word) : bytes(word));
        const [key, value] = [make('key'), make('value')];
        const done = store.write([{ type: 'put', key, value }]);
        key.fill(0);
        value.fill(0);
        await done;
        expect(text(store.get(bytes('key'))!)).toBe('value');
        value.fill(1);
        expect(text(store.get(bytes('key'))!)).toBe('value');
      });

      it('hands out copies', async () => {
        await fill('a');
        store.get(bytes('a'))!.fill(0);
        for (const [key, value] of await rowsOf(store, {})) {
          key.fill(0);
          value.fill(0);
        }
        expect(text(store.get(bytes('a'))!)).toBe('a');
        expect(await keysOf({})).toEqual(['a']);
      });

      it('takes keys that are views into something larger', async () => {
        const larger = bytes('..key..value..');
        await store.write([{ type: 'put', key: larger.subarray(2, 5), value: larger.subarray(7, 12) }]);
        expect(text(store.get(larger.subarray(2, 5))!)).toBe('value');
        expect(await keysOf({ from: larger.subarray(2, 5) })).toEqual(['key']);
      });
    });

    describe('range', () => {
      it('goes in byte order, a prefix before what it begins', async () => {
        const ordered = [
          [],
          [0],
          [0, 0],
          [0, 255],
          [1],
          [1, 0],
          [97],
          [97, 98],
          [127],
          [128],
          [255],
          [255, 0],
          [255, 255],
        ];
        const writes = ordered.map((key): Write => ({
          type: 'put',
          key: Uint8Array.from(key),
          value: bytes('v'),
        }));
        await store.write(writes.reverse());
        const keys = (await rowsOf(store, {})).map(([key]) => [...key]);
        expect(keys).toEqual(ordered);
      });

      it.each<[string, Range, string[]]>([
        ['everything', {}, ['a', 'ab', 'b', 'c', 'd']],
        ['from, inclusive', { from: bytes('b') }, ['b', 'c', 'd']],
        ['from between keys', { from: bytes('aa') }, ['ab', 'b', 'c', 'd']],
        ['to, exclusive', { to: bytes('b') }, ['a', 'ab']],
        ['both', { from: bytes('ab'), to: bytes('d') }, ['ab', 'b', 'c']],
        ['an empty range', { from: bytes('b'), to: bytes('b') }, []],
        ['a reversed range', { from: bytes('c'), to: bytes('b') }, []],
        ['a range between keys', { from: bytes('ba'), to: bytes('bz') }, []],
        ['a range behind all keys', { from: bytes('x') }, []],
        ['reverse', { from: bytes('ab'), to: bytes('d'), reverse: true }, ['c', 'b', 'ab']],
        ['reverse, to behind all keys', { to: bytes('z'), reverse: true }, ['d', 'c', 'b', 'ab', 'a']],
        ['reverse, nothing in it', { from: bytes('x'), reverse: true }, []],
        ['a limit', { from: bytes('ab'), limit: 2 }, ['ab', 'b']],
        ['a limit of zero', { limit: 0 }, []],
        ['a limit beyond the end', { from: bytes('c'), limit: 100 }, ['c', 'd']],
        ['reverse with a limit', { to: bytes('d'), reverse: true, limit: 2 }, ['c', 'b']],
        ['the highest limit', { limit: 2 ** 31 - 1 }, ['a', 'ab', 'b', 'c', 'd']],
      ])('gives %s', async (_, range, expected) => {
        await fill('d', 'b', 'a', 'c', 'ab');
        expect(await keysOf(range)).toEqual(expected);
      });

      it.each([-1, 0.5, NaN, Infinity, 2 ** 31])('refuses a limit of %p', async (limit) => {
        await expect(keysOf({ limit })).rejects.toMatchObject({ code: 'bug' });
      });

      it('shows the state at its first step while writes go on', async () => {
        await store.write(Array.from({ length: 3000 }, (_, i) => put(`old ${i}`, 'before')));
        const range = store.range({});
        await store.write([put('old 0', 'just before the first step')]);
        const seen: string[] = [];
        for await (const [key, value] of range) {
          if (seen.length % 1000 === 0) {
            await store.write([
              put('old 2999', 'after'),
              put('zzz', 'after'),
              del('old 5'),
              put('aaa', 'after'),
            ]);
          }
          seen.push(`${text(key)} = ${text(value)}`);
        }
        expect(seen).toHaveLength(3000);
        expect(seen).toContain('old 5 = before');
        expect(seen).toContain('old 2999 = before');
        expect(seen).toContain('old 0 = just before the first step');
        expect(await keysOf({ from: bytes('old 4999') })).toContain('zzz');
      });

      it('may be left early and started anew', async () => {
        await fill('a', 'b', 'c');
        const range = store.range({});
        for await (const [key] of range) {
          expect(text(key)).toBe('a');
          break;
        }
        expect(await keysOf({ reverse: true })).toEqual(['c', 'b', 'a']);
      });

      it('reads many rows with large values', async () => {
        const value = new Uint8Array(64 * 1024).fill(9);
        const key = (i: number) => Uint8Array.of(i >> 8, i);
        await store.write(
          Array.from({ length: 300 }, (_, i): Write => ({ type: 'put', key: key(i), value })),
        );
        const rows = await rowsOf(store, {});
        expect(rows.map(([at]) => at[0]! * 256 + at[1]!)).toEqual(Array.from({ length: 300 }, (_, i) => i));
        expect(rows.every(([, found]) => sameBytes(found, value))).toBe(true);
      });
    });

    describe('atomicity', () => {
      it('never shows a part of a batch', async () => {
        const batch = (n: number) => Array.from({ length: 50 }, (_, i) => put(`${i}`, `${n}`));
        let done = false;
        const writing = (async () => {
          for (let n = 0; n < 100; n++) await store.write(batch(n), { durable: false });
          done = true;
        })();
        while (!done) {
          const values = new Set((await rowsOf(store, {})).map(([, value]) => text(value)));
          expect(values.size).toBeLessThanOrEqual(1);
        }
        await writing;
      });
    });

    describe('a life', () => {
      it('holds the same when reopened, three times', async () => {
        for (let life = 0; life < 3; life++) {
          await store.write([put(`life ${life}`, 'x'), put('latest', `${life}`), del(`life ${life - 1}`)], {
            durable: life !== 1,
          });
          await reopen();
          expect(await keysOf({})).toEqual(['latest', `life ${life}`]);
          expect(text(store.get(bytes('latest'))!)).toBe(`${life}`);
        }
      });

      it('refuses a second opening while it is open', async () => {
        await expect(here.open()).rejects.toMatchObject({ code: 'store-locked' });
        await fill('a');
        expect(await keysOf({})).toEqual(['a']);
      });

      it('may be closed twice, at once or later', async () => {
        await Promise.all([store.close(), store.close()]);
        await store.close();
      });

      it('refuses every call after close', async () => {
        await fill('a');
        await store.close();
        expect(codeOf(() => store.get(bytes('a')))).toBe('store-closed');
        await expect(fill('b')).rejects.toMatchObject({ code: 'store-closed' });
        await expect(keysOf({})).rejects.toMatchObject({ code: 'store-closed' });
      });

      it('finishes the writes under way before it closes, and takes no more', async () => {
        const writes = Array.from({ length: 20 }, (_, i) =>
          store.write([put(`${i}`, 'x')], { durable: i % 2 === 0 }),
        );
        const closed = store.close();
        await expect(fill('late')).rejects.toMatchObject({ code: 'store-closed' });
        await Promise.all([...writes, closed]);
        store = await here.open();
        expect(await keysOf({})).toHaveLength(20);
      });

      it('ends a range that is under way when it closes', async () => {
        await store.write(Array.from({ length: 5000 }, (_, i) => put(`${i}`, 'x')));
        const steps = store.range({})[Symbol.asyncIterator]();
        expect((await steps.next()).done).toBe(false);
        await store.close();
        await expect(steps.next()).rejects.toMatchObject({ code: 'store-closed' });
      });
    });

    it('does as a plain map does, whatever the calls', async () => {
      const key = fc.uint8Array({ maxLength: 3 });
      const write = fc.oneof(
        fc.record({ type: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 40 }) }),
        fc.record({ type: fc.constant('del' as const), key }),
      );
      const step = fc.oneof(
        fc.record({ writes: fc.array(write, { maxLength: 12 }), durable: fc.boolean() }),
        fc.constant('reopen' as const),
        fc.record({ from: key, to: key, reverse: fc.boolean(), limit: fc.nat(8) }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
          const twin = new Map<string, Write & { readonly type: 'put' }>();
          await store.write((await rowsOf(store, {})).map(([old]): Write => ({ type: 'del', key: old })));
          for (const next of steps) {
            if (next === 'reopen') await reopen();
            else if ('writes' in next) {
              await store.write(next.writes, { durable: next.durable });
              for (const one of next.writes) {
                if (one.type === 'put') twin.set(hex(one.key), one);
                else twin.delete(hex(one.key));
              }
            } else expect(await rowsOf(store, next)).toEqual(twinRows(twin, next));
          }
          expect(await rowsOf(store, {})).toEqual(twinRows(twin, {}));
        }),
        { numRuns: 40 },
      );
    });
  });
}

/** The rows that a range must give, found by looking at every row. */
function twinRows(twin: ReadonlyMap<string, Write & { readonly type: 'put' }>, range: Range) {
  const rows = [...twin.entries()]
    .filter(([key]) => range.from === undefined || key >= hex(range.from))
    .filter(([key]) => range.to === undefined || key < hex(range.to))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { key, value }]) => [key, value] as const);
  if (range.reverse) rows.reverse();
  return rows.slice(0, range.limit);
}

export async function rowsOf(store: Store, range: Range): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  const rows: (readonly [Uint8Array, Uint8Array])[] = [];
  for await (const row of store.range(range)) rows.push(row);
  return rows;
}

function put(key: string, value: string): Write {
  return { type: 'put', key: bytes(key), value: bytes(value) };
}

function del(key: string): Write {
  return { type: 'del', key: bytes(key) };
}

function bytes(word: string): Uint8Array {
  return new TextEncoder().encode(word);
}

function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex');
}

/** Much faster than toEqual for large values. */
function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}
