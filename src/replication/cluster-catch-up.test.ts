// The whole way back of a node: its records are gone from every log, its peers send entries over their connections, its balloon verifies them.
import {
  createTestNode,
  join,
  leaderOf,
  startNode,
  stopNode,
  until,
  type TestNode,
} from '../../testutils/cluster.ts';
import { seededRandom } from '../../testutils/random.ts';
import { decodeLogItem, encodeComparison, encodeRecord } from '../balloon/record.ts';
import { signSnapshot } from '../balloon/sign.ts';
import { nativeVerify, privateKeyFromSeed } from '../crypto/ed25519-node.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { createLogSigner } from '../crypto/signer.ts';
import { openDurableBalloon, type DurableBalloon } from '../storage/durable-balloon.ts';
import { openMemoryStore } from '../storage/memory.ts';
import { catchUp, createCatchUpAnswers } from './catch-up.ts';
import { type ClusterLog, type ClusterLogOptions } from './cluster-log.ts';
import { type Joined } from './members.ts';

const signer = createLogSigner('example.org/log', privateKeyFromSeed(new Uint8Array(32).fill(1)));
const limits = { tail: { records: 3, bytes: 1e6 }, segmentBytes: 20_000 };

interface Replica {
  readonly node: TestNode;
  readonly durable: DurableBalloon;
  start: (start?: 'found' | Joined) => Promise<ClusterLog>;
}

async function createReplica(nodeId: string): Promise<Replica> {
  const node = await createTestNode(nodeId);
  const durable = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
  const { balloon } = durable;

  async function reach(log: ClusterLog, index: number): Promise<void> {
    const record = await log.recordBy(index);
    await until(() => node.appliedIndex >= record);
  }

  async function applyAll(log: ClusterLog): Promise<void> {
    for await (const group of log.committed(balloon.appliedIndex))
      for (const { index, payload } of group) {
        await durable.apply(index, decodeLogItem(payload));
        node.appliedIndex = index;
      }
  }

  return {
    node,
    durable,
    async start(start = 'found') {
      const answers = createCatchUpAnswers({
        durable,
        sign: (version) => signSnapshot(balloon, version, signer),
        reach: (index) => reach(node.log!, index),
      });
      const options: Partial<ClusterLogOptions> = {
        ...limits,
        appliedIndex: balloon.appliedIndex,
        serve: answers,
        async onSnapshot({ index }, peers, signal) {
          node.appliedIndex = await catchUp({
            durable,
            peers,
            index,
            log: signer.verifier,
            hash: nativeHash,
            verify: nativeVerify,
            signal,
          });
          return node.appliedIndex;
        },
      };
      const log = await startNode(node, start, options, applyAll);
      return log;
    },
  };
}

const digestsOf = ({ durable }: Replica): unknown => {
  const { snapshot, size } = durable.balloon;
  return [
    size,
    snapshot && encodeHex(snapshot.historyDigest),
    snapshot && encodeHex(snapshot.hyperDigest),
    encodeHex(durable.requestRows()),
  ];
};

describe('a node that was away for long', () => {
  it('rebuilds what it missed from entries, and goes on with the log', async () => {
    const replicas = await Promise.all(['a', 'b', 'c'].map(createReplica));
    const [a, b, c] = replicas as [Replica, Replica, Replica];
    const nodes = replicas.map(({ node }) => node);
    await a.start();
    await b.start(await join(a.node, b.node));
    await c.start(await join(a.node, c.node));
    await until(
      () =>
        leaderOf(nodes)
          ?.log?.status()
          .members.every(({ isVoter }) => isVoter) === true,
    );
    const random = seededRandom(11);
    let last = 0;
    async function add(records: number, events: number): Promise<void> {
      for (let at = 0; at < records; at++) {
        const requests = [{ key: random.bytes(16), eventDigests: random.bytes(32 * events) }];
        last = await leaderOf(nodes)!.log!.append(encodeRecord({ time: 1000 + at, requests }));
      }
    }
    await add(20, 3);
    await until(() => nodes.every(({ appliedIndex }) => appliedIndex >= last));
    await stopNode(c.node);
    await add(60, 200);
    const leader = leaderOf(nodes)!;
    await until(() => [a, b].every(({ node }) => node.appliedIndex >= last));
    for (const { node } of [a, b]) await node.log!.compact(node.appliedIndex);
    await c.start();
    await until(() => c.node.appliedIndex >= last, 'the way back');
    expect(c.node.events.some(({ kind }) => kind === 'caught-up')).toBe(true);
    await add(20, 5);
    const { snapshot } = (leader === a.node ? a : b).durable.balloon;
    last = await leaderOf(nodes)!.log!.append(encodeComparison(snapshot!));
    await until(() => nodes.every(({ appliedIndex }) => appliedIndex >= last));
    for (const replica of replicas) expect(digestsOf(replica)).toEqual(digestsOf(a));
    expect(replicas.map(({ durable }) => durable.divergence)).toEqual([undefined, undefined, undefined]);
    await Promise.all(nodes.map(stopNode));
  });
});
