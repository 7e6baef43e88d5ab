// Latencies in a fixed table of counters: 32 steps for each doubling, so a figure is at most 3% off, and a million of them cost no memory.

const STEPS = 32;
const STEP_BITS = 5;

export interface Latencies {
  readonly add: (milliseconds: number) => void;
  /** In milliseconds; NaN while there is none. `share` from 0 to 1. */
  readonly quantile: (share: number) => number;
  readonly max: () => number;
  readonly clear: () => void;
}

export function createLatencies(): Latencies {
  const counts = new Float64Array(STEPS * 33);
  let total = 0;
  let max = 0;
  return {
    add(milliseconds) {
      const micros = Math.min(Math.max(Math.round(milliseconds * 1000), 0), 0xffff_ffff);
      counts[bucketOf(micros)]! += 1;
      total += 1;
      max = Math.max(max, milliseconds);
    },
    quantile(share) {
      let left = Math.ceil(total * share);
      for (let bucket = 0; bucket < counts.length; bucket++) {
        left -= counts[bucket]!;
        if (left <= 0 && total > 0) return Math.min(microsOf(bucket) / 1000, max);
      }
      return NaN;
    },
    max: () => max,
    clear() {
      counts.fill(0);
      total = 0;
      max = 0;
    },
  };
}

/** Below 32 µs each has its own; from there on, the leading bit and the five bits behind it decide. */
function bucketOf(micros: number): number {
  if (micros < STEPS) return micros;
  const exponent = 31 - Math.clz32(micros);
  const step = (micros >>> (exponent - STEP_BITS)) & (STEPS - 1);
  return (exponent - STEP_BITS + 1) * STEPS + step;
}

/** The upper end of a bucket. */
function microsOf(bucket: number): number {
  if (bucket < STEPS) return bucket;
  const exponent = Math.floor(bucket / STEPS) + STEP_BITS - 1;
  return (STEPS + (bucket % STEPS) + 1) * 2 ** (exponent - STEP_BITS) - 1;
}
