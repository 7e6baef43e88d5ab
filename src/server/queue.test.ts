// The queue against the obvious: a list, looked at whole each time.
import fc from 'fast-check';
import { createQueue, type Weight } from './queue.ts';

const item = (events: number, bytes = events * 32): Weight => ({ events, bytes });

describe('what goes into a record', () => {
  const rows = [
    { name: 'nothing', sizes: [], records: [[]] },
    { name: 'all that fits', sizes: [1, 2, 3], records: [[1, 2, 3], []] },
    { name: 'up to the last event that fits', sizes: [4, 6, 1], records: [[4, 6], [1]] },
    { name: 'never a part of a request', sizes: [6, 5, 5], records: [[6], [5, 5]] },
    { name: 'one that is too large alone, alone', sizes: [11, 1], records: [[11], [1]] },
    { name: 'none that came later before one that waits', sizes: [5, 6, 5], records: [[5], [6], [5]] },
  ];
  for (const { name, sizes, records } of rows) {
    it(name, () => {
      const queue = createQueue({ eventsMax: 100, bytesMax: 10_000 }, 10);
      for (const size of sizes) expect(queue.offer(item(size))).toBe(true);
      for (const record of records) expect(queue.take().map(({ events }) => events)).toEqual(record);
      expect(queue.take()).toEqual([]);
    });
  }
});

it('refuses what there is no room for and changes nothing, but an empty queue takes any one item', () => {
  const queue = createQueue({ eventsMax: 5, bytesMax: 100 });
  expect(queue.offer(item(9, 1))).toBe(true);
  expect(queue.offer(item(1, 1))).toBe(false);
  expect([queue.length, queue.events, queue.bytes]).toEqual([1, 9, 1]);
  queue.take();
  expect(queue.offer(item(1, 90))).toBe(true);
  expect(queue.offer(item(1, 11))).toBe(false);
  expect(queue.offer(item(1, 10))).toBe(true);
});

it('does what a plain list does', () => {
  const limits = { eventsMax: 20, bytesMax: 300 };
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('offer'),
      events: fc.integer({ min: 1, max: 9 }),
      bytes: fc.integer({ min: 1, max: 120 }),
    }),
    fc.record({ kind: fc.constant('take') }),
    fc.record({ kind: fc.constant('remove'), at: fc.nat(6) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = createQueue<Weight>(limits, 10);
      let twin: Weight[] = [];
      const sum = (of: 'events' | 'bytes') => twin.reduce((total, one) => total + one[of], 0);
      for (const one of steps) {
        if ('events' in one) {
          const fits =
            twin.length === 0 ||
            (sum('events') + one.events <= limits.eventsMax && sum('bytes') + one.bytes <= limits.bytesMax);
          if (fits) twin.push(one);
          expect(queue.offer(one)).toBe(fits);
        } else if ('at' in one) {
          const victim = twin[one.at] ?? item(1);
          expect(queue.remove(victim)).toBe(twin.includes(victim));
          twin = twin.filter((other) => other !== victim);
        } else {
          let count = Math.min(1, twin.length);
          const total = (n: number) => twin.slice(0, n).reduce((events, other) => events + other.events, 0);
          while (count < twin.length && total(count + 1) <= 10) count += 1;
          expect(queue.take()).toEqual(twin.splice(0, count));
        }
        expect([queue.length, queue.events, queue.bytes]).toEqual([twin.length, sum('events'), sum('bytes')]);
      }
    }),
  );
});
