// The queue and its deliveries: order, places that outlive the process, failures that hold up nobody else, and what happens when too much waits.
import { decodeUtf8, encodeUtf8 } from '../src/crypto/encoding.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../src/storage/memory.ts';
import { startDelivery, type Delivery, type DeliveryOptions } from './delivery.ts';
import { openQueue, type Queue } from './queue.ts';
import { until } from '../testutils/until.ts';

const PREFIX = 0x71;
const open: Delivery[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

interface World {
  readonly disk: MemoryDisk;
  readonly store: ReturnType<typeof openMemoryStore>;
  readonly queue: Queue;
  readonly holes: number[];
}

async function world(itemsMax = 100_000, disk = memoryDisk()): Promise<World> {
  const store = openMemoryStore(disk);
  return { disk, store, queue: await openQueue({ store, prefix: PREFIX, itemsMax }), holes: [] };
}

function deliver({ store, queue, holes }: World, name: string, send: DeliveryOptions['send']): Delivery {
  const delivery = startDelivery({
    name,
    queue,
    store,
    send,
    batchMax: 3,
    onFailure: () => undefined,
    onRecovery: () => undefined,
    onHole: (count) => holes.push(count),
    now: () => performance.now(),
    jitter: () => 0,
  });
  open.push(delivery);
  return delivery;
}

/** A receiver that keeps what it gets. */
function ear(): { readonly heard: string[]; readonly send: DeliveryOptions['send'] } {
  const heard: string[] = [];
  return {
    heard,
    send(items) {
      for (const { value } of items) heard.push(decodeUtf8(value)!);
      return Promise.resolve();
    },
  };
}

const words = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, at) => `word ${from + at}`);
const append = (queue: Queue, list: readonly string[]): Promise<void> => queue.append(list.map(encodeUtf8));

it('delivers in order, what was there and what comes, to each at its own pace', async () => {
  const at = await world();
  await append(at.queue, words(0, 10));
  const [first, second] = [ear(), ear()];
  deliver(at, 'first', first.send);
  await Promise.all([append(at.queue, words(10, 12)), append(at.queue, words(12, 15))]);
  deliver(at, 'second', second.send);
  await append(at.queue, words(15, 20));
  await until('both have all', () => first.heard.length === 20 && second.heard.length === 20);
  expect(first.heard).toEqual(words(0, 20));
  expect(second.heard).toEqual(words(0, 20));
});

it('goes on after a restart where it was, and repeats no more than the batch that was under way', async () => {
  const at = await world();
  await append(at.queue, words(0, 9));
  const before = ear();
  const delivery = deliver(at, 'one', (items, signal) => {
    if (before.heard.length >= 6)
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('killed'))));
    return before.send(items, signal);
  });
  await until('some are there', () => before.heard.length === 6);
  open.pop();
  await delivery.close();
  await at.store.close();
  const again = await world(100_000, at.disk);
  const after = ear();
  deliver(again, 'one', after.send);
  await until('the rest', () => after.heard.length >= 3);
  expect([...before.heard, ...after.heard]).toEqual(words(0, 9));
});

it('tries a failed batch again until it is taken, and holds up nobody else', async () => {
  const at = await world();
  const [good, late] = [ear(), ear()];
  let tries = 0;
  deliver(at, 'good', good.send);
  const broken = deliver(at, 'broken', (items, signal) =>
    tries++ < 3 ? Promise.reject(new Error('full')) : late.send(items, signal),
  );
  await append(at.queue, words(0, 5));
  await until('the good one has all', () => good.heard.length === 5);
  expect(broken.figures()).toMatchObject({ delivered: 0, failure: 'full' });
  await until('the broken one has all', () => late.heard.length === 5);
  expect(late.heard).toEqual(words(0, 5));
  expect(broken.figures()).toMatchObject({ delivered: 5, failures: 3, failure: undefined, waiting: 0 });
});

it('keeps only so many, and says how many a receiver that was too slow has lost', async () => {
  const at = await world(10);
  await append(at.queue, words(0, 4));
  const slow = ear();
  let free: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (free = resolve));
  const delivery = deliver(at, 'slow', async (items, signal) => {
    await held;
    await slow.send(items, signal);
  });
  for (let i = 4; i < 40; i++) await append(at.queue, words(i, i + 1));
  expect(at.queue.next - at.queue.first).toBeLessThanOrEqual(20);
  free();
  await until('it is at the end', () => slow.heard.at(-1) === 'word 39');
  const lost = at.holes.reduce((sum, count) => sum + count, 0);
  expect(slow.heard.length + lost).toBe(40);
  expect(lost).toBeGreaterThan(10);
  expect(delivery.figures().lost).toBe(lost);
});
