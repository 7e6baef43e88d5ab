// A log, stores and agents as real processes of a bench: on free ports, timed by what they log themselves (the clock is one for all on this machine), read back from
// where they keep what they have, and ended by their process id.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { openReplica } from '../../agents/auditor/replica.ts';
import { openJournal } from '../../agents/journal.ts';
import { createSource } from '../../agents/source.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot } from '../../src/balloon/verify.ts';
import { nodeTransport, type NodeTransport } from '../../src/client/transport-node.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { parseVkey, type Verifier } from '../../src/crypto/vkey.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { freePort } from '../temp.ts';
import { until } from '../until.ts';

export type Kind = 'server' | 'store' | 'publisher' | 'monitor' | 'auditor';

export interface Shape {
  readonly publishers: number;
  readonly monitors: number;
  readonly auditors: number;
  /** The first publishers deliver to one each; the first monitors and auditors watch one each. */
  readonly stores: number;
}

/** Something that came to an agent, in milliseconds of the wall clock. */
export interface Arrival {
  readonly version: number;
  readonly at: number;
}

/** Heard over gossip; durable in the file of a publisher; taken by its store. */
export type Way = 'gossip' | 'file' | 'store';

export interface Running {
  readonly kind: Kind;
  readonly name: string;
  readonly pid: number;
  /** The API of a server or store. */
  readonly url: string;
  /** Metrics, and the status of agents. */
  readonly figuresUrl: string;
  readonly arrivals: Readonly<Record<Way, readonly Arrival[]>>;
  /** And that it ended though nobody told it to. */
  readonly alerts: readonly string[];
  readonly stop: (signal: 'SIGTERM' | 'SIGKILL') => Promise<void>;
  /** The same command line once more. */
  readonly again: () => Promise<Running>;
}

export interface Fleet {
  readonly directory: string;
  readonly log: Verifier;
  readonly server: Running;
  readonly stores: readonly Running[];
  readonly agents: readonly Running[];
  readonly all: readonly Running[];
  readonly road: NodeTransport;
}

/** What an agent, or a store, has of what the log lists as published. */
export interface Holding {
  readonly name: string;
  readonly held: number;
  readonly missing: number;
  /** Of another history, time or checkpoint than listed. */
  readonly different: number;
  /** Not listed, or there twice. */
  readonly surplus: number;
}

const QED = new URL('../../dist/cmd/qed.js', import.meta.url).pathname;
const ANY = '127.0.0.1:0';
const READY_MS = 120_000;
/** Starting is mostly loading code; more at a time only wait for each other. */
const STARTED_AT_ONCE = 4;
const PAGE = 256;
const ANSWER_MS = 20_000;
const JOURNAL_MAX = 100_000;

const statusForm = z.looseObject({
  gossip: z.looseObject({ peers: z.array(z.unknown()) }),
  verified: z
    .looseObject({ version: z.int().nullable(), complete: z.int().nullable().optional() })
    .optional(),
  sinks: z.array(z.looseObject({ waiting: z.int() })).optional(),
});
type Status = z.output<typeof statusForm>;

