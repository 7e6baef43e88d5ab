// The processes of a cluster's nodes: started detached, found again by a file each (pids.ts), and signalled only when they are surely ours.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { QedError } from '../../src/errors.ts';
import {
  addressOf,
  dataPath,
  logKeyPath,
  logPath,
  PARTS,
  pidPath,
  urlOf,
  type Cluster,
  type ClusterNode,
} from './layout.ts';
import { seeMarked, writeMarker } from './pids.ts';

export type ProcessState = 'running' | 'paused' | 'stopped';

export interface NodeProcess {
  readonly state: ProcessState;
  readonly pid: number | undefined;
  /** There is a file for a process that has ended, or that is not the node. */
  readonly isStale: boolean;
}

/** A large log takes minutes to read after a crash. */
const START_S = 600;
const TELL_S = 5;
const STOP_MS = 40_000;
const SIGNAL_MS = 5_000;
const LOOK_MS = 20;
const TAIL_LINES = 5;

export function lookAt(cluster: Cluster, node: ClusterNode): NodeProcess {
  const path = pidPath(cluster, node);
  const found = seeMarked(path);
  if (found) return { state: found.isPaused ? 'paused' : 'running', pid: found.pid, isStale: false };
  return { state: 'stopped', pid: undefined, isStale: existsSync(path) };
}

export interface Starting {
  /** `rebuild` sets the data of the node aside and gets them anew from the others. */
  readonly command?: 'start' | 'rebuild';
  /** Called now and then while it takes long, as it does when there is much to read. */
  readonly onWait?: (seconds: number) => void;
}

/** Starts the node and resolves when it answers. One that ends instead is reported with the last lines of its log. */
export async function startNode(
  cluster: Cluster,
  node: ClusterNode,
  { command = 'start', onWait = () => undefined }: Starting = {},
): Promise<void> {
  const path = pidPath(cluster, node);
  const before = lookAt(cluster, node);
  if (before.state !== 'stopped')
    throw new QedError('store-locked', `${node.nodeId} runs already, as process ${before.pid ?? 0}`);
  const log = openSync(logPath(cluster, node), 'a', 0o600);
  const [program, ...args] = cluster.launcher(node);
  const child = spawn(program, [...args, command, ...nodeFlags(cluster, node)], {
    cwd: cluster.directory,
    detached: true,
    env: nodeEnvironment(cluster),
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', (cause) =>
      reject(new QedError('unreachable', `${node.nodeId} cannot be started: ${cause.message}`, { cause })),
    );
  });
  failed.catch(() => undefined);
  if (child.pid !== undefined) writeMarker(path, child.pid, 'w');
  child.unref();
  await Promise.race([failed, untilAnswers(cluster, node, onWait)]);
}

function nodeFlags(cluster: Cluster, node: ClusterNode): string[] {
  const { origin, directory, nodes, isFounded } = cluster;
  const others = nodes.filter(({ nodeId }) => nodeId !== node.nodeId);
  const join = others.map((one) => addressOf(one, 'mgmt')).join(',');
  const gossip = others.map((one) => addressOf(one, 'gossip')).join(',');
  const founds = node.nodeId === nodes[0]?.nodeId && !isFounded;
  return [
    ...['--path', dataPath(cluster, node), '--private-key', logKeyPath(directory), '--origin', origin],
    ...['--node-id', node.nodeId, '--drills'],
    ...PARTS.flatMap((part) => [`--${part}-addr`, addressOf(node, part)]),
    ...(founds || join === '' ? [] : ['--join-addr', join]),
    ...(gossip === '' ? [] : ['--gossip-join-addr', gossip]),
  ];
}

/** Variables of whoever runs this command are not meant for the nodes. The API key is not for everybody who lists processes. */
function nodeEnvironment({ apiKey }: Cluster): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('QED_'));
  return { ...Object.fromEntries(own), QED_API_KEY: apiKey };
}

async function untilAnswers(
  cluster: Cluster,
  node: ClusterNode,
  onWait: (seconds: number) => void,
): Promise<void> {
  const begin = performance.now();
  let told = 0;
  while (!(await answers(node))) {
    if (lookAt(cluster, node).state === 'stopped') {
      rmSync(pidPath(cluster, node), { force: true });
      const why = lastWords(logPath(cluster, node));
      throw new QedError('unreachable', `${node.nodeId} ended: ${why}`, {
        hint: `All it said is in ${logPath(cluster, node)}.`,
      });
    }
    const seconds = Math.floor((performance.now() - begin) / 1000);
    if (seconds >= START_S)
      throw new QedError('unreachable', `${node.nodeId} does not answer within ${START_S} s`, {
        hint: `It still runs; what it says is in ${logPath(cluster, node)}.`,
      });
    if (seconds >= told + TELL_S) onWait((told = seconds));
    await pause(LOOK_MS);
  }
}

async function answers(node: ClusterNode): Promise<boolean> {
  try {
    const answer = await fetch(`${urlOf(node)}/info`, { signal: AbortSignal.timeout(2_000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

/** Why the node ended, if it said so; else the last that it said. */
function lastWords(path: string): string {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-TAIL_LINES);
  const why = lines.findLastIndex((line) => line.startsWith('qed: '));
  return lines
    .slice(Math.max(why, 0))
    .join('\n     ')
    .replace(/^qed: /, '');
}

/** Returns false when the node does not run. */
function signalNode(cluster: Cluster, node: ClusterNode, signal: NodeJS.Signals): boolean {
  const found = seeMarked(pidPath(cluster, node));
  if (!found) return false;
  try {
    return process.kill(found.pid, signal);
  } catch {
    return false;
  }
}

export type Ending = 'stopped' | 'killed' | 'was not running';

/** Stops the node, or kills it when it does not end in time, and removes its file. */
export async function stopNode(cluster: Cluster, node: ClusterNode, stopMs = STOP_MS): Promise<Ending> {
  // A paused process would see the signal to stop only when it goes on.
  const ran = signalNode(cluster, node, 'SIGTERM') && signalNode(cluster, node, 'SIGCONT');
  let ending: Ending = ran ? 'stopped' : 'was not running';
  if (!(await untilState(cluster, node, 'stopped', stopMs))) {
    ending = 'killed';
    await killNode(cluster, node);
  }
  rmSync(pidPath(cluster, node), { force: true });
  return ending;
}

export async function killNode(cluster: Cluster, node: ClusterNode): Promise<void> {
  signalNode(cluster, node, 'SIGKILL');
  if (!(await untilState(cluster, node, 'stopped', STOP_MS)))
    throw new QedError('unreachable', `${node.nodeId} does not end, although it was killed`, {
      hint: 'Its disk or network file system hangs.',
    });
  rmSync(pidPath(cluster, node), { force: true });
}

/** Returns false when the node does not run. The system takes a moment to stop all threads of a process. */
export async function pauseNode(cluster: Cluster, node: ClusterNode): Promise<boolean> {
  return signalNode(cluster, node, 'SIGSTOP') && (await untilState(cluster, node, 'paused', SIGNAL_MS));
}

export async function resumeNode(cluster: Cluster, node: ClusterNode): Promise<boolean> {
  return signalNode(cluster, node, 'SIGCONT') && (await untilState(cluster, node, 'running', SIGNAL_MS));
}

async function untilState(
  cluster: Cluster,
  node: ClusterNode,
  wanted: ProcessState,
  limitMs: number,
): Promise<boolean> {
  const until = performance.now() + limitMs;
  while (lookAt(cluster, node).state !== wanted) {
    if (performance.now() > until) return false;
    await pause(LOOK_MS);
  }
  return true;
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
