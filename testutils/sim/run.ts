// Long runs: `tsx testutils/sim/run.ts --seeds 20000 --from 1`. Prints progress, and the whole story of every seed that fails; one that
// failed is repeated by `--from SEED --seeds 1`. Ends with 1 if any failed.
import { parseArgs } from 'node:util';
import { describeFailure, simulate } from './simulate.ts';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '1000' }, from: { type: 'string', default: '1' } },
});
const seeds = Number(values.seeds);
const from = Number(values.from);

let failed = 0;
let steps = 0;
let added = 0;
const started = Date.now();
for (let seed = from; seed < from + seeds; seed += 1) {
  const outcome = simulate(seed);
  steps += outcome.steps;
  added += outcome.added;
  if (outcome.failure !== undefined) {
    failed += 1;
    console.log(describeFailure(outcome));
  }
  const done = seed - from + 1;
  if (done % 1000 === 0 || done === seeds) {
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    console.log(`${done} seeds, ${failed} failed, ${steps} steps, ${added} acknowledged adds, ${seconds} s`);
  }
}
process.exitCode = failed > 0 ? 1 : 0;
