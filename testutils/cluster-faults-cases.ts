// What happens to the nodes in a fault round, a function each. It breaks something, waits, and gives back what a network cannot heal by itself; it says
// in words what it did.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkServed } from '../cmd/cluster/judge.ts';
import { dataPath, type Cluster, type ClusterNode } from '../cmd/cluster/layout.ts';
import { type Load } from '../cmd/cluster/load.ts';
import { killNode, pause, pauseNode, resumeNode, startNode, stopNode } from '../cmd/cluster/processes.ts';
import { seconds } from '../cmd/cluster/show.ts';
import { order, until, viewOf } from '../cmd/cluster/views.ts';
import { QedError } from '../src/errors.ts';
import { type FullDisk } from './cluster-faults-disk.ts';
import { type FaultNetwork } from './cluster-faults-network.ts';
import { type Random } from './random.ts';

export interface Scene {
  readonly cluster: Cluster;
  readonly network: FaultNetwork;
  readonly disk: FullDisk;
  readonly load: Load;
  readonly random: Random;
  readonly tell: (line: string) => void;
}

export interface Round extends Scene {
  readonly round: number;
  readonly leader: ClusterNode;
}

export type CaseName = 'kill' | 'pause' | 'partition' | 'slow' | 'disk' | 'damage';
const FULL_MS = 30_000;
const READY_MS = 10_000;

export const CASES: Readonly<Record<CaseName, (round: Round) => Promise<string>>> = {
  kill,
  pause: pauseOne,
  partition,
  slow,
  disk: fillDisk,
  damage,
};

const between = (random: Random, low: number, high: number): number => low + random.below(high - low);
const namesOf = (nodes: readonly ClusterNode[]): string => nodes.map(({ nodeId }) => nodeId).join(', ');

/** The leader, a follower, the leader and a follower, or all at once. */
async function kill({ cluster, random, leader, round }: Round): Promise<string> {
  const other = random.pick(cluster.nodes.filter((node) => node !== leader));
  const kinds = [[leader], [other], [leader, other], cluster.nodes];
  const victims = kinds[round % kinds.length]!;
  await Promise.all(victims.map((node) => killNode(cluster, node)));
  const downMs = between(random, 100, 2_500);
  await pause(downMs);
  await Promise.all(victims.map((node) => startNode(cluster, node)));
  return `killed ${namesOf(victims)} (the leader was ${leader.nodeId}), started again after ${seconds(downMs)}`;
}

async function pauseOne({ cluster, random, leader }: Round): Promise<string> {
  const node = random.chance(0.7) ? leader : random.pick(cluster.nodes);
  const pausedMs = between(random, 500, 4_000);
  await pauseNode(cluster, node);
  await pause(pausedMs);
  await resumeNode(cluster, node);
  return `paused ${node.nodeId}${node === leader ? ', the leader,' : ''} for ${seconds(pausedMs)}`;
}

type Cut = readonly [from: ClusterNode, to: ClusterNode];

/** Cut off from whom, in which direction. */
async function partition({ cluster, network, random, leader, round }: Round): Promise<string> {
  const followers = cluster.nodes.filter((node) => node !== leader);
  const one = random.pick(followers);
  const kinds: readonly (readonly [string, readonly Cut[]])[] = [
    ['the leader from all others', bothWays(leader, followers)],
    ['one follower from all others', bothWays(one, cluster.nodes)],
    ['the leader from one follower', bothWays(leader, [one])],
    ['the leader, which still hears the others', followers.map((to) => [leader, to])],
    ['the leader, which the others still hear', followers.map((from) => [from, leader])],
  ];
  const [what, cuts] = kinds[round % kinds.length]!;
  for (const [from, to] of cuts) await network.cut(cluster, from, to);
  const cutMs = between(random, 2_000, 5_000);
  await pause(cutMs);
  return `cut off ${what} (${leader.nodeId} led) for ${seconds(cutMs)}`;
}

function bothWays(one: ClusterNode, others: readonly ClusterNode[]): Cut[] {
  return others
    .filter((other) => other !== one)
    .flatMap((other) => [
      [one, other],
      [other, one],
    ]);
}

