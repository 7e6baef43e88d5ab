// Clusters in one process: real nodes over loopback TLS on fake disks, with faults by hooks and crashes by taking the power away.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { privateKeyFromSeed, publicKeyOf } from '../src/crypto/ed25519-node.ts';
import {
  type ClusterEvent,
  type ClusterLog,
  type ClusterLogOptions,
} from '../src/replication/cluster-log.ts';
import { openClusterLog } from '../src/replication/cluster.ts';
import { type Joined } from '../src/replication/members.ts';
import { createFakeDisk, type FakeDisk } from './fake-disk.ts';
import { type Random } from './random.ts';
import { freePort } from './temp.ts';

export const TICK_MS = 8;

export interface TestNode {
  readonly nodeId: string;
  readonly nodeKey: KeyObject;
  readonly address: string;
  disk: FakeDisk;
  log: ClusterLog | undefined;
  /** Committed payloads in order, as text, and the index of the last one: a database that survives every crash. */
  readonly records: string[];
  appliedIndex: number;
  readonly events: ClusterEvent[];
}

export async function createTestNode(nodeId: string): Promise<TestNode> {
  const nodeKey = generateKeyPairSync('ed25519').privateKey;
  const address = `127.0.0.1:${await freePort()}`;
  return {
    nodeId,
    nodeKey,
    address,
    disk: createFakeDisk(),
    log: undefined,
    records: [],
    appliedIndex: 0,
    events: [],
  };
}

export function recordOf({ nodeId, nodeKey, address }: TestNode) {
  return {
    nodeId,
    nodeKey: publicKeyOf(nodeKey),
    raftAddr: address,
    httpAddr: `127.0.0.1:1`,
    mgmtAddr: `127.0.0.1:2`,
  };
}

export async function startNode(
  node: TestNode,
  start: 'found' | Joined = 'found',
  more: Partial<ClusterLogOptions> = {},
  applyAll: (log: ClusterLog) => Promise<void> = (log) => consume(node, log),
): Promise<ClusterLog> {
  const { nodeId, raftAddr, httpAddr, mgmtAddr } = recordOf(node);
  const log = await openClusterLog({
    directory: '/raft',
    disk: node.disk,
    self: { nodeId, raftAddr, httpAddr, mgmtAddr },
    nodeKey: node.nodeKey,
    listen: node.address,
    start,
    appliedIndex: node.appliedIndex,
    // The whole state, from the first peer that has it: enough for a list of texts.
    async onSnapshot({ index }, peers, signal) {
      for (const peer of peers) {
        const bytes = await peer.fetch(`state/${index}`, { signal }).catch(() => undefined);
        if (!bytes) continue;
        const state = JSON.parse(Buffer.from(bytes).toString()) as {
          records: string[];
          appliedIndex: number;
        };
        node.records.splice(0, node.records.length, ...state.records);
        node.appliedIndex = state.appliedIndex;
        return state.appliedIndex;
      }
      throw new Error('no peer has it');
    },
    async serve(path, signal) {
      if (!path.startsWith('state/')) return undefined;
      const record = await node.log?.recordBy(Number(path.split('/')[1]), signal);
      if (record === undefined || node.appliedIndex < record) return undefined;
      const { records, appliedIndex } = node;
      return new Uint8Array(Buffer.from(JSON.stringify({ records, appliedIndex })));
    },
    onEvent: (event) => void node.events.push(event),
    tickMs: TICK_MS,
    ...more,
  });
  node.log = log;
  void applyAll(log);
  return log;
}

async function consume(node: TestNode, log: ClusterLog): Promise<void> {
  for await (const group of log.committed(node.appliedIndex)) {
    if (node.log !== log) return;
    for (const { index, payload } of group) {
      // A state from a peer may already hold it.
      if (index <= node.appliedIndex) continue;
      node.records.push(Buffer.from(payload).toString());
      node.appliedIndex = index;
    }
  }
}

/** A cluster of one, where nothing but its own log matters. */
export function openAlone(directory: string, more: Partial<ClusterLogOptions> = {}): Promise<ClusterLog> {
  return openClusterLog({
    directory,
    self: { nodeId: 'node0', raftAddr: '127.0.0.1:1', httpAddr: '127.0.0.1:2', mgmtAddr: '127.0.0.1:3' },
    nodeKey: privateKeyFromSeed(new Uint8Array(32).fill(7)),
    listen: '127.0.0.1:0',
    start: 'found',
    appliedIndex: 0,
    onSnapshot: () => Promise.reject(new Error('nobody else is there')),
    serve: () => Promise.resolve(undefined),
    ...more,
  });
}

/** As kill -9 with a power failure: nothing that was not synced is there afterwards, or any part of it. */
export async function crashNode(node: TestNode, random: Random): Promise<void> {
  const { log, disk } = node;
  if (!log) return;
  node.log = undefined;
  disk.faults = { powerOffAt: disk.steps };
  for (const { nodeId } of log.members())
    if (nodeId !== node.nodeId) log.setFault(nodeId, { cutTo: true, cutFrom: true });
  await log.close();
  node.disk = disk.restart('any', random);
}

export async function stopNode(node: TestNode): Promise<void> {
  const { log } = node;
  node.log = undefined;
  await log?.close();
}

/** A founder and others that joined it, all voters. */
export async function startCluster(
  names: readonly string[],
  more: Partial<ClusterLogOptions> = {},
): Promise<TestNode[]> {
  const nodes: TestNode[] = [];
  for (const name of names) {
    const node = await createTestNode(name);
    const [first] = nodes;
    await startNode(node, first ? await join(first, node) : 'found', more);
    nodes.push(node);
  }
  await until(
    () =>
      leaderOf(nodes)
        ?.log?.status()
        .members.every(({ isVoter }) => isVoter) === true,
  );
  return nodes;
}

export async function join(through: TestNode, node: TestNode): Promise<Joined> {
  return through.log!.join({ ...recordOf(node), isFresh: true });
}

export function leaderOf(nodes: readonly TestNode[]): TestNode | undefined {
  return nodes.find(({ log }) => log?.status().role === 'leader');
}

/** Waits for a condition that events in this process bring about. Fails the test when it takes absurdly long. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const end = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
