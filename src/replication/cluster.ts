// A node of a cluster: the replicated log over the Raft core, its disk and its peers. A cluster of one is the same thing with nobody else in it.
//
// It promises what replicated-log.ts says. Beside that:
// - Only holders of node keys that are members' are talked to, in both directions.
// - A node that lags too far to be served from its peers' logs first lets its database catch up (`onSnapshot`), and only then takes the
//   Raft snapshot; until then that message counts as on its way, so nothing that Raft was promised can be missing.
// - The records of another time may be gone from the log, the standing of the cluster never is.
import { randomBytes, randomInt, type KeyObject } from 'node:crypto';
import { equalBytes } from '../crypto/encoding.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { assert, QedError } from '../errors.ts';
import { nobody, type Entry, type Message } from '../raft/message.ts';
import { Appends } from './appends.ts';
import { type ClusterLog, type ClusterLogOptions, type MemberStatus } from './cluster-log.ts';
import { Delivery } from './delivery.ts';
import { nodeDisk } from './disk.ts';
import { type Fault } from './faults.ts';
import { Forwards } from './forwards.ts';
import { createCredentials } from './identity-tls.ts';
import { createMemberOrders, type JoinRequest, type MemberOrders } from './member-orders.ts';
import {
  checkNode,
  memberByKey,
  sameRecord,
  type Joined,
  type MemberRecord,
  type NodeRecord,
  type Standing,
} from './members.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';
import { Proposals } from './proposals.ts';
import { RaftDriver, stopped } from './raft-driver.ts';
import { RaftSnapshots } from './raft-snapshots.ts';
import { RaftStorage, type Tail } from './raft-storage.ts';
import { ReadRequests } from './read-requests.ts';
import { type AppendOptions, type CommittedRecord, type LogStatus } from './replicated-log.ts';
import { openStanding } from './standing.ts';
import { openTransport, type Peer, type Transport, type TransportOptions } from './transport.ts';
import { openWal, type Wal } from './wal.ts';

export const TICK_MS = 50;
/** Between 0.65 and 1.25 s without news until an election: a new leader is there within 1.5 s, and a busy one is not deposed for a pause. */
const ELECTION_TICKS = 13;
const PATIENCE_MS = 5_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
const WAITING_RECORDS_MAX = 65_536;
const TAIL: Tail = { records: 100_000, bytes: 64 * 1024 * 1024 };
const PING_MS = 1_000;
/** How many election timeouts a Raft snapshot may be on its way before another one is offered. */
const SNAPSHOT_PATIENCE = 10;
const CLOSE_PATIENCE = 2;

export async function openClusterLog(options: ClusterLogOptions): Promise<ClusterLog> {
  const { directory, disk = nodeDisk, random = randomBytes, segmentBytes } = options;
  const self = checkSelf(options);
  const wal = await openWal({
    directory,
    disk,
    random,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  });
  try {
    const standing = await openStanding(wal, self, options);
    return await ClusterNode.open(wal, standing, self, options);
  } catch (error) {
    await wal.close();
    throw error;
  }
}

function checkSelf({ self, nodeKey }: ClusterLogOptions): NodeRecord {
  const publicKey = publicKeyOf(nodeKey);
  const { nodeId, raftAddr, httpAddr, mgmtAddr } = self;
  return checkNode({ nodeId, raftAddr, httpAddr, mgmtAddr, nodeKey: Buffer.from(publicKey).toString('hex') });
}

function everyMs(tick: () => void, ms: number): () => void {
  const timer = setInterval(tick, ms);
  return () => clearInterval(timer);
}

