// A clock that stands still until somebody sleeps on it, for tests of those who wait. Sleepers wake in the order of their times.

export interface FakeClock {
  readonly now: () => number;
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
}

export function fakeClock(start = 1_700_000_100_000): FakeClock {
  let time = start;
  const sleepers: { at: number; wake: () => void }[] = [];
  let isTicking = false;
  function tick(): void {
    if (isTicking) return;
    isTicking = true;
    // Whoever can still run without time passing runs first.
    setImmediate(() => {
      isTicking = false;
      const next = sleepers.sort((a, b) => a.at - b.at).shift();
      if (next === undefined) return;
      time = Math.max(time, next.at);
      next.wake();
      if (sleepers.length > 0) tick();
    });
  }
  return {
    now: () => time,
    sleep: (milliseconds, signal) =>
      new Promise<void>((resolve) => {
        const sleeper = { at: time + milliseconds, wake: resolve };
        sleepers.push(sleeper);
        signal?.addEventListener('abort', () => {
          const at = sleepers.indexOf(sleeper);
          if (at >= 0) sleepers.splice(at, 1);
          resolve();
        });
        tick();
      }),
  };
}
