// qed cluster create, run, stop, clean: a cluster from its directory to running nodes and back.
import { join } from 'node:path';
import { QedError } from '../../src/errors.ts';
import { usage, type ClientCommand } from '../client/command.ts';
import { dirFlag, say, sharedOptions } from './command.ts';
import {
  createCluster,
  logPath,
  markFounded,
  NODES_MAX,
  openCluster,
  removeCluster,
  urlOf,
  type Cluster,
  type ClusterNode,
} from './layout.ts';
import { alone } from './pids.ts';
import { lookAt, startNode, stopNode } from './processes.ts';
import { untilSettled, type Leading } from './views.ts';

const SETTLED_MS = 60_000;

const createOptions = {
  ...sharedOptions,
  nodes: { alias: 'n', type: 'number', default: 3, describe: 'How many nodes' },
  port: {
    type: 'number',
    describe: 'First of the ports, ten for each node',
    defaultDescription: 'free ones',
  },
  origin: { type: 'string', describe: 'Name of the log', defaultDescription: 'qed.local/<key>' },
} as const;

export const create: ClientCommand<typeof createOptions> = {
  command: 'create',
  describe: 'Make the directory: configuration, keys, ports',
  options: createOptions,
  examples: [
    ['$0 cluster create', 'three nodes in ./cluster'],
    ['$0 cluster create -n 5 --dir /tmp/five --port 21000', 'five nodes, ports from 21000 on'],
  ],
  async run({ nodes: count, port, origin, dir, json }, world) {
    if (!Number.isInteger(count) || count < 1 || count > NODES_MAX)
      throw usage(`-n: not a number of nodes from 1 to ${NODES_MAX}`);
    if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port + 10 * count <= 65_536))
      throw usage('--port: not a port with room for all nodes behind it');
    const cluster = await createCluster({ directory: dir, count, firstPort: port, origin });
    const head = `A cluster of ${count} in ${cluster.directory}`;
    const next = `Run it with: qed cluster run${dirFlag(dir)}`;
    say(world, json, summaryOf(cluster), [head, describeCluster(cluster), next].join('\n'));
  },
};

export const run: ClientCommand<typeof sharedOptions> = {
  command: 'run',
  describe: 'Start all nodes, and wait until they are one cluster',
  options: sharedOptions,
  examples: [['$0 cluster run', 'the nodes run on in the background until qed cluster stop']],
  async run({ dir, json }, world) {
    const cluster = openCluster(dir);
    await alone(cluster, async () => {
      refuseRunning(
        cluster,
        'It is the same cluster; see qed cluster status, or start single nodes with qed cluster start-node.',
      );
      const { node, term } = await startAll(cluster, world.err);
      const summary = { ...summaryOf(cluster), leaderId: node.nodeId, term };
      const text = [
        describeCluster(cluster),
        describeLeader(cluster, node, term),
        tryNext(cluster, node, dir),
      ];
      say(world, json, summary, text.join('\n'));
    });
  },
};

function describeLeader({ nodes }: Cluster, { nodeId }: ClusterNode, term: number): string {
  return `${nodeId} leads in term ${term}; all ${nodes.length} nodes are ready.`;
}

function tryNext({ directory }: Cluster, leader: ClusterNode, dir: string): string {
  const key = `QED_API_KEY=$(cat ${join(directory, 'keys', 'api_key')})`;
  return `Try next:\n  ${key} qed client add --event "hello" --endpoint ${urlOf(leader)}\n  qed cluster failover --kill${dirFlag(dir)}`;
}

/** Resolves when all nodes are one cluster. What was started is stopped again when a node cannot start. */
export async function startAll(
  cluster: Cluster,
  tell: (line: string) => void = () => undefined,
): Promise<Leading> {
  try {
    if (cluster.isFounded) await Promise.all(cluster.nodes.map((node) => start(cluster, node, tell)));
    else await found(cluster, tell);
  } catch (error) {
    await Promise.all(cluster.nodes.map((node) => stopNode(cluster, node)));
    throw error;
  }
  return untilSettled(cluster, SETTLED_MS);
}

/** The first node founds the cluster, the others join it; from then on all are the same. */
async function found(cluster: Cluster, tell: (line: string) => void): Promise<void> {
  const [first, ...others] = cluster.nodes;
  await start(cluster, first!, tell);
  markFounded(cluster);
  await Promise.all(others.map((node) => start({ ...cluster, isFounded: true }, node, tell)));
}

async function start(cluster: Cluster, node: ClusterNode, tell: (line: string) => void): Promise<void> {
  if (lookAt(cluster, node).isStale)
    tell(`${node.nodeId}: its pid file names a process that is gone; it is written anew`);
  const onWait = (seconds: number): void => tell(`${node.nodeId} reads its log: ${seconds} s so far`);
  await startNode(cluster, node, { onWait });
  tell(`${node.nodeId} runs at ${urlOf(node)}`);
}

function refuseRunning(cluster: Cluster, hint: string): void {
  const running = cluster.nodes.filter((node) => lookAt(cluster, node).state !== 'stopped');
  if (running.length === 0) return;
  throw new QedError(
    'store-locked',
    `${running.map(({ nodeId }) => nodeId).join(', ')} of the cluster in ${cluster.directory} run already`,
    { hint },
  );
}

export const stop: ClientCommand<typeof sharedOptions> = {
  command: 'stop',
  describe: 'Stop all nodes',
  options: sharedOptions,
  examples: [['$0 cluster stop', 'what is on its way is finished first; all data stay']],
  async run({ dir, json }, world) {
    const cluster = openCluster(dir);
    const endings = await alone(cluster, () =>
      Promise.all(
        cluster.nodes.map(async (node) => ({ nodeId: node.nodeId, ending: await stopNode(cluster, node) })),
      ),
    );
    const lines = endings.map(({ nodeId, ending }) => `${nodeId} ${ending}`);
    say(world, json, { nodes: endings }, lines.join('\n'));
  },
};

export const clean: ClientCommand<typeof sharedOptions> = {
  command: 'clean',
  describe: 'Remove the cluster with all its data and keys',
  options: sharedOptions,
  examples: [['$0 cluster stop && $0 cluster clean', 'nothing is left']],
  async run({ dir, json }, world) {
    const cluster = openCluster(dir);
    await alone(cluster, () => {
      refuseRunning(cluster, `Stop it first: qed cluster stop${dirFlag(dir)}`);
      removeCluster(cluster);
      return Promise.resolve();
    });
    say(world, json, { removed: cluster.directory }, `Removed the cluster in ${cluster.directory}`);
  },
};

function summaryOf(cluster: Cluster) {
  const { directory, origin, vkey, nodes } = cluster;
  const list = nodes.map((node) => ({ ...node, url: urlOf(node), log: logPath(cluster, node) }));
  return { directory, origin, vkey, nodes: list };
}

function describeCluster({ nodes, vkey }: Cluster): string {
  const lines = nodes.map(
    (node) => `  ${node.nodeId.padEnd(8)}${urlOf(node)}   management ${urlOf(node, 'mgmt')}`,
  );
  return [...lines, `  vkey    ${vkey}`].join('\n');
}
