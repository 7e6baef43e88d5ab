// How fast an auditor replays a log, and how far it stays behind one under load: a server with COUNT events (1,000,000 unless said otherwise), an auditor that
// begins when they are there, and then RATE events a second (20,000) for SECONDS (30), all as processes on this machine. With `--state` the auditor
// keeps its replica on disk.
// Run: node --import tsx testutils/bench/auditor.ts [COUNT [RATE [SECONDS]]] [--state]
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { freePort, withTempDir } from '../temp.ts';
import { until } from '../until.ts';
import { describeMachine, describeMemory, perSecond } from './machine.ts';

const [count = 1_000_000, rate = 20_000, seconds = 30] = process.argv
  .slice(2)
  .filter((text) => /^\d+$/.test(text))
  .map(Number);
const keepsState = process.argv.includes('--state');
const QED = fileURLToPath(new URL('../../cmd/qed.ts', import.meta.url));
const BULK = 1_000;
const KEY = 'my-key';

const statusForm = z.looseObject({
  verified: z.looseObject({ events: z.int() }).optional(),
  behind: z.looseObject({ events: z.int(), seconds: z.number() }).optional(),
  alerts: z.looseObject({ raised: z.record(z.string(), z.int()) }),
});
type Status = z.output<typeof statusForm>;

const children: ChildProcess[] = [];

function run(commandLine: string, output: 'inherit' | 'ignore' = 'ignore'): ChildProcess {
  const args = ['--import', 'tsx', QED, ...commandLine.trim().split(/\s+/)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', output, 'inherit'] });
  children.push(child);
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  await new Promise((resolve) => child.on('close', resolve));
}

async function answers(url: string): Promise<boolean> {
  return fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
}

await withTempDir(async (directory) => {
  const [http, mgmt, raft, metrics, gossip, bind, agent] = await Promise.all(
    Array.from({ length: 7 }, async () => `127.0.0.1:${await freePort()}`),
  );
  console.log(describeMachine());
  run(`start -k ${KEY} -p ${directory}/data --raftpath ${directory}/raft -l error --http-addr ${http}
    --mgmt-addr ${mgmt} --raft-addr ${raft} --metrics-addr ${metrics} --gossip-addr ${gossip}`);
  await until('the server answers', () => answers(`http://${http}/healthcheck`), 60_000);
  const load = (more: string): ChildProcess =>
    run(
      `workload --kind digests -e http://${http} -k ${KEY} --no-verify --pins ${join(directory, 'pins.json')} ${more}`,
    );
  await ended(load(`--batch ${BULK} -n ${Math.ceil(count / BULK)} -d 3600 -c 4`));

  const auditor = run(`agent auditor -k ${KEY} --bind ${bind} --join ${bind} --metrics-addr ${agent} -l warn
    --qedUrls http://${http} ${keepsState ? `--state ${directory}/auditor` : ''}`);
  const look = async (): Promise<Status> =>
    statusForm.parse(await (await fetch(`http://${agent}/status`)).json());
  await until('the auditor answers', () => answers(`http://${agent}/status`), 60_000);
  const replayed = await replay(look);
  console.log(
    `replay: ${replayed.events} events in ${(replayed.ms / 1000).toFixed(1)} s, ${perSecond(replayed.events, replayed.ms)}; ${describeMemory(auditor.pid)}`,
  );

  const loading = load(`--batch 100 --rate ${rate / 100} -d ${seconds} -c 8`);
  let isOver = false;
  void ended(loading).then(() => (isOver = true));
  const [before, from] = [await look(), performance.now()];
  const behind: number[] = [];
  while (!isOver) {
    behind.push((await look()).behind?.seconds ?? NaN);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const after = await look();
  const events = (after.verified?.events ?? 0) - (before.verified?.events ?? 0);
  behind.sort((a, b) => a - b);
  const at = (share: number): string => (behind[Math.floor(share * (behind.length - 1))] ?? NaN).toFixed(1);
  console.log(
    `under load: ${perSecond(events, performance.now() - from)} verified of ${rate}/s offered; behind p50 ${at(0.5)} s, p99 ${at(0.99)} s, most ${at(1)} s; ${describeMemory(auditor.pid)}`,
  );
  console.log('alerts', JSON.stringify(after.alerts.raised));
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(children.filter(({ exitCode }) => exitCode === null).map(ended));
});

/** From the first verified event to the last one that is there. */
async function replay(look: () => Promise<Status>): Promise<{ events: number; ms: number }> {
  let first: { readonly events: number; readonly at: number } | undefined;
  let events = 0;
  await until(
    'the log is replayed',
    async () => {
      const { verified, behind } = await look();
      events = verified?.events ?? 0;
      if (events > 0) first ??= { events, at: performance.now() };
      return events >= count && behind?.events === 0;
    },
    3_600_000,
  );
  return { events: events - (first?.events ?? 0), ms: performance.now() - (first?.at ?? 0) };
}
