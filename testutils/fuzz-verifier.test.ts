// A short fuzz run. The long one: npm run fuzz
import { fuzzVerifier } from './fuzz-run.ts';

const inputs = 10_000;
const seed = Number(process.env['QED_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

it(`${inputs} mutated and random inputs give the truth or a typed refusal, seed ${seed} (QED_SEED repeats it)`, () => {
  const counts = [...fuzzVerifier(seed, inputs)];
  const total = counts.flatMap(([, codes]) => [...codes.values()]).reduce((sum, count) => sum + count);
  expect(total).toBe(inputs);
  // Every function has taken what is valid and refused what is not.
  for (const [name, codes] of counts) {
    expect(`${name}: ${codes.size > 1}`).toBe(`${name}: true`);
    if (!name.includes('any question')) expect(codes.get('accepted')).toBeGreaterThan(0);
  }
  const seen = new Set(counts.flatMap(([, codes]) => [...codes.keys()]));
  for (const code of ['hyper-mismatch', 'history-mismatch', 'snapshot-mismatch', 'consistency-mismatch']) {
    expect(seen).toContain(code);
  }
});
