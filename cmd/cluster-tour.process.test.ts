// The cluster of the tour, as processes with the flags that its users type: the leader is killed and comes back, a node leaves and is got back by
// one command, and in the end all say the same.
import { join } from 'node:path';
import { z } from 'zod';
import { createKeyFiles } from '../src/crypto/keys.ts';
import { LOG_KEY } from '../src/crypto/vkey.ts';
import { found, until } from '../testutils/until.ts';
import { qedProcesses, type QedProcess } from '../testutils/qed-process.ts';
import { runClient, runCommand, type Ran } from '../testutils/run-client.ts';
import { freePort, withTempDir } from '../testutils/temp.ts';
import { addMembersTo } from './members.ts';

const processes = qedProcesses();
afterEach(() => processes.killAll());

interface TourNode {
  readonly http: number;
  readonly management: number;
  /** Without what is only said at the first start. */
  readonly flags: string;
  process: QedProcess;
}

async function startNode(path: string, name: string, first = '', level = 'error'): Promise<TourNode> {
  const [http, raft, management] = [await freePort(), await freePort(), await freePort()];
  const flags =
    `-k my-key -p ${join(path, name)} --raftpath ${join(path, `${name}-raft`)} -y ${join(path, 'key')} ` +
    `--http-addr :${http} --raft-addr :${raft} --mgmt-addr :${management} -l ${level}`;
  return { http, management, flags, process: processes.start(`start ${flags} ${first}`) };
}

async function json(url: string): Promise<unknown> {
  const answer = await fetch(url, { headers: { 'api-key': 'my-key' }, signal: AbortSignal.timeout(2_000) });
  return answer.json();
}

const isReady = ({ http }: TourNode): Promise<boolean> =>
  fetch(`http://127.0.0.1:${http}/healthcheck`).then(
    ({ ok }) => ok,
    () => false,
  );

const members = z.object({ members: z.array(z.looseObject({ isVoter: z.boolean() })) });

/** Ready, and a voter as every node sees it: without that the others are no majority when one is killed. */
async function untilReady(nodes: readonly TourNode[]): Promise<void> {
  const isSettled = async (node: TourNode): Promise<boolean> => {
    if (!(await isReady(node))) return false;
    const seen = await json(`http://127.0.0.1:${node.management}/members`).then(
      (answer) => members.safeParse(answer).data?.members ?? [],
      () => [],
    );
    return seen.length === nodes.length && seen.every(({ isVoter }) => isVoter);
  };
  await until('all are ready, with a vote', async () =>
    (await Promise.all(nodes.map(isSettled))).every((settled) => settled),
  );
}

/** Of those that answer, the one that leads. */
function leaderAmong(nodes: readonly TourNode[]): Promise<TourNode> {
  return found('one leads', async () => {
    const infos = await Promise.all(
      nodes.map(({ http }) => json(`http://127.0.0.1:${http}/info`).catch(() => undefined)),
    );
    return nodes[
      infos.findIndex((info) =>
        Object.entries(info ?? {}).some(([name, value]) => name === 'role' && value === 'leader'),
      )
    ];
  });
}

function client(command: string, { http }: TourNode): Promise<Ran> {
  return runClient([...command.split(' '), '--endpoint', `http://localhost:${http}`, '-k', 'my-key']);
}

function manage(command: string, { management }: TourNode): Promise<Ran> {
  return runCommand(addMembersTo, [...command.split(' '), '-e', `:${management}`, '-k', 'my-key']);
}

async function expectVerified(event: string, nodes: readonly TourNode[]): Promise<void> {
  for (const node of nodes) {
    await until(`${event} is there`, async () => {
      const { out } = await client(`membership --event ${event} --verify`, node);
      return out.includes('Exists: true') && out.includes('Verify: OK');
    });
  }
}

it('starts in any order, survives its leader, and takes back whoever comes back', () =>
  withTempDir(async (path) => {
    createKeyFiles(join(path, 'key'), { name: 'log', type: LOG_KEY });
    const leader = await startNode(path, 'node0', '--node-id node0');
    const join0 = `--join-addr :${leader.management}`;
    const others = [
      await startNode(path, 'node1', `${join0} --node-id node1`),
      await startNode(path, 'node2', `${join0} --node-id node2`),
    ];
    const nodes = [leader, ...others];
    await untilReady(nodes);
    expect((await client('add --event one', leader)).out).toContain('Verify: OK');
    await expectVerified('one', nodes);

    await leader.process.kill('SIGKILL');
    const next = await leaderAmong(others);
    expect(
      (
        await client(
          'add --event two',
          others.find((node) => node !== next)!,
        )
      ).out,
    ).toContain('Verify: OK');
    leader.process = processes.start(`start ${leader.flags}`);
    await untilReady(nodes);
    await expectVerified('two', nodes);

    expect(await manage('leave node0', next)).toMatchObject({ exitCode: 0 });
    expect((await manage('members', next)).out.split('\n')).toHaveLength(1 + 2 + 1);
    await until('it has noticed', async () => !(await isReady(leader)));
    await leader.process.kill('SIGTERM');
    expect(leader.process.exitCode()).toBe(0);
    leader.process = processes.start(
      `rebuild ${leader.flags} --join-addr :${others[0]!.management},:${others[1]!.management}`,
    );
    await untilReady(nodes);
    expect((await client('add --event three', leader)).out).toContain('Verify: OK');
    await expectVerified('three', nodes);

    const snapshots = await Promise.all(
      nodes.map(({ http }) => json(`http://127.0.0.1:${http}/snapshots/latest`)),
    );
    for (const snapshot of snapshots) expect(snapshot).toMatchObject({ snapshot: { version: 2 } });
    const digests = snapshots.map(
      (one) => JSON.stringify(one).match(/"historyDigest":"[0-9a-f]{64}","hyperDigest":"[0-9a-f]{64}"/)?.[0],
    );
    expect(new Set(digests).size).toBe(1);
    await Promise.all(nodes.map(({ process }) => process.kill('SIGTERM')));
    expect(nodes.map(({ process }) => process.exitCode())).toEqual([0, 0, 0]);
  }));

it('stops with 0 while it waits for a cluster to join', () =>
  withTempDir(async (path) => {
    createKeyFiles(join(path, 'key'), { name: 'log', type: LOG_KEY });
    const node = await startNode(path, 'node0', `--join-addr :${await freePort()}`, 'warn');
    await until('it tries', () => node.process.output().includes('could not join, try 2'));
    await node.process.kill('SIGTERM');
    expect(node.process.exitCode()).toBe(0);
  }));
