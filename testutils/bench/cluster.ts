// `npm run bench:cluster`: what three real processes on this machine bear as a cluster, next to a single one in the same run, the load generator beside
// them; how long a cluster has no leader after its own was killed or paused; and how long a node takes to come back that missed a million events.
// `--quick` takes seconds instead of minutes; --seconds, --rounds, --missed and --only choose for themselves.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { runFailover } from '../../cmd/cluster/failover.ts';
import { createCluster, urlOf, type Cluster, type ClusterNode } from '../../cmd/cluster/layout.ts';
import { startAll } from '../../cmd/cluster/lifecycle.ts';
import { lookAt, startNode, stopNode } from '../../cmd/cluster/processes.ts';
import { median, seconds } from '../../cmd/cluster/show.ts';
import { untilAgree, viewsOf } from '../../cmd/cluster/views.ts';
import { cpuSecondsOf, describeMachine } from './machine.ts';

const QED = new URL('../../dist/cmd/qed.js', import.meta.url).pathname;
const NODES = 3;
const BACK_MS = 300_000;
const BATCH = 1_000;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    missed: { type: 'string' },
    only: { type: 'string' },
  },
});
const quick = { seconds: 2, rounds: 1, missed: 50_000 };
const full = { seconds: 8, rounds: 7, missed: 1_000_000 };
const chosen = values.quick ? quick : full;
const settings = {
  seconds: Number(values.seconds ?? chosen.seconds),
  rounds: Number(values.rounds ?? chosen.rounds),
  missed: Number(values.missed ?? chosen.missed),
};

interface Figures {
  readonly kind: string;
  readonly events: number;
  readonly requestsPerSecond: number;
  readonly eventsPerSecond: number;
  readonly latencyMs: Readonly<Record<'p50' | 'p99' | 'p999', number>>;
  readonly errors: Readonly<Record<string, number>>;
}

interface Measured extends Figures {
  /** Processor time of all nodes; undefined where the system does not tell. Hardly depends on what else the machine does. */
  readonly cpuSeconds: number | undefined;
}

interface Load {
  readonly name: string;
  readonly args: readonly string[];
  readonly unit: 'events' | 'requests';
  /** What is asked of the cluster. */
  readonly least?: number;
  /** Who is asked; the leader unless said otherwise. */
  readonly at?: 'follower';
}

const loads: readonly Load[] = [
  {
    name: 'bulk adds, 1,000 events of 100 bytes',
    args: ['--kind', 'bulk', '-c', '4'],
    unit: 'events',
    least: 25_000,
  },
  { name: 'bulk adds of digests', args: ['--kind', 'digests', '-c', '4'], unit: 'events' },
  {
    name: 'single adds, 64 connections',
    args: ['--kind', 'add', '-c', '64'],
    unit: 'requests',
    least: 2_500,
  },
  {
    name: 'single adds, 64 connections, to a follower',
    args: ['--kind', 'add', '-c', '64'],
    unit: 'requests',
    at: 'follower',
  },
  { name: 'single adds, one idle client', args: ['--kind', 'add', '-c', '1'], unit: 'requests' },
  { name: 'membership proofs, 32 connections', args: ['--kind', 'membership', '-c', '32'], unit: 'requests' },
];

let missedTargets = 0;
console.log(`${describeMachine()}, load average ${loadavg()[0]?.toFixed(1) ?? '?'} before the start`);
const isWanted = (name: string): boolean => values.only === undefined || name.includes(values.only);
for (const load of loads) if (isWanted(load.name)) await compare(load);
for (const [way, limitMs] of [
  ['kill', 1_500],
  ['pause', 3_000],
] as const) {
  if (isWanted(`new leader after a ${way}`)) await failOver(way, limitMs);
}
if (isWanted('missed')) await comeBack(settings.missed);
if (missedTargets > 0) process.exitCode = 1;

/** Each on new data: the cluster, and the single node right after it, so that the machine's moods hit both. */
async function compare({ name, args, unit, least, at }: Load): Promise<void> {
  const rate = ({ eventsPerSecond, requestsPerSecond }: Figures): number =>
    unit === 'events' ? eventsPerSecond : requestsPerSecond;
  const measured = await withCluster(NODES, async (cluster, leader) => {
    const follower = cluster.nodes.find((node) => node !== leader);
    return measure(cluster, at === undefined ? leader : follower!, args);
  });
  const single =
    at === undefined && (await withCluster(1, (cluster, leader) => measure(cluster, leader, args)));
  const isEnough = least === undefined || rate(measured) >= least;
  if (!isEnough) missedTargets += 1;
  console.log(
    `${name}: three nodes ${describe(measured, rate(measured), unit)}` +
      (least === undefined ? '' : ` (at least ${least.toLocaleString('en')}${isEnough ? '' : ': MISSED'})`) +
      (single ? `; a single one ${describe(single, rate(single), unit)}` : ''),
  );
}

