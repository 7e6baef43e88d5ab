// `npm run bench:server`: what one real server process bears, with the load generator beside it on the same machine, and a bare fastify server
// that only parses the same body as the floor. Each figure is one run of some seconds; --seconds, --mixed-seconds and --only change that.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Fastify from 'fastify';
import { describeMachine, describeMemory } from './machine.ts';

const QED = new URL('../../dist/cmd/qed.js', import.meta.url).pathname;
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '8' },
    'mixed-seconds': { type: 'string', default: '20' },
    only: { type: 'string' },
    floor: { type: 'boolean', default: false },
  },
});

interface Figures {
  readonly requestsPerSecond: number;
  readonly eventsPerSecond: number;
  readonly latencyMs: Readonly<Record<'p50' | 'p90' | 'p99' | 'p999', number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly sampled: number;
  readonly refused: readonly string[];
}

const runs: Record<string, { args: string[]; unit: 'events' | 'requests'; asked: string }> = {
  'bulk adds, 1,000 events of 100 bytes': {
    args: ['--kind', 'bulk', '-c', '4'],
    unit: 'events',
    asked: 'at least 60,000/s',
  },
  'bulk adds of digests': {
    args: ['--kind', 'digests', '-c', '4'],
    unit: 'events',
    asked: 'at least 90,000/s',
  },
  'single adds, 64 connections': {
    args: ['--kind', 'add', '-c', '64'],
    unit: 'requests',
    asked: 'at least 6,000/s and 0.4 of the bare server',
  },
  'single adds, one idle client': {
    args: ['--kind', 'add', '-c', '1'],
    unit: 'requests',
    asked: 'median below 4 ms',
  },
  'membership proofs, 32 connections': {
    args: ['--kind', 'membership', '-c', '32'],
    unit: 'requests',
    asked: 'at least 3,000/s',
  },
  'incremental proofs, 32 connections': {
    args: ['--kind', 'incremental', '-c', '32'],
    unit: 'requests',
    asked: '',
  },
};

if (values.floor) {
  await serveFloor();
} else {
  console.log(describeMachine());
  if (values.only === undefined) await compareWithFloor();
  for (const [name, { args, unit, asked }] of Object.entries(runs)) {
    if (values.only !== undefined && !name.includes(values.only)) continue;
    await withServer((endpoint) => {
      print(name, load(endpoint, [...args, '-d', values.seconds]), unit, asked);
    });
  }
  if (values.only === undefined) await runMixed();
}

/** Reads and adds together; the server's memory is shown as it goes. */
async function runMixed(): Promise<void> {
  const seconds = Number(values['mixed-seconds']);
  await withServer((endpoint, server) => {
    console.log(`mixed, ${seconds} s`);
    for (let part = 0; part < 4; part++) {
      const figures = load(endpoint, ['--kind', 'mixed', '-c', '16', '-d', String(seconds / 4)]);
      print(`  part ${part + 1} of 4`, figures, 'requests', `server ${describeMemory(server.pid ?? 'self')}`);
    }
  });
}

function load(endpoint: string, args: readonly string[]): Figures {
  const { stdout, status, stderr } = spawnSync(
    process.execPath,
    [QED, 'workload', '--json', '--endpoint', endpoint, ...args],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`the load generator failed: ${stderr}`);
  return JSON.parse(stdout) as Figures;
}

function print(name: string, figures: Figures, unit: 'events' | 'requests', asked: string): void {
  const rate = unit === 'events' ? figures.eventsPerSecond : figures.requestsPerSecond;
  const { p50, p99, p999 } = figures.latencyMs;
  const errors = Object.keys(figures.errors).length === 0 ? 'no errors' : JSON.stringify(figures.errors);
  const latency = `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms, p99.9 ${p999.toFixed(1)} ms`;
  console.log(
    `${name}: ${Math.round(rate).toLocaleString('en')} ${unit}/s, ${latency}, ${errors}${asked && ` (${asked})`}`,
  );
}

async function withServer(work: (endpoint: string, server: ChildProcess) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  const anyPort = [
    '--http-addr',
    '127.0.0.1:0',
    '--mgmt-addr',
    '127.0.0.1:0',
    '--metrics-addr',
    '127.0.0.1:0',
  ];
  const server = spawn(process.execPath, [QED, 'start', '--path', directory, ...anyPort, '-l', 'error']);
  try {
    work(await said(server, /^\s+api\s+(http:\S+)/m), server);
  } finally {
    await stopped(server);
    rmSync(directory, { recursive: true, force: true });
  }
}

function startQed(directory: string): ChildProcess {
  const anyPort = ['http', 'mgmt', 'metrics'].flatMap((name) => [`--${name}-addr`, '127.0.0.1:0']);
  return spawn(process.execPath, [QED, 'start', '--path', directory, ...anyPort, '-l', 'error']);
}

/** The floor: takes the same body of one event and answers with a few bytes. */
async function serveFloor(): Promise<void> {
  const app = Fastify();
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.post('/events', (request, reply) => reply.code(201).send({ ok: typeof request.body === 'object' }));
  console.log(`api ${await app.listen({ port: 0, host: '127.0.0.1' })}`);
}

/** Single adds of different events, against the bare server that parses the same bodies, in turns: the machine's moods hit both. */
async function compareWithFloor(): Promise<void> {
  const floor = spawn(process.execPath, [...process.execArgv, process.argv[1]!, '--floor']);
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  const server = startQed(directory);
  try {
    const bare = await said(floor, /^api (http:\S+)/m);
    const qed = await said(server, /^\s+api\s+(http:\S+)/m);
    const { vkey } = (await (await fetch(`${qed}/info`)).json()) as { vkey: string };
    const fire = (endpoint: string): number =>
      Math.round(
        load(endpoint, ['-c', '64', '-d', values.seconds, '--sample-every', '0', '--vkey', vkey])
          .requestsPerSecond,
      );
    const rates: [number, number][] = [];
    for (let turn = 0; turn < 3; turn++) rates.push([fire(bare), fire(qed)]);
    const [bareRate, qedRate] = [median(rates.map(([rate]) => rate)), median(rates.map(([, rate]) => rate))];
    const ratio = median(rates.map(([rate, ours]) => ours / rate));
    console.log(
      `single adds, 64 connections, against bare fastify, 3 turns each: ${qedRate.toLocaleString('en')} and ` +
        `${bareRate.toLocaleString('en')} requests/s, ratio ${ratio.toFixed(2)} (at least 0.4)`,
    );
  } finally {
    await Promise.all([stopped(floor), stopped(server)]);
    rmSync(directory, { recursive: true, force: true });
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const found = pattern.exec(output)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.on('exit', () => reject(new Error(`a server ended: ${output}`)));
  });
}

function stopped(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.on('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
