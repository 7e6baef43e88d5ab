// A node: keys, database, balloon, replicated log, applier and batcher as one thing that takes events and answers questions.
//
// It promises: what `add` resolved for is durable and provable. An answer is made in one go from one committed state, so that a proof and the
// snapshot beside it belong together. Only the ends of applied records are ever signed.
// When a write fails it takes nothing more, and says why; it still answers what can be read. When it finds damage it stops answering as well.
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Balloon } from '../balloon/balloon.ts';
import {
  formatSignedSnapshot,
  type IncrementalProof,
  type MembershipProof,
  type SignedSnapshot,
} from '../balloon/proof.ts';
import { signSnapshot } from '../balloon/sign.ts';
import { decodeUtf8, encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type Entry } from '../history/entry.ts';
import { tileBytes, type TileName } from '../history/served.ts';
import { isNewLog, openClusterLog, type ClusterLog, type MemberStatus } from '../replication/cluster.ts';
import { type Joined, type MemberRecord } from '../replication/members.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { type LogStatus } from '../replication/replicated-log.ts';
import { openDurableBalloon, type BalloonEvent, type DurableBalloon } from '../storage/durable-balloon.ts';
import { openLevelStore } from '../storage/level.ts';
import { type Store } from '../storage/store.ts';
import { EVENT_BYTES_MAX } from './bodies.ts';
import { batcherLimits, createBatcher, type Added, type AddRequest, type BatcherLimits } from './batcher.ts';
import { registerClusterFigures } from './cluster-figures.ts';
import { createCosigning, withLines, type Cosigning } from './cosigning.ts';
import { startDuties, type Duties } from './duties.ts';
import { openIdentity, settleIdentity, type Identity, type IdentityOptions } from './identity.ts';
import { watchHealth, type Health } from './health.ts';
import { findCluster, joinCluster, type FoundCluster, type JoinHelp, type JoinOptions } from './join.ts';
import {
  formatAddress,
  isLoopback,
  ownHost,
  parseAddress,
  reachableHost,
  type Address,
  type Reserved,
} from './listen.ts';
import { registerGauges, type Metrics } from './metrics.ts';
import { openPayloads, type Payloads } from './payloads.ts';
import { setAside } from './rebuild.ts';
import { openReplica, type LogHooks, type Replica, type ReplicaEvent } from './replica.ts';

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

