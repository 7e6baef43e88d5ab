// Real nodes in one process: what they promise together, through joins, crashes, partitions and removals.
import {
  crashNode,
  createTestNode,
  join,
  leaderOf,
  recordOf,
  startCluster,
  startNode,
  stopNode,
  TICK_MS,
  until,
  type TestNode,
} from '../../testutils/cluster.ts';
import { createFakeDisk } from '../../testutils/fake-disk.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { QedError } from '../errors.ts';
import { type ClusterLog, type ClusterLogOptions } from './cluster-log.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const codeOf = (error: unknown): string => (error instanceof QedError ? error.code : String(error));

async function stopAll(nodes: readonly TestNode[]): Promise<void> {
  await Promise.all(nodes.map(stopNode));
}

async function waitForLeader(nodes: readonly TestNode[]): Promise<ClusterLog> {
  await until(() => leaderOf(nodes) !== undefined, 'a leader');
  return leaderOf(nodes)!.log!;
}

function others(nodes: readonly TestNode[], node: TestNode): TestNode[] {
  return nodes.filter((other) => other !== node);
}

/** Cuts a node off, in both directions, or one of them. */
function isolate(nodes: readonly TestNode[], node: TestNode, fault = { cutTo: true, cutFrom: true }): void {
  for (const other of others(nodes, node)) node.log?.setFault(other.nodeId, fault);
}

function heal(nodes: readonly TestNode[]): void {
  for (const node of nodes) isolate(nodes, node, { cutTo: false, cutFrom: false });
}

describe('a cluster of one', () => {
  it('leads at once and keeps what it acknowledged', async () => {
    const node = await createTestNode('a');
    const log = await startNode(node);
    const members = [{ nodeId: 'a', isVoter: true }];
    expect(log.status()).toMatchObject({ role: 'leader', leaderId: 'a', members });
    const indexes = await Promise.all(['x', 'y', 'z'].map((text) => log.append(bytes(text))));
    expect(indexes).toEqual([...indexes].sort((a, b) => a - b));
    await until(() => node.records.length === 3);
    expect(await log.readIndex()).toBeGreaterThanOrEqual(indexes[2]!);
    await stopNode(node);
    await startNode(node);
    await node.log!.append(bytes('w'));
    await until(() => node.records.length === 4);
    expect(node.records).toEqual(['x', 'y', 'z', 'w']);
    await stopNode(node);
  });

  it('refuses a database that is ahead of its log, and a log of another node', async () => {
    const [a, b] = [await createTestNode('a'), await createTestNode('b')];
    const log = await startNode(a);
    await log.append(bytes('x'));
    await until(() => a.records.length === 1);
    await stopNode(a);
    b.disk = a.disk;
    await expect(startNode(b)).rejects.toMatchObject({ code: 'node-mismatch' });
    a.disk = createFakeDisk();
    await expect(startNode(a)).rejects.toMatchObject({ code: 'store-corrupt' });
  });

  it('stops with the reason when the disk is full, and goes on when it is opened again', async () => {
    const node = await createTestNode('a');
    const log = await startNode(node);
    await log.append(bytes('x'));
    node.disk.faults = { capacity: 0 };
    const codes = await Promise.all(
      // More than the room that the log has made for itself.
      ['y', 'z'].map((text) => log.append(bytes(text.repeat(100_000))).then(() => 'done', codeOf)),
    );
    expect(codes).not.toContain('done');
    expect(log.status()).toMatchObject({ role: 'follower', leaderId: undefined });
    expect(log.status().failure?.code).toBe('store-full');
    expect(await log.append(bytes('w')).catch(codeOf)).toBe('store-full');
    await stopNode(node);
    node.disk.faults = {};
    await startNode(node);
    await node.log!.append(bytes('v'));
    await until(() => node.records.at(-1) === 'v');
    expect(node.records[0]).toBe('x');
    await stopNode(node);
  });
});

