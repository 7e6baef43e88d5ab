// The pace: it grows while the log answers well, shrinks when it does not, and never lets go of the one question that finds out.
import { createPace } from './pace.ts';

function world(widthMax = 8) {
  const at = { now: 0, most: 0, running: 0, slept: 0 };
  const pace = createPace({
    widthMax,
    slowMs: 100,
    now: () => at.now,
    sleep(milliseconds) {
      at.slept += milliseconds;
      at.now += milliseconds;
      return Promise.resolve();
    },
  });
  const ask = (tookMs: number, fails = false): Promise<void> =>
    pace.run(async () => {
      at.running += 1;
      at.most = Math.max(at.most, at.running);
      await new Promise((resolve) => setImmediate(resolve));
      at.now += tookMs;
      at.running -= 1;
      if (fails) throw new Error('busy');
    });
  return { at, pace, ask };
}

it('asks more at a time while answers are quick, up to a limit', async () => {
  const { at, pace, ask } = world();
  await Promise.all(Array.from({ length: 100 }, () => ask(1)));
  expect([pace.width, at.most, at.slept]).toEqual([8, 8, 0]);
});

it.each([
  ['slow answers', 400, false],
  ['errors', 1, true],
])('asks one at a time, and rests, after %s', async (_name, tookMs, fails) => {
  const { at, pace, ask } = world();
  await Promise.all(Array.from({ length: 100 }, () => ask(1)));
  await Promise.allSettled(Array.from({ length: 20 }, () => ask(tookMs, fails)));
  expect(pace.width).toBe(1);
  expect(at.slept).toBeGreaterThan(0);
  at.most = 0;
  await Promise.allSettled(Array.from({ length: 5 }, () => ask(tookMs, fails)));
  expect(at.most).toBe(1);
  await Promise.all(Array.from({ length: 100 }, () => ask(1)));
  expect(pace.width).toBe(8);
});
