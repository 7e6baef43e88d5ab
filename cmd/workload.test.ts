// The workload against a real server: each kind does what it says, and a log that lies makes it fail.
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { createClient } from '../src/client/client.ts';
import { logTransport } from '../testutils/log-transport.ts';
import { runCommand } from '../testutils/run-client.ts';
import { API_KEY, withServedLog, type ServedLog } from '../testutils/served-log.ts';
import { addWorkloadTo } from './workload.ts';

interface Figures {
  requests: number;
  events: number;
  errors: Record<string, number>;
  sampled: number;
  refused: string[];
  latencyMs: { p50: number; p99: number; max: number };
}

async function load({ url, vkey }: Pick<ServedLog, 'url' | 'vkey'>, ...flags: string[]) {
  const common = ['--endpoint', url, '--vkey', vkey, '--json', '-k', API_KEY, '--preload', '300'];
  const ran = await runCommand(addWorkloadTo, ['workload', ...common, ...flags]);
  return { ...ran, figures: JSON.parse(ran.out) as Figures };
}

it.each<[string, string[], number]>([
  ['add', ['--event-bytes', '5', '-c', '4'], 1],
  ['bulk', ['--batch', '20', '--event-bytes', '30'], 20],
  ['digests', ['--batch', '20'], 20],
  ['membership', [], 0],
  ['incremental', [], 0],
  ['mixed', ['--batch', '20', '-c', '1'], 2.6],
])('%s: asks as often as it was told, and checks what it gets', async (kind, flags, eventsPerRequest) => {
  await withServedLog(async (log) => {
    const { figures, exitCode } = await load(
      log,
      '--kind',
      kind,
      ...'-n 40 --sample-every 2'.split(' '),
      ...flags,
    );
    expect(exitCode).toBe(0);
    expect(figures).toMatchObject({ requests: 40, errors: {}, refused: [] });
    expect(figures.events).toBe(40 * eventsPerRequest);
    expect(figures.sampled).toBeGreaterThan(10);
    const client = createClient({ endpoints: [log.url], trust: log.vkey });
    const preloaded = ['membership', 'incremental', 'mixed'].includes(kind) ? 300 : 0;
    expect((await client.snapshot()).snapshot.version + 1).toBe(preloaded + figures.events);
  });
});

it('keeps to a rate and to its time', async () => {
  await withServedLog(async (log) => {
    const { figures } = await load(log, ...'--rate 50 --duration 2 -c 4'.split(' '));
    expect(figures.requests).toBeGreaterThanOrEqual(20);
    expect(figures.requests).toBeLessThanOrEqual(100);
  });
});

it('counts errors by their code, and fails when nothing went well', async () => {
  await withServedLog(async (log) => {
    const unauthorized = await runCommand(addWorkloadTo, [
      ...['workload', '--endpoint', log.url, '--vkey', log.vkey],
      ...'--json -n 5 -c 1 -k wrong'.split(' '),
    ]);
    expect(unauthorized.exitCode).toBe(2);
    expect(JSON.parse(unauthorized.out)).toMatchObject({ requests: 0, errors: { unauthorized: 5 } });
  });
});

it('fails when the proofs do not hold', async () => {
  const liar = logTransport({ seed: 2 });
  const server = createServer((incoming, outgoing) => {
    const parts: Buffer[] = [];
    incoming.on('data', (part: Buffer) => parts.push(part));
    incoming.on('end', () => {
      const { signal } = new AbortController();
      void liar
        .transport('POST', `http://liar${incoming.url ?? ''}`, {}, Buffer.concat(parts), signal)
        .then((answer) => {
          outgoing.writeHead(answer.status, answer.headers).end(answer.bytes);
        });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { figures, exitCode } = await load(
      { url, vkey: logTransport().vkey },
      ...'-n 9 -c 1 --sample-every 3'.split(' '),
    );
    expect(figures).toMatchObject({ requests: 9, sampled: 3 });
    expect(figures.refused).toHaveLength(3);
    expect(exitCode).toBe(1);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

it.each(['--batch 0', '--connections x', '--duration -1', '--kind nothing', '--event-bytes 0'])(
  'says what is wrong with %s',
  async (flags) => {
    const ran = await runCommand(addWorkloadTo, ['workload', ...flags.split(' ')]);
    expect(ran).toMatchObject({ exitCode: 64, out: '' });
  },
);
