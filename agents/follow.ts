// What agents that keep a journal have in common: every snapshot that the log publishes goes into it, from gossip and, where gossip has lost some, from the
// log's own list. A snapshot that contradicts another one is tampering, with both notes as evidence.
import { Counter, Histogram, type Registry } from 'prom-client';
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { type Received } from '../src/gossip/snapshots.ts';
import { splitViewOf } from './accuse.ts';
import { type Agent } from './agent.ts';
import { type AlertInput } from './alerts.ts';
import { startIntake, type Intake } from './intake.ts';
import { type Journal } from './journal.ts';
import { type KnownLog } from './known-log.ts';

export interface FollowOptions {
  readonly agent: Agent;
  readonly journal: Journal;
  readonly log: KnownLog;
  readonly figures: FollowFigures;
  /** New in the journal. */
  readonly onTaken?: (added: readonly SignedSnapshot[]) => void;
  /** Whatever gossip brings, also what is known. */
  readonly onHeard?: (received: Received) => void;
}

export type FollowFigures = ReturnType<typeof registerFollowFigures>;

export function registerFollowFigures(registry: Registry) {
  const registers = [registry];
  return {
    snapshots: new Counter({
      name: 'qed_agent_snapshots_total',
      help: 'Snapshots that were verified and taken, by where they came from first: gossip, or the list of the log.',
      labelNames: ['from'] as const,
      registers,
    }),
    lag: new Histogram({
      name: 'qed_agent_gossip_lag_seconds',
      help: 'Time from the batch of a snapshot, by the clock of the log, until gossip brought it.',
      buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60],
      registers,
    }),
  };
}

export function followLog({ agent, journal, log, figures, ...options }: FollowOptions): Intake {
  const { source, primitives, logger } = agent;
  const { onTaken = () => undefined, onHeard = () => undefined } = options;
  const accuse = (known: SignedSnapshot, other: SignedSnapshot): void =>
    agent.alert(contradictionOf(log, known, other));
  const intake = startIntake({
    journal,
    source,
    trust: { log: log.verifier },
    primitives,
    onTaken(added, from) {
      figures.snapshots.inc({ from }, added.length);
      if (from === 'gossip')
        for (const { snapshot } of added) figures.lag.observe(Math.max(0, Date.now() - snapshot.time) / 1000);
      onTaken(added);
    },
    onConflict: ({ known, other }) => accuse(known, other),
    onFailure: (error) =>
      logger.warn({ err: error }, 'the log cannot be asked for what gossip may have lost; trying again'),
  });
  agent.onUrls(() => intake.recheck());
  agent.listen(log, (received) => {
    const { kind, signedSnapshot, other } = received;
    onHeard(received);
    if (kind === 'conflict' && other) accuse(other, signedSnapshot);
    else if (kind === 'new') intake.offer(signedSnapshot);
  });
  return intake;
}

/** The log has signed two histories: anybody can check that with the two notes and the vkey. */
export function contradictionOf(log: KnownLog, known: SignedSnapshot, other: SignedSnapshot): AlertInput {
  return splitViewOf(log, known.snapshot.version, [known.checkpoint, other.checkpoint]);
}
