// A node: keys, database, balloon, replicated log, applier and batcher as one thing that takes events and answers questions.
//
// It promises: what `add` resolved for is durable and provable. An answer is made in one go from one committed state, so that a proof and the
// snapshot beside it belong together. Only the ends of applied records are ever signed.
// When a write fails it takes nothing more, and says why; it still answers what can be read. When it finds damage it stops answering as well.
import { type Balloon } from '../balloon/balloon.ts';
import { type IncrementalProof, type MembershipProof } from '../balloon/proof.ts';
import { type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type Entry } from '../history/entry.ts';
import { tileBytes, type TileName } from '../history/served.ts';
import { type ClusterLog, type MemberStatus } from '../replication/cluster-log.ts';
import { type MemberRecord } from '../replication/members.ts';
import { type LogStatus } from '../replication/replicated-log.ts';
import { type BalloonEvent, type DurableBalloon } from '../storage/durable-balloon.ts';
import { batcherLimits, createBatcher, type Added, type AddRequest, type BatcherLimits } from './batcher.ts';
import { registerClusterFigures } from './cluster-figures.ts';
import { createCosigning, type Cosigning } from './cosigning.ts';
import { startDuties, type Duties } from './duties.ts';
import { watchHealth, type Health } from './health.ts';
import { type Identity } from './identity.ts';
import { registerGauges, type Metrics } from './metrics.ts';
import { createNeighbours } from './neighbours.ts';
import { type Payloads } from './payloads.ts';
import { openReplica, type LogHooks, type Replica, type ReplicaEvent } from './replica.ts';
import { createSignedCache, type Signed, type SignedCache } from './signed.ts';

/** What a node tells its operator as it goes. */
export type NodeEvent =
  | BalloonEvent
  | ReplicaEvent
  | { readonly kind: 'log-repaired'; readonly repair: string }
  | { readonly kind: 'join-ignored' }
  | { readonly kind: 'set-aside'; readonly places: readonly string[] }
  | { readonly kind: 'join-retried'; readonly why: string; readonly tries: number }
  | { readonly kind: 'join-accepted'; readonly members: readonly string[] }
  /** A node has another history digest at a size: the one that is named, or this one. */
  | { readonly kind: 'disagreement'; readonly nodeId: string | undefined; readonly size: number }
  /** Comparing digests, or handing over, did not work out; it is tried again. */
  | { readonly kind: 'duty-failed'; readonly error: unknown }
  | { readonly kind: 'failed'; readonly error: QedError };

export interface NodeOptions {
  readonly limits?: Partial<BatcherLimits>;
  /** Milliseconds between two comparisons of the digests of all nodes. */
  readonly compareMs?: number | undefined;
  /** Milliseconds that a publication waits for the cosignatures of other nodes. */
  readonly cosignMs?: number | undefined;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly metrics: Metrics;
  readonly onEvent?: (event: NodeEvent) => void;
  /** The log has grown. */
  readonly onApplied?: (() => void) | undefined;
}

