// `npm run faults -- --rounds 5 --seed 1`: three real nodes under load, and everything that happens to nodes: crashes of one, some and all, pauses, networks
// that part and crawl, a full disk. After each round all nodes must come to the same digests. In the end every acknowledged event must be in the log once, at
// the version that was told; every snapshot that any node ever signed must be of that one log; and a stranger must derive the same from each database.
// The seed repeats what is done to whom, not the timing.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { judge, type Verdict } from '../cmd/cluster/judge.ts';
import { createCluster, dataPath, type Cluster } from '../cmd/cluster/layout.ts';
import { startAll } from '../cmd/cluster/lifecycle.ts';
import { noteSnapshot, startLoad, type Load } from '../cmd/cluster/load.ts';
import { pause, stopNode } from '../cmd/cluster/processes.ts';
import { seconds } from '../cmd/cluster/show.ts';
import { ask, signedOf, untilAgree, untilSettled } from '../cmd/cluster/views.ts';
import { parseSignedSnapshot, type SignedSnapshot } from '../src/balloon/proof.ts';
import { openLevelStore } from '../src/storage/level.ts';
import { describeMachine } from './bench/machine.ts';
import { openFullDisk, type FullDisk } from './cluster-faults-disk.ts';
import { openNetwork, type FaultNetwork } from './cluster-faults-network.ts';
import { CASES, type CaseName, type Scene } from './cluster-faults-cases.ts';
import { seededRandom } from './random.ts';
import { checkAsStranger } from './stranger.ts';

const QED = new URL('../dist/cmd/qed.js', import.meta.url).pathname;
const NODES = 3;
const SETTLED_MS = 120_000;
const WATCH_MS = 50;

export interface FaultOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly only: readonly CaseName[];
  readonly rate: number;
  readonly isPlain: boolean;
  readonly signal: AbortSignal;
  readonly tell: (line: string) => void;
}

/** All that was acknowledged and signed, over all cases. */
interface Collected {
  readonly acknowledged: Map<string, number>;
  readonly snapshots: Map<number, SignedSnapshot>;
  readonly problems: string[];
}

export async function runFaults(options: FaultOptions): Promise<Verdict> {
  const { tell, isPlain } = options;
  const directory = mkdtempSync(join(tmpdir(), 'qed-faults-'));
  const network = openNetwork([process.execPath, QED], NODES, isPlain);
  tell(network.name);
  try {
    const { hosts, launcher } = network;
    const made = await createCluster({ directory, count: NODES, hosts, launcher });
    const verdict = await withDisk(made, network, options);
    if (verdict.problems.length === 0) rmSync(directory, { recursive: true, force: true });
    else tell(`what the nodes said is kept in ${join(directory, 'logs')}`);
    return verdict;
  } catch (error) {
    tell(`what the nodes said is kept in ${join(directory, 'logs')}`);
    throw error;
  } finally {
    network.close();
  }
}

async function withDisk(made: Cluster, network: FaultNetwork, options: FaultOptions): Promise<Verdict> {
  const disk = openFullDisk(dataPath(made, made.nodes.at(-1)!));
  const cluster = { ...made, isFounded: true };
  const stopAll = (): Promise<unknown> => Promise.all(cluster.nodes.map((node) => stopNode(cluster, node)));
  const collected: Collected = { acknowledged: new Map(), snapshots: new Map(), problems: [] };
  try {
    await startAll(made);
    await runCases(cluster, network, disk, collected, options);
    const verdict = await judge(cluster, collected, 0);
    await stopAll();
    return { ...verdict, problems: [...verdict.problems, ...(await askStranger(cluster))] };
  } finally {
    await stopAll();
    disk.close();
  }
}

async function runCases(
  cluster: Cluster,
  network: FaultNetwork,
  disk: FullDisk,
  collected: Collected,
  { rounds, seed, only, rate, tell, signal }: FaultOptions,
): Promise<void> {
  const watch = watchSnapshots(cluster, collected);
  try {
    for (const name of only) {
      const load = startLoad(cluster, { workers: 16, rate });
      const scene: Scene = {
        cluster,
        network,
        disk,
        load,
        random: seededRandom(seed * 16 + Object.keys(CASES).indexOf(name)),
        tell,
      };
      try {
        for (let round = 0; round < rounds; round++) {
          signal.throwIfAborted();
          const said = await oneRound(name, round, scene);
          tell(`${name} ${round + 1}/${rounds}: ${said}`);
          if (said.startsWith('skipped')) break;
        }
      } finally {
        await load.stop();
      }
      gather(load, collected);
      await untilAgree(cluster, 'latest', { limitMs: SETTLED_MS });
    }
  } finally {
    await watch.stop();
  }
}

