// `npm run bench:agents`: what agents bear and cost, all of them as processes on this machine.
//
// spread   many agents on one log, single adds at a steady rate: how soon each one has what was added, what that costs, and that in the end each one has every
//          snapshot that the log has published, read back from where it keeps them.
// load     a publisher, an auditor and a monitor with a store, under bulks at a high rate: how far behind they stay.
// memory   the same at a smaller rate for some minutes (--minutes): what memory does. The last tenth of the time nothing is added, so that what grows with the log
//          can be told from what grows by itself.
//
// --agents 20 --adds 20 (a second) --rate 20000 (events a second; 1000 for memory) --seconds 30 --minutes 10 --only spread|load|memory --json
// --quick takes seconds: a try, no measurement.
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import {
  figureOf,
  published,
  reachedBy,
  readBack,
  statusOf,
  untilReached,
  withFleet,
  without,
  type Arrival,
  type Fleet,
  type Holding,
  type Kind,
  type Running,
  type Shape,
  type Way,
} from './agent-processes.ts';
import { cpuSecondsOf, describeMachine, megabytes, ownBytesOf, perSecond, slope } from './machine.ts';

const { values } = parseArgs({
  options: {
    agents: { type: 'string' },
    adds: { type: 'string', default: '20' },
    rate: { type: 'string' },
    seconds: { type: 'string' },
    minutes: { type: 'string' },
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds ?? (values.quick ? 3 : 30));
const minutes = Number(values.minutes ?? (values.quick ? 0.2 : 10));
const agentCount = Number(values.agents ?? (values.quick ? 4 : 20));
const parts = values.only?.split(',') ?? (values.minutes === undefined ? ['spread', 'load'] : ['memory']);

/** Under load agents stay closer behind than this. */
const BEHIND_MAX_SECONDS = 2;
const REQUESTS_PER_SECOND = 100;
const WORKERS = 16;
const EVENT_BYTES = 100;
const ADD_MS = 20_000;
const LOOK_MS = 500;
const MEMORY_SAMPLES = 120;
/** The newest of this many snapshots are remembered by every member of gossip, about five kilobytes each. Before that its memory grows on purpose. */
const REMEMBERED = 4_096;
const ADDING_SHARE = 0.9;
const WARM_UP_SHARE = 0.4;
/** Server and auditor keep a hyper tree: about 130 bytes an event, whose arrays grow in steps. */
const BYTES_PER_EVENT_MAX = 512;
/** Publisher, monitor and store keep nothing for events; the rest is the garbage collector's mood. */
const BYTES_PER_MINUTE_MAX = 4e6;
const DRIFT_BYTES_MAX = 16e6;

const ONE_OF_EACH: Shape = { publishers: 1, monitors: 1, auditors: 1, stores: 1 };
const addedForm = z.looseObject({
  version: z.int().optional(),
  versions: z.tuple([z.int(), z.int()]).optional(),
  code: z.string().optional(),
});

let eventsMade = 0;
const problems: string[] = [];
const report: Record<string, unknown> = { machine: describeMachine(), loadAverage: loadavg()[0] };
say(`${describeMachine()}, load average ${loadavg()[0]?.toFixed(1) ?? '?'} before the start`);
if (parts.includes('spread')) report['spread'] = await spread();
if (parts.includes('load')) report['load'] = await bearLoad();
if (parts.includes('memory')) report['memory'] = await watchMemory();
for (const [problem, count] of counted(problems))
  say(`PROBLEM${count > 1 ? `, ${count} times` : ''}: ${problem}`);
if (values.json) console.log(JSON.stringify({ ...report, problems }, undefined, 2));
if (problems.length > 0) process.exitCode = 1;

function say(line: string): void {
  if (!values.json) console.log(line);
}

// --- spread

async function spread(): Promise<unknown> {
  return withFleet(shapeFor(agentCount), async (whole) => {
    await warmUp(whole);
    const { fleet, missed } = await makeGaps(whole);
    const before = (await published(fleet, fleet.server.url)).length;
    const cpuBefore = cpuOf(fleet);
    const adds = Number(values.adds);
    const { taken } = await pour(fleet, singleAdds(adds), seconds);
    await untilReached(fleet, taken.at(-1)?.version ?? -1);
    const cpuAfter = cpuOf(fleet);
    const listed = await published(fleet, fleet.server.url);
    const snapshots = listed.length - before;
    const counts = fleet.agents.length;
    say(
      `\n${counts} agents and ${fleet.stores.length} stores on one log, ${adds} adds a second for ${seconds} s: ` +
        `${taken.length} adds, ${snapshots} snapshots published`,
    );
    const gaps = await sayGaps(fleet, missed);
    const latency = sayLatencies(fleet, taken);
    const costs = sayCosts(
      fleet,
      (one) => ((cpuAfter.get(one) ?? NaN) - (cpuBefore.get(one) ?? NaN)) * (1_000 / snapshots),
    );
    const holdings = await checkHoldings(fleet, listed);
    return { agents: counts, adds: taken.length, snapshots, gaps, latencyMs: latency, costs, holdings };
  });
}

function shapeFor(agents: number): Shape {
  const few = Math.max(1, Math.round(agents * 0.15));
  const publishers = Math.max(1, Math.ceil((agents - few) / 2));
  return { publishers, monitors: Math.max(1, agents - few - publishers), auditors: few, stores: few };
}

/** The first snapshot is everywhere: connections and meshes are there, and code is compiled. */
async function warmUp(fleet: Fleet): Promise<void> {
  const { taken } = await pour(fleet, singleAdds(5), 1);
  await untilReached(fleet, taken.at(-1)?.version ?? -1);
}

/** One agent of each kind is killed, and back when the log has gone on: what it missed only the list of the log can give. */
async function makeGaps(whole: Fleet): Promise<{ readonly fleet: Fleet; readonly missed: number }> {
  const kinds = [...new Set(whole.agents.map(({ kind }) => kind))];
  const absent = kinds.map((kind) => whole.agents.findLast((one) => one.kind === kind)!);
  const before = (await published(whole, whole.server.url)).length;
  let last = -1;
  const fleet = await without(whole, absent, async () => {
    last = (await pour(whole, singleAdds(10), 2)).taken.at(-1)?.version ?? -1;
  });
  await untilReached(fleet, last);
  return { fleet, missed: (await published(fleet, fleet.server.url)).length - before };
}

async function sayGaps({ agents }: Fleet, missed: number): Promise<unknown> {
  const followers = agents.filter(({ kind }) => kind !== 'auditor');
  const from = async (where: string): Promise<number> => {
    const name = `qed_agent_snapshots_total{from="${where}"}`;
    return (await Promise.all(followers.map((one) => figureOf(one, name)))).reduce(
      (sum, one) => sum + one,
      0,
    );
  };
  const [gossip, list] = [await from('gossip'), await from('log')];
  say(
    `one agent of each kind was killed before, while ${missed} snapshots were published, and is back; ` +
      `publishers and monitors took ${gossip} snapshots from gossip and ${list} from the list of the log`,
  );
  return { missed, gossip, list };
}

function sayLatencies(fleet: Fleet, taken: readonly Arrival[]): unknown {
  const ways: readonly (readonly [string, Kind, Way])[] = [
    ['heard by publishers', 'publisher', 'gossip'],
    ['heard by monitors', 'monitor', 'gossip'],
    ['heard by auditors', 'auditor', 'gossip'],
    ['in the files of publishers', 'publisher', 'file'],
    ['in stores', 'publisher', 'store'],
  ];
  say('from the answer to an add until a snapshot that covers it is there:');
  return ways.map(([name, kind, way]) => {
    const each = fleet.agents
      .filter((one) => one.kind === kind && one.arrivals[way].length > 0)
      .map(({ arrivals }) => latencies(taken, arrivals[way]).sort((a, b) => a - b));
    const all = each.flat().sort((a, b) => a - b);
    const slowest = Math.max(...each.map((one) => at(one, 0.99)));
    const unheard = taken.length * each.length - all.length;
    say(
      `  ${name.padEnd(28)}p50 ${at(all, 0.5).toFixed(0)} ms, p99 ${at(all, 0.99).toFixed(0)} ms, ` +
        `most ${at(all, 1).toFixed(0)} ms; p99 of the slowest one ${slowest.toFixed(0)} ms` +
        (unheard > 0 ? `; ${unheard} came by the list of the log alone` : ''),
    );
    return {
      way: name,
      p50: at(all, 0.5),
      p99: at(all, 0.99),
      most: at(all, 1),
      slowestP99: slowest,
      unheard,
    };
  });
}

/** Milliseconds until something came that covers each; what nothing has covered is left out. */
function latencies(taken: readonly Arrival[], arrivals: readonly Arrival[]): number[] {
  const found: number[] = [];
  let place = 0;
  for (const { version, at: answeredAt } of taken) {
    while (place < arrivals.length && arrivals[place]!.version < version) place += 1;
    const arrival = arrivals[place];
    if (arrival === undefined) break;
    // Gossip may be faster than the answer.
    found.push(Math.max(0, arrival.at - answeredAt));
  }
  return found;
}

/** A row for each kind. Memory is resident memory of their own, without mapped files. */
function sayCosts(fleet: Fleet, cpuPerThousand: (one: Running) => number): unknown {
  const kinds = [...new Set(fleet.all.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const those = fleet.all.filter((one) => one.kind === kind);
    const cpu = mean(those.map(cpuPerThousand));
    const memory = those.map(({ pid }) => ownBytesOf(pid) ?? NaN);
    const largest = Math.max(...memory);
    say(
      `  ${`${those.length} × ${kind}`.padEnd(16)}${cpu.toFixed(1)} s of processor time for 1,000 snapshots; ` +
        `memory ${megabytes(mean(memory))}, the largest ${megabytes(largest)}`,
    );
    return { kind, count: those.length, cpuSecondsPerThousand: cpu, bytes: mean(memory), largest };
  });
}

/** Ends the agents. */
async function checkHoldings(fleet: Fleet, listed: readonly SignedSnapshot[]): Promise<readonly Holding[]> {
  const alerts = fleet.agents.flatMap((one) => one.alerts.map((text) => `${one.name}: ${text}`));
  problems.push(...alerts);
  const holdings = await readBack(fleet, listed);
  const wrong = holdings.filter(({ missing, different, surplus }) => missing + different + surplus > 0);
  for (const { name, ...counts } of wrong)
    problems.push(`${name} does not have what the log lists: ${JSON.stringify(counts)}`);
  const compared = holdings.reduce((sum, { held }) => sum + held, 0);
  say(
    wrong.length === 0
      ? `each of ${holdings.length} has every one of ${listed.length} snapshots, once: ${compared.toLocaleString('en')} read back and compared; ${alerts.length} alerts`
      : `${wrong.length} of ${holdings.length} do NOT have every snapshot`,
  );
  return holdings;
}

// --- load and memory

interface Look {
  readonly seconds: number;
  readonly version: number;
  readonly each: ReadonlyMap<Running, Seen>;
}

interface Seen {
  /** Age of the oldest acknowledged event that it has not covered yet; 0 when there is none, and for what is no agent. */
  readonly behindSeconds: number;
  readonly own: number;
  readonly heap: number;
}

async function bearLoad(): Promise<unknown> {
  return withFleet(ONE_OF_EACH, async (fleet) => {
    await warmUp(fleet);
    const rate = Number(values.rate ?? (values.quick ? 2_000 : 20_000));
    const cpuBefore = cpuOf(fleet);
    const started = performance.now();
    const { taken, looks } = await pour(fleet, bulkAdds(rate), seconds, { everyMs: LOOK_MS });
    const ms = performance.now() - started;
    const cpuAfter = cpuOf(fleet);
    await untilReached(fleet, taken.at(-1)?.version ?? -1);
    const events = (taken.at(-1)?.version ?? 0) - (taken[0]?.version ?? 0) + bulkAdds(rate).events;
    const caughtUp = performance.now() - started - ms;
    say(
      `\nunder load: ${perSecond(events, ms)} taken of ${rate}/s offered for ${seconds} s, in bulks of ${bulkAdds(rate).events}; ` +
        `everything verified ${(caughtUp / 1000).toFixed(1)} s after the last answer`,
    );
    const rows = fleet.all.map((one) => {
      const share = (((cpuAfter.get(one) ?? NaN) - (cpuBefore.get(one) ?? NaN)) / ms) * 1e5;
      const behind = looks.map(({ each }) => each.get(one)!.behindSeconds).sort((a, b) => a - b);
      const second = looks.slice(Math.floor(looks.length / 2));
      const perMinute = 60 * slope(second.map((look) => [look.seconds, look.each.get(one)!.own]));
      const row = {
        kind: one.kind,
        cpuPercent: share,
        behind: { p50: at(behind, 0.5), most: at(behind, 1) },
      };
      const isAgent = fleet.agents.includes(one);
      say(
        `  ${one.kind.padEnd(11)}${share.toFixed(0).padStart(4)} % of a core; memory ${megabytes(ownBytesOf(one.pid) ?? NaN)}, ` +
          `in the second half ${megabytes(perMinute)} a minute` +
          (isAgent ? `; behind p50 ${at(behind, 0.5).toFixed(1)} s, most ${at(behind, 1).toFixed(1)} s` : ''),
      );
      if (isAgent && at(behind, 1) >= BEHIND_MAX_SECONDS)
        problems.push(`the ${one.kind} was ${at(behind, 1).toFixed(1)} s behind, wanted less than 2`);
      return { ...row, bytesPerMinute: perMinute };
    });
    const holdings = await checkHoldings(fleet, await published(fleet, fleet.server.url));
    return { rate, events, seconds: ms / 1000, caughtUpSeconds: caughtUp / 1000, each: rows, holdings };
  });
}

async function watchMemory(): Promise<unknown> {
  return withFleet(ONE_OF_EACH, async (fleet) => {
    await warmUp(fleet);
    const rate = Number(values.rate ?? 1_000);
    const runMs = minutes * 60_000;
    const everyMs = runMs / MEMORY_SAMPLES;
    const columns = fleet.all.map(({ kind }) => `${kind} own/heap`.padStart(20)).join('');
    say(`\nmemory in MB, ${rate} events a second for ${minutes} minutes\nseconds     events${columns}`);
    const adding = await pour(fleet, bulkAdds(rate), (runMs / 1000) * ADDING_SHARE, { everyMs, show: true });
    const publications = (await published(fleet, fleet.server.url)).length;
    const resting = await watch(fleet, adding.taken, runMs * (1 - ADDING_SHARE), { everyMs, show: true });
    // Snapshots are published at an even pace, so that is when memory is full.
    const full = REMEMBERED / Math.max(publications, REMEMBERED);
    const isFull = publications > REMEMBERED * 1.1;
    const from = Math.floor(adding.looks.length * Math.max(WARM_UP_SHARE / ADDING_SHARE, isFull ? full : 0));
    if (!isFull)
      say(`too short to tell: gossip remembers ${REMEMBERED} snapshots, and ${publications} were published`);
    const each = fleet.all.map((one) => judge(one, adding.looks.slice(from), resting.slice(1), isFull));
    await untilReached(fleet, adding.taken.at(-1)?.version ?? -1);
    const holdings = await checkHoldings(fleet, await published(fleet, fleet.server.url));
    const curve = [...adding.looks, ...resting].map((look) => [look.seconds, look.version, ...row(look)]);
    return { rate, minutes, publications, each, curve, holdings };
  });
}

function row({ each }: Look): number[] {
  return [...each.values()].flatMap(({ own, heap }) => [own, heap]);
}

function judge(
  { kind }: Running,
  adding: readonly Look[],
  resting: readonly Look[],
  isTold: boolean,
): unknown {
  const own = (look: Look): number => [...look.each].find(([one]) => one.kind === kind)![1].own;
  const bytesPerEvent = slope(adding.map((look) => [look.version, own(look)]));
  const bytesPerMinute = 60 * slope(adding.map((look) => [look.seconds, own(look)]));
  const third = Math.ceil(resting.length / 3);
  const drift = median(resting.slice(-third).map(own)) - median(resting.slice(0, third).map(own));
  const keepsEvents = kind === 'server' || kind === 'auditor';
  const isFlat =
    drift <= DRIFT_BYTES_MAX &&
    (keepsEvents ? bytesPerEvent <= BYTES_PER_EVENT_MAX : bytesPerMinute <= BYTES_PER_MINUTE_MAX);
  const found =
    `${bytesPerEvent.toFixed(0)} bytes an event (${(bytesPerMinute / 1e6).toFixed(1)} MB a minute) while adding, ` +
    `${(drift / 1e6).toFixed(1)} MB without events`;
  const verdict = isFlat ? (keepsEvents ? 'flat apart from its trees' : 'flat') : 'NOT FLAT';
  say(`  ${kind.padEnd(11)}${found}${isTold ? `: ${verdict}` : ''}`);
  if (isTold && !isFlat) problems.push(`the memory of the ${kind} is not flat: ${found}`);
  return { kind, bytesPerEvent, bytesPerMinute, drift, isFlat };
}

interface Watching {
  readonly everyMs: number;
  /** Prints the curve. */
  readonly show?: boolean;
}

/** Looks at all processes, again and again, while `taken` may grow. */
async function watch(
  fleet: Fleet,
  taken: readonly Arrival[],
  forMs: number,
  { everyMs, show = false }: Watching,
): Promise<readonly Look[]> {
  const looks: Look[] = [];
  for (const start = performance.now(); performance.now() - start < forMs;) {
    await pause(Math.max(0, (looks.length + 1) * everyMs - (performance.now() - start)));
    const one = await look(fleet, taken, show);
    looks.push(one);
    if (!show || looks.length % 4 !== 0) continue;
    const cells = [...one.each.values()].map(({ own, heap }) =>
      `${(own / 1e6).toFixed(0)} / ${(heap / 1e6).toFixed(0)}`.padStart(20),
    );
    say(`${one.seconds.toFixed(0).padStart(7)}${String(one.version + 1).padStart(11)}${cells.join('')}`);
  }
  return looks;
}

async function look(fleet: Fleet, taken: readonly Arrival[], withHeap: boolean): Promise<Look> {
  const seen = await Promise.all(
    fleet.all.map(async (one): Promise<[Running, Seen]> => {
      const own = ownBytesOf(one.pid) ?? NaN;
      const heap = withHeap ? await figureOf(one, 'nodejs_heap_size_used_bytes ') : NaN;
      const isAgent = fleet.agents.includes(one);
      return [one, { own, heap, behindSeconds: isAgent ? await behind(one, taken) : 0 }];
    }),
  );
  const seconds = (Date.now() - (taken[0]?.at ?? Date.now())) / 1000;
  return { seconds, version: taken.at(-1)?.version ?? -1, each: new Map(seen) };
}

/** A publisher has covered what is durable in its file, the others what they say that they have verified. */
async function behind(agent: Running, taken: readonly Arrival[]): Promise<number> {
  const reached =
    agent.kind === 'publisher'
      ? (agent.arrivals.file.at(-1)?.version ?? -1)
      : reachedBy(await statusOf(agent));
  const oldest = taken.find(({ version }) => version > reached);
  return oldest === undefined ? 0 : Math.max(0, Date.now() - oldest.at) / 1000;
}

// --- adds

interface Adds {
  readonly path: string;
  readonly type: string;
  readonly requestsPerSecond: number;
  /** In one request. */
  readonly events: number;
  readonly body: () => Uint8Array;
}

function singleAdds(requestsPerSecond: number): Adds {
  const body = (): Uint8Array => Buffer.from(nextEvent());
  return { path: '/events', type: 'application/octet-stream', requestsPerSecond, events: 1, body };
}

function bulkAdds(rate: number): Adds {
  const events = Math.max(1, Math.round(rate / REQUESTS_PER_SECOND));
  const requestsPerSecond = rate / events;
  const body = (): Uint8Array =>
    Buffer.from(JSON.stringify({ events: Array.from({ length: events }, nextEvent) }));
  return { path: '/events/bulk', type: 'application/json', requestsPerSecond, events, body };
}

/** Never the same twice. */
function nextEvent(): string {
  eventsMade += 1;
  return `${eventsMade}-`.padEnd(EVENT_BYTES, 'x');
}

/** Adds at an even pace for some seconds, each at its time whatever the ones before do. Resolves with what was acknowledged, and when. */
async function pour(
  fleet: Fleet,
  { path, type, requestsPerSecond, body }: Adds,
  forSeconds: number,
  watching?: Watching,
): Promise<{ readonly taken: readonly Arrival[]; readonly looks: readonly Look[] }> {
  const taken: Arrival[] = [];
  const start = performance.now();
  const count = Math.round(requestsPerSecond * forSeconds);
  let sent = 0;

  async function work(): Promise<void> {
    for (let number = sent++; number < count; number = sent++) {
      await pause(start + (number * 1000) / requestsPerSecond - performance.now());
      if (performance.now() - start > forSeconds * 1000) return;
      const version = await add(fleet, path, type, body());
      if (version !== undefined) taken.push({ version, at: Date.now() });
    }
  }

  const working = Promise.all(Array.from({ length: WORKERS }, work));
  const watched = watching ? watch(fleet, taken, forSeconds * 1000, watching) : [];
  const [looks] = await Promise.all([watched, working]);
  return { taken: taken.sort((a, b) => a.version - b.version), looks };
}

/** The last version that it got; undefined, and a problem, when it was not taken. */
async function add(fleet: Fleet, path: string, type: string, body: Uint8Array): Promise<number | undefined> {
  const url = fleet.server.url + path;
  try {
    const signal = AbortSignal.timeout(ADD_MS);
    const { bytes } = await fleet.road.transport('POST', url, { 'content-type': type }, body, signal);
    const { version, versions, code } = addedForm.parse(JSON.parse(Buffer.from(bytes).toString()));
    if (code !== undefined) problems.push(`an add was refused: ${code}`);
    return versions?.[1] ?? version;
  } catch (error) {
    problems.push(`an add has failed: ${String(error)}`);
    return undefined;
  }
}

// --- figures

function cpuOf(fleet: Fleet): ReadonlyMap<Running, number | undefined> {
  return new Map(fleet.all.map((one) => [one, cpuSecondsOf(one.pid)]));
}

function counted(texts: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

/** Of sorted numbers. */
function at(sorted: readonly number[], share: number): number {
  return sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
}

function median(numbers: readonly number[]): number {
  return at(
    [...numbers].sort((a, b) => a - b),
    0.5,
  );
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
