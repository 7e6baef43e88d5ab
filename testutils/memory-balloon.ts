// A balloon over a plain map, for tests that need no disk: what it plans is written and committed at once.
import { Balloon, type Batch } from '../src/balloon/balloon.ts';
import { type Snapshot } from '../src/balloon/proof.ts';
import { rebuildHyper } from '../src/balloon/rebuild.ts';
import { type Hash } from '../src/crypto/hash.ts';
import { type HyperTree } from '../src/hyper/tree.ts';
import { memoryValues, type MemoryValues } from './history-log.ts';

export interface MemoryBalloon {
  readonly balloon: Balloon;
  readonly values: MemoryValues;
  readonly apply: (batch: Batch) => Snapshot;
}

/** `tree` is for logs that lie about their map. */
export function memoryBalloon(hash: Hash, values = memoryValues(), tree?: HyperTree): MemoryBalloon {
  const balloon = Balloon.open(hash, values, (view) => tree ?? rebuildHyper(view, []));
  return {
    balloon,
    values,
    apply(batch) {
      const plan = balloon.plan(batch);
      values.write(plan.writes);
      balloon.commit(plan);
      return plan.snapshot;
    },
  };
}
