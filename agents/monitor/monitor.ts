// The monitor: watches the log from outside. It keeps the last head that it has verified and demands of every other state that it meets (over gossip, on the list
// of the log, at every node, in every store) that it belongs to the same history; and it watches that the log answers, goes on, and is heard.
//
// It promises: what it calls tampering it can prove, with an evidence file that anybody checks with the vkey alone. What answers wrongly and proves nothing is
// inconsistent; what does not answer is an outage; what shows an old state, or nothing new, is stale; what is late lags.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type Policy } from '../../src/crypto/policy.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { splitViewOf } from '../accuse.ts';
import { type Agent } from '../agent.ts';
import { pause, startDelivery, type Delivery } from '../delivery.ts';
import { followLog, registerFollowFigures, type FollowFigures } from '../follow.ts';
import { openJournal, type Journal } from '../journal.ts';
import { type KnownLog } from '../known-log.ts';
import { type SignedCheckpoint } from '../witness/witness.ts';
import { watchConditions, type Conditions } from './conditions.ts';
import { openHistory } from './history.ts';
import { keepMarks } from './marks.ts';
import { watchNodes } from './nodes.ts';
import { keepPulse } from './pulse.ts';
import { openSettling, type Settling } from './settling.ts';
import { registerFigures, statusOf, type Parts } from './status.ts';
import { watchStores } from './stores.ts';

export interface MonitorOptions {
  /** Nodes of the log that were named. */
  readonly endpoints: readonly string[];
  /** Snapshot stores. */
  readonly stores: readonly string[];
  readonly apiKey?: string | undefined;
  /** API key of the stores. */
  readonly storeKey?: string | undefined;
  /** Whose cosignatures say how fresh a head is. */
  readonly policy?: Policy | undefined;
  /** Snapshots that are remembered. */
  readonly keep: number;
  readonly timing?: Partial<MonitorTiming>;
  readonly now: () => number;
  readonly jitter: () => number;
}

export interface MonitorTiming {
  /** From one look at everything to the next. */
  readonly everyMs: number;
  /** The log repeats its newest head every ten seconds; silence for so long means that it stands still. */
  readonly maxAgeMs: number;
  /** What was known so long ago must be everywhere by now: at every node, in every store, in gossip. */
  readonly maxLagMs: number;
  /** What gives no usable answer for so long is out. */
  readonly maxOutageMs: number;
}

export const monitorTiming: MonitorTiming = {
  everyMs: 2_000,
  maxAgeMs: 60_000,
  maxLagMs: 10_000,
  maxOutageMs: 15_000,
};

export interface Monitor {
  readonly head: () => SignedSnapshot | undefined;
  /** Somebody has brought a checkpoint that the log has signed. */
  readonly meet: (checkpoint: SignedCheckpoint) => void;
  readonly status: () => Readonly<Record<string, unknown>>;
  readonly close: () => Promise<void>;
}

const BATCH = 64;

/** Resolves when the journal is there. Watching begins when the log is known. */
export async function startMonitor(agent: Agent, options: MonitorOptions): Promise<Monitor> {
  const { logger, knowledge, registry } = agent;
  const journal = await openJournal(agent.state, options.keep);
  const follow = registerFollowFigures(registry);
  const stop = new AbortController();
  const timing = { ...monitorTiming, ...options.timing };
  const conditions = watchConditions({
    raise: agent.alert,
    clear: agent.clearAlert,
    onOver: (kind, subject) => logger.info(`over: ${kind}, ${subject}`),
    now: options.now,
  });
  let parts: Parts | undefined;
  let loop: Promise<void> | undefined;
  registerFigures(registry, () => parts);

  function begin(log: KnownLog): void {
    if (stop.signal.aborted) return;
    parts = openParts(agent, { ...options, timing }, log, { journal, conditions, figures: follow });
    const { head } = parts.history;
    const from = head ? `version ${head.snapshot.version}` : 'the first state that it shows';
    logger.info(`watching ${log.verifier.name} from ${from} on`);
    loop = run(parts, agent, timing.everyMs, stop.signal);
  }

  /** A log of which nothing is known is out, like one that stops to answer. */
  async function awaitLog(): Promise<void> {
    while (!stop.signal.aborted && knowledge.log === undefined) {
      const message = `nobody has said yet which log it is that should be watched: ${options.endpoints.join(', ') || 'no node of it was named'}`;
      conditions.set('outage', 'log', { message, code: 'vkey-unknown' }, timing.maxOutageMs);
      await pause(timing.everyMs, stop.signal);
    }
  }

  knowledge.known
    .then(begin)
    .catch((error: unknown) => logger.error({ err: error }, 'the monitor cannot begin'));
  const awaiting = awaitLog();

  return {
    head: () => parts?.history.head,
    meet({ size, root, note }) {
      const { log } = knowledge;
      const known = size > 0 ? parts?.history.known(size - 1) : undefined;
      if (!log || known === undefined || equalBytes(known.snapshot.historyDigest, root)) return;
      agent.alert(splitViewOf(log, size - 1, [known.checkpoint, note]));
    },
    status: () => (parts ? statusOf(parts) : {}),
    async close() {
      stop.abort();
      await awaiting;
      if (parts) {
        const { intake, delivery, stores } = parts;
        await Promise.all([intake.close(), delivery.close(), stores.close(), loop]);
      }
    },
  };
}