export interface Node {
  readonly identity: Identity;
  readonly add: (request: AddRequest) => Promise<Added>;
  /** The signed snapshot of the record that ends with `version`. */
  readonly signed: (version: number) => Signed;
  /** The present one; `log-empty` before the first event. */
  readonly latest: () => Signed;
  /** The first one that covers `version`. */
  readonly covering: (version: number) => Promise<Signed>;
  /** `version` only has to be there: the proof tells of the first version, which answers for every one. */
  readonly membership: (
    eventDigest: Uint8Array,
    version?: number,
  ) => { proof: MembershipProof; signed: Signed };
  readonly incremental: (start: number, end: number) => IncrementalProof;
  /** With the event itself where nodes keep events, and one of them has it. */
  readonly event: (version: number) => Promise<{ entry: Entry; event: Uint8Array | undefined }>;
  readonly tile: (name: TileName) => Uint8Array;
  /** Undefined while the log is empty. */
  readonly version: number | undefined;
  readonly status: () => LogStatus;
  /** Undefined while nobody leads, as far as this node knows. */
  readonly leader: () => MemberRecord | undefined;
  readonly members: () => readonly MemberStatus[];
  /** Calls back when this node won or lost its office, or another one did. Returns the way to stop. */
  readonly onLeadership: ClusterLog['onLeadership'];
  /** Joining, leaving and handing over, on any node; and faults between nodes, for exercises. */
  readonly orders: Pick<ClusterLog, 'join' | 'remove' | 'transferLeadership' | 'setFault'>;
  /** Resolves when everything that any node acknowledged before the call can be seen here; `no-leader` when the signal aborts first. */
  readonly linearize: (signal?: AbortSignal) => Promise<void>;
  /** What other nodes can know of this one: addresses to be found out only when it runs. */
  readonly setGossipAddr: (address: string) => void;
  /** Where gossip of the other nodes is to be found, as far as they answer. */
  readonly gossipOfPeers: () => Promise<readonly string[]>;
  /** Cosignatures of a snapshot of this log: to be collected from this cluster, or found in what was published. */
  readonly cosigning: Pick<Cosigning, 'collect' | 'known'>;
  readonly showCosigned: SignedCache['cosigned'];
  /** Stops answering for good: somebody found that the state of this node cannot be right. */
  readonly distrust: (error: QedError) => void;
  readonly health: () => Health;
  readonly close: () => Promise<void>;
}

export interface NodeParts {
  readonly identity: Identity;
  readonly durable: DurableBalloon;
  readonly openLog: (hooks: LogHooks) => Promise<ClusterLog>;
  readonly hash: Hash;
  readonly payloads?: Payloads | undefined;
  readonly storageBytes: () => Promise<{ readonly database: number; readonly log: number }>;
}