export interface NodeOptions extends IdentityOptions {
  /** Where the replicated log is kept; `raft` in the data directory unless said otherwise. */
  readonly raftPath?: string | undefined;
  /** Where it listens for other nodes; and where it will be asked by clients and operators. */
  readonly listeners: { readonly raft: Reserved; readonly http: Address; readonly management: Address };
  /** The host at which all of them reach it, where it listens on all interfaces. */
  readonly advertisedHost?: string | undefined;
  /** The cluster that a node without a log joins; without it the node is the first of a new one. */
  readonly join?: JoinOptions | undefined;
  /** Sets the data that is there aside, and joins as if there were none. */
  readonly isRebuilt?: boolean | undefined;
  /** Ends the waiting for a cluster to join. */
  readonly signal?: AbortSignal | undefined;
  /** Keeps the events, not only their digests. */
  readonly storeEvents?: boolean | undefined;
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

/** A signed snapshot, and the JSON that all who ask for it get. */
export interface Signed {
  readonly signedSnapshot: SignedSnapshot;
  readonly json: string;
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
  /** From now on the snapshot, where it is the present one, is shown with these cosignatures. */
  readonly showCosigned: (version: number, lines: string) => void;
  /** Stops answering for good: somebody found that the state of this node cannot be right. */
  readonly distrust: (error: QedError) => void;
  readonly health: () => Health;
  readonly close: () => Promise<void>;
}

const EVENT_PATH = 'event/';
const EVENT_LIMITS = { bytesMax: EVENT_BYTES_MAX, timeoutMs: 5_000 } as const;
const GOSSIP_LIMITS = { bytesMax: 300, timeoutMs: 2_000 } as const;

/** Opens a node on its data directory. What was opened is closed again when a later part cannot be. */
export async function openNode(options: NodeOptions): Promise<Node> {
  const { path, onEvent = () => undefined } = options;
  const raftPath = options.raftPath ?? join(path, 'raft');
  const opened: (() => Promise<void>)[] = [];
  async function keep<Part extends { close: () => Promise<void> }>(opening: Promise<Part>): Promise<Part> {
    const part = await opening;
    opened.push(() => part.close());
    return part;
  }
  try {
    await makeDirectory(path);
    if (options.isRebuilt) await giveUpData(raftPath, options);
    const store = await keep(openLevelStore(join(path, 'db')));
    const cluster = await lookForCluster(raftPath, options);
    const host = cluster && !isLoopback({ host: cluster.localHost, port: 0 }) ? cluster.localHost : undefined;
    const identity = openIdentity({ ...options, host, cluster });
    const payloads = options.storeEvents
      ? openPayloads(await keep(openLevelStore(join(path, 'events'))), nativeHash)
      : undefined;
    const imagePath = join(path, 'hyper.image');
    const durable = await openDurableBalloon({ store, hash: nativeHash, imagePath, durable: false, onEvent });
    opened.push(() => durable.close());
    const self = { nodeId: identity.nodeId, ...addressesOf(identity, options) };
    const { nodeKey } = identity;
    const start = cluster ? await enterCluster(identity, self, options) : 'found';
    settleIdentity(path, identity);
    if (cluster && durable.balloon.appliedIndex > durable.foreignIndex) await durable.noteForeign();
    const { release, wanted } = options.listeners.raft;
    const listen = formatAddress(wanted.address);
    async function openLog(hooks: LogHooks): Promise<ClusterLog> {
      await release();
      return openClusterLog({ directory: raftPath, self, nodeKey, listen, start, ...hooks });
    }
    const storageBytes = async () => ({
      database: await sizeOf(join(path, 'db')),
      log: await sizeOf(raftPath),
    });
    const parts = { store, identity, payloads, durable, openLog, hash: nativeHash, storageBytes };
    return await composeNode(parts, options);
  } catch (error) {
    for (const close of opened.reverse()) await close().catch(() => undefined);
    throw error;
  }
}

/** Not before the cluster is there that has it all. */
async function giveUpData(raftPath: string, options: NodeOptions): Promise<void> {
  const { path, join, now, onEvent = () => undefined } = options;
  if (!join)
    throw new QedError('option-malformed', 'a node gets its data from its cluster: name it with --join-addr');
  openIdentity({ ...options, cluster: await findCluster(join, joinHelp(options)) });
  onEvent({ kind: 'set-aside', places: await setAside({ path, raftPath }, now()) });
}

/** A node that has a log already knows its cluster. */
async function lookForCluster(raftPath: string, options: NodeOptions): Promise<FoundCluster | undefined> {
  const { join, onEvent = () => undefined } = options;
  if (!join) return undefined;
  if (await isNewLog({ directory: raftPath })) return findCluster(join, joinHelp(options));
  onEvent({ kind: 'join-ignored' });
  return undefined;
}

function addressesOf(
  { host }: Identity,
  { listeners, advertisedHost }: NodeOptions,
): Pick<MemberRecord, 'raftAddr' | 'httpAddr' | 'mgmtAddr'> {
  const fallback = advertisedHost ?? host ?? ownHost();
  const format = (address: Address): string =>
    formatAddress({ host: reachableHost(address, fallback), port: address.port });
  const { raft, http, management } = listeners;
  return { raftAddr: format(raft.wanted.address), httpAddr: format(http), mgmtAddr: format(management) };
}

async function enterCluster(
  identity: Identity,
  self: Pick<MemberRecord, 'nodeId' | 'raftAddr' | 'httpAddr' | 'mgmtAddr'>,
  options: NodeOptions,
): Promise<Joined | 'found'> {
  const { join, onEvent = () => undefined } = options;
  if (!join) return 'found';
  const record = { ...self, nodeKey: publicKeyOf(identity.nodeKey) };
  const joined = await joinCluster(join, record, identity, joinHelp(options));
  onEvent({ kind: 'join-accepted', members: joined.members.map(({ nodeId }) => nodeId) });
  return joined;
}

function joinHelp(options: NodeOptions): JoinHelp {
  const { signal = new AbortController().signal, onEvent = () => undefined, listeners } = options;
  const onRetry = (why: string, tries: number): void => onEvent({ kind: 'join-retried', why, tries });
  return { own: listeners.management, signal, onRetry };
}

export interface NodeParts {
  readonly store: Store;
  readonly identity: Identity;
  readonly durable: DurableBalloon;
  readonly openLog: (hooks: LogHooks) => Promise<ClusterLog>;
  readonly hash: Hash;
  readonly payloads?: Payloads | undefined;
  readonly storageBytes: () => Promise<{ readonly database: number; readonly log: number }>;
}

/** The node over parts that are open. It closes them all. Resolves when everything in the log is applied. */
export async function composeNode(
  parts: NodeParts,
  options: Pick<
    NodeOptions,
    'limits' | 'compareMs' | 'cosignMs' | 'now' | 'metrics' | 'onEvent' | 'onApplied'
  >,
): Promise<Node> {
  const { identity, durable, payloads } = parts;
  const { metrics, onEvent = () => undefined } = options;
  const { balloon } = durable;
  let replica: Replica | undefined = undefined;
  let duties: Duties | undefined = undefined;
  const watch = watchHealth(
    (error) => onEvent({ kind: 'failed', error }),
    () => replica?.lateness(),
  );
  let gossipAddr: string | undefined;
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
  async function answerPeer(path: string): Promise<Uint8Array | undefined> {
    if (path.startsWith(EVENT_PATH)) return payloads?.answer(path.slice(EVENT_PATH.length));
    if (path === 'gossip') return gossipAddr === undefined ? undefined : encodeUtf8(gossipAddr);
    return cosigning.answer(path);
  }
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
  replica = await openReplica({ ...parts, watch, onEvent, answerPeer, onApplied });
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

  /** Each event is kept by the node that took it, and by those that were asked for it. */
  function askForEvent(eventDigest: Uint8Array): Promise<Uint8Array | undefined>[] {
    const path = EVENT_PATH + encodeHex(eventDigest);
    return log.peers().map((peer) => peer.fetch(path, EVENT_LIMITS).catch(() => undefined));
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
      return { entry, event: event ?? (await payloads?.fetch(entry.eventDigest, askForEvent)) };
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
    setGossipAddr: (address) => void (gossipAddr = address),
    gossipOfPeers: () => gossipOfPeers(log),
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

/** A gossip address on this machine alone is of no use to another one, and one without a host is on that of the node. */
async function gossipOfPeers(log: ClusterLog): Promise<readonly string[]> {
  const hosts = new Map(
    log.members().map(({ nodeId, raftAddr }) => [nodeId, parseAddress(raftAddr, 'raftAddr').host]),
  );
  const own = hosts.get(log.status().nodeId);
  const found = log.peers().map(async (peer) => {
    const bytes = await peer.fetch('gossip', GOSSIP_LIMITS).catch(() => undefined);
    const text = bytes && decodeUtf8(bytes);
    if (text === undefined) return [];
    const address = parseAddress(text, '--gossip-addr');
    const host = hosts.get(peer.nodeId);
    if (isLoopback(address) && host !== own) return [];
    return [formatAddress({ host: reachableHost(address, host ?? '127.0.0.1'), port: address.port })];
  });
  return (await Promise.all(found)).flat();
}

/** Remembers the latest one: all waiters of a record, and all who ask until the next one, share a signature. */
function createSignedCache(balloon: DurableBalloon['balloon'], { signer }: Identity): SignedCache {
  let latest: Signed | undefined;
  function at(version: number): Signed {
    if (latest?.signedSnapshot.snapshot.version === version) return latest;
    const made = signedOf(signSnapshot(balloon, version, signer));
    if (version === balloon.size - 1) latest = made;
    return made;
  }
  return {
    at,
    cosigned(version, lines) {
      if (version === balloon.size - 1) latest = signedOf(withLines(at(version).signedSnapshot, lines));
    },
  };
}

interface SignedCache {
  readonly at: (version: number) => Signed;
  readonly cosigned: (version: number, lines: string) => void;
}

export function signedOf(signedSnapshot: SignedSnapshot): Signed {
  return { signedSnapshot, json: JSON.stringify(formatSignedSnapshot(signedSnapshot)) };
}

function presentVersion({ snapshot }: Pick<Balloon, 'snapshot'>): number {
  if (snapshot === undefined)
    throw new QedError('log-empty', 'the log holds no event yet', { hint: 'Add one first.' });
  return snapshot.version;
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new QedError('store-failed', `the data directory ${path} cannot be made: ${String(cause)}`, {
      hint: 'Name another --path, or give this user the right to write there.',
      cause,
    });
  }
}

/** Bytes of the files in a directory. Files that go while it is read count for nothing. */
async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(directory, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