/** All of them run and hear the log when the work begins; none runs when this resolves, rejects, or the bench is told to stop. */
export async function withFleet<Result>(
  shape: Shape,
  work: (fleet: Fleet) => Promise<Result>,
): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  const road = nodeTransport({ connections: 32 });
  const running: Running[] = [];
  const children: ChildProcess[] = [];
  function abandon(): void {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
    process.exit(1);
  }
  process.once('SIGINT', abandon).once('SIGTERM', abandon);
  try {
    const launch: Launch = async (...what) => {
      const one = await follow(children, () => launch(...what), ...what);
      running.push(one);
      return one;
    };
    return await work(await startFleet(shape, directory, launch, road));
  } finally {
    process.off('SIGINT', abandon).off('SIGTERM', abandon);
    await Promise.all(running.map(({ stop }) => stop('SIGTERM')));
    for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
    await road.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

type Launch = (kind: Kind, name: string, args: readonly string[], figuresUrl?: string) => Promise<Running>;

async function startFleet(
  shape: Shape,
  directory: string,
  launch: Launch,
  road: NodeTransport,
): Promise<Fleet> {
  const ports = ['http', 'mgmt', 'metrics', 'raft', 'gossip'].flatMap((name) => [`--${name}-addr`, ANY]);
  const server = await launch('server', 'server', [
    'start',
    '-p',
    join(directory, 'log'),
    ...ports,
    '-l',
    'error',
  ]);
  const { vkey } = z.looseObject({ vkey: z.string() }).parse(await getJson(`${server.url}/info`));
  const names = (kind: Kind, count: number): (readonly [Kind, string, number])[] =>
    Array.from({ length: count }, (_, at) => [kind, `${kind}${at}`, at]);
  const stores = await inTurns(names('store', shape.stores), async ([kind, name]) => {
    const metrics = `127.0.0.1:${await freePort()}`;
    const args = ['-p', join(directory, name), '--vkey', vkey, '--http-addr', ANY, '--metrics-addr', metrics];
    return launch(kind, name, ['store', ...args, '-l', 'error'], `http://${metrics}`);
  });
  const wanted = [
    ...names('publisher', shape.publishers),
    ...names('monitor', shape.monitors),
    ...names('auditor', shape.auditors),
  ];
  const agents = await inTurns(wanted, ([kind, name, at]) => {
    const place = join(directory, name);
    const common = ['--vkey', vkey, '--state', place, '--node', name, '--bind', ANY, '--metrics-addr', ANY];
    const role = roleArgs(kind, server.url, stores[at]?.url, place);
    return launch(kind, name, ['agent', kind, ...common, ...role, '-l', 'debug']);
  });
  const fleet = {
    directory,
    log: parseVkey(vkey),
    server,
    stores,
    agents,
    all: [server, ...stores, ...agents],
    road,
  };
  await untilNeighbours(agents);
  return fleet;
}

/** Kills some of the agents, has work done without them, and starts them again. */
export async function without(
  fleet: Fleet,
  absent: readonly Running[],
  work: () => Promise<unknown>,
): Promise<Fleet> {
  await Promise.all(absent.map(({ stop }) => stop('SIGKILL')));
  await work();
  const back = await inTurns(absent, ({ again }) => again());
  await untilNeighbours(back);
  const agents = fleet.agents.map((one) => back[absent.indexOf(one)] ?? one);
  return { ...fleet, agents, all: [fleet.server, ...fleet.stores, ...agents] };
}

function untilNeighbours(agents: readonly Running[]): Promise<void> {
  return untilAll(agents, 'has a neighbour', ({ gossip }) => gossip.peers.length > 0);
}

function roleArgs(kind: Kind, log: string, store: string | undefined, place: string): readonly string[] {
  if (kind === 'publisher')
    return ['--qedUrls', log, '--sink', `file:${place}.jsonl`, ...(store ? ['--endpoints', store] : [])];
  return [kind === 'monitor' ? '--endpoints' : '--qedUrls', log, ...(store ? ['--pubUrls', store] : [])];
}

async function inTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += STARTED_AT_ONCE)
    results.push(...(await Promise.all(items.slice(at, at + STARTED_AT_ONCE).map(work))));
  return results;
}