async function slow({ cluster, network, random, leader, round }: Round): Promise<string> {
  const slowMs = between(random, 2_000, 4_000);
  if (network.throttle && round % 2 === 1) {
    const kilobits = between(random, 200, 2_000);
    network.throttle(leader, kilobits);
    await pause(slowMs);
    return `gave ${leader.nodeId}, the leader, a line of ${kilobits} kbit/s for ${seconds(slowMs)}`;
  }
  const to = random.pick(cluster.nodes.filter((node) => node !== leader));
  const delayMs = between(random, 50, 300);
  const ends = [
    [leader, to],
    [to, leader],
  ] as const;
  for (const [from, other] of ends)
    await order(cluster, from, '/drills/delay', { nodeId: other.nodeId, delayMs });
  await pause(slowMs);
  for (const [from, other] of ends)
    await order(cluster, from, '/drills/delay', { nodeId: other.nodeId, delayMs: 0 });
  return `delayed all between ${leader.nodeId}, the leader, and ${to.nodeId} by ${delayMs} ms for ${seconds(slowMs)}`;
}

/** Every second time the node whose disk gets full leads. */
async function fillDisk({ cluster, disk, load, round, leader }: Round): Promise<string> {
  if (disk.missing !== undefined) return `skipped: ${disk.missing}`;
  const node = cluster.nodes.at(-1)!;
  const leads = round % 2 === 0;
  if (leads !== (leader === node)) {
    const heir = leads ? node : cluster.nodes[0]!;
    await order(cluster, leader, '/transfer-leadership', { nodeId: heir.nodeId });
  }
  await disk.fill();
  const begin = performance.now();
  const why = await until(
    { what: `${node.nodeId} notices that its disk is full`, limitMs: FULL_MS },
    async () => {
      const view = await viewOf(cluster, node);
      return view.isReady ? undefined : (view.reason ?? view.process);
    },
  );
  const noticedMs = performance.now() - begin;
  const { size } = load.acknowledged;
  await until({ what: 'adds go on without the node whose disk is full', limitMs: FULL_MS }, () =>
    Promise.resolve(load.acknowledged.size > size ? true : undefined),
  );
  disk.free();
  await stopNode(cluster, node);
  await startNode(cluster, node);
  return `filled the disk of ${node.nodeId}, ${leads ? 'the leader' : 'a follower'}; noticed after ${seconds(noticedMs)} (${why}); freed it and started the node again`;
}

/** Bytes of the database or the log are edited while the node is down. It may refuse, or serve what is right; then it gets its data anew. */
async function damage({ cluster, random }: Round): Promise<string> {
  const node = random.pick(cluster.nodes);
  await stopNode(cluster, node);
  const edited = editSomeFile(dataPath(cluster, node), random);
  const outcome = await startNode(cluster, node).then(() => lookClosely(cluster, node), describeEnd);
  await stopNode(cluster, node);
  await startNode(cluster, node, { command: 'rebuild' });
  return `edited ${edited} of ${node.nodeId}, which ${outcome}; then rebuilt it`;
}

/** Not the files that LevelDB writes for people. */
function editSomeFile(path: string, random: Random): string {
  const files = ['db', 'raft']
    .flatMap((folder) => readdirSync(join(path, folder)).map((name) => join(folder, name)))
    .filter(
      (name) => /\.(?:ldb|log|wal|seg)$|MANIFEST|segment/.test(name) && statSync(join(path, name)).size > 0,
    );
  const name = random.pick(files.sort());
  const bytes = readFileSync(join(path, name));
  const count = 1 + random.below(16);
  const at = random.below(bytes.length);
  for (let i = at; i < Math.min(at + count, bytes.length); i++)
    bytes[i] = bytes[i]! ^ (1 + random.below(255));
  writeFileSync(join(path, name), bytes);
  return `${name}, ${count} bytes from ${at} on,`;
}

async function lookClosely(cluster: Cluster, node: ClusterNode): Promise<string> {
  const other = cluster.nodes.find((one) => one !== node)!;
  try {
    await until({ what: 'the node is ready', limitMs: READY_MS }, async () => {
      const { isReady, process } = await viewOf(cluster, node);
      return isReady || process === 'stopped' ? true : undefined;
    });
    await checkServed(cluster, node, other);
    return 'served what is right';
  } catch (error) {
    if (error instanceof QedError && error.code === 'diverged') throw error;
    const { reason } = await viewOf(cluster, node);
    return `did not serve (${firstLine(reason ?? error)})`;
  }
}

function describeEnd(error: unknown): string {
  return `did not start (${firstLine(error)})`;
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0]?.slice(0, 160) ?? '';
}
