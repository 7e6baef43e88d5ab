// The auditor: replays the log and holds everything that is said about it against the replay: what the log answers, what gossip brings, what stores show.
import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { Counter, Gauge } from 'prom-client';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type Checkpoint } from '../../src/crypto/checkpoint.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { type Received } from '../../src/gossip/snapshots.ts';
import { type BalloonEvent } from '../../src/storage/open-hyper.ts';
import { type Agent } from '../agent.ts';
import { pause } from '../delivery.ts';
import { type KnownLog } from '../known-log.ts';
import { createSource } from '../source.ts';
import { type Vouch } from '../witness/witness.ts';
import { createAskLog, type AskLog } from '../ask.ts';
import { startAudit, type Audit, type AuditTiming, type Met } from './audit.ts';
import { type Copy } from './copy.ts';
import { openFull } from './full.ts';
import { createPace, type Pace } from './pace.ts';
import { createProve } from '../prove.ts';
import { startQuestions, type Questions } from './questions.ts';
import { openReplica } from './replica.ts';
import { openSample } from './sample.ts';
import { watchStore, type StoreTiming, type StoreWatch } from '../store-watch.ts';

export interface AuditorOptions {
  /** Snapshot stores. */
  readonly pubUrls: readonly string[];
  readonly storeKey?: string | undefined;
  /** Follows the heads alone, instead of replaying the log. */
  readonly isSample: boolean;
  /** Between two random questions. */
  readonly askEveryMs: number;
  /** The replica is kept in a directory of it. */
  readonly statePath?: string | undefined;
  readonly timing?: Partial<AuditTiming>;
  readonly storeTiming?: Partial<StoreTiming>;
}

export interface Auditor {
  /** What a witness may cosign: what was replayed. Waits a little for the replay, since a log may ask before it publishes. */
  readonly vouch: Vouch;
  readonly status: () => Readonly<Record<string, unknown>>;
  readonly close: () => Promise<void>;
}

/** Questions at a time, and what counts as slow. */
const WIDTH_MAX = 8;
const SLOW_MS = 500;
/** Agents are often started before the log. */
const UNKNOWN_MS = 60_000;
/** So long a log waits for a witness, at most; how often one looks, and asks the log. */
const VOUCH_MS = 3_000;
const VOUCH_STEP_MS = 25;
const VOUCH_ASK_MS = 500;

/** What runs once the log is known. */
interface Running {
  readonly copy: Copy;
  readonly audit: Audit;
  readonly questions: Questions;
  readonly stores: readonly StoreWatch[];
  readonly pace: Pace;
}

export function startAuditor(agent: Agent, options: AuditorOptions): Auditor {
  const { logger, knowledge } = agent;
  const stop = new AbortController();
  let running: Running | undefined;
  let failure: string | undefined;
  const figures = registerFigures(agent, () => running);
  agent.setStatus(() => statusOf(running, failure));

  function onBroken(error: unknown): void {
    failure = error instanceof Error ? error.message : String(error);
    logger.error({ err: error }, 'the audit has ended: something of the auditor itself is broken');
    const code = error instanceof QedError ? error.code : 'bug';
    const message = `the audit has ended, nothing is verified any more: the auditor itself is broken: ${failure}`;
    agent.alert({ kind: 'outage', subject: 'auditor', code, message });
  }

  const waiting = setTimeout(sayUnknown, UNKNOWN_MS);

  /** Not even the key: nobody who was named has answered. */
  function sayUnknown(): void {
    const message = `no log is known to audit: ${agent.source.urls.join(', ') || 'no URL'} has not answered, and no member has named one`;
    agent.alert({ kind: 'outage', subject: 'log', code: 'vkey-unknown', message });
  }

  const begun = knowledge.known.then(async (log) => {
    clearTimeout(waiting);
    agent.clearAlert('outage', 'log');
    if (stop.signal.aborted) return;
    running = await begin(agent, options, log, { figures, signal: stop.signal, onBroken });
    const { copy } = running;
    logger.info(`auditing ${log.verifier.name}, ${copy.size} events are verified already`);
  });
  begun.catch(onBroken);
  return {
    vouch: (checkpoint) => vouchFor(checkpoint, running, stop.signal),
    status: () => statusOf(running, failure),
    async close() {
      clearTimeout(waiting);
      stop.abort();
      // While the log is not known, nothing runs.
      if (knowledge.log !== undefined) await begun.catch(() => undefined);
      if (running === undefined) return;
      const { questions, stores, audit } = running;
      await Promise.all([questions.close(), audit.close(), ...stores.map((one) => one.close())]);
    },
  };
}

