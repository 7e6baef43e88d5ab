// A process with a store on disk, for tests that need one beside them: to be killed, to hold the lock, to run where the disk is full.
// It writes numbered batches, of which anybody can say whether they are all there.
//   write PATH   writes batches for ever and prints the number of each once it is acknowledged
//   open PATH    opens, checks and closes; prints { last } or { code, message, hint }
//   fill PATH    writes until the disk is full, with a file called `ballast` beside PATH that it may delete; prints what happened, as JSON
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { QedError } from '../src/errors.ts';
import { openLevelStore } from '../src/storage/level.ts';
import { type Store, type Write } from '../src/storage/store.ts';
import { seededRandom } from './random.ts';

const COUNTER = Uint8Array.of(255);
/** Small, so that tables are written and merged within seconds. */
const WRITE_BUFFER_BYTES = 256 * 1024;

export const openSmall = (path: string): Promise<Store> =>
  openLevelStore(path, { writeBufferBytes: WRITE_BUFFER_BYTES });

/** Batch n puts three keys of its own, overwrites the counter, and deletes one key of the batch before. */
export function numberedBatch(n: number): Write[] {
  const counter: Write = { type: 'put', key: COUNTER, value: new TextEncoder().encode(String(n)) };
  const before: Write = { type: 'del', key: keyOf(n - 1, 2) };
  return [
    ...[0, 1, 2].map((i): Write => ({ type: 'put', key: keyOf(n, i), value: valueOf(n, i) })),
    counter,
    before,
  ];
}

/** The number of the last batch in the store. Throws where anything else is there than the batches up to it leave, or anything is not. */
export async function lastNumbered(store: Store): Promise<number> {
  const counter = store.get(COUNTER);
  const last = counter === undefined ? 0 : Number(new TextDecoder().decode(counter));
  const expected = new Map<string, Uint8Array>();
  for (let n = 1; n <= last; n++) {
    for (const write of numberedBatch(n)) {
      if (write.type === 'put') expected.set(hex(write.key), write.value);
      else expected.delete(hex(write.key));
    }
  }
  for await (const [key, value] of store.range({})) {
    const right = expected.get(hex(key));
    if (right === undefined || Buffer.compare(right, value) !== 0) throw new Error(`wrong at ${hex(key)}`);
    if (Buffer.compare(right, store.get(key) ?? new Uint8Array()) !== 0)
      throw new Error(`wrong get ${hex(key)}`);
    expected.delete(hex(key));
  }
  const [missing] = expected.keys();
  if (missing !== undefined) throw new Error(`${missing} is missing`);
  return last;
}

export function keyOf(n: number, i: number): Uint8Array {
  return Uint8Array.of(n >> 16, n >> 8, n, i);
}

export function valueOf(n: number, i: number): Uint8Array {
  const random = seededRandom(n * 3 + i);
  const value = new Uint8Array(random.below(3000)).fill(n);
  value.set(random.bytes(Math.min(value.length, 64)));
  return value;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Writes until a write fails. */
async function writeOn(store: Store, from: number, acknowledged: (n: number) => void): Promise<unknown> {
  for (let n = from; ; n++) {
    try {
      await store.write(numberedBatch(n), { durable: n % 3 !== 0 });
    } catch (error) {
      return error;
    }
    acknowledged(n);
  }
}

async function write(path: string): Promise<void> {
  const store = await openSmall(path);
  throw await writeOn(store, (await lastNumbered(store)) + 1, (n) => process.stdout.write(`${n}\n`));
}

async function open(path: string): Promise<unknown> {
  try {
    const store = await openSmall(path);
    const last = await lastNumbered(store);
    await store.close();
    return { last };
  } catch (error) {
    return described(error);
  }
}

async function fill(path: string): Promise<unknown> {
  const store = await openSmall(path);
  let acknowledged = 0;
  const failed = described(await writeOn(store, 1, (n) => (acknowledged = n)));
  const then = described(await store.write([]).catch((error: unknown) => error));
  await store.close();
  const whileFull = await open(path);
  rmSync(join(dirname(path), 'ballast'));
  const again = await openSmall(path);
  const kept = await lastNumbered(again);
  await again.write(numberedBatch(kept + 1));
  await again.close();
  return { acknowledged, failed, then, whileFull, kept, next: await open(path) };
}

function described(error: unknown): unknown {
  if (!(error instanceof QedError)) throw error;
  return { code: error.code, message: error.message, hint: error.hint };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mode, path = ''] = process.argv.slice(2);
  const work = { write, open, fill }[mode ?? ''];
  if (!work) throw new Error('usage: store-child write|open|fill PATH');
  console.log(JSON.stringify(await work(path)));
}