/** The node over parts that are open. It closes them all. Resolves when everything in the log is applied. */
export async function composeNode(parts: NodeParts, options: NodeOptions): Promise<Node> {
  const { identity, durable, payloads } = parts;
  const { metrics, onEvent = () => undefined } = options;
  const { balloon } = durable;
  let replica: Replica | undefined = undefined;
  let duties: Duties | undefined = undefined;
  const watch = watchHealth(
    (error) => onEvent({ kind: 'failed', error }),
    () => replica?.lateness(),
  );
  const cosigning = createCosigning({
    origin: identity.origin,
    cosigner: identity.cosigner,
    rootAt,
    peers: () => replica?.log.peers() ?? [],
    members: () => replica?.log.members() ?? [],
    onDisagreement(nodeId, size) {
      onEvent({ kind: 'disagreement', nodeId, size });
      duties?.suspect();
    },
    onCollected({ cosignatures, seconds }) {
      metrics.cosignatures.observe(cosignatures);
      metrics.cosignSeconds.observe(seconds);
    },
    now: options.now,
    waitMs: options.cosignMs,
  });
  const neighbours = createNeighbours({ log: () => replica?.log, payloads, cosigning });

  /** Only where a batch ends: other roots were never a state of the log. What is not sound vouches for nothing. */
  async function rootAt(size: number): Promise<Uint8Array | undefined> {
    watch.checkAnswering();
    if (size > balloon.size || (await durable.batchEnd(size - 1)) !== size - 1) return undefined;
    return balloon.snapshotAt(size - 1).snapshot.historyDigest;
  }
  function onApplied(): void {
    cosigning.notify();
    options.onApplied?.();
  }
  replica = await openReplica({ ...parts, watch, onEvent, answerPeer: neighbours.answer, onApplied });
  const { log, propose, linearize, close } = replica;
  duties = startDuties({
    log,
    durable,
    isStuck: replica.isStuck,
    compareMs: options.compareMs,
    onDivergence: watch.noteFailedWrite,
    onFailure: (error) => onEvent({ kind: 'duty-failed', error }),
  });
  if (log.repair !== undefined) onEvent({ kind: 'log-repaired', repair: log.repair });
  const batcher = createBatcher({
    limits: { ...batcherLimits, ...options.limits },
    now: options.now,
    async propose(payload, requests) {
      if (payloads) await payloads.keep(requests).catch(failWrite);
      // The same request under the same key is logged once, so a record of such may be sent again when no answer came.
      const isRepeatable = requests.every(({ key }) => key !== undefined);
      return propose(payload, { isRepeatable }).catch((error: unknown) => {
        const { failure } = log.status();
        if (failure) watch.noteFailedWrite(failure);
        throw error;
      });
    },
    onRecord({ events, seconds }) {
      metrics.batchEvents.observe(events);
      metrics.commitSeconds.observe(seconds);
    },
  });
  const signed = createSignedCache(balloon, identity);

  function failWrite(error: unknown): never {
    if (error instanceof QedError) watch.noteFailedWrite(error);
    throw error;
  }

  /** Runs a question in one go. */
  function ask<Answer>(question: () => Answer): Answer {
    watch.checkAnswering();
    try {
      return question();
    } catch (error) {
      throw watch.note(error);
    }
  }

  async function add(request: AddRequest): Promise<Added> {
    try {
      watch.checkTaking();
      const added = await batcher.add(request);
      if (added.kind === 'logged') metrics.added.inc(added.count);
      return added;
    } catch (error) {
      metrics.refused.inc({ code: error instanceof QedError ? error.code : 'bug' });
      throw error;
    }
  }

  function membership(eventDigest: Uint8Array, version: number | undefined) {
    const present = presentVersion(balloon);
    if (version !== undefined) balloon.checkVersion(version);
    const { proof } = balloon.membership(eventDigest);
    metrics.proofs.inc({ kind: proof.exists ? 'presence' : 'absence' });
    return { proof, signed: signed.at(present) };
  }

  function incremental(start: number, end: number): IncrementalProof {
    const proof = balloon.incremental(start, end);
    metrics.proofs.inc({ kind: 'incremental' });
    return proof;
  }

  registerClusterFigures(metrics.registry, { log, durable });
  registerGauges(metrics.registry, {
    logEvents: () => balloon.size,
    distinctEvents: () => balloon.hyper.size,
    appliedIndex: () => balloon.appliedIndex,
    waitingEvents: () => batcher.waiting.events,
    waitingBytes: () => batcher.waiting.bytes,
    isReady: () => watch.health().isReady,
    storageBytes: parts.storageBytes,
  });

  return {
    identity,
    add,
    signed: (version) => ask(() => signed.at(version)),
    latest: () => ask(() => signed.at(presentVersion(balloon))),
    async covering(version) {
      watch.checkAnswering();
      const end = await durable.batchEnd(version).catch((error: unknown) => {
        throw watch.note(error);
      });
      return ask(() => signed.at(end));
    },
    membership: (eventDigest, version) => ask(() => membership(eventDigest, version)),
    incremental: (start, end) => ask(() => incremental(start, end)),
    async event(version) {
      const { entry, event } = ask(() => {
        const found = balloon.entry(version);
        return { entry: found, event: payloads?.read(found.eventDigest) };
      });
      return { entry, event: event ?? (await payloads?.fetch(entry.eventDigest, neighbours.event)) };
    },
    tile: (name) => ask(() => tileBytes(balloon.view, name)),
    get version() {
      return balloon.snapshot?.version;
    },
    status: () => log.status(),
    leader: () => log.leader(),
    members: () => log.members(),
    onLeadership: (listener) => log.onLeadership(listener),
    orders: log,
    linearize,
    setGossipAddr: neighbours.setGossipAddr,
    gossipOfPeers: neighbours.gossip,
    cosigning,
    showCosigned: signed.cosigned,
    distrust: watch.noteDamage,
    health: watch.health,
    async close() {
      await batcher.close();
      await duties.close();
      await close();
      await payloads?.close();
      await durable.close();
    },
  };
}

function presentVersion({ snapshot }: Pick<Balloon, 'snapshot'>): number {
  if (snapshot === undefined)
    throw new QedError('log-empty', 'the log holds no event yet', { hint: 'Add one first.' });
  return snapshot.version;
}