interface Foundation {
  readonly journal: Journal;
  readonly conditions: Conditions;
  readonly figures: FollowFigures;
}

function openParts(
  agent: Agent,
  options: MonitorOptions & { readonly timing: MonitorTiming },
  log: KnownLog,
  { journal, conditions, figures }: Foundation,
): Parts {
  const { now, jitter, timing, policy } = options;
  const { primitives, transport, logger, state, source } = agent;
  const raise = agent.alert;
  const clear = agent.clearAlert;
  const marks = keepMarks(now);
  const shared = { ...timing, log, primitives, transport, conditions, marks, journal, raise, now, jitter };
  const nodes = watchNodes({
    ...shared,
    source,
    named: options.endpoints,
    apiKey: options.apiKey,
    async onSigned(signed) {
      await settling.glance(signed);
      pulse.see(signed);
    },
  });
  const history = openHistory({
    log: log.verifier,
    primitives,
    state,
    provers: nodes.list,
    before: (version) => journaledBefore(journal, version),
  });
  if (history.head) marks.note(history.head.snapshot.version + 1);
  const settling = openSettling({ ...shared, history });
  const stores = watchStores({
    ...shared,
    clear,
    urls: options.stores,
    apiKey: options.storeKey,
    onOlder: settling.glance,
    onFailure: (error) => logger.error({ err: error }, 'what a store shows could not be kept'),
  });
  const pulse = keepPulse({ ...shared, name: log.verifier.name, policy, verify: primitives.verify });
  const intake = followLog({
    agent,
    journal,
    log,
    figures,
    onTaken: (added) => added.forEach(stores.expect),
    onHeard: pulse.hear,
  });
  const delivery = deliver(agent, options, journal, settling);
  return { history, settling, nodes, stores, pulse, marks, conditions, journal, intake, delivery };
}

/** The newest state of the journal up to a version. */
async function journaledBefore(journal: Journal, version: number): Promise<SignedSnapshot | undefined> {
  const found = await journal.versionBefore(version + 1);
  if (found === null) return undefined;
  for await (const { line } of journal.from(found)) return parseLine(line);
  return undefined;
}

/** From the journal to the judgement, each state at least once. */
function deliver(
  agent: Agent,
  { now, jitter }: MonitorOptions,
  journal: Journal,
  settling: Settling,
): Delivery {
  return startDelivery({
    name: 'verification',
    queue: journal.queue,
    store: agent.state,
    batchMax: BATCH,
    async send(items) {
      for (const item of items) await settling.settle(parseLine(journal.entryOf(item).line));
    },
    onFailure(error) {
      // That the log does not answer is watched elsewhere; that our own disk does not is not.
      const isOurs = error instanceof QedError && error.code.startsWith('store-');
      agent.logger[isOurs ? 'error' : 'debug']({ err: error }, 'not verified yet; trying again');
    },
    onRecovery: () => undefined,
    onHole: (count) =>
      agent.alert({
        kind: 'lag',
        subject: 'verification',
        message: `${count} snapshots were forgotten before they were verified: the log did not answer for too long, or --keep is too small`,
      }),
    now,
    jitter,
  });
}

async function run(
  { settling, nodes, stores, pulse }: Parts,
  { logger }: Agent,
  everyMs: number,
  signal: AbortSignal,
): Promise<void> {
  async function look(): Promise<void> {
    await nodes.look();
    await settling.retry();
    pulse.watch(nodes.list().some(({ gossips }) => gossips));
    await stores.lookForConflicts();
  }
  await settling.takeUp();
  while (!signal.aborted) {
    await look().catch((error: unknown) => logger.error({ err: error }, 'a look at the log has failed'));
    await pause(everyMs, signal);
  }
}
