// Real nodes in one process: what they promise together, through joins, crashes, partitions and removals.
import {
  crashNode,
  createTestNode,
  join,
  leaderOf,
  startCluster,
  startNode,
  stopNode,
  until,
  type TestNode,
} from '../../testutils/cluster.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

async function stopAll(nodes: readonly TestNode[]): Promise<void> {
  await Promise.all(nodes.map(stopNode));
}

describe('a cluster of one', () => {
  it('leads at once and keeps what it acknowledged', async () => {
    const node = await createTestNode('a');
    const log = await startNode(node);
    expect(log.status()).toMatchObject({ role: 'leader', leaderId: 'a', members: [{ nodeId: 'a', isVoter: true }] });
    const indexes = await Promise.all(['x', 'y', 'z'].map((text) => log.append(bytes(text))));
    expect(indexes).toEqual([...indexes].sort((a, b) => a - b));
    await until(() => node.records.length === 3);
    await stopNode(node);
    await startNode(node);
    await node.log!.append(bytes('w'));
    await until(() => node.records.length === 4);
    expect(node.records).toEqual(['x', 'y', 'z', 'w']);
    await stopNode(node);
  });
});

describe('a cluster of three', () => {
  it('forms by joins, replicates to all, and goes on when the leader is gone', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const first = leaderOf(nodes)!;
    await Promise.all(Array.from({ length: 50 }, (_, at) => first.log!.append(bytes(`one ${at}`))));
    await until(() => nodes.every(({ records }) => records.length === 50));
    await stopNode(first);
    await until(() => leaderOf(nodes) !== undefined);
    await leaderOf(nodes)!.log!.append(bytes('two'));
    await startNode(first);
    await until(() => nodes.every(({ records }) => records.length === 51));
    for (const { records } of nodes) expect(records).toEqual(nodes[0]!.records);
    await stopAll(nodes);
  });
});
