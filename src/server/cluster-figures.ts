// The figures of a node as a member of its cluster, read when somebody looks.
import { Gauge, type Registry } from 'prom-client';
import { type ClusterLog } from '../replication/cluster-log.ts';
import { type DurableBalloon } from '../storage/durable-balloon.ts';

export interface ClusterFigures {
  readonly log: Pick<ClusterLog, 'status' | 'members'>;
  readonly durable: Pick<DurableBalloon, 'divergence'>;
}

export function registerClusterFigures(registry: Registry, { log, durable }: ClusterFigures): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(read()) });
  };
  gauge('qed_leader', '1 while this node leads, else 0.', () => (log.status().role === 'leader' ? 1 : 0));
  gauge('qed_has_leader', '1 while this node knows of a leader, else 0.', () =>
    log.status().leaderId === undefined ? 0 : 1,
  );
  gauge('qed_term', 'The term: it rises with every election.', () => log.status().term);
  gauge(
    'qed_committed_index',
    'Index of the last committed record that this node knows of.',
    () => log.status().committedIndex,
  );
  gauge('qed_diverged', '1 once the digests of this node were not those of its cluster, else 0.', () =>
    durable.divergence ? 1 : 0,
  );
  const members: Gauge<'kind'> = new Gauge({
    name: 'qed_members',
    help: 'Nodes of the cluster, by kind: those with a vote, and those that catch up before they get one.',
    labelNames: ['kind'],
    registers,
    collect() {
      const { members: list } = log.status();
      const voters = list.filter(({ isVoter }) => isVoter).length;
      members.set({ kind: 'voter' }, voters);
      members.set({ kind: 'learner' }, list.length - voters);
    },
  });
  const roundTrips: Gauge<'node'> = new Gauge({
    name: 'qed_peer_round_trip_seconds',
    help: 'Round trip to each other node that there is a connection to.',
    labelNames: ['node'],
    registers,
    collect() {
      roundTrips.reset();
      for (const { nodeId, roundTripMs } of log.members())
        if (roundTripMs !== undefined) roundTrips.set({ node: nodeId }, roundTripMs / 1000);
    },
  });
}