describe('a cluster of three', () => {
  it('replicates to all, hands over when it stops, and lets the old leader come back without flags', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const first = leaderOf(nodes)!;
    const records = Array.from({ length: 50 }, (_, at) => `one ${at}`);
    await Promise.all(records.map((text) => first.log!.append(bytes(text))));
    await until(() => nodes.every((node) => node.records.length === 50));
    const term = first.log!.status().term;
    await stopNode(first);
    const log = await waitForLeader(nodes);
    // Handed over: no election had to be waited for.
    expect(log.status().term).toBe(term + 1);
    await log.append(bytes('two'));
    await startNode(first);
    await until(() => nodes.every((node) => node.records.length === 51));
    for (const node of nodes) expect(node.records).toEqual([...records, 'two']);
    await stopAll(nodes);
  });

  it('takes records and shows its latest state on any node', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const texts = Array.from({ length: 60 }, (_, at) => `r${at}`);
    const indexes = await Promise.all(texts.map((text, at) => nodes[at % 3]!.log!.append(bytes(text))));
    expect(new Set(indexes).size).toBe(60);
    await until(() => nodes.every(({ records }) => records.length === 60));
    const inOrder = texts
      .map((text, at) => ({ text, index: indexes[at]! }))
      .sort((a, b) => a.index - b.index)
      .map(({ text }) => text);
    for (const { records } of nodes) expect(records).toEqual(inOrder);
    const index = await others(nodes, leader)[0]!.log!.append(bytes('x'));
    const reads = await Promise.all(nodes.map(({ log }) => log!.readIndex()));
    for (const read of reads) expect(read).toBeGreaterThanOrEqual(index);
    await until(() =>
      others(nodes, leader).every(({ log }) => log!.members().some((m) => m.roundTripMs !== undefined)),
    );
    await stopAll(nodes);
  });

  it('commits nothing without a majority: the outcome stays unknown, reads wait', async () => {
    const nodes = await startCluster(['a', 'b', 'c'], { patienceMs: 60 * TICK_MS });
    const leader = leaderOf(nodes)!;
    await leader.log!.append(bytes('before'));
    isolate(nodes, leader);
    const append = leader.log!.append(bytes('lost?')).then(() => 'done', codeOf);
    const reader = new AbortController();
    const read = leader.log!.readIndex(reader.signal).then(() => 'done', codeOf);
    const rest = others(nodes, leader);
    const next = await waitForLeader(rest);
    await next.append(bytes('after'));
    expect(await append).toBe('outcome-unknown');
    reader.abort();
    expect(await read).toBe('no-leader');
    expect(await leader.log!.append(bytes('x')).catch(codeOf)).toBe('no-leader');
    heal(nodes);
    await until(() => nodes.every(({ records }) => records.includes('after')));
    for (const { records } of nodes) expect(records).toEqual(['before', 'after']);
    await stopAll(nodes);
  });

  it('keeps its leader when a node that heard nothing comes back', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const [away] = others(nodes, leader);
    const { term } = leader.log!.status();
    // It hears nobody, but is heard: without pre-votes it would raise its term again and again, and depose the leader.
    isolate(nodes, away!, { cutTo: false, cutFrom: true });
    await until(() => away!.log!.status().role === 'candidate');
    for (let at = 0; at < 20; at++) await leader.log!.append(bytes(`${at}`));
    heal(nodes);
    await until(() => away!.records.length === 20);
    expect(leader.log!.status()).toMatchObject({ role: 'leader', term });
    await stopAll(nodes);
  });

  it('comes back from the loss of power of all nodes with what it acknowledged', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const log = await waitForLeader(nodes);
    const sent = Array.from({ length: 40 }, (_, at) => `r${at}`);
    await Promise.all(sent.map((text) => log.append(bytes(text))));
    const random = seededRandom(4);
    await Promise.all(nodes.map((node) => crashNode(node, random)));
    await Promise.all(nodes.map((node) => startNode(node)));
    await (await waitForLeader(nodes)).append(bytes('end'));
    await until(() => nodes.every(({ records }) => records.at(-1) === 'end'));
    for (const { records } of nodes) expect(records).toEqual([...sent, 'end']);
    await stopAll(nodes);
  });

  it('brings a node back that needs records which are gone, by way of its peers', async () => {
    const more = { tail: { records: 5, bytes: 1e6 }, segmentBytes: 2000 };
    const nodes = await startCluster(['a', 'b', 'c'], more);
    const leader = leaderOf(nodes)!;
    const [away, near] = others(nodes, leader);
    await stopNode(away!);
    for (let at = 0; at < 100; at++) await leader.log!.append(bytes(`record ${at}`));
    await until(() => near!.records.length === 100);
    for (const { log, appliedIndex } of [leader, near!]) await log!.compact(appliedIndex);
    expect(leader.log!.status().firstIndex).toBeGreaterThan(50);
    await startNode(away!, 'found', more);
    await until(() => away!.records.length === 100);
    expect(away!.records).toEqual(leader.records);
    expect(away!.events.some(({ kind }) => kind === 'caught-up')).toBe(true);
    await leader.log!.append(bytes('next'));
    await until(() => away!.records.at(-1) === 'next');
    await stopAll([away!]);
    await startNode(away!, 'found', more);
    await leader.log!.append(bytes('last'));
    await until(() => away!.records.at(-1) === 'last');
    await stopAll(nodes);
  });
});

