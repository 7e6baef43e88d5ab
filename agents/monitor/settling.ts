// What becomes of every signed state that the monitor meets: it is judged, and what does not fit is said. A state that no node proves stays in mind, and is asked about
// again and again: a log that does not say how it got there refuses an answer.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { type AlertInput } from '../alerts.ts';
import { troubleOf } from '../ask.ts';
import { type Journal } from '../journal.ts';
import { type KnownLog } from '../known-log.ts';
import { accusationOf } from '../accuse.ts';
import { type Conditions } from './conditions.ts';
import { type History } from './history.ts';
import { type Marks } from './marks.ts';

export interface SettlingOptions {
  readonly log: KnownLog;
  readonly history: History;
  readonly journal: Pick<Journal, 'from'>;
  readonly raise: (input: AlertInput) => void;
  readonly conditions: Conditions;
  readonly marks: Marks;
  readonly maxOutageMs: number;
}

export interface Settling {
  /** Rejects when no node could be asked, so that it is tried again. */
  readonly settle: (signed: SignedSnapshot) => Promise<void>;
  /** The same for a state that will be met again. */
  readonly glance: (signed: SignedSnapshot) => Promise<void>;
  /** What was in the journal before this run, and not verified then. */
  readonly takeUp: () => Promise<void>;
  readonly retry: () => Promise<void>;
  readonly unproven: () => number;
}

const UNPROVEN_MAX = 1_024;

export function openSettling(options: SettlingOptions): Settling {
  const { log, history, raise, conditions, marks } = options;
  const unproven = new Map<number, SignedSnapshot>();

  function keep(signed: SignedSnapshot): void {
    if (unproven.size < UNPROVEN_MAX) unproven.set(signed.snapshot.version, signed);
  }

  async function settle(signed: SignedSnapshot): Promise<void> {
    const { version } = signed.snapshot;
    const judgement = await history.judge(signed);
    if (judgement.kind === 'contradicts') {
      unproven.delete(version);
      raise(accusationOf(log, judgement.evidence, [judgement.known.snapshot.version, version]));
      return;
    }
    // Also without a proof: the log has signed that it has so much.
    marks.note(version + 1);
    if (judgement.kind === 'unproven') {
      // A log that answers everything but this is busy for ever: that it is asked again must not hide it.
      keep(signed);
      if (judgement.error.kind === 'world') throw judgement.error;
      return;
    }
    unproven.delete(version);
    for (const url of judgement.liars) raise(lieOf(url));
  }

  async function glance(signed: SignedSnapshot): Promise<void> {
    // Whether anybody answers is watched elsewhere.
    await settle(signed).catch(troubleOf);
  }

  return {
    settle,
    glance,
    async takeUp() {
      for await (const { line } of options.journal.from((history.head?.snapshot.version ?? -1) + 1))
        keep(parseLine(line));
    },
    async retry() {
      for (const signed of [...unproven.values()]) await glance(signed);
      const [first] = unproven.values();
      const message = `${log.verifier.name} has signed version ${first?.snapshot.version ?? -1}, and no node proves that it belongs to one history with version ${history.head?.snapshot.version ?? -1}`;
      conditions.set('outage', 'proofs', first && { message, code: 'version-unknown' }, options.maxOutageMs);
    },
    unproven: () => unproven.size,
  };
}

function lieOf(url: string): AlertInput {
  return {
    kind: 'inconsistent',
    subject: `proofs of ${url}`,
    code: 'consistency-mismatch',
    message: `${url} gave a proof that does not hold, where another node gave one that does`,
  };
}
