// qed cluster start-node, stop-node, pause-node, resume-node: one node is taken away or given back.
import { QedError } from '../../src/errors.ts';
import { type ClientCommand } from '../client/command.ts';
import { say, sharedOptions } from './command.ts';
import { nodeNamed, openCluster, urlOf, type Cluster, type ClusterNode } from './layout.ts';
import { alone } from './pids.ts';
import { pauseNode, resumeNode, startNode, stopNode } from './processes.ts';

const nodeOptions = {
  ...sharedOptions,
  node: { type: 'string', demandOption: true, describe: 'Node, as status names it' },
} as const;

interface NodeCommand {
  readonly name: string;
  readonly describe: string;
  readonly example: string;
  /** Returns what was done, for a sentence with the node before it. */
  readonly work: (cluster: Cluster, node: ClusterNode) => Promise<string>;
}

const commands: readonly NodeCommand[] = [
  {
    name: 'start-node',
    describe: 'Start a node that was stopped',
    example: 'it catches up by itself',
    async work(cluster, node) {
      if (!cluster.isFounded)
        throw new QedError(
          'unreachable',
          'the cluster was never run, so there is nothing for a node to join',
          { hint: 'Run it: qed cluster run' },
        );
      await startNode(cluster, node);
      return `runs at ${urlOf(node)}`;
    },
  },
  {
    name: 'rebuild-node',
    describe: 'Set the data of a stopped node aside, and get them anew from the others',
    example: 'as when its disk was damaged',
    async work(cluster, node) {
      await startNode(cluster, node, { command: 'rebuild' });
      return `runs at ${urlOf(node)} and fetches the log from the others`;
    },
  },
  {
    name: 'stop-node',
    describe: 'Stop a node; the others go on while they are a majority',
    example: 'as for an upgrade of that node',
    work: (cluster, node) => stopNode(cluster, node),
  },
  {
    name: 'pause-node',
    describe: 'Pause the process of a node, as if its machine hung',
    example: 'until resume-node',
    async work(cluster, node) {
      if (await pauseNode(cluster, node)) return 'is paused';
      throw doesNotRun(node);
    },
  },
  {
    name: 'resume-node',
    describe: 'Let a paused node go on',
    example: 'it finds that time has passed',
    async work(cluster, node) {
      if (await resumeNode(cluster, node)) return 'goes on';
      throw doesNotRun(node);
    },
  },
];

function doesNotRun({ nodeId }: ClusterNode): QedError {
  return new QedError('unreachable', `${nodeId} does not run`, {
    hint: `Start it: qed cluster start-node ${nodeId}`,
  });
}

function nodeCommand({ name, describe, example, work }: NodeCommand): ClientCommand<typeof nodeOptions> {
  return {
    command: `${name} <node>`,
    describe,
    options: nodeOptions,
    positional: (command) =>
      command.positional('node', { type: 'string', describe: nodeOptions.node.describe }),
    examples: [[`$0 cluster ${name} node2`, example]],
    async run({ dir, node: nodeId, json }, world) {
      const cluster = openCluster(dir);
      const node = nodeNamed(cluster, nodeId);
      const done = await alone(cluster, () => work(cluster, node));
      say(world, json, { nodeId, done }, `${nodeId} ${done}`);
    },
  };
}

export const nodeCommands = commands.map(nodeCommand);