async function oneRound(name: CaseName, round: number, scene: Scene): Promise<string> {
  const { cluster, network, load } = scene;
  const { node: leader } = await untilSettled(cluster, SETTLED_MS);
  load.takeGap();
  const done = await CASES[name]({ ...scene, round, leader });
  if (done.startsWith('skipped')) return done;
  await network.heal(cluster);
  const begin = performance.now();
  const { node } = await untilSettled(cluster, SETTLED_MS);
  const { version } = await signedOf(cluster, node, 'latest');
  const agreed = await untilAgree(cluster, version, { limitMs: SETTLED_MS });
  return (
    `${done}; no add was answered for ${seconds(load.takeGap())}; all nodes are back after ${seconds(performance.now() - begin)}, ` +
    `${node.nodeId} leads, the digests agree at version ${agreed.version.toLocaleString('en')}`
  );
}

function gather(load: Load, { acknowledged, snapshots, problems }: Collected): void {
  for (const [digest, version] of load.acknowledged) acknowledged.set(digest, version);
  for (const signed of load.snapshots.values()) noteSnapshot(signed, snapshots, problems);
  problems.push(...load.problems);
}

/** Asks every node all the time what it signs, also one that was cut off and may think that it still leads. */
function watchSnapshots(
  cluster: Cluster,
  { snapshots, problems }: Collected,
): { readonly stop: () => Promise<void> } {
  let isStopped = false;
  const watched = Promise.all(
    cluster.nodes.map(async (node) => {
      while (!isStopped) {
        await ask(cluster, node, 'http', '/snapshots/latest', z.unknown(), 1_000).then(
          (json) => {
            if (typeof json === 'object' && json !== null && 'checkpoint' in json)
              noteSnapshot(parseSignedSnapshot(json), snapshots, problems);
          },
          () => undefined,
        );
        await pause(WATCH_MS);
      }
    }),
  );
  return {
    async stop() {
      isStopped = true;
      await watched;
    },
  };
}

/** Derives everything again from what lies in each database. */
async function askStranger(cluster: Cluster): Promise<string[]> {
  const problems: string[] = [];
  const digests = new Set<string>();
  for (const node of cluster.nodes) {
    const store = await openLevelStore(join(dataPath(cluster, node), 'db'));
    const rows: (readonly [Uint8Array, Uint8Array])[] = [];
    for await (const row of store.range({})) rows.push(row);
    await store.close();
    const report = checkAsStranger(rows, Number.MAX_SAFE_INTEGER);
    digests.add(`${report.size} ${report.historyDigest}`);
    problems.push(
      ...report.problems.slice(0, 5).map((problem) => `the database of ${node.nodeId}: ${problem}`),
    );
  }
  if (digests.size > 1) problems.push(`the databases differ: ${[...digests].join(', ')}`);
  return problems;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Date.now() % 100_000) },
      only: { type: 'string' },
      rate: { type: 'string', default: '300' },
      plain: { type: 'boolean', default: false },
    },
  });
  const names = Object.keys(CASES).filter((name): name is CaseName => name in CASES);
  const only = values.only?.split(',') ?? names;
  const begin = performance.now();
  const interrupted = new AbortController();
  // What was mounted and cut is put back first.
  process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));
  console.log(`${describeMachine()}, seed ${values.seed}`);
  const verdict = await runFaults({
    rounds: Number(values.rounds),
    seed: Number(values.seed),
    only: names.filter((name) => only.includes(name)),
    rate: Number(values.rate),
    isPlain: values.plain,
    signal: interrupted.signal,
    tell: (line) => console.log(`${seconds(performance.now() - begin).padStart(9)}  ${line}`),
  });
  console.log(JSON.stringify(verdict, null, 2));
  console.log(`${verdict.lost} acknowledged events lost, ${verdict.doubled} doubled`);
  process.exitCode = verdict.problems.length === 0 ? 0 : 1;
}
