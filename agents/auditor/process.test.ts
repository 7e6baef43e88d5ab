// The auditor as a process, as the tutorial starts it: before everybody else, joining itself. And a store that shows another history, signed with the key of the
// log: what becomes of it, also after a kill.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { verifyEvidence } from '../../src/balloon/evidence-check.ts';
import { formatPrivateKey } from '../../src/crypto/keys.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { qedProcesses, untilAnswers } from '../../testutils/qed-process.ts';
import { keyOfSeed, NATIVE, signedLog } from '../../testutils/signed-log.ts';
import { freePort, withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';

const { start, killAll } = qedProcesses();
const servers: Server[] = [];
afterEach(async () => {
  await killAll();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const status = z.looseObject({
  log: z.looseObject({ vkey: z.string() }),
  verified: z.looseObject({ version: z.int().nullable(), coverage: z.literal('full') }),
  behind: z.looseObject({ events: z.int() }),
  states: z.looseObject({ compared: z.int() }),
});
const verifies =
  (version: number) =>
  (json: unknown): boolean => {
    const { verified, behind } = status.parse(json);
    return verified.version === version && behind.events === 0;
  };

const SEED = 5;

/** A snapshot store and a receiver of alerts in one: what is asked of either is decided by the test. */
async function fakeStore(): Promise<{
  readonly url: string;
  readonly snapshots: unknown[];
  readonly alerts: { readonly kind: string; readonly code: string }[];
}> {
  const snapshots: unknown[] = [];
  const alerts: { kind: string; code: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (request.method === 'POST') {
        const { alert } = JSON.parse(Buffer.concat(chunks).toString()) as { alert: (typeof alerts)[number] };
        alerts.push(alert);
      }
      response.end(JSON.stringify(request.method === 'POST' ? {} : { snapshots }));
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, snapshots, alerts };
}

it('replays what is added, goes on after a kill, and keeps what convicts the log', () =>
  withTempDir(async (directory) => {
    const [http, mgmt, metrics, gossip, raft, bind, agentMetrics] = await Promise.all(
      Array.from({ length: 7 }, async () => `127.0.0.1:${await freePort()}`),
    );
    const key = join(directory, 'key.pem');
    writeFileSync(key, formatPrivateKey(keyOfSeed(SEED)), { mode: 0o600 });
    const store = await fakeStore();
    const auditorCommand = `agent --alertsUrls ${store.url} auditor -k my-key --bind ${bind} --join ${bind}
      --qedUrls http://${http} --pubUrls ${store.url} --node auditor0 -l info
      --metrics-addr ${agentMetrics} --state ${directory}/auditor`;
    const auditor = start(auditorCommand);
    start(`start -k my-key -y ${key} -p ${directory}/data --raftpath ${directory}/raft -l error
      --http-addr ${http} --mgmt-addr ${mgmt} --raft-addr ${raft} --metrics-addr ${metrics} --gossip-addr ${gossip}`);
    const add = async (event: string): Promise<void> => {
      const body = JSON.stringify({ event });
      const headers = { 'api-key': 'my-key', 'content-type': 'application/json' };
      const added = await fetch(`http://${http}/events`, { method: 'POST', headers, body });
      expect(added.status).toBe(201);
    };
    await untilAnswers(`http://${http}/info`);
    for (let i = 0; i < 5; i++) await add(`event ${i}`);
    await untilAnswers(`http://${agentMetrics}/status`, verifies(4));
    expect(auditor.output()).toContain('is this member itself');

    await auditor.kill('SIGKILL');
    for (let i = 5; i < 8; i++) await add(`event ${i}`);
    start(auditorCommand);
    await untilAnswers(`http://${agentMetrics}/status`, verifies(7));
    expect(store.alerts).toEqual([]);

    const { log: known } = status.parse(await (await fetch(`http://${agentMetrics}/status`)).json());
    const log = parseVkey(known.vkey);
    const other = [0, 1, 2].map((at) => [new Uint8Array(32).fill(at)]);
    store.snapshots.push(signedLog(other, { origin: log.name, seed: SEED }).signedSnapshot(2));
    await until('the alert', () => store.alerts.length > 0);
    expect(store.alerts).toMatchObject([{ kind: 'tampering', code: 'consistency-mismatch' }]);
    const evidence = join(directory, 'auditor', 'evidence');
    const [file] = readdirSync(evidence);
    const json: unknown = JSON.parse(readFileSync(join(evidence, file ?? ''), 'utf8'));
    expect(verifyEvidence(json, { log }, NATIVE)).toMatchObject({ conclusive: true });
  }));