class ClusterNode implements ClusterLog {
  readonly repair: string | undefined;
  readonly #options: ClusterLogOptions;
  readonly #self: NodeRecord;
  readonly #storage: RaftStorage;
  readonly #driver: RaftDriver;
  readonly #proposals = new Proposals((group) => this.#driver.propose(group));
  readonly #forwards: Forwards;
  readonly #appends: Appends;
  readonly #reads: ReadRequests;
  readonly #orders: MemberOrders;
  #transport: Transport | undefined;
  #stopTicks: () => void = () => undefined;
  readonly #electionTicks: number;
  readonly #tickMs: number;
  #isRemoved = false;
  #isUpdating = false;
  #isClosing = false;
  #closing: Promise<void> | undefined;
  readonly #stop = new AbortController();
  readonly #delivery: Delivery;
  readonly #snapshots: RaftSnapshots;
  readonly #listeners = new Set<(status: LogStatus) => void>();
  #shown = '';
  #woken = 0;

  static async open(
    wal: Wal,
    standing: Standing,
    self: NodeRecord,
    options: ClusterLogOptions,
  ): Promise<ClusterNode> {
    const node = new ClusterNode(wal, standing, self, options);
    try {
      await node.#start();
      return node;
    } catch (error) {
      await node.close();
      throw error;
    }
  }

