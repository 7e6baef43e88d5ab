// The processes of a cluster's nodes: started detached, found again by a file each, and signalled only when they are surely ours. A process id alone
// says nothing: ids are given again. So the file also holds when the process began, and a process that began at another time is a stranger's.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { QedError } from '../../src/errors.ts';
import {
  addressOf,
  dataPath,
  logKeyPath,
  logPath,
  pidPath,
  urlOf,
  type Cluster,
  type ClusterNode,
} from './layout.ts';

export type ProcessState = 'running' | 'paused' | 'stopped';

export interface NodeProcess {
  readonly state: ProcessState;
  readonly pid: number | undefined;
  /** There is a file for a process that has ended, or that is not the node. */
  readonly isStale: boolean;
}

const START_MS = 60_000;
const STOP_MS = 40_000;
const SIGNAL_MS = 5_000;
const LOOK_MS = 20;
const TAIL_LINES = 5;

const marker = z.strictObject({ pid: z.number().int().min(2), began: z.string().min(1) });
type Marker = z.output<typeof marker>;

// --- what the system knows of a process

interface Seen {
  /** Tells the process from all others that have had or will have its id. */
  readonly began: string;
  readonly isPaused: boolean;
}

function see(pid: number): Seen | undefined {
  return process.platform === 'linux' ? seeInProc(pid) : seeWithPs(pid);
}

function seeInProc(pid: number): Seen | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the state is the first field behind it, the start time the twentieth.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return seen(fields[0] ?? '', `${boot} ${fields[19] ?? ''}`);
  } catch {
    return undefined;
  }
}

function seeWithPs(pid: number): Seen | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return seen(line, line.slice(line.indexOf(' ')).trim());
  } catch {
    return undefined;
  }
}

/** A process that has ended and that nobody has buried yet is no process any more. */
function seen(state: string, began: string): Seen | undefined {
  return /^[ZX]/.test(state) ? undefined : { began, isPaused: /^[Tt]/.test(state) };
}

function readMarker(path: string): Marker | undefined {
  try {
    return marker.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/** The process that the file is about, if it still is that one. */
function seeMarked(path: string): (Seen & { readonly pid: number }) | undefined {
  const marked = readMarker(path);
  if (!marked) return undefined;
  const found = see(marked.pid);
  return found?.began === marked.began ? { ...found, pid: marked.pid } : undefined;
}

function writeMarker(path: string, pid: number, flag: 'w' | 'wx'): void {
  writeFileSync(path, `${JSON.stringify({ pid, began: see(pid)?.began ?? 'ended' })}\n`, { flag });
}

// --- nodes

export function lookAt(cluster: Cluster, node: ClusterNode): NodeProcess {
  const path = pidPath(cluster, node);
  const found = seeMarked(path);
  if (found) return { state: found.isPaused ? 'paused' : 'running', pid: found.pid, isStale: false };
  return { state: 'stopped', pid: undefined, isStale: exists(path) };
}

/**
 * Starts the node and resolves when it answers. One that ends instead is reported with the last lines of its log. `rebuild` sets its data aside
 * and gets them anew from the others.
 */
export async function startNode(
  cluster: Cluster,
  node: ClusterNode,
  command: 'start' | 'rebuild' = 'start',
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
  await Promise.race([failed, untilAnswers(cluster, node)]);
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
    ...(['http', 'mgmt', 'metrics', 'raft', 'gossip'] as const).flatMap((part) => [
      `--${part}-addr`,
      addressOf(node, part),
    ]),
    ...(founds || join === '' ? [] : ['--join-addr', join]),
    ...(gossip === '' ? [] : ['--gossip-join-addr', gossip]),
  ];
}

/** Variables of whoever runs this command are not meant for the nodes. The API key is not for everybody who lists processes. */
function nodeEnvironment({ apiKey }: Cluster): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('QED_'));
  return { ...Object.fromEntries(own), QED_API_KEY: apiKey };
}

async function untilAnswers(cluster: Cluster, node: ClusterNode): Promise<void> {
  const until = performance.now() + START_MS;
  while (!(await answers(node))) {
    if (lookAt(cluster, node).state === 'stopped') {
      rmSync(pidPath(cluster, node), { force: true });
      throw new QedError(
        'unreachable',
        `${node.nodeId} ended at once: ${lastWords(logPath(cluster, node))}`,
        {
          hint: `All it said is in ${logPath(cluster, node)}.`,
        },
      );
    }
    if (performance.now() > until)
      throw new QedError('unreachable', `${node.nodeId} does not answer within ${START_MS / 1000} s`, {
        hint: `It still runs; what it says is in ${logPath(cluster, node)}.`,
      });
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

// --- one command at a time

/** Commands that start, stop or disturb nodes exclude each other. */
export async function alone<Result>({ directory }: Cluster, work: () => Promise<Result>): Promise<Result> {
  const path = join(directory, 'lock');
  if (!seeMarked(path)) rmSync(path, { force: true });
  try {
    writeMarker(path, process.pid, 'wx');
  } catch (cause) {
    if (!exists(path))
      throw new QedError('store-failed', `${path} cannot be written: ${String(cause)}`, { cause });
    throw new QedError('store-locked', `another qed cluster command is at work in ${directory}`, {
      hint: `It is process ${readMarker(path)?.pid ?? 'unknown'}; wait until it has ended.`,
    });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function exists(path: string): boolean {
  try {
    closeSync(openSync(path, 'r'));
    return true;
  } catch {
    return false;
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
