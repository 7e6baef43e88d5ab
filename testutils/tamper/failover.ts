// A log that is honest and in trouble: three nodes as processes, under load, whose leader is killed and started again, before an auditor, a monitor that is a witness as well,
// and a publisher. What is said must be true: that a node does not answer, or lags. Nobody may say that the log lies.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { createKeyFiles } from '../../src/crypto/keys.ts';
import { LOG_KEY } from '../../src/crypto/vkey.ts';
import { qedProcesses, untilAnswers, type QedProcess } from '../qed-process.ts';
import { freePort } from '../temp.ts';
import { found } from '../until.ts';
import { noticedAt, type Noticed } from './noticed.ts';

const KEY = 'key-of-the-operator-of-these-nodes';
const info = z.looseObject({
  nodeId: z.string(),
  leaderId: z.string().nullable(),
  version: z.int().nullable(),
});
const status = z.looseObject({ verified: z.looseObject({ version: z.int().nullable() }) });

export interface Failover {
  readonly alerts: readonly Noticed[];
  readonly events: number;
  /** The last version that both agents have verified. */
  readonly verified: number;
}

/** Load for so long before the leader is killed, while it is gone, and after it is back. */
export async function failover(phaseMs = 5_000): Promise<Failover> {
  const directory = mkdtempSync(join(tmpdir(), 'qed-failover-'));
  const processes = qedProcesses();
  const ports = new Set<number>();
  while (ports.size < 26) ports.add(await freePort());
  const addresses = Array.from(ports, (port) => `127.0.0.1:${port}`);
  const take = (): string => addresses.pop()!;
  const log = createKeyFiles(join(directory, 'log.pem'), { name: 'example.org/log', type: LOG_KEY });
  const stop = new AbortController();
  let loading: Promise<number> = Promise.resolve(0);
  try {
    const [store, storeMetrics] = [take(), take()];
    processes.start(`notifierstore --http-addr ${store} --metrics-addr ${storeMetrics}`);
    const nodes = ['a', 'b', 'c'].map((name) => ({
      name,
      http: take(),
      management: take(),
      raft: take(),
      gossip: take(),
      metrics: take(),
    }));
    const gossip = nodes.map((node) => node.gossip).join(',');
    const startNode = (
      { name, http, management, raft, gossip: own, metrics }: (typeof nodes)[number],
      more = '',
    ): QedProcess =>
      processes.start(`start -k ${KEY} -p ${join(directory, name)} -y ${join(directory, 'log.pem')} --origin example.org/log --node-id ${name}
        -l error --http-addr ${http} --mgmt-addr ${management} --raft-addr ${raft} --metrics-addr ${metrics} --gossip-addr ${own} --gossip-join-addr ${gossip} ${more}`);
    const [first, ...others] = nodes;
    const running = new Map([[first!.name, startNode(first!)]]);
    await untilAnswers(`http://${first!.http}/healthcheck`);
    for (const node of others) {
      running.set(node.name, startNode(node, `--join-addr ${first!.management}`));
      await untilAnswers(`http://${node.http}/healthcheck`);
    }
    const urls = nodes.map(({ http }) => `http://${http}`).join(',');
    const agents = { auditor: take(), monitor: take() };
    const common = (role: string): string =>
      `-k my-key --vkey ${log.vkey} --node ${role}0 -l error --state ${join(directory, role)} --bind ${take()} --join ${nodes[1]!.gossip}`;
    processes.start(
      `agent --alertsUrls http://${store} auditor ${common('auditor')} --qedUrls ${urls} --metrics-addr ${agents.auditor}`,
    );
    processes.start(
      `agent --alertsUrls http://${store} monitor ${common('monitor')} --endpoints ${urls} --every 0.5 --metrics-addr ${agents.monitor}`,
    );

    loading = load(
      nodes.map(({ http }) => http),
      stop.signal,
    );
    await wait(phaseMs);
    const leader = await leaderOf(nodes.map(({ http }) => http));
    const node = nodes.find(({ name }) => name === leader)!;
    await running.get(leader)!.kill('SIGKILL');
    await wait(phaseMs);
    startNode(node);
    await wait(phaseMs);
    stop.abort();
    const events = await loading;
    const answers = await Promise.all(nodes.map(({ http }) => json(`http://${http}/info`)));
    const last = Math.max(...answers.map((answer) => info.parse(answer).version ?? -1));
    for (const address of Object.values(agents)) {
      await untilAnswers(
        `http://${address}/status`,
        (answer) => (status.safeParse(answer).data?.verified.version ?? -1) >= last,
      );
    }
    return { alerts: await noticedAt(store), events, verified: last };
  } catch (error) {
    throw new Error(`${String(error)}\n${processes.outputs()}`, { cause: error });
  } finally {
    stop.abort();
    await loading.catch(() => 0);
    await processes.killAll();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Adds from four places at once, at whichever node takes them. Resolves with the number of events that were acknowledged. */
async function load(nodes: readonly string[], signal: AbortSignal): Promise<number> {
  const counts = await Promise.all([0, 1, 2, 3].map((place) => addFrom(place, nodes, signal)));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function addFrom(place: number, nodes: readonly string[], signal: AbortSignal): Promise<number> {
  let added = 0;
  for (let turn = 0; !signal.aborted; turn++) {
    const events = Array.from({ length: 20 }, (_, at) => `event ${place} ${turn} ${at}`);
    const headers = { 'api-key': KEY, 'content-type': 'application/json' };
    const body = JSON.stringify({ events });
    const url = `http://${nodes[turn % nodes.length]!}/events/bulk`;
    const answer = await fetch(url, {
      method: 'POST',
      headers,
      body,
      signal: AbortSignal.timeout(3_000),
    }).catch(() => undefined);
    if (answer?.ok === true) added += events.length;
    else await wait(50);
    await answer?.arrayBuffer().catch(() => undefined);
  }
  return added;
}

async function leaderOf(nodes: readonly string[]): Promise<string> {
  return found('there is a leader', async () => {
    const { leaderId } = info.parse(await json(`http://${nodes[0]!}/info`));
    return leaderId ?? undefined;
  });
}

async function json(url: string): Promise<unknown> {
  return (await fetch(url, { signal: AbortSignal.timeout(5_000) })).json();
}

/** What nobody may say of an honest log. */
export function falseAlarms({ alerts }: Failover): readonly Noticed[] {
  return alerts.filter(({ kind }) => kind === 'tampering' || kind === 'inconsistent' || kind === 'stale');
}
