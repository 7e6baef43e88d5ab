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
  console.log(`bare fastify, the same body parsed, 64 connections: ${await measureFloor()}`);
  for (const [name, { args, unit, asked }] of Object.entries(runs)) {
    if (values.only !== undefined && !name.includes(values.only)) continue;
    await withServer(async (endpoint) => {
      print(name, load(endpoint, [...args, '-d', values.seconds]), unit, asked);
    });
  }
  if (values.only === undefined) await runMixed();
}

/** Reads and adds together; the server's memory is shown as it goes. */
async function runMixed(): Promise<void> {
  const seconds = Number(values['mixed-seconds']);
  await withServer(async (endpoint, server) => {
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

async function withServer(work: (endpoint: string, server: ChildProcess) => Promise<void>): Promise<void> {
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
    await work(await said(server, /^\s+api\s+(http:\S+)/m), server);
  } finally {
    await stopped(server);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The floor: parses a JSON body of one event and answers with a few bytes. */
async function serveFloor(): Promise<void> {
  const app = Fastify();
  app.post('/events', (request, reply) => reply.code(201).send({ ok: typeof request.body === 'object' }));
  console.log(`api ${await app.listen({ port: 0, host: '127.0.0.1' })}`);
}

async function measureFloor(): Promise<string> {
  const server = spawn(process.execPath, [...process.execArgv, process.argv[1]!, '--floor']);
  try {
    const endpoint = await said(server, /^api (http:\S+)/m);
    const { default: autocannon } = await import('autocannon');
    const result = await autocannon({
      url: `${endpoint}/events`,
      method: 'POST',
      connections: 64,
      duration: Number(values.seconds),
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ event: 'x'.repeat(100) }),
    });
    return `${Math.round(result.requests.average).toLocaleString('en')} requests/s`;
  } finally {
    await stopped(server);
  }
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
