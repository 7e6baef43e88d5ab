// A cluster on this machine as it lies in a directory: what it consists of, and where the parts of each node are.
//
//   cluster.json     the nodes and their ports, fixed when the cluster is made
//   keys/            the log key with its vkey, and the API key
//   data/<node>/     data directory of the node     logs/<node>.log     what it says     pids/<node>.json     its process, while it runs
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { extname, join, resolve } from 'node:path';
import { z } from 'zod';
import { createKeyFiles } from '../../src/crypto/keys.ts';
import { LOG_KEY } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { defaultOrigin } from '../../src/server/identity.ts';

const HOST = '127.0.0.1';
export const PARTS = ['http', 'mgmt', 'metrics', 'raft', 'gossip'] as const;
export type Part = (typeof PARTS)[number];
export const NODES_MAX = 9;
/** From one node's first port to the next one's. */
const STRIDE = 10;
/** Below the ports that systems give to outgoing connections, so that none of those takes a node's while it is down. */
const PORTS = { first: 10_000, last: 30_000 };
const TRIES = 50;

const port = z.number().int().min(1).max(65_535);
const nodeSchema = z.strictObject({
  nodeId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  host: z.string().regex(/^[A-Za-z0-9.-]{1,253}$/),
  ports: z.strictObject({ http: port, mgmt: port, metrics: port, raft: port, gossip: port }),
});
const configSchema = z.strictObject({
  format: z.literal('qed cluster v1'),
  origin: z.string(),
  vkey: z.string(),
  /** The first node has founded the cluster: from now on it joins like all others, so that it never founds another one. */
  isFounded: z.boolean(),
  nodes: z.array(nodeSchema).min(1).max(NODES_MAX),
});
type Config = z.output<typeof configSchema>;

export type ClusterNode = z.output<typeof nodeSchema>;

/** A program and its arguments, before those that are added. */
export type Program = readonly [command: string, ...args: string[]];
/** What runs `qed` for a node. */
export type Launcher = (node: ClusterNode) => Program;

export interface Cluster extends Omit<Config, 'format'> {
  readonly directory: string;
  readonly apiKey: string;
  readonly launcher: Launcher;
}

export const addressOf = ({ host, ports }: ClusterNode, part: Part): string => `${host}:${ports[part]}`;
export const urlOf = (node: ClusterNode, part: Part = 'http'): string => `http://${addressOf(node, part)}`;
export const dataPath = ({ directory }: Cluster, { nodeId }: ClusterNode): string =>
  join(directory, 'data', nodeId);
export const logPath = ({ directory }: Cluster, { nodeId }: ClusterNode): string =>
  join(directory, 'logs', `${nodeId}.log`);
export const pidPath = ({ directory }: Cluster, { nodeId }: ClusterNode): string =>
  join(directory, 'pids', `${nodeId}.json`);
export const logKeyPath = (directory: string): string => join(directory, 'keys', 'log_key.pem');
const apiKeyPath = (directory: string): string => join(directory, 'keys', 'api_key');
const configPath = (directory: string): string => join(directory, 'cluster.json');

export interface NewCluster {
  readonly directory: string;
  readonly count: number;
  /** Of the first node; free ones are looked for without it. */
  readonly firstPort?: number | undefined;
  readonly origin?: string | undefined;
  /** Where the nodes listen, for clusters in networks of their own; this machine for itself alone otherwise. */
  readonly hosts?: readonly string[] | undefined;
  readonly launcher?: Launcher | undefined;
}

/** Writes the directory. Nothing runs yet. */
export async function createCluster({
  count,
  firstPort,
  origin,
  hosts,
  launcher,
  ...rest
}: NewCluster): Promise<Cluster> {
  const directory = resolve(rest.directory);
  if (existsSync(configPath(directory)))
    throw new QedError('option-malformed', `--dir: there is a cluster in ${directory} already`, {
      hint: 'Run it with qed cluster run, remove it with qed cluster clean, or name another directory.',
    });
  if (firstPort === undefined && hosts !== undefined) firstPort = PORTS.first;
  else firstPort = await findPorts(count, firstPort);
  const nodes = Array.from({ length: count }, (_, at) => nodeAt(at, firstPort, hosts?.[at] ?? HOST));
  attempt('made', directory, () => {
    for (const part of ['keys', 'data', 'logs', 'pids'])
      mkdirSync(join(directory, part), { recursive: true, mode: 0o700 });
  });
  const { vkey, verifier } = createKeyFiles(logKeyPath(directory), {
    name: origin ?? defaultOrigin,
    type: LOG_KEY,
  });
  const apiKey = randomBytes(32).toString('hex');
  attempt('written', apiKeyPath(directory), () =>
    writeFileSync(apiKeyPath(directory), `${apiKey}\n`, { flag: 'wx', mode: 0o600 }),
  );
  writeConfig(directory, {
    format: 'qed cluster v1',
    origin: verifier.name,
    vkey,
    isFounded: false,
    nodes,
  });
  return openCluster(directory, launcher);
}