describe('a record', () => {
  it('waits through an election, on whatever node it comes in', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    await crashNode(leader, seededRandom(1));
    const rest = others(nodes, leader);
    await Promise.all(rest.map(({ log, nodeId }) => log!.append(bytes(nodeId))));
    await until(() => rest.every(({ records }) => records.length === 2));
    await stopAll(rest);
  });

  it('of a leader that is cut off is lost for certain, and is proposed anew elsewhere', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const rest = others(nodes, leader);
    isolate(nodes, leader);
    const append = leader.log!.append(bytes('mine'));
    await (await waitForLeader(rest)).append(bytes('theirs'));
    heal(nodes);
    const index = await append;
    await until(() => nodes.every(({ records }) => records.length === 2));
    for (const node of nodes) expect(node.records).toEqual(['theirs', 'mine']);
    expect(leader.appliedIndex).toBe(index);
    await stopAll(nodes);
  });

  it('of a leader that hears nobody is found again under the next one, once', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const rest = others(nodes, leader);
    isolate(nodes, leader, { cutTo: false, cutFrom: true });
    const append = leader.log!.append(bytes('mine'));
    await (await waitForLeader(rest)).append(bytes('theirs'));
    heal(nodes);
    await append;
    await until(() => nodes.every(({ records }) => records.length === 2));
    for (const node of nodes) expect(node.records).toEqual(['mine', 'theirs']);
    await stopAll(nodes);
  });

  it.each([false, true])(
    'on its way to a leader that dies is unknown, and sent again where that does no harm (%p)',
    async (isRepeatable) => {
      const nodes = await startCluster(['a', 'b', 'c']);
      const leader = leaderOf(nodes)!;
      const [node] = others(nodes, leader);
      await node!.log!.append(bytes('before'));
      // Its disk hangs, so it answers nothing any more.
      leader.disk.faults = { powerOffAt: leader.disk.steps };
      isolate(nodes, leader, { cutTo: true, cutFrom: false });
      const append = node!.log!.append(bytes('x'), { isRepeatable }).then(() => 'done', codeOf);
      await crashNode(leader, seededRandom(1));
      expect(await append).toBe(isRepeatable ? 'done' : 'outcome-unknown');
      const rest = others(nodes, leader);
      await (await waitForLeader(rest)).append(bytes('after'));
      await until(() => rest.every(({ records }) => records.at(-1) === 'after'));
      for (const { records } of rest) expect(records.includes('x')).toBe(isRepeatable);
      await stopAll(rest);
    },
  );

  it('is refused when too much waits, and given up when the caller does', async () => {
    const nodes = await startCluster(['a', 'b', 'c'], { waitingBytesMax: 1000, patienceMs: 60 * TICK_MS });
    const leader = leaderOf(nodes)!;
    const [node, other] = others(nodes, leader) as [TestNode, TestNode];
    await node.log!.append(bytes('before'));
    isolate(nodes, leader);
    const caller = new AbortController();
    const signal = caller.signal;
    const given = node.log!.append(new Uint8Array(600), { signal }).then(() => 'done', codeOf);
    expect(await node.log!.append(new Uint8Array(600)).catch(codeOf)).toBe('busy');
    const small = node.log!.append(new Uint8Array(100), { isRepeatable: true });
    caller.abort();
    expect(await given).toBe('outcome-unknown');
    // It was sent to a leader that hears nothing; the next one gets it.
    await small;
    isolate(nodes, node);
    isolate(nodes, other);
    await until(() => node.log!.leader() === undefined && other.log!.leader() === undefined);
    const late = new AbortController();
    const waiting = node.log!.append(bytes('x'), { signal: late.signal }).then(() => 'done', codeOf);
    late.abort();
    expect(await waiting).toBe('no-leader');
    expect(await other.log!.append(bytes('x')).catch(codeOf)).toBe('no-leader');
    await stopAll(nodes);
  });
});

