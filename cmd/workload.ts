// qed workload: puts load on a log and says what it bears. It checks a sample of the proofs that it gets; a log that is fast and wrong fails.
import { type Argv, type InferredOptionTypes, type Options } from 'yargs';
import { parseVkey } from '../src/crypto/vkey.ts';
import { nativeVerify } from '../src/crypto/ed25519-node.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import {
  addCommand,
  EXIT_REFUSED,
  EXIT_UNCHECKED,
  formatJson,
  usage,
  type ClientCommand,
} from './client/command.ts';
import { connect, connectionOptions, readCa, readEndpoints } from './client/connect.ts';
import { processWorld, type World } from './client/world.ts';
import { openConnection } from './workload/connection.ts';
import { KINDS, prepare, type Kind } from './workload/kinds.ts';
import { createLatencies, type Latencies } from './workload/latency.ts';
import { runLoad, type Tally } from './workload/run.ts';

const options = {
  kind: { choices: KINDS, default: 'add' as Kind, describe: 'What to ask' },
  connections: { alias: 'c', type: 'number', default: 64, describe: 'Requests on their way at once' },
  duration: { alias: 'd', type: 'number', default: 10, describe: 'Seconds' },
  count: { alias: 'n', type: 'number', describe: 'Requests at most' },
  rate: { type: 'number', default: 0, describe: 'Requests a second; 0 is as many as go' },
  batch: { type: 'number', default: 1000, describe: 'Events in a bulk' },
  'event-bytes': { type: 'number', default: 100, describe: 'Size of an event' },
  preload: {
    type: 'number',
    default: 50_000,
    describe: 'Events to add first, where the kind asks about events',
  },
  'sample-every': { type: 'number', default: 100, describe: 'Check one of so many answers; 0 is none' },
  ...connectionOptions,
} as const satisfies Record<string, Options>;

type Flags = InferredOptionTypes<typeof options>;

interface Figures {
  readonly kind: Kind;
  readonly connections: number;
  readonly seconds: number;
  readonly requests: number;
  readonly events: number;
  readonly requestsPerSecond: number;
  readonly eventsPerSecond: number;
  readonly latencyMs: Readonly<Record<'p50' | 'p90' | 'p99' | 'p999' | 'max', number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly sampled: number;
  readonly refused: readonly string[];
}

const workload: ClientCommand<typeof options> = {
  command: 'workload',
  describe: 'Put load on a log',
  options,
  examples: [
    ['$0 workload -k "$KEY"', 'single adds over 64 connections for 10 seconds'],
    ['$0 workload --kind bulk -c 4 -d 60 --json', 'bulk adds for a minute, figures for other programs'],
    ['$0 workload --kind membership --rate 1000', 'a thousand proofs a second, no more'],
  ],
  run: runWorkload,
};

export function addWorkloadTo(main: Argv, world: World): Argv {
  return addCommand(main, workload, world);
}

export function addWorkload(main: Argv): Argv {
  return addWorkloadTo(main, processWorld());
}

async function runWorkload(flags: Flags, world: World): Promise<void> {
  // The API key is not for everybody who lists processes.
  world.hideArguments('qed workload');
  checkFlags(flags);
  const endpoints = readEndpoints(flags.endpoint);
  const { client, vkey, close } = await connect(flags, world);
  const tls = { ca: readCa(flags['tls-ca']), insecure: flags.insecure };
  const connections = Array.from({ length: flags.connections }, (_, i) =>
    openConnection(endpoints[i % endpoints.length]!, tls),
  );
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  try {
    const asker = await prepare(flags.kind, {
      client,
      trust: vkey === undefined ? undefined : { log: parseVkey(vkey) },
      primitives: { hash: nativeHash, verify: nativeVerify },
      apiKey: flags['api-key'],
      batch: flags.batch,
      eventBytes: flags['event-bytes'],
      preload: flags.preload,
    });
    const tally: Tally = { requests: 0, events: 0, errors: new Map(), sampled: 0, refused: [] };
    const [all, recent] = [createLatencies(), createLatencies()];
    const watch = startWatch(tally, recent, world);
    const seconds = await runLoad(
      {
        connections,
        asker,
        durationMs: flags.duration * 1000,
        count: flags.count ?? Number.MAX_SAFE_INTEGER,
        rate: flags.rate,
        sampleEvery: flags['sample-every'],
        signal: stop.signal,
      },
      tally,
      [all, recent],
    );
    watch.stop();
    report(figuresOf(flags, seconds, tally, all), flags.json, world);
  } finally {
    process.off('SIGINT', interrupt);
    await Promise.all([...connections.map((connection) => connection.close()), close()]);
  }
}

