// The publisher as a process: killed in the middle, and as the tutorial starts it, beside a server and a store.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { checkSink } from './check.ts';
import { qedProcesses, untilAnswers } from '../../testutils/qed-process.ts';
import { logOf, serveStubLog } from '../../testutils/stub-log.ts';
import { freePort, withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';

const { start, killAll } = qedProcesses();
afterEach(killAll);

const status = z.looseObject({
  log: z.looseObject({ how: z.string() }).nullable(),
  verified: z.looseObject({ complete: z.int().nullable() }),
  gossip: z.looseObject({ peers: z.array(z.unknown()) }),
  alerts: z.looseObject({ raised: z.record(z.string(), z.int()) }),
  sinks: z.array(z.looseObject({ waiting: z.int().optional() })),
});
type Status = z.output<typeof status>;

const isStatus =
  (isWanted: (found: Status) => boolean) =>
  (json: unknown): boolean =>
    isWanted(status.parse(json));

const linesIn = (path: string): number =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;

it('loses nothing and doubles nothing when it is killed in the middle', () =>
  withTempDir(async (directory) => {
    const log = logOf(1_000);
    const stub = await serveStubLog(log);
    const later = stub.published.splice(200);
    const [file, database] = [join(directory, 'a.jsonl'), join(directory, 'a.db')];
    const metrics = `127.0.0.1:${await freePort()}`;
    const commandLine = `agent publisher --qedUrls ${stub.url} --vkey ${stub.vkey} --state ${directory}/state -l warn
      --bind 127.0.0.1:${await freePort()} --metrics-addr ${metrics} --sink file:${file} --sink sqlite:${database}`;
    for (const [linesSeen, more] of [
      [1, 200],
      [250, 300],
      [450, 300],
    ] as const) {
      const publisher = start(commandLine);
      await until(`${linesSeen} lines`, () => linesIn(file) >= linesSeen);
      await publisher.kill('SIGKILL');
      stub.published.push(...later.splice(0, more));
    }
    const publisher = start(commandLine);
    const isDone = ({ verified, sinks }: Status): boolean =>
      verified.complete === 999 && sinks.length === 2 && sinks.every(({ waiting }) => waiting === 0);
    await untilAnswers(`http://${metrics}/status`, isStatus(isDone));
    await publisher.kill('SIGTERM');
    const whole = { snapshots: 1_000, versions: 1_000, first: 0, last: 999, late: 0 };
    expect(await checkSink({ kind: 'sqlite', path: database }, log.trust)).toEqual(whole);
    expect(await checkSink({ kind: 'file', path: file }, log.trust)).toEqual(whole);
    await stub.close();
  }));

it('puts each add into the store within a second, started as in the tutorial and in the wrong order', () =>
  withTempDir(async (directory) => {
    const ports = new Set<number>();
    while (ports.size < 10) ports.add(await freePort());
    const addresses = Array.from(ports, (port) => `127.0.0.1:${port}`);
    const [http, mgmt, metrics, gossip, store, storeMetrics, bind, hub, hubMetrics, agentMetrics] = addresses;
    start(`agent --alertsUrls http://${store} publisher -k my-key --bind ${bind} --join ${hub}
      --endpoints http://${store} --node publisher0 -l info --metrics-addr ${agentMetrics}`);
    // Another agent in the place of the auditor: it joins itself, and alone knows where the log is.
    start(
      `agent publisher -k my-key --bind ${hub} --join ${hub} --qedUrls http://${http} --metrics-addr ${hubMetrics}`,
    );
    start(`notifierstore --http-addr ${store} --metrics-addr ${storeMetrics}`);
    start(`start -k my-key -p ${directory}/data --raftpath ${directory}/raft -l error
      --http-addr ${http} --mgmt-addr ${mgmt} --metrics-addr ${metrics} --gossip-addr ${gossip}`);
    const isReady = ({ log, gossip: { peers } }: Status): boolean =>
      log?.how === 'first heard from a joined member' && peers.length === 2;
    await untilAnswers(`http://${agentMetrics}/status`, isStatus(isReady));
    const times: number[] = [];
    for (let version = 0; version < 8; version++) {
      const from = performance.now();
      const added = await fetch(`http://${http}/events`, {
        method: 'POST',
        headers: { 'api-key': 'my-key', 'content-type': 'application/json' },
        body: JSON.stringify({ event: `event ${version}` }),
      });
      expect(added.status).toBe(201);
      await untilAnswers(`http://${store}/snapshot?v=${version}`);
      times.push(Math.round(performance.now() - from));
    }
    // Most of them: other processes may stop this one for longer.
    expect(times.sort((a, b) => a - b)[4]).toBeLessThan(1_000);
    expect(await (await fetch(`http://${store}/count`)).text()).toBe('8');
    expect(await (await fetch(`http://${store}/gaps`)).json()).toEqual({ gaps: [] });
    expect(await (await fetch(`http://${store}/alert`)).json()).toEqual([]);
  }));
