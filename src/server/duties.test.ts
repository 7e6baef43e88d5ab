// What a leader does by the clock, over a log that only notes what it is asked to do.
import { until } from '../../testutils/until.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { QedError } from '../errors.ts';
import { type MemberStatus } from '../replication/cluster-log.ts';
import { openDurableBalloon, type DurableBalloon } from '../storage/durable-balloon.ts';
import { openMemoryStore } from '../storage/memory.ts';
import { startDuties, type Duties, type DutiesOptions } from './duties.ts';

interface World {
  role: 'leader' | 'follower';
  isStuck: boolean;
  looks: number;
  /** What the other two say of any version: its digests, or nothing. */
  theirs: Uint8Array | undefined;
  readonly appended: Uint8Array[];
  readonly transfers: number[];
  readonly failures: unknown[];
  readonly divergences: QedError[];
}

const memberOf = (nodeId: string, at: number): MemberStatus => ({
  id: at + 1,
  nodeId,
  nodeKey: new Uint8Array(32),
  raftAddr: 'x:1',
  httpAddr: 'x:2',
  mgmtAddr: 'x:3',
  isVoter: true,
  isLeader: at === 0,
  roundTripMs: undefined,
  matchIndex: undefined,
});

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

const status = {
  nodeId: 'a',
  leaderId: 'a',
  term: 1,
  committedIndex: 0,
  firstIndex: 0,
  lastIndex: 0,
  failure: undefined,
};

async function untilItLooked(at: World): Promise<void> {
  const looks = at.looks + 3;
  await until('it has looked', () => at.looks >= looks);
}

async function start(world: World): Promise<{ duties: Duties; durable: DurableBalloon }> {
  const durable = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
  const members = ['a', 'b', 'c'].map(memberOf);
  const log: DutiesOptions['log'] = {
    append: (payload) => Promise.resolve(world.appended.push(payload)),
    members: () => members,
    peers: () =>
      ['b', 'c'].map((nodeId) => ({
        nodeId,
        fetch: () => (world.theirs ? Promise.resolve(world.theirs) : Promise.reject(new Error('down'))),
      })),
    transferLeadership() {
      world.transfers.push(performance.now());
      if (world.transfers.length < 2) return Promise.reject(new QedError('no-leader', 'not now'));
      world.role = 'follower';
      return Promise.resolve();
    },
    status() {
      world.looks += 1;
      return { ...status, role: world.role, members };
    },
  };
  const duties = startDuties({
    log,
    durable,
    isStuck: () => world.isStuck,
    onDivergence: (divergence) => void world.divergences.push(divergence),
    onFailure: (error) => void world.failures.push(error),
    compareMs: 5,
  });
  opened.push(() => durable.close(), duties.close);
  return { duties, durable };
}

function world(): World {
  const notes = { appended: [], transfers: [], failures: [], divergences: [] };
  return { role: 'leader', isStuck: false, looks: 0, theirs: undefined, ...notes };
}

const add = (durable: DurableBalloon, index: number) =>
  durable.apply(index, {
    time: 1000,
    requests: [{ key: undefined, eventDigests: new Uint8Array(32).fill(index) }],
  });

it('lets all compare when the log has grown, once', async () => {
  const at = world();
  const { duties, durable } = await start(at);
  await add(durable, 1);
  await until('it compares', () => at.appended.length === 1);
  await add(durable, 2);
  await until('it compares again', () => at.appended.length === 2);
  await untilItLooked(at);
  expect(at.appended).toHaveLength(2);
  duties.suspect();
  await until('it was told to', () => at.appended.length === 3);
  expect(at.failures).toEqual([]);
});

it('does nothing as follower', async () => {
  const at = world();
  at.role = 'follower';
  at.isStuck = true;
  const { durable } = await start(at);
  await add(durable, 1);
  await untilItLooked(at);
  expect([at.appended, at.transfers]).toEqual([[], []]);
});

it('hands over when it is the odd one out, and says that it is', async () => {
  const at = world();
  at.theirs = new Uint8Array(64).fill(9);
  const { durable } = await start(at);
  await add(durable, 1);
  await until('it has noticed', () => at.divergences.length > 0);
  expect(at.divergences[0]?.code).toBe('diverged');
  expect(at.appended).toEqual([]);
  expect(at.transfers.length).toBeGreaterThan(0);
});

it('hands over when it cannot apply any more, until somebody takes it', async () => {
  const at = world();
  await start(at);
  at.isStuck = true;
  await until('it has handed over', () => at.role === 'follower');
  expect(at.transfers).toHaveLength(2);
  expect(at.failures).toHaveLength(1);
});
