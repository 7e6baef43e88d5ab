// `npm run soak`: a real server under a mixed load for some minutes, and what its memory does meanwhile. In the last fifth of the time nothing is
// added, so that what grows with the log can be told from what grows by itself. `--minutes 10 --rate 2000 --connections 16 --seed 1`
//
// The verdict: memory grows by so many bytes for each event that the log took, and not otherwise. Runs of less than five minutes mostly show caches
// that fill.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeTransport, type NodeTransport } from '../src/client/transport-node.ts';
import { formatTilePath } from '../src/history/served.ts';
import { describeMachine, megabytes, ownBytesOf, slope } from './bench/machine.ts';
import { seededRandom, type Random } from './random.ts';

const QED = new URL('../dist/cmd/qed.js', import.meta.url).pathname;
const SAMPLES = 120;
/** The hyper tree takes about 120 bytes an event; its arrays grow in steps, and caches fill. */
const BYTES_PER_EVENT_MAX = 512;
/** While nothing is added. */
const DRIFT_BYTES_MAX = 16e6;
const ADDING_SHARE = 0.8;
/** Until then caches fill and code is compiled. */
const WARM_UP_SHARE = 0.4;

interface Sample {
  readonly seconds: number;
  readonly events: number;
  /** Resident, without files that the system maps and takes back. */
  readonly own: number;
  readonly rss: number;
  readonly heap: number;
  readonly external: number;
}

interface Load {
  /** Requests by status, and 0 for no answer. */
  readonly statuses: Map<number, number>;
  isAdding: boolean;
  readonly stop: () => Promise<void>;
}

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    rate: { type: 'string', default: '2000' },
    connections: { type: 'string', default: '16' },
    seed: { type: 'string', default: '1' },
  },
});
const runMs = Number(values.minutes) * 60_000;
const directory = mkdtempSync(join(tmpdir(), 'qed-soak-'));
console.log(describeMachine());
const ports = ['http', 'mgmt', 'metrics', 'raft'].flatMap((name) => [`--${name}-addr`, '127.0.0.1:0']);
const server = spawn(process.execPath, [
  QED,
  'start',
  '-p',
  directory,
  ...ports,
  '--gossip-addr',
  'off',
  '-l',
  'error',
]);
try {
  const [endpoint, metrics] = await said(server, [/^ +api +(\S+)/m, /^ +metrics +(\S+)/m]);
  const samples = await run(endpoint!, metrics!, server.pid!);
  process.exitCode = judge(samples) ? 0 : 1;
} finally {
  await ended(server);
  rmSync(directory, { recursive: true, force: true });
}

async function run(endpoint: string, metrics: string, pid: number): Promise<readonly Sample[]> {
  const road = nodeTransport({ connections: Number(values.connections) });
  const load = startLoad(endpoint, road);
  const start = performance.now();
  const samples: Sample[] = [];
  console.log('seconds     events   own MB   rss MB  heap MB  external MB');
  while (samples.length < SAMPLES) {
    await wait(runMs / SAMPLES);
    if (samples.length >= SAMPLES * ADDING_SHARE) load.isAdding = false;
    const sample = await take(metrics, pid, (performance.now() - start) / 1000);
    samples.push(sample);
    if (samples.length % 4 === 0) console.log(row(sample));
  }
  await load.stop();
  await road.close();
  const shares = [...load.statuses].sort().map(([status, count]) => `${status}: ${count}`);
  console.log(`answers by status: ${shares.join(', ')}`);
  return samples;
}

/** Workers that send one request after the other, all together no faster than the rate. */
function startLoad(endpoint: string, { transport }: NodeTransport): Load {
  const random = seededRandom(Number(values.seed));
  const statuses = new Map<number, number>();
  const start = performance.now();
  const paceMs = 1000 / Number(values.rate);
  let sent = 0;
  let size = 0;
  let isStopped = false;

  async function send({ method, path, type, body }: Request): Promise<void> {
    const signal = AbortSignal.timeout(20_000);
    const headers = type === undefined ? {} : { 'content-type': type };
    const answer = await transport(method, endpoint + path, headers, body, signal).catch(() => undefined);
    statuses.set(answer?.status ?? 0, (statuses.get(answer?.status ?? 0) ?? 0) + 1);
    if (answer?.status === 201) size = Math.max(size, lastVersion(answer.bytes) + 1);
  }

  async function work(): Promise<void> {
    while (!isStopped) {
      const due = start + paceMs * sent++;
      const early = due - performance.now();
      if (early > 1) await wait(early);
      await send(
        size === 0 || (load.isAdding && random.chance(0.45)) ? addition(random) : question(random, size),
      );
    }
  }

  const workers = Array.from({ length: Number(values.connections) }, work);
  const load: Load = {
    statuses,
    isAdding: true,
    async stop() {
      isStopped = true;
      await Promise.all(workers);
    },
  };
  return load;
}