/** With --sample there is no replay, and that the checkpoint follows from the last one has to do. */
async function vouchFor(
  { size, root }: Checkpoint,
  running: Running | undefined,
  signal: AbortSignal,
): Promise<'yes' | 'later' | 'never'> {
  if (running === undefined) return 'later';
  const { copy, audit } = running;
  if (!copy.holdsAll) return 'yes';
  for (let waitedMs = 0; waitedMs < VOUCH_MS && !signal.aborted; waitedMs += VOUCH_STEP_MS) {
    const replayed = copy.rootAt(size);
    if (replayed !== undefined) return equalBytes(replayed, root) ? 'yes' : 'never';
    if (waitedMs % VOUCH_ASK_MS === 0) audit.recheck();
    await pause(VOUCH_STEP_MS, signal);
  }
  return 'later';
}

interface Inside {
  readonly figures: Figures;
  readonly signal: AbortSignal;
  readonly onBroken: (error: unknown) => void;
}

async function begin(
  agent: Agent,
  options: AuditorOptions,
  known: KnownLog,
  inside: Inside,
): Promise<Running> {
  const { verifier: log } = known;
  const { primitives, state } = agent;
  const { figures, signal, onBroken } = inside;
  const [raise, clear, now] = [agent.alert, agent.clearAlert, () => performance.now()];
  const sleep = (milliseconds: number): Promise<void> => pause(milliseconds, signal);
  const ask = createAskLog(agent.source, Date.now);
  const pace = createPace({ widthMax: WIDTH_MAX, slowMs: SLOW_MS, now, sleep });
  const copy = await openCopy(agent, options, known, { ask, pace, signal });
  const onCompared = (met: Met): void => figures.compared.inc({ from: met });
  const { timing = {}, storeTiming = {} } = options;
  const audit = startAudit({
    log,
    ask,
    copy,
    state,
    primitives,
    raise,
    clear,
    onCompared,
    onBroken,
    now,
    timing,
  });
  const questions = startQuestions({
    log,
    ask,
    copy,
    audit,
    primitives,
    raise,
    random: (length) => new Uint8Array(randomBytes(length)),
    everyMs: options.askEveryMs,
    onEnd: (kind, end) => figures.questions.inc({ kind, end }),
  });
  const stores = options.pubUrls.map((url) =>
    watchStore({
      url,
      store: createSource({
        urls: [url],
        apiKey: options.storeKey,
        transport: agent.transport,
        now: Date.now,
        jitter: Math.random,
      }),
      log,
      primitives,
      onSigned: (signed) => audit.offer(signed, 'store'),
      raise,
      clear,
      now,
      timing: storeTiming,
    }),
  );
  agent.onUrls(() => audit.recheck());
  agent.listen(known, (received) => hear(received, audit, stores));
  return { copy, audit, questions, stores, pace };
}

function hear({ kind, signedSnapshot, other }: Received, audit: Audit, stores: readonly StoreWatch[]): void {
  audit.heard();
  if (kind === 'repeated') return;
  if (other !== undefined) audit.offer(other, 'gossip');
  audit.offer(signedSnapshot, 'gossip');
  for (const store of stores) store.heard(signedSnapshot);
}

