// How fast the auditor asks: as many questions at a time as the log answers without effort. An answer that takes long, or none, halves them and
// makes the auditor wait as long as the log took, so that its share of a busy log shrinks to a half of one question at a time and less; good answers let
// them grow again, one by one.
export interface Pace {
  /** Runs the task when there is room. */
  readonly run: <Result>(task: () => Promise<Result>) => Promise<Result>;
  /** Questions at a time, now. */
  readonly width: number;
}

export interface PaceOptions {
  readonly widthMax: number;
  readonly slowMs: number;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
}

const REST_MAX_MS = 5_000;

export function createPace({ widthMax, slowMs, now, sleep }: PaceOptions): Pace {
  let width = Math.min(2, widthMax);
  let running = 0;
  let restUntil = 0;
  const waiting: (() => void)[] = [];

  async function enter(): Promise<void> {
    while (running >= Math.floor(width)) await new Promise<void>((resolve) => waiting.push(resolve));
    running += 1;
    const rest = restUntil - now();
    if (rest > 0) await sleep(rest);
  }

  function leave(tookMs: number, isAnswered: boolean): void {
    running -= 1;
    if (isAnswered && tookMs < slowMs) {
      width = Math.min(widthMax, width + 1 / Math.floor(width));
    } else {
      width = Math.max(1, width / 2);
      restUntil = now() + Math.min(tookMs, REST_MAX_MS);
    }
    for (const wake of waiting.splice(0)) wake();
  }

  return {
    get width() {
      return Math.floor(width);
    },
    async run(task) {
      await enter();
      const from = now();
      let isAnswered = false;
      try {
        const result = await task();
        isAnswered = true;
        return result;
      } finally {
        leave(now() - from, isAnswered);
      }
    },
  };
}
