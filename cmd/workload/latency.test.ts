import { seededRandom } from '../../testutils/random.ts';
import { createLatencies } from './latency.ts';

it('is within 3% of the sorted list of all latencies', () => {
  const seed = 7;
  const random = seededRandom(seed);
  const latencies = createLatencies();
  const all = Array.from({ length: 5000 }, () => 0.001 * 1.003 ** random.below(5000));
  for (const one of all) latencies.add(one);
  all.sort((a, b) => a - b);
  for (const share of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
    const wanted = all[Math.ceil(share * all.length) - 1]!;
    const got = latencies.quantile(share);
    expect(Math.abs(got - wanted)).toBeLessThanOrEqual(Math.max(wanted * 0.032, 0.001));
  }
  expect(latencies.max()).toBe(all.at(-1));
});

it('says nothing about nothing, and survives every number', () => {
  const latencies = createLatencies();
  expect(latencies.quantile(0.5)).toBeNaN();
  for (const one of [0, -1, 1e-9, 1e9]) latencies.add(one);
  expect(latencies.quantile(0.5)).toBe(0);
  expect(latencies.quantile(1)).toBeGreaterThan(4_000_000);
  latencies.clear();
  expect(latencies.quantile(1)).toBeNaN();
});