interface Ways {
  readonly ask: AskLog;
  readonly pace: Pace;
  readonly signal: AbortSignal;
}

async function openCopy(
  agent: Agent,
  { isSample, statePath }: AuditorOptions,
  { verifier: log }: KnownLog,
  { ask, pace, signal }: Ways,
): Promise<Copy> {
  const { primitives, state, logger } = agent;
  const prove = createProve(log, ask, primitives);
  const parts = { log, ask, prove, state, primitives, raise: agent.alert, below: randomBelow };
  if (isSample) return openSample({ ...parts, now: () => performance.now() });
  const replica = await openReplica({
    path: statePath === undefined ? undefined : join(statePath, 'replica'),
    hash: primitives.hash,
    onEvent: (event) => logger.info(describe(event)),
  });
  try {
    return openFull({ ...parts, pace, replica, signal, keepsFiles: statePath !== undefined });
  } catch (error) {
    await replica.close();
    throw error;
  }
}

function randomBelow(below: number): number {
  return randomInt(below);
}

function describe(event: BalloonEvent): string {
  if (event.kind === 'rebuilding') return `opening the replica: ${event.versions} of ${event.of} events`;
  if (event.kind === 'image-damaged')
    return `the image of the replica is damaged and was set aside as ${event.aside}: ${event.why}`;
  return `the image of the replica cannot be written: ${String(event.error)}`;
}

type Figures = ReturnType<typeof registerFigures>;

function registerFigures({ registry }: Agent, look: () => Running | undefined) {
  const registers = [registry];
  const gauge = (name: string, help: string, value: (running: Running) => number): void => {
    const made: Gauge = new Gauge({
      name,
      help,
      registers,
      collect() {
        const running = look();
        if (running !== undefined) made.set(value(running));
      },
    });
  };
  gauge(
    'qed_agent_verified_events',
    'Events in the log as the newest verified snapshot shows it.',
    ({ copy }) => copy.size,
  );
  gauge('qed_auditor_behind_events', 'Events that are signed and not verified yet.', ({ audit }) => {
    return audit.figures().behindEvents;
  });
  gauge(
    'qed_auditor_behind_seconds',
    'Since when the oldest state that is not verified yet is known.',
    ({ audit }) => audit.figures().behindMs / 1000,
  );
  gauge(
    'qed_auditor_fetch_width',
    'Questions to the log at a time. 1: it is slow.',
    ({ pace }) => pace.width,
  );
  return {
    compared: new Counter<'from'>({
      name: 'qed_auditor_compared_total',
      help: 'Signed states that were held against the verified log, by where they were met.',
      labelNames: ['from'],
      registers,
    }),
    questions: new Counter<'kind' | 'end'>({
      name: 'qed_auditor_questions_total',
      help: 'Random questions that the log answered.',
      labelNames: ['kind', 'end'],
      registers,
    }),
  };
}

function statusOf(
  running: Running | undefined,
  failure: string | undefined,
): Readonly<Record<string, unknown>> {
  if (running === undefined) return { wrong: failure === undefined ? [] : [failure] };
  const { copy, audit, stores, pace } = running;
  const { newest, behindEvents, behindMs, compared, waiting, dropped, troubles } = audit.figures();
  return {
    wrong: [...(failure === undefined ? [] : [failure]), ...troubles],
    verified: { version: copy.size === 0 ? null : copy.size - 1, ...copy.figures() },
    head: headOf(copy.head),
    newest: newest < 0 ? null : newest,
    behind: { events: behindEvents, seconds: Math.round(behindMs / 100) / 10 },
    states: { compared, waiting, dropped },
    stores: stores.map((one) => one.figures()),
    fetchWidth: pace.width,
  };
}

function headOf(head: SignedSnapshot | undefined): unknown {
  return head === undefined ? null : { version: head.snapshot.version, time: head.snapshot.time };
}
