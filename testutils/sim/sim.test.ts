// Whole clusters under faults: no seed may break a promise, and every seeded bug must.
import { find, isShownBy, mutants } from './mutants.ts';
import { describeFailure, simulate, sumUp, type Outcome } from './simulate.ts';

const BATCH = 50;
/** Each seeded bug is found by fewer seeds than these. `npm run sim` takes thousands. */
const BATCHES = 3;
const MUTANT_SEEDS = 400;

const outcomes: Outcome[] = [];

describe('a cluster keeps its promises', () => {
  const firsts = Array.from({ length: BATCHES }, (_, batch) => 1 + batch * BATCH);
  it.each(firsts)(`under the faults of ${BATCH} seeds from %d on`, (first) => {
    for (let seed = first; seed < first + BATCH; seed += 1) {
      const outcome = simulate(seed);
      outcomes.push(outcome);
      if (outcome.failure !== undefined) throw new Error(describeFailure(outcome));
    }
  });

  it('in runs in which everything did happen', () => {
    const sum = sumUp(outcomes);
    const expected = [
      'elections',
      'acknowledged adds',
      'unsynced writes lost',
      'Raft snapshot restored',
      'log compacted',
      'membership changed',
      'partition',
      'cutOneWay',
      'slowDisk',
      'skewClock',
      'transferLeadership',
    ];
    for (const what of expected)
      expect([what, (sum.get(what) ?? 0) >= outcomes.length]).toEqual([what, true]);
  });

  it('and a seed always tells the same story', () => {
    const [a, b] = [simulate(7, {}, true), simulate(7, {}, true)];
    expect(a).toEqual(b);
    expect(a.trace.length).toBeGreaterThan(100);
  });
});

describe('the simulator finds a member that', () => {
  it.each(mutants.map((mutant) => [mutant.name, mutant] as const))('%s', (_, mutant) => {
    expect(isShownBy(mutant, mutant.seed) || find(mutant, MUTANT_SEEDS) !== undefined).toBe(true);
  });
});
