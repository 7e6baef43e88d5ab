// Replicas over stores in memory and real connections: a database that lags too far gets on by entries of its peers, before and after a crash on the way.
import { createTestNode, join, recordOf, type TestNode } from '../../testutils/cluster.ts';
import { createFakeDisk } from '../../testutils/fake-disk.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import { until } from '../../testutils/until.ts';
import { encodeRecord } from '../balloon/record.ts';
import { privateKeyFromSeed } from '../crypto/ed25519-node.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { createCosigner, createLogSigner } from '../crypto/signer.ts';
import { type ClusterLog } from '../replication/cluster-log.ts';
import { openClusterLog } from '../replication/cluster.ts';
import { type Joined } from '../replication/members.ts';
import { openDurableBalloon, type DurableBalloon } from '../storage/durable-balloon.ts';
import { crashDisk, memoryDisk, openMemoryStore, type MemoryDisk } from '../storage/memory.ts';
import { watchHealth } from './health.ts';
import { createSeal } from './join-seal.ts';
import { openReplica, type Replica, type ReplicaEvent } from './replica.ts';

const logKey = privateKeyFromSeed(new Uint8Array(32).fill(1));
const random = seededRandom(17);
const oneEvent = (): Uint8Array =>
  encodeRecord({ time: 1000, requests: [{ key: undefined, eventDigests: random.bytes(32) }] });

interface Place {
  readonly node: TestNode;
  readonly database: MemoryDisk;
  readonly events: ReplicaEvent[];
  durable?: DurableBalloon;
  replica?: Replica;
}

const created: Place[] = [];
afterEach(async () => {
  await Promise.all(created.splice(0).map(close));
});

async function createPlace(nodeId: string): Promise<Place> {
  const place = { node: await createTestNode(nodeId), database: memoryDisk(), events: [] };
  created.push(place);
  return place;
}

async function open(place: Place, start: 'found' | Joined = 'found'): Promise<Replica> {
  const { node, database, events } = place;
  const store = openMemoryStore(database);
  const durable = await openDurableBalloon({ store, hash: nativeHash, durable: false });
  const { nodeKey: _, ...self } = recordOf(node);
  const origin = 'example.org/log';
  async function openLog(
    hooks: Parameters<Parameters<typeof openReplica>[0]['openLog']>[0],
  ): Promise<ClusterLog> {
    node.log = await openClusterLog({
      directory: '/raft',
      disk: node.disk,
      self,
      nodeKey: node.nodeKey,
      listen: node.address,
      start,
      tickMs: 10,
      tail: { records: 3, bytes: 1e6 },
      segmentBytes: 2000,
      ...hooks,
    });
    return node.log;
  }
  place.durable = durable;
  place.replica = await openReplica({
    openLog,
    durable,
    hash: nativeHash,
    identity: {
      origin,
      nodeId: node.nodeId,
      signer: createLogSigner(origin, logKey),
      cosigner: createCosigner(`${origin}/${node.nodeId}`, node.nodeKey),
      nodeKey: node.nodeKey,
      seal: createSeal(logKey),
      host: undefined,
    },
    watch: watchHealth(() => undefined),
    answerPeer: () => Promise.resolve(undefined),
    onEvent: (event) => void events.push(event),
  }).catch(async (error: unknown) => {
    await close(place);
    throw error;
  });
  return place.replica;
}

async function close(place: Place): Promise<void> {
  const { replica, durable } = place;
  delete place.replica;
  delete place.durable;
  await replica?.close();
  await durable?.close();
}

async function startThree(): Promise<[Place, Place, Place]> {
  const [a, b, c] = [await createPlace('a'), await createPlace('b'), await createPlace('c')];
  await open(a);
  for (const place of [b, c]) await open(place, await join(a.node, place.node));
  await until('all are voters', () => {
    const members = a.node.log?.members() ?? [];
    return members.length === 3 && members.every(({ isVoter }) => isVoter);
  });
  return [a, b, c];
}

/** Adds so much that the logs of the others forget where a stopped one stood. */
async function addMuch(places: readonly Place[]): Promise<void> {
  for (let at = 0; at < 60; at++) await places[0]!.replica!.propose(oneEvent());
  await Promise.all(places.map(({ replica }) => replica!.linearize()));
  for (const { node, durable } of places) await node.log!.compact(durable!.balloon.appliedIndex);
}

function expectSame(places: readonly Place[]): void {
  const [first, ...others] = places.map(({ durable }) => durable!.balloon.snapshot);
  for (const other of others) expect(other).toEqual(first);
}

it('fetches what it missed, goes on with the log, and knows at the next start that its log may end before its database', async () => {
  const places = await startThree();
  const [a, b, c] = places;
  await a.replica!.propose(oneEvent());
  await c.replica!.linearize();
  await close(c);
  await addMuch([a, b]);
  await open(c);
  expect(c.replica!.lateness()?.code).toBe('busy');
  await until('c is in step', () => c.replica!.lateness() === undefined);
  expect(c.events.map(({ kind }) => kind)).toContain('fetched');
  const { snapshot } = await c.replica!.propose(oneEvent());
  expect(snapshot.version).toBe(61);
  await Promise.all(places.map(({ replica }) => replica!.linearize()));
  expectSame(places);
  await close(c);
  await open(c);
  await c.replica!.linearize();
  expectSame(places);
});

it('fetches the rest after a crash in the middle, before any record', async () => {
  const places = await startThree();
  const [a, b, c] = places;
  await c.replica!.linearize();
  await close(c);
  await addMuch([a, b]);
  await open(c);
  // As if the power failed with the first batches of a peer in the database.
  await until('some entries have come', () => c.durable!.balloon.size > 0);
  crashDisk(c.database, 1e9);
  await close(c).catch(() => undefined);
  await open(c);
  await until('c is in step', () => c.replica!.lateness() === undefined);
  await Promise.all(places.map(({ replica }) => replica!.linearize()));
  expectSame(places);
});

it('does not take part with a log that lost what the database has applied from it, but may come back as another member', async () => {
  const places = await startThree();
  const [a, b, c] = places;
  await c.replica!.linearize();
  await close(c);
  const before = c.node.disk.restart('synced', random);
  const after = c.node.disk.restart('synced', random);
  c.node.disk = after;
  await open(c);
  await a.replica!.propose(oneEvent());
  await c.replica!.linearize();
  await close(c);
  c.node.disk = before;
  expect(await codeOfPromise(open(c))).toBe('store-corrupt');
  c.node.disk = createFakeDisk();
  await open(c, await join(a.node, c.node));
  await until('c is in step', () => c.replica!.lateness() === undefined);
  await c.replica!.propose(oneEvent());
  await Promise.all(places.map(({ replica }) => replica!.linearize()));
  expectSame([a, b, c]);
});