function checkFlags(flags: Flags): void {
  const whole = (
    name: 'connections' | 'batch' | 'event-bytes' | 'preload',
    min: number,
    max: number,
  ): void => {
    const value = flags[name];
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw usage(`--${name}: not a whole number from ${min} to ${max}`);
    }
  };
  whole('connections', 1, 10_000);
  whole('batch', 1, 10_000);
  whole('event-bytes', 1, 1024 * 1024);
  whole('preload', 1, 10_000_000);
  for (const name of ['duration', 'rate', 'sample-every', 'count'] as const) {
    if (!((flags[name] ?? 0) >= 0)) throw usage(`--${name}: not a number from 0 on`);
  }
}

/** A line a second for a person who watches. */
function startWatch(tally: Tally, recent: Latencies, world: World): { readonly stop: () => void } {
  if (!world.isTerminal) return { stop: () => undefined };
  let before = { requests: 0, events: 0 };
  let second = 0;
  const timer = setInterval(() => {
    second += 1;
    const errors = [...tally.errors.values()].reduce((sum, count) => sum + count, 0);
    world.err(
      `${String(second).padStart(4)} s  ${number(tally.requests - before.requests)} requests/s  ` +
        `${number(tally.events - before.events)} events/s  p50 ${time(recent.quantile(0.5))}  ` +
        `p99 ${time(recent.quantile(0.99))}  errors ${number(errors)}`,
    );
    before = { requests: tally.requests, events: tally.events };
    recent.clear();
  }, 1000);
  return { stop: () => clearInterval(timer) };
}

function figuresOf(flags: Flags, seconds: number, tally: Tally, latencies: Latencies): Figures {
  const { requests, events, errors, sampled, refused } = tally;
  const at = (share: number): number => rounded(latencies.quantile(share));
  return {
    kind: flags.kind,
    connections: flags.connections,
    seconds: rounded(seconds),
    requests,
    events,
    requestsPerSecond: Math.round(requests / seconds),
    eventsPerSecond: Math.round(events / seconds),
    latencyMs: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: rounded(latencies.max()) },
    errors: Object.fromEntries(errors),
    sampled,
    refused,
  };
}

function report(figures: Figures, isJson: boolean, world: World): void {
  if (isJson) world.out(formatJson(figures));
  else world.out(describe(figures));
  if (figures.refused.length > 0) world.exit(EXIT_REFUSED);
  else if (figures.requests === 0) world.exit(EXIT_UNCHECKED);
}

function describe({ kind, connections, seconds, latencyMs, errors, ...figures }: Figures): string {
  const codes = Object.entries(errors).map(([code, count]) => `${code} ${number(count)}`);
  const refusals = figures.refused.map((why) => `  refused    ${why}`);
  return [
    `${kind}, ${connections} connections, ${seconds} s`,
    `  requests   ${number(figures.requests)}, ${number(figures.requestsPerSecond)} a second`,
    `  events     ${number(figures.events)}, ${number(figures.eventsPerSecond)} a second`,
    `  latency    p50 ${time(latencyMs.p50)}  p90 ${time(latencyMs.p90)}  p99 ${time(latencyMs.p99)}  ` +
      `p99.9 ${time(latencyMs.p999)}  max ${time(latencyMs.max)}`,
    `  errors     ${codes.length === 0 ? 'none' : codes.join(', ')}`,
    `  verified   ${number(figures.sampled - figures.refused.length)} of ${number(figures.sampled)} sampled`,
    ...refusals,
  ].join('\n');
}

function rounded(value: number): number {
  return Number.isNaN(value) ? 0 : Math.round(value * 1000) / 1000;
}

function number(value: number): string {
  return value.toLocaleString('en');
}

function time(milliseconds: number): string {
  return Number.isNaN(milliseconds)
    ? '–'
    : `${milliseconds < 10 ? milliseconds.toFixed(2) : milliseconds.toFixed(1)} ms`;
}