  private constructor(wal: Wal, standing: Standing, self: NodeRecord, options: ClusterLogOptions) {
    const {
      electionTicks = ELECTION_TICKS,
      tickMs = TICK_MS,
      random = randomBytes,
      onEvent = () => undefined,
    } = options;
    this.#options = options;
    this.#self = self;
    this.#electionTicks = electionTicks;
    this.#tickMs = tickMs;
    const { cut } = wal;
    this.repair =
      cut && `cut ${cut.bytes} bytes of an unfinished write off ${cut.path} at byte ${cut.offset}`;
    this.#storage = new RaftStorage(wal, standing);
    this.#driver = new RaftDriver({
      storage: this.#storage,
      random: (limit) => randomInt(limit),
      electionTicks,
      say: (level, line) => onEvent({ kind: 'raft', level, line }),
      send: (m) => this.#send(m),
      onPlaced: (entries) => this.#proposals.placed(entries),
      onCommitted: (entry) => this.#committed(entry),
      onReads: (reads) => this.#reads.answered(reads),
      onStep: () => this.#look(),
      onMembers: (changed) => this.#membersChanged(changed),
      onFailure: (failure) => this.#fail(failure),
    });
    this.#forwards = new Forwards((to, bytes) => this.#ways.sendRecord(to, bytes));
    this.#appends = new Appends({
      driver: this.#driver,
      ownId: standing.id,
      proposals: this.#proposals,
      forward: (to, record) => this.#forwards.send(to, record),
      isConnected: (id) => this.#ways.isConnected(id),
      bytesMax: options.waitingBytesMax ?? WAITING_BYTES_MAX,
      recordsMax: WAITING_RECORDS_MAX,
      patienceTicks: Math.ceil((options.patienceMs ?? PATIENCE_MS) / tickMs),
    });
    this.#delivery = new Delivery({
      storage: this.#storage,
      appliedIndex: options.appliedIndex,
    });
    this.#snapshots = new RaftSnapshots({
      driver: this.#driver,
      storage: this.#storage,
      delivery: this.#delivery,
      patienceTicks: SNAPSHOT_PATIENCE * electionTicks,
      catchUp: (position, members) =>
        options.onSnapshot(position, this.#peersAmong(members), this.#stop.signal),
      pause: () => this.#pause(),
      onEvent,
      signal: this.#stop.signal,
    });
    this.#reads = new ReadRequests({
      ask: (context) => this.#driver.tell((node) => node.readIndex(context)),
      random,
      ticks: () => this.#driver.ticks,
      retryTicks: Math.ceil(electionTicks / 2),
      hasLeader: () => this.#driver.leader !== nobody,
    });
    this.#orders = createMemberOrders({
      driver: this.#driver,
      standing: () => this.#storage.standing,
      electionTicks,
      forward: (to, order, signal) => this.#ways.order(to, order, signal),
      isConnected: (id) => this.#ways.isConnected(id),
    });
    this.#isRemoved = standing.table.removed.some(({ id }) => id === standing.id);
  }

  async #start(): Promise<void> {
    const { nodeKey, beforeListening } = this.#options;
    const { id } = this.#storage.standing;
    const transport = await this.#transportOptions(nodeKey, id);
    await beforeListening?.();
    this.#transport = await openTransport(transport);
    this.#membersChanged(this.#storage.standing);
    // The core hands out what is known to be committed; a founder learns of itself that way.
    this.#driver.tell(() => undefined);
    this.#startTicks();
    await this.#driver.until(() => this.#leadAlone(), Infinity);
  }

  /** Whoever is alone leads at once, and then all of its log is committed. */
  #leadAlone(): true | undefined {
    if (!this.#isAlone()) return true;
    const { softState, hardState, applied } = this.#driver.status;
    if (softState.role === 'follower') this.#driver.tell((node) => node.campaign());
    const isConfirmed =
      softState.role === 'leader' && this.#storage.term(hardState.commit) === hardState.term;
    return isConfirmed && applied === hardState.commit ? true : undefined;
  }

  #isAlone(): boolean {
    const { id, membership } = this.#storage.standing;
    const { voters, votersOutgoing } = membership;
    return voters.length === 1 && voters[0] === id && votersOutgoing.length === 0;
  }

  async #transportOptions(nodeKey: KeyObject, ownId: number): Promise<TransportOptions> {
    const { listen, serve, now = () => performance.now(), onEvent = () => undefined } = this.#options;
    return {
      credentials: await createCredentials(nodeKey),
      ownId,
      address: listen,
      now,
      random: () => randomInt(2 ** 32) / 2 ** 32,
      tickMs: this.#tickMs,
      callersOf: (key) => this.#callersOf(key),
      onMessage: (from, bytes) => this.#receive(from, bytes),
      onRecord: (record) => this.#takeOver(record),
      onAnswer: (from, answer) => this.#forwards.answered(from, answer),
      onEnd: (id) => this.#forwards.ended(id),
      onOrder: (from, order, signal) => this.#orders.carryOut(from, order, signal),
      onFetch: serve,
      onRefused: (why, remote) => onEvent({ kind: 'peer-refused', why, remote }),
      onUnreachable: (id) => this.#driver.tell((node) => node.reportUnreachable(id)),
      onRemoved: () => this.#learnRemoval(),
    };
  }

  #startTicks(): void {
    let pingDue = 0;
    const { startTicks = everyMs } = this.#options;
    this.#stopTicks = startTicks(() => {
      this.#driver.tick();
      this.#appends.tick();
      this.#reads.tick();
      this.#orders.promote();
      this.#snapshots.giveUp();
      this.#announce();
      pingDue -= this.#tickMs;
      if (pingDue > 0) return;
      pingDue = PING_MS;
      this.#transport?.ping();
    }, this.#tickMs);
  }

  get #ways(): Transport {
    assert(this.#transport !== undefined, 'the transport is not open yet');
    return this.#transport;
  }

  // --- records

  #committed(entry: Entry): void {
    this.#delivery.committed(entry);
    this.#proposals.committed(entry);
  }

  append(payload: Uint8Array, options?: AppendOptions): Promise<number> {
    const refusal = this.#refusal();
    return refusal ? Promise.reject(refusal) : this.#appends.append(payload, options);
  }

  #takeOver(record: Uint8Array): Promise<number> {
    const refusal = this.#refusal();
    return refusal ? Promise.reject(refusal) : this.#appends.takeOver(record);
  }

  #refusal(): QedError | undefined {
    const { failure } = this;
    if (failure) return stopped(failure);
    return this.#closing && new QedError('store-closed', 'the log is closed');
  }

  committed(
    appliedIndex: number,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): AsyncIterable<readonly CommittedRecord[]> {
    return this.#delivery.records(appliedIndex, signal);
  }

  compact(index: number): Promise<void> {
    return this.#storage.compact(index, this.#options.tail ?? TAIL);
  }

  async readIndex(signal?: AbortSignal): Promise<number> {
    const { failure } = this;
    if (this.#isClosing || failure) throw stopped(failure);
    return this.recordBy(await this.#reads.read(signal), signal);
  }

  recordBy(index: number, signal?: AbortSignal): Promise<number> {
    const look = (): number | undefined =>
      this.#driver.applied >= index ? this.#delivery.lastRecord : undefined;
    return this.#driver.until(look, Infinity, signal);
  }

  // --- what is known

  /** Why this node takes no part any more. */
  get failure(): QedError | undefined {
    if (this.#driver.failure) return this.#driver.failure;
    if (!this.#isRemoved) return undefined;
    return new QedError('node-removed', 'this node was removed from its cluster', {
      hint: 'Stop it. To bring it back: qed rebuild, with --join-addr.',
    });
  }

  status(): LogStatus {
    const { softState, hardState, membership } = this.#driver.status;
    const { failure } = this;
    const role = softState.role === 'pre-candidate' ? 'candidate' : softState.role;
    const { table } = this.#storage.standing;
    return {
      nodeId: this.#self.nodeId,
      role: failure || this.#isClosing ? 'follower' : role,
      leaderId: this.leader()?.nodeId,
      term: hardState.term,
      committedIndex: this.#delivery.lastRecord,
      firstIndex: this.#storage.firstIndex(),
      lastIndex: this.#storage.lastIndex(),
      members: table.members.map(({ id, nodeId }) => ({ nodeId, isVoter: membership.voters.includes(id) })),
      failure,
    };
  }

  leader(): MemberRecord | undefined {
    if (this.failure || this.#isClosing) return undefined;
    const id = this.#driver.leader;
    const { table, seeds } = this.#storage.standing;
    return [...table.members, ...seeds].find((member) => member.id === id);
  }

  members(): readonly MemberStatus[] {
    const { progress, softState, id: own } = this.#driver.status;
    const { table, membership } = this.#storage.standing;
    return table.members.map((member) => ({
      ...member,
      isVoter: membership.voters.includes(member.id),
      isLeader: softState.lead === member.id,
      roundTripMs: member.id === own ? undefined : this.#transport?.roundTripMs(member.id),
      matchIndex: progress.get(member.id)?.match,
    }));
  }

  peers(): readonly Peer[] {
    return this.#peersAmong(this.#known());
  }

  get port(): number {
    return this.#ways.port;
  }

  onLeadership(listener: (status: LogStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  setFault(nodeId: string, fault: Fault): void {
    const peer = this.#known().find((member) => member.nodeId === nodeId);
    if (!peer) throw new QedError('not-found', `there is no member ${nodeId}`);
    this.#ways.setFault(peer.id, fault);
  }

  // --- members

  join(request: JoinRequest, signal?: AbortSignal): Promise<Joined> {
    return this.#orders.join(request, signal);
  }

  remove(nodeId: string, signal?: AbortSignal): Promise<void> {
    return this.#orders.remove(nodeId, signal);
  }

  transferLeadership(nodeId?: string, signal?: AbortSignal): Promise<void> {
    return this.#orders.transfer(nodeId, signal);
  }

  /** Members, and before a new node knows them from the log, those it was told about. */
  #known(): readonly MemberRecord[] {
    const { table, seeds, id } = this.#storage.standing;
    const isSettled = table.members.some((member) => member.id === id);
    const fromSeeds = isSettled
      ? []
      : seeds.filter((seed) => !table.members.some((member) => member.id === seed.id));
    return [...table.members, ...fromSeeds];
  }

  #peersAmong(members: readonly MemberRecord[]): readonly Peer[] {
    const { id: own } = this.#storage.standing;
    return members.filter(({ id }) => id !== own).map((member) => this.#ways.peer(member));
  }

  #callersOf(key: Uint8Array): readonly { readonly id: number; readonly isRemoved: boolean }[] {
    const { removed } = this.#storage.standing.table;
    const present = this.#known().filter(({ nodeKey }) => equalBytes(nodeKey, key));
    const former = removed.filter(({ nodeKey }) => equalBytes(nodeKey, key));
    return [
      ...present.map(({ id }) => ({ id, isRemoved: false })),
      ...former.map(({ id }) => ({ id, isRemoved: true })),
    ];
  }

  #membersChanged({ table, id, index }: Standing): void {
    this.#proposals.skipped(index);
    this.#transport?.setPeers(this.#known());
    if (table.removed.some((member) => member.id === id)) this.#learnRemoval();
    this.#options.onEvent?.({ kind: 'members', members: this.members() });
  }

  #learnRemoval(): void {
    if (this.#isRemoved) return;
    this.#isRemoved = true;
    this.#driver.stop();
    const { failure } = this;
    if (failure) this.#fail(failure);
  }

  /** When this node was started with other addresses than its cluster knows. */
  #announce(): void {
    const { table } = this.#storage.standing;
    const known = memberByKey(table, this.#self.nodeKey);
    if (!known || this.#isUpdating || sameRecord(known, this.#self)) return;
    this.#isUpdating = true;
    const again = async (): Promise<void> => {
      await this.#pause();
      this.#isUpdating = false;
    };
    this.#orders.update(this.#self, this.#known()).then(again, again);
  }

  /** About an election timeout; until the end at most. */
  async #pause(): Promise<void> {
    await this.#driver.until(() => undefined, this.#electionTicks, this.#stop.signal).catch(() => undefined);
  }

  // --- messages

  #send(m: Message): void {
    const bytes = encodeMessage(m);
    if (!bytes) return;
    const isSent = this.#transport?.send(m.to, bytes) ?? false;
    if (m.type === 'MsgSnap') this.#snapshots.sent(m.to, isSent);
    else if (!isSent) queueMicrotask(() => this.#driver.tell((node) => node.reportUnreachable(m.to)));
  }

  #receive(from: number, bytes: Uint8Array): boolean {
    const m = decodeMessage(bytes);
    if (m?.from !== from || m.to !== this.#storage.standing.id) return false;
    if (m.type === 'MsgSnap') return this.#snapshots.receive(m);
    this.#driver.step(m);
    return true;
  }

  // --- changes, and the end

  #look(): void {
    const { softState, hardState } = this.#driver.status;
    this.#appends.look();
    if (this.#driver.applied !== this.#woken) this.#delivery.wake();
    this.#woken = this.#driver.applied;
    const shown = `${softState.role} ${softState.lead} ${hardState.term}`;
    if (shown !== this.#shown) this.#tellListeners();
    this.#shown = shown;
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener(this.status());
  }

  /** From now on it is silent, so that the others choose another leader, and answers nobody who waits any later. */
  #fail(failure: QedError): void {
    this.#stopTicks();
    this.#endAppends(failure.message);
    this.#reads.end(stopped(failure));
    void this.#transport?.close();
    this.#options.onEvent?.({ kind: 'failed', error: failure });
    this.#tellListeners();
    this.#delivery.wake();
  }

  #endAppends(why: string): void {
    this.#proposals.end(why);
    this.#forwards.ended();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#finish();
    const wasLeader = this.#driver.isLeader;
    this.#isClosing = true;
    this.#stop.abort();
    this.#stopTicks();
    this.#driver.stop();
    const error = new QedError('store-closed', 'the log is closed');
    this.#endAppends(error.message);
    this.#reads.end(error);
    this.#delivery.end();
    if (wasLeader) this.#tellListeners();
    await this.#snapshots.ended();
    await this.#transport?.close();
    await this.#storage.close();
  }

  /** What is under way is finished, and a leader leaves no gap: another one takes over. Not at any price. */
  async #finish(): Promise<void> {
    if (!this.#transport) return;
    const isDone = (): true | undefined => (this.#appends.count === 0 ? true : undefined);
    await this.#driver.until(isDone, CLOSE_PATIENCE * this.#electionTicks).catch(() => undefined);
    const { voters } = this.#driver.status.membership;
    if (this.#driver.isLeader && voters.length > 1) await this.#orders.transfer().catch(() => undefined);
  }
}
