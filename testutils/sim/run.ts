// Long runs: `tsx testutils/sim/run.ts --seeds 20000 --from 1`. Prints progress, and the whole story of every seed that fails; one that
// failed is repeated by `--from SEED --seeds 1`. Ends with 1 if any failed.
import { parseArgs } from 'node:util';
import { describeFailure, simulate, sumUp, type Outcome } from './simulate.ts';

const BATCH = 500;

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '1000' }, from: { type: 'string', default: '1' } },
});
const seeds = Number(values.seeds);
const from = Number(values.from);

let failed = 0;
const started = Date.now();
for (let done = 0; done < seeds; done += BATCH) {
  const outcomes: Outcome[] = [];
  for (let seed = from + done; seed < from + Math.min(done + BATCH, seeds); seed += 1) {
    const outcome = simulate(seed);
    outcomes.push(outcome);
    if (outcome.failure === undefined) continue;
    failed += 1;
    console.log(describeFailure(outcome));
  }
  const sum = [...sumUp(outcomes)].map(([what, count]) => `${what} ${count}`);
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(
    `seeds ${from} to ${from + done + outcomes.length - 1}, ${failed} failed, ${seconds} s; latest: ${sum.join(', ')}`,
  );
}
process.exitCode = failed > 0 ? 1 : 0;
