// qed cluster failover: takes the leader away under load, again and again, and shows that the cluster goes on and loses nothing.
import { type ClusterNode, type Cluster } from './layout.ts';
import { judge, type Verdict } from './judge.ts';
import { startLoad, type Load } from './load.ts';
import { killNode, lookAt, pause, pauseNode, resumeNode, startNode } from './processes.ts';
import { findLeader, signedOf, until, untilAgree, untilSettled, viewsOf, type Digests } from './views.ts';

export const WAYS = ['kill', 'pause'] as const;
/** `kill` ends the process at once, as a crash does; `pause` lets it live and hear nothing, as a hanging machine does. */
export type Way = (typeof WAYS)[number];

export interface Round {
  readonly way: Way;
  readonly leader: string;
  readonly newLeader: string;
  readonly term: number;
  /** From the end of the old leader until another node says that it leads. */
  readonly leaderMs: number;
  /** The longest time without an acknowledgment. */
  readonly stallMs: number;
  /** From the moment that the old leader may go on until it has caught up with the log as it was then. */
  readonly backMs: number;
  readonly digests: Digests;
}

export interface Failover {
  readonly rounds: readonly Round[];
  readonly verdict: Verdict;
  /** Adds that got no answer by their deadline. */
  readonly unanswered: number;
}

export interface FailoverOptions {
  readonly ways: readonly Way[];
  readonly rounds: number;
  readonly workers: number;
  readonly rate: number;
  readonly signal?: AbortSignal | undefined;
  readonly onRound: (round: Round, number: number) => void;
  /** What takes a while now. */
  readonly onStep: (line: string) => void;
}

const SETTLED_MS = 60_000;
const LEADER_MS = 30_000;
const BACK_MS = 120_000;
const LOOK_MS = 10;
/** Load before the leader goes, and with the new one before the old one comes back. */
const CALM_MS = 700;

export async function runFailover(cluster: Cluster, options: FailoverOptions): Promise<Failover> {
  const { ways, rounds, signal, onRound, onStep, workers, rate } = options;
  await untilSettled(cluster, SETTLED_MS, signal);
  const since = Math.max(0, ...(await viewsOf(cluster)).map(({ version }) => version ?? 0));
  const load = startLoad(cluster, { workers, rate });
  const done: Round[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      for (const way of ways) {
        done.push(await oneRound(cluster, load, way, signal));
        onRound(done.at(-1)!, done.length);
      }
    }
  } finally {
    await load.stop();
  }
  onStep('waiting until all nodes have the same log');
  await untilAgree(cluster, 'latest', { limitMs: BACK_MS, signal });
  onStep(`reading it back: ${load.acknowledged.size} acknowledged events are looked for`);
  return { rounds: done, verdict: await judge(cluster, load, since), unanswered: load.unanswered };
}

async function oneRound(
  cluster: Cluster,
  load: Load,
  way: Way,
  signal: AbortSignal | undefined,
): Promise<Round> {
  const { node: leader, term: before } = await untilSettled(cluster, SETTLED_MS, signal);
  await flows(load, signal);
  load.takeGap();
  const begin = performance.now();
  await take(cluster, leader, way);
  try {
    const others = cluster.nodes.filter((node) => node !== leader);
    const next = await until(
      { what: 'a new leader', limitMs: LEADER_MS, everyMs: LOOK_MS, signal },
      async () => {
        const found = await findLeader(cluster, others);
        return found && found.term > before ? found : undefined;
      },
    );
    const leaderMs = performance.now() - begin;
    await flows(load, signal);
    const stallMs = load.takeGap();
    const { version } = await signedOf(cluster, next.node, 'latest');
    const back = performance.now();
    await giveBack(cluster, leader);
    const digests = await untilAgree(cluster, version, { limitMs: BACK_MS, signal });
    const backMs = performance.now() - back;
    return {
      way,
      leader: leader.nodeId,
      newLeader: next.node.nodeId,
      term: next.term,
      leaderMs,
      stallMs,
      backMs,
      digests,
    };
  } finally {
    await giveBack(cluster, leader);
  }
}

/** Adds are being acknowledged, for a while. */
async function flows(load: Load, signal: AbortSignal | undefined): Promise<void> {
  const { size } = load.acknowledged;
  await until({ what: 'acknowledged adds', limitMs: LEADER_MS, signal }, () =>
    Promise.resolve(load.acknowledged.size > size ? true : undefined),
  );
  await pause(CALM_MS);
}

async function take(cluster: Cluster, node: ClusterNode, way: Way): Promise<void> {
  if (way === 'pause') await pauseNode(cluster, node);
  else await killNode(cluster, node);
}

/** However it was taken, and also when nothing was. */
async function giveBack(cluster: Cluster, node: ClusterNode): Promise<void> {
  const { state } = lookAt(cluster, node);
  if (state === 'paused') await resumeNode(cluster, node);
  if (state === 'stopped') await startNode(cluster, node);
}
