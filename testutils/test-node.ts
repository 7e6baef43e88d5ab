// A whole node in memory, for tests: the true parts over a store and a disk that are not there, which can be broken on purpose and opened again.
import { generateKeyPairSync } from 'node:crypto';
import Fastify from 'fastify';
import { createCosigner, createLogSigner } from '../src/crypto/signer.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { type ClusterLog } from '../src/replication/cluster-log.ts';
import { openClusterLog } from '../src/replication/cluster.ts';
import { buildApi, type ApiOptions } from '../src/server/api.ts';
import { type App } from '../src/server/http.ts';
import { type Identity } from '../src/server/identity.ts';
import { createSeal } from '../src/server/join-seal.ts';
import { createMetrics, type Metrics } from '../src/server/metrics.ts';
import { composeNode, type Node, type NodeEvent, type NodeParts } from '../src/server/node.ts';
import { type OpenNodeOptions } from '../src/server/open-node.ts';
import { openPayloads } from '../src/server/payloads.ts';
import { openDurableBalloon } from '../src/storage/durable-balloon.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../src/storage/memory.ts';
import { type Store } from '../src/storage/store.ts';
import { createFakeDisk, type FakeDisk } from './fake-disk.ts';

/** What outlives a node. */
export interface TestDisks {
  readonly identity: Identity;
  readonly store: MemoryDisk;
  readonly events: MemoryDisk;
  readonly log: FakeDisk;
}

export function testDisks(): TestDisks {
  const key = () => generateKeyPairSync('ed25519').privateKey;
  const [logKey, nodeKey] = [key(), key()];
  const identity = {
    origin: 'example.org/log',
    nodeId: 'node0',
    signer: createLogSigner('example.org/log', logKey),
    cosigner: createCosigner('example.org/log/node0', nodeKey),
    nodeKey,
    seal: createSeal(logKey),
    host: undefined,
  };
  return { identity, store: memoryDisk(), events: memoryDisk(), log: createFakeDisk() };
}

export interface TestNodeOptions extends Partial<Pick<OpenNodeOptions, 'limits' | 'now' | 'storeEvents'>> {
  readonly disks?: TestDisks;
  /** Stands between the node and its store. */
  readonly wrapStore?: (store: Store) => Store;
}

export interface TestNode {
  readonly node: Node;
  readonly log: ClusterLog;
  readonly metrics: Metrics;
  readonly events: NodeEvent[];
}

export async function openTestNode(options: TestNodeOptions = {}): Promise<TestNode> {
  const { disks = testDisks() } = options;
  const metrics = createMetrics();
  const events: NodeEvent[] = [];
  const onEvent = (event: NodeEvent): void => void events.push(event);
  const memory = openMemoryStore(disks.store);
  const store = options.wrapStore?.(memory) ?? memory;
  const durable = await openDurableBalloon({ store, hash: nativeHash, durable: false, onEvent });
  const address = '127.0.0.1:1';
  const logs: ClusterLog[] = [];
  const parts: NodeParts = {
    identity: disks.identity,
    durable,
    async openLog(hooks) {
      const log = await openClusterLog({
        directory: '/raft',
        disk: disks.log,
        self: { nodeId: disks.identity.nodeId, raftAddr: address, httpAddr: address, mgmtAddr: address },
        nodeKey: disks.identity.nodeKey,
        listen: '127.0.0.1:0',
        start: 'found',
        ...hooks,
      });
      logs.push(log);
      return log;
    },
    hash: nativeHash,
    payloads: options.storeEvents ? openPayloads(openMemoryStore(disks.events), nativeHash) : undefined,
    storageBytes: () => Promise.resolve({ database: 1, log: 2 }),
  };
  const { now = Date.now, limits = {} } = options;
  const node = await composeNode(parts, { now, limits, metrics, onEvent });
  return { node, log: logs[0]!, metrics, events };
}

export interface TestApi extends TestNode {
  readonly app: App;
  readonly close: () => Promise<void>;
}

export async function openTestApi(
  options: TestNodeOptions & {
    readonly api?: Partial<ApiOptions>;
    /** Instead of the node's own. */
    readonly linearize?: Node['linearize'];
  } = {},
): Promise<TestApi> {
  const opened = await openTestNode(options);
  const { node, metrics } = opened;
  if (options.linearize) Object.defineProperty(node, 'linearize', { value: options.linearize });
  const app = await buildApi(node, {
    access: () => ({ keys: [], readsNeedKey: false }),
    metrics,
    logger: Fastify().log,
    addresses: () => ({
      httpAddr: '127.0.0.1:8800',
      mgmtAddr: '127.0.0.1:8700',
      raftAddr: null,
      metricsAddr: null,
      gossipAddr: null,
    }),
    isTls: false,
    software: 'qed test',
    keepEvents: options.storeEvents ?? false,
    ...options.api,
  });
  return {
    ...opened,
    app,
    async close() {
      await app.close();
      await node.close();
    },
  };
}
