// qed cluster on real node processes. The commands themselves run in this process, which is faster.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programPath } from '../testutils/programs.ts';
import { runCommand, type Ran } from '../testutils/run-client.ts';
import { until } from '../testutils/until.ts';
import { addClusterTo } from './cluster.ts';
import { judge } from './cluster/judge.ts';
import { parseDelay } from './cluster/delay.ts';
import { dataPath, openCluster, pidPath, urlOf } from './cluster/layout.ts';
import { alone } from './cluster/pids.ts';
import { lookAt, stopNode } from './cluster/processes.ts';
import { signedOf } from './cluster/views.ts';

// As if this process were that program: nodes are started as it was.
process.argv[1] = programPath('qed');

let parent = '';
let directory = '';
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'qed-cluster-'));
  directory = join(parent, 'cluster');
});
afterEach(async () => {
  if (existsSync(join(directory, 'cluster.json'))) {
    const cluster = openCluster(directory);
    await Promise.all(cluster.nodes.map((node) => stopNode(cluster, node, 0)));
  }
  rmSync(parent, { recursive: true, force: true });
});

function cluster(...args: readonly string[]): Promise<Ran> {
  return runCommand(addClusterTo, ['cluster', ...args, '--dir', directory]);
}

async function ok(...args: readonly string[]): Promise<unknown> {
  const { out, err, exitCode } = await cluster(...args, '--json');
  expect({ exitCode, err: exitCode === 0 ? '' : err }).toEqual({ exitCode: 0, err: '' });
  return JSON.parse(out);
}

interface Status {
  readonly nodes: readonly { readonly role?: string }[];
}

it('makes a directory that others cannot read, and never over another one', async () => {
  await ok('create', '-n', '2', '--origin', 'example.org/drill');
  expect(readdirSync(directory).sort()).toEqual(['cluster.json', 'data', 'keys', 'logs', 'pids']);
  for (const secret of ['log_key.pem', 'api_key'])
    expect(statSync(join(directory, 'keys', secret)).mode & 0o777).toBe(0o600);
  const { vkey, nodes } = openCluster(directory);
  expect(vkey).toMatch(/^example\.org\/drill\+/);
  const ports = nodes.flatMap((node) => Object.values(node.ports));
  expect(new Set(ports).size).toBe(10);
  const again = await cluster('create');
  expect(again.exitCode).toBe(64);
  expect(again.err).toContain('there is a cluster');
  expect(openCluster(directory).vkey).toBe(vkey);
  await ok('clean');
  expect(existsSync(directory)).toBe(false);
});

it('refuses what it cannot do, with the exit code of a wrong command line, and makes nothing', async () => {
  const wrong: readonly (readonly string[])[] = [
    ['create', '-n', '0'],
    ['create', '-n', '2.5'],
    ['create', '-n', '10'],
    ['create', '--port', '65530'],
    ['create', '--port', 'http'],
    ['run'],
    ['status'],
    ['stop'],
    ['clean'],
    ['start-node'],
    ['start-node', 'node1'],
    ['failover', '--rounds', '0'],
    ['failover', '--connections', '-1'],
    ['delay', 'add'],
    ['delay', 'add', 'soon'],
    ['delay', 'double', '50ms'],
    ['walk'],
    [],
  ];
  for (const args of wrong) {
    const { exitCode, err } = await cluster(...args);
    expect({ args, exitCode }).toEqual({ args, exitCode: 64 });
    expect(err).not.toBe('');
  }
  expect(existsSync(directory)).toBe(false);
});

it('names a port that is taken', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const { exitCode, err } = await cluster('create', '--port', String(port));
  server.close();
  expect(exitCode).toBe(2);
  expect(err).toContain(`port ${port} is taken`);
});

it('leaves what is not its own in the directory', async () => {
  await ok('create');
  writeFileSync(join(directory, 'notes.txt'), 'mine');
  await ok('clean');
  expect(readdirSync(directory)).toEqual(['notes.txt']);
});

it('lets one command at a time work, and none wait for a dead one', async () => {
  await ok('create', '-n', '1');
  const one = openCluster(directory);
  await alone(one, async () => {
    expect((await cluster('stop')).exitCode).toBe(2);
    await expect(alone(one, () => Promise.resolve())).rejects.toThrow(
      'another qed cluster command is at work',
    );
  });
  writeFileSync(join(directory, 'lock'), JSON.stringify({ pid: process.pid, began: 'at another time' }));
  await ok('stop');
  expect(existsSync(join(directory, 'lock'))).toBe(false);
});

it('reads delays', () => {
  expect(['50ms', '0.2s', '7', '1.5ms'].map(parseDelay)).toEqual([50, 200, 7, 1.5]);
  for (const wrong of ['', 'ms', '-5ms', '50 ms', '11s', '0', '1e3', '5m'])
    expect(() => parseDelay(wrong)).toThrow('no delay');
});

