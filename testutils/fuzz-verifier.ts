// Fuzzes everything that reads what others sent: npm run fuzz -- [--inputs 200000] [--seed 1]
// Prints how often each function ended with each code. Stops with an error at the first input that is answered wrongly.
import { parseArgs } from 'node:util';
import { fuzzVerifier } from './fuzz-run.ts';

const { values } = parseArgs({
  options: { inputs: { type: 'string', default: '200000' }, seed: { type: 'string', default: '1' } },
});
const [inputs, seed] = [Number(values.inputs), Number(values.seed)];
const started = performance.now();
const counts = fuzzVerifier(seed, inputs);
const seconds = (performance.now() - started) / 1000;
for (const [name, codes] of counts) {
  const listed = [...codes].sort(([, left], [, right]) => right - left);
  console.log(`${name}: ${listed.map(([code, count]) => `${code} ${count}`).join(', ')}`);
}
console.log(`${inputs} inputs, seed ${seed}: only typed refusals and truths, in ${seconds.toFixed(1)} s`);
