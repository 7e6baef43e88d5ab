// The publisher: takes every snapshot that the log publishes, from gossip and, where gossip has lost some, from the log's own list; verifies it; and delivers
// it to every sink, at least once, in order, each at its own pace. A snapshot that contradicts another one is an alert, with both as evidence.
import { Counter, Gauge } from 'prom-client';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { type Agent } from '../agent.ts';
import { startDelivery, type Delivery } from '../delivery.ts';
import { contradictionOf, followLog, registerFollowFigures } from '../follow.ts';
import { type Intake } from '../intake.ts';
import { openJournal, type Journal } from '../journal.ts';
import { type KnownLog } from '../known-log.ts';
import { openFileSink } from './file-sink.ts';
import { type Sink, type SinkName } from './sink.ts';
import { openSqliteSink } from './sqlite-sink.ts';
import { openStoreSink } from './store-sink.ts';
import { openWsServer, type WsServer } from './ws-sink.ts';

export interface PublisherOptions {
  /** Snapshot stores. */
  readonly endpoints: readonly string[];
  readonly sinks: readonly SinkName[];
  readonly storeKey?: string | undefined;
  /** Snapshots that are kept for slow sinks and for replays. */
  readonly keep: number;
}

export interface Publisher {
  readonly journal: Journal;
  readonly wsPorts: readonly number[];
  readonly close: () => Promise<void>;
}

const BATCH = 256;
/** A sink that fails for so long is worth an alert. */
const OUTAGE_MS = 30_000;

/** Resolves when the journal and the WebSocket sinks are there. Delivery begins when the log is known. */
export async function startPublisher(agent: Agent, options: PublisherOptions): Promise<Publisher> {
  const { logger, knowledge } = agent;
  const journal = await openJournal(agent.state, options.keep);
  const servers: WsServer[] = [];
  for (const sink of options.sinks) {
    if (sink.kind === 'ws') servers.push(await openWsServer({ ...sink, journal }));
  }
  const parts: { readonly sinks: Sink[]; readonly deliveries: Delivery[]; intake: Intake | undefined } = {
    sinks: [],
    deliveries: [],
    intake: undefined,
  };
  const figures = registerFigures(agent, journal, parts.deliveries);
  let isClosed = false;

  function begin(log: KnownLog): void {
    if (isClosed) return;
    parts.intake = followLog({ agent, journal, log, figures: figures.follow });
    parts.sinks.push(...openSinks(agent, options, log));
    for (const sink of parts.sinks) parts.deliveries.push(deliver(agent, journal, sink, figures));
    logger.info(
      `publishing the snapshots of ${log.verifier.name} to ${[...parts.sinks, ...servers].map(({ name }) => name).join(', ')}`,
    );
  }

  knowledge.known
    .then(begin)
    .catch((error: unknown) => logger.error({ err: error }, 'the publisher cannot begin'));
  agent.setStatus(() => statusOf(journal, parts.deliveries, servers, parts.intake));
  return {
    journal,
    wsPorts: servers.map(({ port }) => port),
    async close() {
      isClosed = true;
      await parts.intake?.close();
      await Promise.all(parts.deliveries.map((one) => one.close()));
      await Promise.all([...parts.sinks, ...servers].map((one) => one.close()));
    },
  };
}

type Figures = ReturnType<typeof registerFigures>;

function registerFigures({ registry }: Agent, journal: Journal, deliveries: readonly Delivery[]) {
  const registers = [registry];
  const events: Gauge = new Gauge({
    name: 'qed_agent_verified_events',
    help: 'Events in the log as the newest verified snapshot shows it.',
    registers,
    collect: () => events.set(journal.versionLast + 1),
  });
  const waiting: Gauge<'sink'> = new Gauge({
    name: 'qed_sink_waiting',
    help: 'Snapshots that a sink does not have yet.',
    labelNames: ['sink'] as const,
    registers,
    collect() {
      for (const one of deliveries) waiting.set({ sink: sinkOf(one) }, one.figures().waiting);
    },
  });
  return {
    follow: registerFollowFigures(registry),
    delivered: new Counter({
      name: 'qed_sink_delivered_total',
      help: 'Snapshots that a sink has for good.',
      labelNames: ['sink'] as const,
      registers,
    }),
    failures: new Counter({
      name: 'qed_sink_failures_total',
      help: 'Deliveries that failed and are tried again.',
      labelNames: ['sink'] as const,
      registers,
    }),
  };
}

function openSinks(
  agent: Agent,
  { endpoints, sinks, storeKey }: PublisherOptions,
  log: KnownLog,
): readonly Sink[] {
  const { transport, primitives } = agent;
  const onConflict = (ours: string, theirs: string): void =>
    agent.alert(contradictionOf(log, parseLine(ours), parseLine(theirs)));
  const trust = { log: log.verifier };
  const stores = endpoints.map((url) =>
    openStoreSink({ url, apiKey: storeKey, transport, trust, primitives, onConflict }),
  );
  const others = sinks.flatMap((sink): readonly Sink[] => {
    if (sink.kind === 'file') return [openFileSink(sink.path)];
    return sink.kind === 'sqlite' ? [openSqliteSink({ path: sink.path, onConflict, now: Date.now })] : [];
  });
  return [...stores, ...others];
}

function deliver(agent: Agent, journal: Journal, sink: Sink, figures: Figures): Delivery {
  const { name } = sink;
  let hasSaid = false;
  const delivery = startDelivery({
    name: `sink ${name}`,
    queue: journal.queue,
    store: agent.state,
    batchMax: BATCH,
    async send(items, signal) {
      const entries = items.map(journal.entryOf);
      await sink.send(entries, await journal.versionBefore(entries[0]!.version), signal);
      figures.delivered.inc({ sink: name }, entries.length);
      agent.logger.debug(
        `${name}: delivered ${entries.length} snapshots, up to version ${entries.at(-1)!.version}`,
      );
    },
    onFailure(error, sinceMs) {
      figures.failures.inc({ sink: name });
      if (!hasSaid) agent.logger.warn({ err: error }, `${name}: not delivered; trying again`);
      hasSaid = true;
      if (sinceMs < OUTAGE_MS) return;
      const message = `${name} takes no snapshots since ${Math.round(sinceMs / 1000)} s: ${error instanceof Error ? error.message : String(error)}`;
      agent.alert({ kind: 'outage', subject: `sink ${name}`, message });
    },
    onRecovery() {
      hasSaid = false;
      agent.clearAlert('outage', `sink ${name}`);
      agent.logger.info(`${name}: delivered again`);
    },
    onHole(count) {
      const message = `${name} has lost ${count} snapshots: it was behind for longer than the publisher keeps them (--keep)`;
      agent.alert({ kind: 'lag', subject: `sink ${name}`, message });
    },
    now: Date.now,
    jitter: Math.random,
  });
  figures.delivered.inc({ sink: name }, 0);
  return delivery;
}

function sinkOf({ name }: Delivery): string {
  return name.replace(/^sink /, '');
}

function statusOf(
  journal: Journal,
  deliveries: readonly Delivery[],
  servers: readonly WsServer[],
  intake: Intake | undefined,
): Readonly<Record<string, unknown>> {
  return {
    verified: {
      version: journal.versionLast < 0 ? null : journal.versionLast,
      complete: journal.complete < 0 ? null : journal.complete,
    },
    intake: intake?.figures() ?? null,
    sinks: [
      ...deliveries.map((one) => ({ name: sinkOf(one), ...one.figures() })),
      ...servers.map((one) => ({ name: one.name, ...one.figures() })),
    ],
  };
}
