// What was known when: against a list of everything that was ever noted.
import { keepMarks } from './marks.ts';
import { seededRandom } from '../../testutils/random.ts';

it('knows what was known a while ago, never more and hardly less', () => {
  const random = seededRandom(11);
  let now = 1_000_000;
  const marks = keepMarks(() => now);
  const noted: { at: number; size: number }[] = [];
  let size = 0;
  for (let step = 0; step < 5_000; step++) {
    now += random.below(200);
    size += random.below(50);
    marks.note(random.chance(0.1) ? Math.max(size - 20, 0) : size);
    noted.push({ at: now, size });
    const back = random.pick([1_000, 10_000, 60_000]);
    const known = marks.sizeBefore(back);
    const sizeAt = (time: number): number => noted.findLast(({ at }) => at <= time)?.size ?? 0;
    expect(known).toBeLessThanOrEqual(sizeAt(now - back));
    expect(known).toBeGreaterThanOrEqual(sizeAt(now - back - 1_500) - 20);
  }
  expect(marks.sizeBefore(0)).toBeGreaterThanOrEqual(size - 50);
  expect(marks.rate()).toBeGreaterThan(150);
  expect(marks.rate()).toBeLessThan(350);
  expect(marks.describe(1_000)).toMatch(/^1000 events, [34567] s at \d+ a second$/);
});

it('expects nothing of the first moments', () => {
  let now = 0;
  const marks = keepMarks(() => now);
  expect([marks.sizeBefore(0), marks.rate(), marks.describe(3)]).toEqual([0, 0, '3 events']);
  marks.note(10);
  expect([marks.sizeBefore(0), marks.sizeBefore(1)]).toEqual([10, 0]);
  now = 1;
  expect(marks.sizeBefore(1)).toBe(10);
});