/** Resolves when it has said where it listens; from then on its log is read for what came when. */
function follow(
  children: ChildProcess[],
  again: Running['again'],
  kind: Kind,
  name: string,
  args: readonly string[],
  figuresUrl?: string,
): Promise<Running> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('QED_')));
  const child = spawn(process.execPath, [QED, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const arrivals: Record<Way, Arrival[]> = { gossip: [], file: [], store: [] };
  const alerts: string[] = [];
  let said = '';
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return new Promise((resolve, reject) => {
    let isReady = false;
    let isTold = false;
    function read(line: string): void {
      if (isReady) {
        hear(line, arrivals, alerts);
        return;
      }
      said += `${line}\n`;
      const [url, figures] = addressesIn(said, kind);
      if (figures === undefined && (figuresUrl === undefined || url === undefined)) return;
      isReady = true;
      resolve({
        kind,
        name,
        pid: child.pid ?? 0,
        url: url ?? '',
        figuresUrl: figuresUrl ?? figures ?? '',
        arrivals,
        alerts,
        again,
        async stop(signal) {
          isTold = true;
          child.kill(signal);
          await ended;
        },
      });
    }
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', read);
    void ended.then(() => {
      if (!isTold) alerts.push('it has ended though nobody told it to');
      reject(new Error(`${name} has ended: ${said}`));
    });
  });
}

function addressesIn(
  said: string,
  kind: Kind,
): readonly [api: string | undefined, figures: string | undefined] {
  if (kind === 'server') {
    const figures = /^ +metrics +(http:\S+)\/metrics$/m.exec(said)?.[1];
    return [/^ +api +(http:\S+)/m.exec(said)?.[1], figures];
  }
  if (kind === 'store') return [/ at (http:\S+)$/m.exec(said)?.[1], undefined];
  return [undefined, /metrics and status at (http:[^\s"]+)/.exec(said)?.[1]];
}

/** A line of the log of an agent. */
function hear(line: string, arrivals: Record<Way, Arrival[]>, alerts: string[]): void {
  const [, time, text = ''] = /"time":(\d+),.*?"msg":"(.*)"/.exec(line) ?? [];
  const at = Number(time);
  const heard = /^gossip brought version (\d+), new$/.exec(text)?.[1];
  if (heard !== undefined) arrivals.gossip.push({ version: Number(heard), at });
  const [, sink = '', delivered] = /^(file|http)\S*: delivered .* up to version (\d+)$/.exec(text) ?? [];
  if (delivered !== undefined)
    arrivals[sink === 'file' ? 'file' : 'store'].push({ version: Number(delivered), at });
  if (text.startsWith('ALERT')) alerts.push(text);
}

async function getJson(url: string): Promise<unknown> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
    return await answer.json();
  } catch (cause) {
    throw new Error(`${url} does not answer: ${String(cause)}`, { cause });
  }
}

export async function statusOf({ figuresUrl }: Running): Promise<Status> {
  return statusForm.parse(await getJson(`${figuresUrl}/status`));
}

/** The sum of a figure over all its labels, or those that begin so. */
export async function figureOf({ figuresUrl }: Running, name: string): Promise<number> {
  const text = await (await fetch(`${figuresUrl}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Up to where an agent has verified everything; -1 before the first. */
export function reachedBy({ verified }: Status): number {
  const version = verified?.version ?? -1;
  return verified?.complete === undefined ? version : Math.min(version, verified.complete ?? -1);
}

/** Every agent has what the log has published up to a version, and every sink got it. */
export async function untilReached(fleet: Fleet, version: number, deadlineMs = READY_MS): Promise<void> {
  await untilAll(
    fleet.agents,
    `has everything up to version ${version}`,
    (status) => reachedBy(status) >= version && (status.sinks ?? []).every(({ waiting }) => waiting === 0),
    deadlineMs,
  );
}

async function untilAll(
  agents: readonly Running[],
  what: string,
  isSo: (status: Status) => boolean,
  deadlineMs = READY_MS,
): Promise<void> {
  for (const agent of agents) {
    await until(
      `${agent.name} ${what}`,
      async () => {
        const status = await statusOf(agent).catch(() => undefined);
        if (status !== undefined && isSo(status)) return true;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return false;
      },
      deadlineMs,
    );
  }
}

/** Everything that the log, or a store, lists. */
export async function published({ road }: Fleet, url: string): Promise<readonly SignedSnapshot[]> {
  const { transport } = road;
  const source = createSource({ urls: [url], transport, now: Date.now, jitter: Math.random });
  const all: SignedSnapshot[] = [];
  for (;;) {
    const page = await source.published((all.at(-1)?.snapshot.version ?? -1) + 1, PAGE, ANSWER_MS);
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}

/** Ends the agents, opens what each has kept, and compares it with what the log has published. Whatever has a signature is verified as well. */
export async function readBack(fleet: Fleet, listed: readonly SignedSnapshot[]): Promise<readonly Holding[]> {
  const holdings: Holding[] = [];
  for (const store of fleet.stores)
    holdings.push(compare(store.name, await published(fleet, store.url), listed, fleet.log));
  await Promise.all(fleet.agents.map(({ stop }) => stop('SIGTERM')));
  for (const { kind, name } of fleet.agents) {
    const place = join(fleet.directory, name);
    if (kind === 'auditor') holdings.push(await compareReplica(name, join(place, 'replica'), listed));
    else {
      const lines = kind === 'publisher' ? linesOf(`${place}.jsonl`) : await journalOf(join(place, 'db'));
      holdings.push(compare(name, lines.map(parseLine), listed, fleet.log));
    }
  }
  return holdings;
}

function linesOf(path: string): readonly string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : [];
}

async function journalOf(path: string): Promise<readonly string[]> {
  const store = await openLevelStore(path);
  try {
    const journal = await openJournal(store, JOURNAL_MAX);
    const lines: string[] = [];
    for await (const { line } of journal.from(0)) lines.push(line);
    return lines;
  } finally {
    await store.close();
  }
}

function compare(
  name: string,
  held: readonly SignedSnapshot[],
  listed: readonly SignedSnapshot[],
  log: Verifier,
): Holding {
  for (const one of held) checkSignedSnapshot(one, { log }, { hash: nativeHash, verify: nativeVerify });
  const found = new Map(held.map((one) => [one.snapshot.version, one]));
  const wanted = listed.map((one) => ({ one, theirs: found.get(one.snapshot.version) }));
  const present = wanted.filter(({ theirs }) => theirs !== undefined).length;
  return {
    name,
    held: held.length,
    missing: listed.length - present,
    different: wanted.filter(({ one, theirs }) => theirs && !isSame(one, theirs)).length,
    surplus: held.length - present,
  };
}

/** Cosignatures may differ: a head that is said again gets new ones. */
function isSame(a: SignedSnapshot, b: SignedSnapshot): boolean {
  const textOf = ({ checkpoint }: SignedSnapshot): string => checkpoint.split('\n\n')[0]!;
  return (
    textOf(a) === textOf(b) &&
    a.snapshot.time === b.snapshot.time &&
    equalBytes(a.snapshot.hyperDigest, b.snapshot.hyperDigest)
  );
}

/** An auditor keeps entries instead of snapshots: each snapshot must be what they lead to. */
async function compareReplica(
  name: string,
  path: string,
  listed: readonly SignedSnapshot[],
): Promise<Holding> {
  const replica = await openReplica({ path, hash: nativeHash, onEvent: () => undefined });
  try {
    const replayed = listed.filter(({ snapshot }) => snapshot.version < replica.size);
    const different = replayed.filter(
      ({ snapshot }) => !equalBytes(replica.rootAt(snapshot.version + 1), snapshot.historyDigest),
    );
    return {
      name,
      held: replayed.length,
      missing: listed.length - replayed.length,
      different: different.length,
      surplus: 0,
    };
  } finally {
    await replica.close();
  }
}
