// The monitor as a process, as the tutorial starts it: before there is a log, killed in the middle, and with somebody who has the key of the log and brings its witness
// another history.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { createKeyFiles } from '../../src/crypto/keys.ts';
import { createLogSigner } from '../../src/crypto/signer.ts';
import { LOG_KEY } from '../../src/crypto/vkey.ts';
import { qedProcesses, untilAnswers } from '../../testutils/qed-process.ts';
import { freePort, withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';

const { start, killAll } = qedProcesses();
afterEach(killAll);

const status = z.looseObject({
  log: z.looseObject({ how: z.string() }).nullable(),
  verified: z.looseObject({ version: z.int().nullable() }).optional(),
  gossip: z.looseObject({ peers: z.array(z.unknown()) }),
  alerts: z.looseObject({ raised: z.record(z.string(), z.int()) }),
});
const alerts = z.array(
  z.looseObject({
    alert: z.looseObject({ kind: z.string(), subject: z.string(), code: z.string().optional() }),
  }),
);

const ORIGIN = 'example.org/log';

it('watches the log through a kill, cosigns one history, and keeps evidence of another', () =>
  withTempDir(async (directory) => {
    const ports = new Set<number>();
    while (ports.size < 10) ports.add(await freePort());
    const addresses = Array.from(ports, (port) => `127.0.0.1:${port}`);
    const [http, mgmt, metrics, gossip, store, storeMetrics, bind, agentMetrics, witness, raft] = addresses;
    const keyPath = join(directory, 'log.pem');
    const key = createKeyFiles(keyPath, { name: ORIGIN, type: LOG_KEY });
    const commandLine = `agent --alertsUrls http://${store} monitor -k my-key --bind ${bind} --join ${bind} --endpoints http://${http}
      --node monitor0 -l info --metrics-addr ${agentMetrics} --state ${directory}/state --witness-addr ${witness}`;
    const monitor = start(commandLine);
    start(`notifierstore --http-addr ${store} --metrics-addr ${storeMetrics}`);
    start(`start -k my-key -p ${directory}/data --raftpath ${directory}/raft -y ${keyPath} --origin ${ORIGIN} -l error
      --http-addr ${http} --mgmt-addr ${mgmt} --metrics-addr ${metrics} --gossip-addr ${gossip} --raft-addr ${raft}`);
    await untilAnswers(`http://${http}/healthcheck`);

    const add = async (event: string): Promise<void> => {
      const headers = { 'api-key': 'my-key', 'content-type': 'application/json' };
      const body = JSON.stringify({ event });
      expect((await fetch(`http://${http}/events`, { method: 'POST', headers, body })).status).toBe(201);
    };
    const untilVerified = (version: number) =>
      untilAnswers(`http://${agentMetrics}/status`, (json) => {
        const { verified, log, gossip: members } = status.parse(json);
        return verified?.version === version && log !== null && members.peers.length === 1;
      });
    const ask = async (old: number, note: string) => {
      const body = `old ${old}\n\n${note}`;
      const answer = await fetch(`http://${witness}/add-checkpoint`, { method: 'POST', body });
      return { status: answer.status, body: await answer.text() };
    };
    for (let version = 0; version < 5; version++) await add(`event ${version}`);
    await untilVerified(4);
    const note = await (await fetch(`http://${http}/checkpoint`)).text();
    expect(await ask(0, note)).toEqual({
      status: 200,
      body: expect.stringMatching(/^— qed\.agent\/monitor0\//) as string,
    });

    await monitor.kill('SIGKILL');
    await add('event 5');
    start(commandLine);
    await untilVerified(5);
    expect(await ask(0, note)).toEqual({ status: 409, body: '5\n' });
    expect((await ask(5, note)).status).toBe(200);

    const forged = createLogSigner(ORIGIN, key.privateKey).signCheckpoint({
      size: 5,
      root: new Uint8Array(32).fill(7),
    });
    expect((await ask(5, forged)).status).toBe(409);
    const raised = async () =>
      alerts.parse(await (await fetch(`http://${store}/alert`)).json()).map(({ alert }) => alert);
    await until('the alert', async () => (await raised()).some(({ kind }) => kind === 'tampering'));
    const [file, ...others] = readdirSync(join(directory, 'state', 'evidence'));
    expect(others).toEqual([]);
    const path = join(directory, 'state', 'evidence', file!);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ kind: 'split-view' });
    const checker = start(`client verify-evidence ${path} --vkey ${key.vkey}`);
    await until('the verdict', () => !checker.isRunning());
    expect(checker.output()).toMatch(/split-view: example.org.log has signed two histories[^]*PROVEN/);
  }));