describe('members', () => {
  it('join as learners, become voters, move to other addresses, and are refused under a false name', async () => {
    const nodes = await startCluster(['a', 'b']);
    const c = await createTestNode('c');
    const follower = others(nodes, leaderOf(nodes)!)[0]!;
    // Through a follower, which passes it on.
    const joined = await join(follower, c);
    expect(joined.members.map(({ nodeId }) => nodeId)).toEqual(['a', 'b', 'c']);
    await until(() => follower.log!.members().length === 3);
    expect(follower.log!.members()[2]).toMatchObject({ nodeId: 'c', isVoter: false });
    await startNode(c, joined);
    await until(() => nodes.every(({ log }) => log!.members()[2]?.isVoter === true));

    const stranger = await createTestNode('c');
    await expect(join(follower, stranger)).rejects.toMatchObject({ code: 'node-mismatch' });
    const squatter = { ...(await createTestNode('d')), address: c.address };
    await expect(join(follower, squatter)).rejects.toMatchObject({ code: 'node-mismatch' });
    await expect(follower.log!.join({ ...recordOf(c), nodeId: 'e', isFresh: false })).rejects.toMatchObject({
      code: 'node-mismatch',
    });

    await stopNode(c);
    const moved = { ...c, address: (await createTestNode('x')).address };
    await startNode(moved);
    await until(() => nodes.every(({ log }) => log!.members()[2]?.raftAddr === moved.address));
    await stopAll([...nodes, moved]);
  });

  it('are removed, notice it, and may come back under another number', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const [gone] = others(nodes, leader);
    await leader.log!.append(bytes('x'));
    await leader.log!.remove(gone!.nodeId);
    await until(() => gone!.log!.status().failure !== undefined, 'the removed node to notice');
    expect(gone!.log!.status().failure?.code).toBe('node-removed');
    expect(await gone!.log!.append(bytes('y')).catch(codeOf)).toBe('store-closed');
    await leader.log!.append(bytes('z'));
    await stopNode(gone!);
    // Its own log tells it nothing of the removal; its peers do.
    await startNode(gone!);
    await until(() => gone!.log!.status().failure?.code === 'node-removed');
    await stopNode(gone!);
    gone!.disk = createFakeDisk();
    gone!.records.length = 0;
    gone!.appliedIndex = 0;
    await startNode(gone!, await join(leader, gone!));
    await until(() => gone!.records.length === 2 && leader.log!.members().every(({ isVoter }) => isVoter));
    expect(gone!.records).toEqual(['x', 'z']);
    await stopAll(nodes);
  });

  it('of which the leader is removed: it hands over first', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    await leader.log!.remove(leader.nodeId);
    const rest = others(nodes, leader);
    const log = await waitForLeader(rest);
    expect(log.members().map(({ nodeId }) => nodeId)).not.toContain(leader.nodeId);
    await until(() => leader.log!.status().failure?.code === 'node-removed');
    await log.append(bytes('x'));
    await stopAll(nodes);
  });

  it('take the leadership over when they are asked to', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const [heir] = others(nodes, leaderOf(nodes)!);
    // Asked at the heir itself, which is no leader yet.
    await heir!.log!.transferLeadership(heir!.nodeId);
    await until(() => heir!.log!.status().role === 'leader');
    await expect(heir!.log!.transferLeadership('nobody')).rejects.toMatchObject({ code: 'bad-request' });
    await stopAll(nodes);
  });

  it('that lost their log come back as another member, and the last voter stays', async () => {
    const nodes = await startCluster(['a', 'b', 'c']);
    const leader = leaderOf(nodes)!;
    const [wiped] = others(nodes, leader);
    const before = leader.log!.members().find(({ nodeId }) => nodeId === wiped!.nodeId)!.id;
    await leader.log!.append(bytes('x'));
    await stopNode(wiped!);
    wiped!.disk = createFakeDisk();
    wiped!.records.length = 0;
    wiped!.appliedIndex = 0;
    const joined = await join(leader, wiped!);
    expect(joined.id).toBeGreaterThan(before);
    await startNode(wiped!, joined);
    await until(() => wiped!.records.length === 1 && leader.log!.members().every(({ isVoter }) => isVoter));
    expect(leader.log!.members()).toHaveLength(3);
    await stopAll(nodes);
    const alone = await createTestNode('z');
    await startNode(alone);
    await expect(alone.log!.remove('z')).rejects.toMatchObject({ code: 'bad-request' });
    await stopNode(alone);
  });
});

