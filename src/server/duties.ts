// What a node does by the clock, beside its work on requests. As leader it lets all compare their digests now and then, and hands over when it cannot
// apply what is committed: the others would go on, but nobody would publish.
import { type QedError } from '../errors.ts';
import { type ClusterLog } from '../replication/cluster-log.ts';
import { compareDigests } from '../replication/compare.ts';
import { type DurableBalloon } from '../storage/durable-balloon.ts';

export interface DutiesOptions {
  readonly log: Pick<ClusterLog, 'append' | 'peers' | 'members' | 'transferLeadership' | 'status'>;
  readonly durable: Pick<DurableBalloon, 'balloon' | 'apply' | 'divergence'>;
  /** Whether nothing can be applied until the node is opened again. */
  readonly isStuck: () => boolean;
  readonly onDivergence: (divergence: QedError) => void;
  readonly onFailure: (error: unknown) => void;
  /** Between two comparisons, if the log has grown. */
  readonly compareMs?: number | undefined;
}

export interface Duties {
  /** Somebody found that digests differ: the next look compares them, if this node leads. */
  readonly suspect: () => void;
  readonly close: () => Promise<void>;
}

const COMPARE_MS = 10_000;
const LOOK_MS = 1_000;
const PATIENCE_MS = 20_000;

export function startDuties(options: DutiesOptions): Duties {
  const { log, durable, isStuck, onDivergence, onFailure, compareMs = COMPARE_MS } = options;
  const stop = new AbortController();
  let comparedAt = performance.now();
  let comparedSize = -1;
  let running: Promise<void> | undefined;

  const isDue = (): boolean =>
    performance.now() - comparedAt >= compareMs && durable.balloon.size !== comparedSize;

  async function look(): Promise<void> {
    const { role, members } = log.status();
    if (role !== 'leader' || members.length < 2) return;
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(PATIENCE_MS)]);
    if (isStuck()) await log.transferLeadership(undefined, signal);
    else if (isDue()) {
      comparedAt = performance.now();
      comparedSize = durable.balloon.size;
      await compareDigests({ log, durable, signal });
    }
  }

  async function run(): Promise<void> {
    try {
      await look();
    } catch (error) {
      if (!stop.signal.aborted && !durable.divergence) onFailure(error);
    }
    if (durable.divergence) onDivergence(durable.divergence);
    running = undefined;
  }

  const timer = setInterval(
    () => {
      running ??= run();
    },
    Math.min(LOOK_MS, compareMs),
  );
  return {
    suspect() {
      comparedAt = -Infinity;
      comparedSize = -1;
    },
    async close() {
      clearInterval(timer);
      stop.abort();
      await running;
    },
  };
}