interface Request {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly type?: string;
  readonly body?: Uint8Array;
}

function json(path: string, value: unknown): Request {
  return { method: 'POST', path, type: 'application/json', body: Buffer.from(JSON.stringify(value)) };
}

function octets(path: string, body: Uint8Array): Request {
  return { method: 'POST', path, type: 'application/octet-stream', body };
}

function get(path: string): Request {
  return { method: 'GET', path };
}

function addition(random: Random): Request {
  const event = (): string => Buffer.from(random.bytes(75)).toString('base64');
  if (random.chance(0.8)) return json('/events', { event: event() });
  if (random.chance(0.5)) return json('/events/bulk', { events: Array.from({ length: 20 }, event) });
  return octets('/events/bulk/digests', random.bytes(20 * 32));
}

function question(random: Random, size: number): Request {
  const version = random.below(size);
  const tile = Math.floor(version / 256);
  const width = Math.min(256, size - 256 * tile);
  const questions = [
    () => json('/proofs/membership', { eventDigest: Buffer.from(random.bytes(32)).toString('hex') }),
    () => json('/proofs/incremental', { start: version, end: size - 1 }),
    () => get('/snapshots/latest'),
    () => get(`/snapshots/${version}`),
    () => get(`/events/${version}`),
    () => get('/checkpoint'),
    () => get('/info'),
    () => get(`/${formatTilePath({ level: 0, index: tile, width })}`),
    () => get(`/${formatTilePath({ level: 'entries', index: tile, width })}`),
    // Mistakes must leave nothing behind either.
    () => json('/proofs/membership', { event: 5 }),
    () => get(`/events/${size + 1_000_000}`),
  ];
  return questions[random.below(questions.length)]!();
}

function lastVersion(bytes: Uint8Array): number {
  const { version, versions } = JSON.parse(Buffer.from(bytes).toString()) as {
    version?: number;
    versions?: [number, number];
  };
  return versions?.[1] ?? version ?? 0;
}

async function take(metrics: string, pid: number, seconds: number): Promise<Sample> {
  const text = await (await fetch(metrics)).text();
  const figure = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? NaN);
  return {
    seconds,
    events: figure('qed_log_events'),
    own: ownBytesOf(pid) ?? figure('process_resident_memory_bytes'),
    rss: figure('process_resident_memory_bytes'),
    heap: figure('nodejs_heap_size_used_bytes'),
    external: figure('nodejs_external_memory_bytes'),
  };
}

function row({ seconds, events, own, rss, heap, external }: Sample): string {
  const columns = [own, rss, heap, external].map((bytes, at) =>
    megabytes(bytes)
      .replace(' MB', '')
      .padStart(at === 3 ? 13 : 9),
  );
  return `${seconds.toFixed(0).padStart(7)}${String(events).padStart(11)}${columns.join('')}`;
}

function judge(samples: readonly Sample[]): boolean {
  const adding = samples.slice(SAMPLES * WARM_UP_SHARE, SAMPLES * ADDING_SHARE);
  const asking = samples.slice(SAMPLES * ADDING_SHARE + 1);
  for (const name of ['own', 'rss', 'heap', 'external'] as const) {
    const bytes = slope(adding.map(({ events, [name]: y }) => [events, y]));
    console.log(
      `${name}: ${bytes.toFixed(0)} bytes an event while adding, ${drift(asking, name)} MB while only asking`,
    );
  }
  const bytesPerEvent = slope(adding.map(({ events, own }) => [events, own]));
  const drifted = Number(drift(asking, 'own')) * 1e6;
  const isFlat = bytesPerEvent <= BYTES_PER_EVENT_MAX && drifted <= DRIFT_BYTES_MAX;
  const found = `${Math.max(0, bytesPerEvent).toFixed(0)} bytes an event`;
  console.log(
    isFlat
      ? `flat apart from ${found}`
      : `NOT FLAT: ${found}, and ${(drifted / 1e6).toFixed(0)} MB without events`,
  );
  return isFlat;
}

/** By how much the last third lies above the first one, in the middle: single values are at the mercy of the garbage collector. */
function drift(samples: readonly Sample[], name: 'own' | 'rss' | 'heap' | 'external'): string {
  const third = Math.ceil(samples.length / 3);
  const middle = (part: readonly Sample[]): number =>
    part.map(({ [name]: bytes }) => bytes).sort((a, b) => a - b)[Math.floor(part.length / 2)] ?? 0;
  return ((middle(samples.slice(-third)) - middle(samples.slice(0, third))) / 1e6).toFixed(1);
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What each of the patterns finds in the output, once all do. */
function said(child: ChildProcess, patterns: readonly RegExp[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const found = patterns.flatMap((pattern) => pattern.exec(output)?.[1] ?? []);
      if (found.length === patterns.length) resolve(found);
    });
    child.once('exit', () => reject(new Error(`the server ended: ${output}`)));
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