describe('under faults', () => {
  // Every client adds its next record only when it knows of the last one, so the log must hold what was acknowledged, in real-time order. They ask
  // any node. The records of client z may be there twice, and count where they are first.
  const seeds = [1, 2, 3];
  it.each(seeds)('loses nothing acknowledged and keeps one order (seed %i)', async (seed) => {
    const random = seededRandom(seed);
    const more = {
      tail: { records: 20, bytes: 1e6 },
      segmentBytes: 4000,
      patienceMs: 25 * TICK_MS,
    };
    const nodes = await startCluster(['a', 'b', 'c'], more);
    const acknowledged: string[] = [];
    const unknown = new Set<string>();
    let isOver = false;

    async function client(name: string): Promise<void> {
      for (let at = 0; !isOver; at++) {
        const text = `${name}${at}`;
        const { log } = random.pick(nodes);
        const isRepeatable = name === 'z';
        const code = log
          ? await log.append(bytes(text), { isRepeatable }).then(() => 'done', codeOf)
          : 'down';
        if (code === 'done') acknowledged.push(text);
        else if (code === 'outcome-unknown') unknown.add(text);
        if (code !== 'done') await new Promise((resolve) => setTimeout(resolve, 3));
      }
    }

    const clients = Promise.all(['x', 'y', 'z'].map(client));
    for (let round = 0; round < 6; round++) {
      const count = acknowledged.length;
      await disturb(nodes, random, more);
      await until(() => acknowledged.length > count + 12, 'progress');
      for (const { log, appliedIndex } of nodes) await log?.compact(appliedIndex).catch(() => undefined);
    }
    isOver = true;
    heal(nodes);
    await clients;
    for (const node of nodes) if (!node.log) await startNode(node, 'found', more);
    await appendEnd(nodes);
    await until(() => nodes.every(({ records }) => records.at(-1) === 'end'));
    const all = nodes[0]!.records;
    for (const node of nodes) expect(node.records).toEqual(all);
    const records = [...new Set(all)];
    const isSimple = (text: string): boolean => !text.startsWith('z');
    expect(all.filter(isSimple)).toEqual(records.filter(isSimple));
    expect(acknowledged.filter((text) => !records.includes(text))).toEqual([]);
    const known = new Set([...acknowledged, ...unknown, 'end']);
    expect(records.filter((text) => !known.has(text))).toEqual([]);
    for (const name of ['x', 'y', 'z']) {
      const own = records.filter((text) => text.startsWith(name)).map((text) => Number(text.slice(1)));
      expect(own).toEqual([...own].sort((a, b) => a - b));
    }
    await stopAll(nodes);
  });

  async function disturb(
    nodes: readonly TestNode[],
    random: Random,
    more: Partial<ClusterLogOptions>,
  ): Promise<void> {
    heal(nodes);
    const node = random.chance(0.6) ? (leaderOf(nodes) ?? random.pick(nodes)) : random.pick(nodes);
    const kind = random.below(5);
    if (kind === 0) {
      await crashNode(node, random);
      await startNode(node, 'found', more);
    } else if (kind === 1) isolate(nodes, node);
    else if (kind === 2) isolate(nodes, node, { cutTo: true, cutFrom: false });
    else if (kind === 3) isolate(nodes, node, { cutTo: false, cutFrom: true });
    else
      await leaderOf(nodes)
        ?.log?.transferLeadership()
        .catch(() => undefined);
  }

  async function appendEnd(nodes: readonly TestNode[]): Promise<void> {
    for (;;) {
      const log = await waitForLeader(nodes);
      if ((await log.append(bytes('end')).then(() => 'done', codeOf)) === 'done') return;
    }
  }
});