function describe(
  { kind, latencyMs, errors, events, cpuSeconds }: Measured,
  rate: number,
  unit: string,
): string {
  const told = Object.keys(errors).length === 0 ? '' : `, errors ${JSON.stringify(errors)}`;
  // Questions come after a preload of adds, which would be counted as well.
  const isKnown = cpuSeconds !== undefined && kind !== 'membership';
  const cpu = isKnown ? `, ${((cpuSeconds * 1e6) / events).toFixed(0)} µs of processor time an event` : '';
  const latency = `p50 ${latencyMs.p50.toFixed(2)} ms, p99 ${latencyMs.p99.toFixed(1)} ms`;
  return `${Math.round(rate).toLocaleString('en')} ${unit}/s, ${latency}${cpu}${told}`;
}

async function failOver(way: 'kill' | 'pause', limitMs: number): Promise<void> {
  await withCluster(NODES, async (cluster) => {
    const { rounds, verdict } = await runFailover(cluster, {
      ways: [way],
      rounds: settings.rounds,
      workers: 16,
      rate: 0,
      onRound: () => undefined,
      onStep: () => undefined,
    });
    const times = rounds.map(({ leaderMs }) => leaderMs);
    const worst = Math.max(...times);
    if (worst > limitMs || verdict.problems.length > 0) missedTargets += 1;
    const stalls = rounds.map(({ stallMs }) => stallMs);
    console.log(
      `new leader after a ${way}, under load, ${rounds.length} rounds: median ${seconds(median(times))}, worst ${seconds(worst)} ` +
        `(at most ${seconds(limitMs)}${worst > limitMs ? ': MISSED' : ''}); no add was answered for median ${seconds(median(stalls))}, ` +
        `worst ${seconds(Math.max(...stalls))}; ${verdict.acknowledged.toLocaleString('en')} events acknowledged, ${verdict.lost} lost` +
        verdict.problems.map((problem) => `\n  problem: ${problem}`).join(''),
    );
  });
}

async function comeBack(missed: number): Promise<void> {
  const limitMs = 60_000;
  await withCluster(NODES, async (cluster, leader) => {
    const follower = cluster.nodes.find((node) => node !== leader)!;
    await work(cluster, leader, ['--kind', 'digests', '-c', '4', '-n', '5']);
    await stopNode(cluster, follower);
    await work(cluster, leader, [
      '--kind',
      'digests',
      '-c',
      '4',
      '-d',
      '600',
      '-n',
      String(Math.ceil(missed / BATCH)),
    ]);
    const { version } = (await viewsOf(cluster)).find(({ nodeId }) => nodeId === leader.nodeId)!;
    const begin = performance.now();
    await startNode(cluster, follower);
    await untilAgree(cluster, version ?? 0, { limitMs: BACK_MS });
    const took = performance.now() - begin;
    if (took > limitMs) missedTargets += 1;
    console.log(
      `a node that missed ${missed.toLocaleString('en')} events: started, caught up and the same digests after ${seconds(took)} ` +
        `(at most ${seconds(limitMs)}${took > limitMs ? ': MISSED' : ''})`,
    );
  });
}

async function measure(cluster: Cluster, node: ClusterNode, args: readonly string[]): Promise<Measured> {
  await work(cluster, node, [...args, '-d', '1']);
  const before = cpuSeconds(cluster);
  const figures = await work(cluster, node, [...args, '-d', String(settings.seconds)]);
  const after = cpuSeconds(cluster);
  const taken = before === undefined || after === undefined ? undefined : after - before;
  return { ...figures, cpuSeconds: taken };
}

/** Of all nodes since their start. */
function cpuSeconds(cluster: Cluster): number | undefined {
  const each = cluster.nodes.map((node) => cpuSecondsOf(lookAt(cluster, node).pid ?? 0));
  return each.reduce((sum, one) => (sum === undefined || one === undefined ? undefined : sum + one), 0);
}

async function work(cluster: Cluster, node: ClusterNode, args: readonly string[]): Promise<Figures> {
  const env = { ...process.env, QED_API_KEY: cluster.apiKey };
  const asked = ['workload', '--json', '--endpoint', urlOf(node), '--vkey', cluster.vkey, ...args];
  const { stdout } = await promisify(execFile)(process.execPath, [QED, ...asked], { env });
  return JSON.parse(stdout) as Figures;
}

async function withCluster<Result>(
  count: number,
  use: (cluster: Cluster, leader: ClusterNode) => Promise<Result>,
): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  const cluster = await createCluster({ directory, count, launcher: () => [process.execPath, QED] });
  try {
    const { node: leader } = await startAll(cluster);
    return await use({ ...cluster, isFounded: true }, leader);
  } finally {
    await Promise.all(cluster.nodes.map((node) => stopNode(cluster, node)));
    rmSync(directory, { recursive: true, force: true });
  }
}