it('runs, shows itself, survives its leader, takes no stranger for a node, and leaves nothing behind', async () => {
  await ok('create');
  expect(await ok('run')).toMatchObject({ leaderId: 'node1' });
  const again = await cluster('run');
  expect(again).toMatchObject({ exitCode: 2, err: expect.stringContaining('run already') as string });
  const status = (await ok('status')) as Status;
  expect(status.nodes.map(({ role }) => role).sort()).toEqual(['follower', 'follower', 'leader']);
  expect((await cluster('status')).out.split('\n')[0]).toMatch(
    /^node +state +role +term +version +lag +round trips +pid/,
  );

  expect(await ok('delay', 'add', '1ms')).toEqual({ delayMs: 1, nodes: ['node1', 'node2', 'node3'] });
  expect(await ok('delay', 'remove')).toMatchObject({ delayMs: 0 });
  const failover = await cluster('failover', '--kill', '--rounds', '1');
  expect(failover).toMatchObject({ exitCode: 0 });
  expect(failover.out).toMatch(/^round 1: killed the leader node1; node[23] leads after [\d.]+ s/);
  expect(failover.out).toContain('\n0 acknowledged events lost');
  await checkTheJudge();
  await checkStrangers();

  const running = openCluster(directory);
  const pids = running.nodes.map((node) => lookAt(running, node).pid ?? 0);
  await ok('stop');
  await until('all nodes are gone', () => pids.every(isGone));
  expect(readdirSync(join(directory, 'pids'))).toEqual([]);
  expect(await ok('stop')).toMatchObject({ nodes: [{ ending: 'was not running' }, {}, {}] });
  await ok('clean');
  expect(existsSync(directory)).toBe(false);
});

/** Those that ended and are still to be buried by this process, which started them, soon are. */
function isGone(pid: number): boolean {
  try {
    return !process.kill(pid, 0);
  } catch {
    return true;
  }
}

/** What was never added is missed, and what the log never signed is noticed. */
async function checkTheJudge(): Promise<void> {
  const running = openCluster(directory);
  const none = { acknowledged: new Map<string, number>(), snapshots: new Map<number, never>(), problems: [] };
  expect(await judge(running, none, 0)).toMatchObject({ problems: [], lost: 0 });
  const invented = new Map([['ab'.repeat(32), 0]]);
  expect(await judge(running, { ...none, acknowledged: invented }, 0)).toMatchObject({ lost: 1 });
  const latest = await fetch(`${urlOf(running.nodes[0]!)}/snapshots/latest`);
  const { snapshot } = (await latest.json()) as { snapshot: { eventDigest: string; version: number } };
  const misplaced = new Map([[snapshot.eventDigest, snapshot.version + 1]]);
  const verdict = await judge(running, { ...none, acknowledged: misplaced }, 0);
  expect(verdict.problems.join()).toContain(
    `told version ${snapshot.version + 1} and is at ${snapshot.version}`,
  );
  expect(await signedOf(running, running.nodes[0]!, 'latest')).toMatchObject({ version: snapshot.version });
}

/** A pid file that names a process which is not the node: this very one. */
async function checkStrangers(): Promise<void> {
  expect(await ok('stop-node', 'node2')).toEqual({ nodeId: 'node2', done: 'stopped' });
  const running = openCluster(directory);
  const node = running.nodes[1]!;
  writeFileSync(pidPath(running, node), JSON.stringify({ pid: process.pid, began: 'at another time' }));
  expect(lookAt(running, node)).toEqual({ state: 'stopped', pid: undefined, isStale: true });
  const { exitCode, out } = await cluster('status');
  expect(exitCode).toBe(1);
  expect(out).toMatch(/node2 +stopped .* its pid file names a process that is gone/);
  expect(await cluster('pause-node', 'node2')).toMatchObject({ exitCode: 2 });
  expect(await ok('start-node', 'node2')).toMatchObject({ nodeId: 'node2' });
  expect((await cluster('start-node', 'node2')).err).toContain('node2 runs already');
  expect(await cluster('start-node', 'node4')).toMatchObject({ exitCode: 64 });
  expect(await ok('pause-node', 'node2')).toEqual({ nodeId: 'node2', done: 'is paused' });
  expect(lookAt(running, node).state).toBe('paused');
  expect(await ok('resume-node', 'node2')).toEqual({ nodeId: 'node2', done: 'goes on' });
  expect(lookAt(running, node).state).toBe('running');
  expect(readFileSync(join(dataPath(running, node), 'node.json'), 'utf8')).toContain('"node2"');
}
