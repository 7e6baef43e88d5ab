// A node's part in its cluster: the replicated log, the database that follows it, and the two ways in which the database does: record by record, or,
// when it lags too far, by fetching entries from peers. At any time at most one of them writes.
import { setTimeout as wait } from 'node:timers/promises';
import { signSnapshot } from '../balloon/sign.ts';
import { nativeVerify } from '../crypto/ed25519-node.ts';
import { type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { catchUp, createCatchUpAnswers } from '../replication/catch-up.ts';
import { type ClusterEvent, type ClusterLog, type ClusterLogOptions } from '../replication/cluster-log.ts';
import { type AppendOptions, type LogStatus } from '../replication/replicated-log.ts';
import { type Peer } from '../replication/transport.ts';
import { type Applied, type DurableBalloon } from '../storage/durable-balloon.ts';
import { startApplier, type Applier } from './applier.ts';
import { type HealthWatch } from './health.ts';
import { type Identity } from './identity.ts';

/** What the log needs of the node that it is opened for. */
export type LogHooks = Pick<ClusterLogOptions, 'appliedIndex' | 'onSnapshot' | 'serve' | 'onEvent'>;

export type ReplicaEvent =
  | Exclude<ClusterEvent, { readonly kind: 'failed' }>
  | { readonly kind: 'leader'; readonly leaderId: string | undefined; readonly term: number }
  /** Entries that came from a peer so far. */
  | { readonly kind: 'fetched'; readonly versions: number; readonly of: number };

export interface ReplicaOptions {
  readonly openLog: (hooks: LogHooks) => Promise<ClusterLog>;
  readonly durable: DurableBalloon;
  readonly hash: Hash;
  readonly identity: Identity;
  readonly watch: Pick<HealthWatch, 'noteFailedWrite'>;
  readonly onApplied?: (() => void) | undefined;
  readonly onEvent: (event: ReplicaEvent) => void;
  /** Answers what peers ask beside what they need to catch up. */
  readonly answerPeer: (path: string) => Promise<Uint8Array | undefined>;
}

export interface Replica {
  readonly log: ClusterLog;
  /** Appends a record; resolves when it is applied here. */
  readonly propose: (payload: Uint8Array, options?: AppendOptions) => Promise<Applied>;
  /** Resolves when everything that any node acknowledged before the call is applied here. */
  readonly linearize: (signal?: AbortSignal) => Promise<void>;
  /** Why it is not in step with its cluster; undefined when it is. */
  readonly lateness: () => QedError | undefined;
  /** Whether it cannot apply anything until it is opened again. */
  readonly isStuck: () => boolean;
  readonly close: () => Promise<void>;
}

const RETRY_MS = 1_000;
/** How long a peer that catches up waits for us to be as far as it needs. */
const ANSWER_MS = 20_000;

/** Resolves when all that this node knows to be committed is applied; what it has to fetch from peers may come later. */
export async function openReplica(options: ReplicaOptions): Promise<Replica> {
  const { durable, identity, watch, onEvent } = options;
  const { balloon } = durable;
  const stop = new AbortController();
  let log: ClusterLog | undefined = undefined;
  let applier: Applier | undefined;
  let lateness: QedError | undefined;
  let fetching: Promise<unknown> = Promise.resolve();
  let fetches = 0;
  let background: Promise<unknown> = Promise.resolve();

  function opened(): ClusterLog {
    if (log) return log;
    throw new QedError('busy', 'this node is starting');
  }

  const pause = (): Promise<void> =>
    wait(RETRY_MS, undefined, { signal: stop.signal }).catch(() => undefined);

  /** One after the other: two would adopt the same batches. */
  function fetchMissing(index: number, peers: readonly Peer[], signal: AbortSignal): Promise<number> {
    const { hash } = options;
    const { verifier } = identity.signer;
    const onProgress = (progress: { readonly versions: number; readonly of: number }): void =>
      onEvent({ kind: 'fetched', ...progress });
    const run = (): Promise<number> =>
      catchUp({ durable, peers, index, log: verifier, hash, verify: nativeVerify, signal, onProgress });
    fetches += 1;
    const result = fetching.then(run).finally(() => (fetches -= 1));
    fetching = result.catch(() => undefined);
    return result;
  }

  async function reach(index: number, signal?: AbortSignal): Promise<void> {
    const record = await opened().recordBy(index, signal);
    if (record <= balloon.appliedIndex) return;
    if (!applier) throw notInStep();
    await applier.reach(record);
  }

  let toldLeader: string | undefined;
  function tellLeader({ leaderId, term, failure }: LogStatus): void {
    if (leaderId === toldLeader || failure || stop.signal.aborted) return;
    toldLeader = leaderId;
    onEvent({ kind: 'leader', leaderId, term });
  }

  function startApplying(): Applier {
    applier = startApplier({
      log: opened(),
      durable,
      onFailure: watch.noteFailedWrite,
      onApplied: options.onApplied,
    });
    return applier;
  }

  /** A database that holds a part of what a peer sent must get the rest before any record. */
  async function finishAdoption(): Promise<void> {
    while (durable.isAdopting && !stop.signal.aborted) {
      try {
        await fetchMissing(balloon.appliedIndex, opened().peers(), stop.signal);
      } catch (error) {
        onEvent({ kind: 'catch-up-failed', error });
        await pause();
      }
    }
    if (!stop.signal.aborted) startApplying();
  }

  async function linearize(signal?: AbortSignal): Promise<void> {
    await reach(await opened().readIndex(signal), signal);
  }

  /** Until it is in step again, what this node answers may be long out of date. */
  function fallBehind(): void {
    if (lateness) return;
    lateness = notInStep();
    background = Promise.all([background, getInStep()]);
  }

  async function getInStep(): Promise<void> {
    while (lateness && !stop.signal.aborted) {
      await linearize(stop.signal).then(() => (lateness = undefined), pause);
    }
  }

  const answerCatchUp = createCatchUpAnswers({
    durable,
    sign: (version) => signSnapshot(balloon, version, identity.signer),
    reach: (index) => reach(index, AbortSignal.any([stop.signal, AbortSignal.timeout(ANSWER_MS)])),
  });

  let beginFetching = (): void => undefined;
  const fetchBegan = new Promise<void>((resolve) => (beginFetching = resolve));

  log = await options.openLog({
    appliedIndex: balloon.appliedIndex,
    async onSnapshot({ index }, peers, signal) {
      fallBehind();
      beginFetching();
      const reached = await fetchMissing(index, peers, signal);
      applier?.moved(reached);
      return reached;
    },
    serve: async (path, signal) => (await options.answerPeer(path)) ?? answerCatchUp(path, signal),
    onEvent(event) {
      if (event.kind === 'failed') watch.noteFailedWrite(event.error);
      else onEvent(event);
    },
  });
  const { members, committedIndex } = log.status();
  tellLeader(log.status());
  log.onLeadership(tellLeader);
  if (members.length !== 1) fallBehind();
  try {
    if (durable.divergence) watch.noteFailedWrite(durable.divergence);
    else if (durable.isAdopting) background = Promise.all([background, finishAdoption()]);
    // Whoever has to fetch entries does not keep its operator waiting.
    else await Promise.race([startApplying().reach(committedIndex), fetchBegan]);
  } catch (error) {
    await close();
    throw error;
  }

  async function close(): Promise<void> {
    stop.abort();
    await log?.close();
    await background;
    await applier?.close();
  }

  return {
    log,
    propose(payload, options) {
      // What is proposed now would come back among what is fetched, and nobody could say what became of it.
      return applier && fetches === 0 ? applier.propose(payload, options) : Promise.reject(notInStep());
    },
    linearize,
    lateness: () => lateness,
    isStuck: () => applier?.failure !== undefined || durable.divergence !== undefined,
    close,
  };
}

function notInStep(): QedError {
  return new QedError('busy', 'this node is not in step with its cluster yet: it fetches what it missed', {
    hint: 'Ask another node, or try again later.',
  });
}