function nodeAt(at: number, firstPort: number, host: string): ClusterNode {
  const first = firstPort + at * STRIDE;
  const [http, mgmt, metrics, raft, gossip] = [first, first + 1, first + 2, first + 3, first + 4];
  return { nodeId: `node${at + 1}`, host, ports: { http, mgmt, metrics, raft, gossip } };
}

async function findPorts(count: number, wanted: number | undefined): Promise<number> {
  const width = count * STRIDE;
  for (let tries = 0; tries < TRIES; tries++) {
    const first = wanted ?? PORTS.first + randomInt((PORTS.last - PORTS.first - width) / STRIDE) * STRIDE;
    const taken = await takenPort(Array.from({ length: count }, (_, at) => nodeAt(at, first, HOST)));
    if (taken === undefined) return first;
    if (wanted !== undefined)
      throw new QedError('address-taken', `--port: port ${taken} is taken by another process`, {
        hint: `The nodes need the ports ${first} to ${first + width - 1}.`,
      });
  }
  throw new QedError('address-taken', `no ${width} ports in a row are free`, {
    hint: 'Name the first one with --port.',
  });
}

async function takenPort(nodes: readonly ClusterNode[]): Promise<number | undefined> {
  for (const { ports } of nodes) for (const one of Object.values(ports)) if (!(await isFree(one))) return one;
  return undefined;
}

function isFree(wanted: number): Promise<boolean> {
  return new Promise((answer) => {
    const server = createServer();
    server.once('error', () => answer(false));
    server.listen(wanted, HOST, () => server.close(() => answer(true)));
  });
}

/** This very program, as it was started. Its sources need the loader that runs them. */
function runSelf(): Program {
  const [, entry = ''] = process.argv;
  if (extname(entry) !== '.ts') return [process.execPath, entry];
  return [process.execPath, '--import', createRequire(import.meta.url).resolve('tsx'), entry];
}

export function openCluster(given: string, launcher: Launcher = runSelf): Cluster {
  const directory = resolve(given);
  if (!existsSync(configPath(directory)))
    throw new QedError('option-malformed', `--dir: there is no cluster in ${directory}`, {
      hint: 'Make one with: qed cluster create',
    });
  try {
    const { format: _, ...config } = configSchema.parse(
      JSON.parse(readFileSync(configPath(directory), 'utf8')),
    );
    return { ...config, directory, launcher, apiKey: readFileSync(apiKeyPath(directory), 'utf8').trim() };
  } catch (cause) {
    throw new QedError(
      'option-malformed',
      `--dir: ${configPath(directory)} or the API key beside it cannot be read: ${String(cause)}`,
      { cause },
    );
  }
}

export function markFounded({ directory, origin, vkey, nodes }: Cluster): void {
  writeConfig(directory, { format: 'qed cluster v1', origin, vkey, isFounded: true, nodes });
}

/** In one step: the file is whole or as it was. */
function writeConfig(directory: string, config: Config): void {
  const path = configPath(directory);
  attempt('written', path, () => {
    writeFileSync(`${path}.new`, `${JSON.stringify(config, undefined, 2)}\n`);
    renameSync(`${path}.new`, path);
  });
}

function attempt(done: string, path: string, work: () => void): void {
  try {
    work();
  } catch (cause) {
    throw new QedError('store-failed', `${path} cannot be ${done}: ${String(cause)}`, {
      hint: 'Name another --dir, or give this user the right to write there.',
      cause,
    });
  }
}

/** Removes what `createCluster` and the nodes made, and the directory if nothing else is in it. */
export function removeCluster({ directory }: Cluster): void {
  // The configuration last: as long as it is there, this can be repeated.
  const parts = ['data', 'logs', 'pids', 'keys', 'cluster.json.new', 'lock', 'cluster.json'];
  attempt('removed', directory, () => {
    for (const part of parts) rmSync(join(directory, part), { recursive: true, force: true });
  });
  try {
    rmdirSync(directory);
  } catch {
    // Something of somebody else's is in it.
  }
}

export function nodeNamed({ nodes }: Cluster, nodeId: string): ClusterNode {
  const node = nodes.find((one) => one.nodeId === nodeId);
  if (node) return node;
  throw new QedError(
    'option-malformed',
    `there is no node ${JSON.stringify(nodeId.slice(0, 80))} in the cluster`,
    {
      hint: `It has ${nodes.map((one) => one.nodeId).join(', ')}.`,
    },
  );
}
