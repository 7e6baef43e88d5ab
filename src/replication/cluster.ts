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
import { encodeChange } from '../raft/change-codec.ts';
import { noMembers } from '../raft/membership.ts';
import { nobody, type Entry, type Message } from '../raft/message.ts';
import { type SayLevel } from '../raft/say.ts';
import { nodeDisk, type Disk } from './disk.ts';
import { createCredentials } from './identity-tls.ts';
import { createMemberOrders, type JoinRequest, type MemberOrders } from './member-orders.ts';
import {
  checkJoined,
  checkNode,
  emptyTable,
  formatJson,
  formatMember,
  formatStanding,
  memberByKey,
  parseStanding,
  parseTable,
  sameRecord,
  type Joined,
  type MemberRecord,
  type NodeRecord,
  type Standing,
} from './members.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';
import { Appends } from './appends.ts';
import { Forwards } from './forwards.ts';
import { Proposals } from './proposals.ts';
import { RaftDriver, stopped } from './raft-driver.ts';
import { RaftStorage, type Tail } from './raft-storage.ts';
import { ReadRequests } from './read-requests.ts';
import {
  type AppendOptions,
  type CommittedRecord,
  type LogStatus,
  type ReplicatedLog,
} from './replicated-log.ts';
import { type Position } from './segment.ts';
import { type Fault } from './faults.ts';
import { openTransport, type Peer, type Transport, type TransportOptions } from './transport.ts';
import { openWal, type Wal, type WalOptions } from './wal.ts';

export type ClusterEvent =
  /** Remarks of the Raft core. */
  | { readonly kind: 'raft'; readonly level: SayLevel; readonly line: string }
  | { readonly kind: 'members'; readonly members: readonly MemberStatus[] }
  | { readonly kind: 'peer-refused'; readonly why: string; readonly remote: string }
  | { readonly kind: 'catching-up'; readonly index: number }
  | { readonly kind: 'caught-up'; readonly index: number }
  | { readonly kind: 'catch-up-failed'; readonly error: unknown }
  | { readonly kind: 'failed'; readonly error: QedError };

export interface ClusterLogOptions extends Pick<WalOptions, 'directory' | 'segmentBytes'> {
  /** Its own id and the addresses at which others reach it. */
  readonly self: Omit<NodeRecord, 'nodeKey'>;
  readonly nodeKey: KeyObject;
  /** host:port to listen at for peers. */
  readonly listen: string;
  /** What a directory without a log becomes: a cluster of its own, or a member of the one that it was told about. */
  readonly start: 'found' | Joined;
  /** The last record that the database has applied. */
  readonly appliedIndex: number;
  /**
   * Lets the database catch up with all records up to the position and resolves with the index of the last one it then holds, durably. Called
   * again after a while when it rejects. Meanwhile `committed` hands out nothing, and what it handed out before is applied: it takes the next
   * call as saying so. Afterwards it goes on behind what the database then holds.
   */
  readonly onSnapshot: (position: Position, peers: readonly Peer[], signal: AbortSignal) => Promise<number>;
  /** The bytes at a path for peers that catch up, or undefined. */
  readonly serve: (path: string, signal: AbortSignal) => Promise<Uint8Array | undefined>;
  readonly onEvent?: (event: ClusterEvent) => void;
  readonly disk?: Disk;
  readonly random?: WalOptions['random'];
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
  readonly tickMs?: number;
  /** Calls back every so many milliseconds; returns the way to stop. */
  readonly startTicks?: (tick: () => void, ms: number) => () => void;
  /** A follower that hears nothing for this many ticks, or up to twice as many, stands for election. */
  readonly electionTicks?: number;
  /** How long an append may wait for a leader or for its answer. */
  readonly patienceMs?: number;
  readonly waitingBytesMax?: number;
  readonly tail?: Tail;
}

export interface MemberStatus extends MemberRecord {
  readonly isVoter: boolean;
  readonly isLeader: boolean;
  /** Round trip to this node; undefined for itself and while there is no connection. */
  readonly roundTripMs: number | undefined;
  /** How far its log is known to agree with the leader's; only the leader knows. */
  readonly matchIndex: number | undefined;
}

export interface ClusterLog extends ReplicatedLog {
  /** The index of a record: whoever has applied it sees all that was acknowledged before the call. */
  readIndex(signal?: AbortSignal): Promise<number>;
  /** Resolves when everything up to `index`, record or not, is committed here, with the index of a record that is not before it. */
  recordBy(index: number, signal?: AbortSignal): Promise<number>;
  /** Undefined while nobody leads, as far as this node knows. */
  leader(): MemberRecord | undefined;
  members(): readonly MemberStatus[];
  /** The other members, for fetching. */
  peers(): readonly Peer[];
  join(request: JoinRequest, signal?: AbortSignal): Promise<Joined>;
  remove(nodeId: string, signal?: AbortSignal): Promise<void>;
  transferLeadership(nodeId?: string, signal?: AbortSignal): Promise<void>;
  /** Where it listens for peers. */
  readonly port: number;
  /** For tests and drills. */
  setFault(nodeId: string, fault: Fault): void;
}

export const TICK_MS = 50;
/** Between 0.65 and 1.25 s without news until an election: a new leader is there within 1.5 s, and a busy one is not deposed for a pause. */
const ELECTION_TICKS = 13;
const PATIENCE_MS = 5_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
const WAITING_RECORDS_MAX = 65_536;
const COMMITTED_BYTES = 8 * 1024 * 1024;
const TAIL: Tail = { records: 100_000, bytes: 64 * 1024 * 1024 };
const PING_MS = 1_000;
/** How many election timeouts a Raft snapshot may be on its way before another one is offered. */
const SNAPSHOT_PATIENCE = 10;
const CLOSE_PATIENCE = 2;
const FOUNDER = 1;
/** The type of a membership change on disk. */
const CHANGE = 2;

/** Whether there is no log in the directory yet. It is made and locked in passing. */
export async function isNewLog({
  directory,
  disk = nodeDisk,
}: {
  readonly directory: string;
  readonly disk?: Disk;
}): Promise<boolean> {
  const wal = await openWal({ directory, disk, random: randomBytes });
  const isNew = isEmpty(wal);
  await wal.close();
  return isNew;
}

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

// --- the standing at the start

async function openStanding(wal: Wal, self: NodeRecord, options: ClusterLogOptions): Promise<Standing> {
  if (wal.note) return checkStanding(wal, wal.note, self, options.directory);
  if (!isEmpty(wal)) return adoptSingleLog(wal, self);
  if (options.start !== 'found') return enterCluster(wal, options.start);
  if (options.appliedIndex > 0)
    throw new QedError(
      'store-corrupt',
      `the database has applied record ${options.appliedIndex}, but there is no log in ${options.directory}`,
      {
        hint: 'Name the right --raftpath, or start with --join-addr to get back into the cluster.',
      },
    );
  return foundCluster(wal, self);
}

function isEmpty({ note, last }: Wal): boolean {
  return note === undefined && last.index === 0;
}

function checkStanding(wal: Wal, note: Uint8Array, self: NodeRecord, directory: string): Standing {
  const standing = parseStanding(note);
  if (!standing || standing.index > wal.last.index)
    throw new QedError('store-corrupt', `the log in ${directory} does not hold what its members applied`, {
      hint: 'Put the right directory back, or get the data from the cluster: qed rebuild.',
    });
  const own = [...standing.table.members, ...standing.seeds].find(({ id }) => id === standing.id);
  if (own && (!equalBytes(own.nodeKey, self.nodeKey) || own.nodeId !== self.nodeId))
    throw new QedError(
      'node-mismatch',
      `the log in ${directory} belongs to the node ${own.nodeId} with another key or id`,
      {
        hint: 'Start with the node id and key that it was made with.',
      },
    );
  return standing;
}

const blank: Omit<Standing, 'id'> = {
  index: 0,
  term: 0,
  membership: noMembers,
  table: emptyTable,
  seeds: [],
  begin: 0,
  floor: { database: 0, log: 0 },
};

/** The founder is the first entry, so that whoever replays the log from its start learns of it. */
async function foundCluster(wal: Wal, self: NodeRecord): Promise<Standing> {
  const term = Math.max(1, wal.hardState.term);
  const founder = formatMember({ ...self, id: FOUNDER });
  const payload = encodeChange({
    transition: 'auto',
    changes: [{ type: 'voter', id: FOUNDER }],
    context: founder,
  });
  const standing = { ...blank, id: FOUNDER };
  const hardState = { term, vote: FOUNDER, commit: 1 };
  await wal.append([{ type: CHANGE, index: 1, term, payload }], hardState, formatStanding(standing));
  return standing;
}

async function enterCluster(wal: Wal, joined: Joined): Promise<Standing> {
  const { id, members } = checkJoined(JSON.parse(formatJson(joined)));
  const standing = { ...blank, id, seeds: members };
  await wal.append([], undefined, formatStanding(standing));
  return standing;
}

/** A log that single.ts kept: all of it is committed. Others join by way of a Raft snapshot, so for Raft the log begins here. */
async function adoptSingleLog(wal: Wal, self: NodeRecord): Promise<Standing> {
  const { last, hardState } = wal;
  const members = [{ ...self, id: FOUNDER }];
  const standing: Standing = {
    ...blank,
    ...last,
    id: FOUNDER,
    begin: last.index,
    membership: { ...noMembers, voters: [FOUNDER] },
    table: { members, nextId: FOUNDER + 1, removed: [] },
  };
  await wal.append([], { ...hardState, vote: FOUNDER, commit: last.index }, formatStanding(standing));
  return standing;
}

// --- the node

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
  /** Raft snapshots that were sent, by member: when to take them for lost. */
  readonly #snapshotsDue = new Map<number, number>();
  /** A Raft snapshot that waits until the database has caught up. */
  #held: Message | undefined;
  #catchingUp: Promise<void> | undefined;
  /** While the database catches up, no records are handed out; those that were are applied first. */
  #isPaused = false;
  #applying = 0;
  #caughtUpTo = 0;
  /** The last committed record, as far as this life of the node knows; what the database had at its start is a record as well. */
  #lastRecord = 0;
  readonly #wakers = new Set<() => void>();
  readonly #listeners = new Set<(status: LogStatus) => void>();
  #shown = '';

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
    this.#lastRecord = this.#findLastRecord();
  }

  async #start(): Promise<void> {
    const { nodeKey } = this.#options;
    const { id } = this.#storage.standing;
    this.#transport = await openTransport(await this.#transportOptions(nodeKey, id));
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
      this.#giveUpSnapshots();
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

  /** Raft's own entries and membership changes are no records: nobody could wait until they are applied. */
  #committed(entry: Entry): void {
    if (entry.data.length > 0) this.#lastRecord = Math.max(this.#lastRecord, entry.index);
    this.#proposals.committed(entry);
  }

  /** Of what was committed in earlier lives, behind what the database has. */
  #findLastRecord(): number {
    const { index } = this.#storage.standing;
    let last = this.#options.appliedIndex;
    for (let at = Math.max(last + 1, this.#storage.firstRecord); at <= index;) {
      const entries = this.#storage.read(at, index + 1, COMMITTED_BYTES);
      last = entries.findLast(({ type, data }) => type === 'EntryNormal' && data.length > 0)?.index ?? last;
      at += entries.length;
    }
    return last;
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

  async *committed(
    appliedIndex: number,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<readonly CommittedRecord[]> {
    this.#checkApplied(appliedIndex);
    for (let at = appliedIndex; ;) {
      while (this.#isPaused || at >= this.#driver.applied) {
        if (this.#isClosing || signal?.aborted) return;
        await this.#change(signal);
        // The database may have caught up meanwhile.
        at = Math.max(at, this.#caughtUpTo);
      }
      if (this.#isClosing || signal?.aborted) return;
      const { floor } = this.#storage.standing;
      if (at >= floor.database && at < floor.log) at = floor.log;
      if (at >= this.#driver.applied) continue;
      const entries = this.#readFrom(at + 1);
      at += entries.length;
      const group = entries.flatMap(({ type, index, term, data }): CommittedRecord[] =>
        type === 'EntryNormal' && data.length > 0 ? [{ index, term, payload: data }] : [],
      );
      if (group.length === 0) continue;
      this.#applying += 1;
      try {
        yield group;
      } finally {
        this.#applying -= 1;
        this.#wake();
      }
    }
  }

  /** A node that is alone has nobody to get lost records from. Elsewhere the database may be ahead: it catches up before the log does. */
  #checkApplied(appliedIndex: number): void {
    if (!this.#isAlone() || appliedIndex <= this.#storage.lastIndex()) return;
    throw new QedError(
      'store-corrupt',
      `the database has applied record ${appliedIndex}, but the log ends at record ${this.#storage.lastIndex()}`,
      {
        hint: 'The log lost acknowledged records or belongs to other data. Put the right directory back, or rebuild this node.',
      },
    );
  }

  #readFrom(next: number): ReturnType<RaftStorage['read']> {
    const { firstRecord } = this.#storage;
    if (next < firstRecord)
      throw new QedError(
        'log-compacted',
        `record ${next} is needed, but the log begins at record ${firstRecord}`,
      );
    return this.#storage.read(next, this.#driver.applied + 1, COMMITTED_BYTES);
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
    const look = (): number | undefined => (this.#driver.applied >= index ? this.#lastRecord : undefined);
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
      committedIndex: this.#lastRecord,
      firstIndex: this.#storage.firstRecord,
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
    if (m.type === 'MsgSnap')
      this.#snapshotsDue.set(m.to, isSent ? this.#driver.ticks + SNAPSHOT_PATIENCE * this.#electionTicks : 0);
    else if (!isSent) queueMicrotask(() => this.#driver.tell((node) => node.reportUnreachable(m.to)));
  }

  /** Whoever sent a Raft snapshot has to say when it seems lost: nothing else goes to that member before. */
  #giveUpSnapshots(): void {
    for (const [id, due] of this.#snapshotsDue) {
      if (this.#driver.ticks < due) continue;
      this.#snapshotsDue.delete(id);
      this.#driver.tell((node) => node.reportSnapshot(id, false));
    }
  }

  #receive(from: number, bytes: Uint8Array): boolean {
    const m = decodeMessage(bytes);
    if (m?.from !== from || m.to !== this.#storage.standing.id) return false;
    if (m.type !== 'MsgSnap') this.#driver.step(m);
    else if (m.snapshot && !parseTable(m.snapshot.data)) return false;
    else this.#hold(m);
    return true;
  }

  /** A Raft snapshot is stepped when the database holds what it stands for; of several, the newest. */
  #hold(m: Message): void {
    const index = m.snapshot?.index ?? 0;
    if (index <= this.#driver.status.hardState.commit) {
      this.#driver.step(m);
      return;
    }
    if (index >= (this.#held?.snapshot?.index ?? 0)) this.#held = m;
    this.#catchingUp ??= this.#catchUp();
  }

  async #catchUp(): Promise<void> {
    const { onSnapshot, onEvent = () => undefined } = this.#options;
    for (let m = this.#held; m?.snapshot && !this.#stop.signal.aborted; m = this.#held) {
      const { index, term, data } = m.snapshot;
      onEvent({ kind: 'catching-up', index });
      try {
        this.#isPaused = true;
        while (this.#applying > 0 && !this.#isClosing) await this.#change(this.#stop.signal);
        const members = parseTable(data)?.members ?? [];
        const database = await onSnapshot({ index, term }, this.#peersAmong(members), this.#stop.signal);
        this.#caughtUpTo = database;
        this.#lastRecord = Math.max(this.#lastRecord, database);
        if (this.#held !== m) continue;
        this.#held = undefined;
        this.#storage.expectSnapshot(database);
        this.#driver.step(m);
        onEvent({ kind: 'caught-up', index });
      } catch (error) {
        onEvent({ kind: 'catch-up-failed', error });
        await this.#pause();
      }
    }
    this.#catchingUp = undefined;
    this.#isPaused = false;
    this.#wake();
  }

  // --- changes, and the end

  #look(): void {
    const { softState, hardState } = this.#driver.status;
    this.#appends.look();
    this.#wake();
    const shown = `${softState.role} ${softState.lead} ${hardState.term}`;
    if (shown !== this.#shown) this.#tellListeners();
    this.#shown = shown;
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener(this.status());
  }

  /** Resolves at the next change that those who wait for records must look at. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wakers.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal?.addEventListener('abort', wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  /** From now on it is silent, so that the others choose another leader, and answers nobody who waits any later. */
  #fail(failure: QedError): void {
    this.#stopTicks();
    this.#endAppends(failure.message);
    this.#reads.end(stopped(failure));
    void this.#transport?.close();
    this.#options.onEvent?.({ kind: 'failed', error: failure });
    this.#tellListeners();
    this.#wake();
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
    await this.#handOver();
    this.#isClosing = true;
    this.#stop.abort();
    this.#stopTicks();
    this.#driver.stop();
    const error = new QedError('store-closed', 'the log is closed');
    this.#endAppends(error.message);
    this.#reads.end(error);
    this.#wake();
    await this.#catchingUp;
    await this.#transport?.close();
    await this.#storage.close();
  }

  /** A leader leaves no gap: what it proposed is finished, and another one takes over. Not at any price. */
  async #handOver(): Promise<void> {
    const { voters } = this.#driver.status.membership;
    if (!this.#driver.isLeader || voters.length < 2 || !this.#transport) return;
    const ticks = CLOSE_PATIENCE * this.#electionTicks;
    const isDone = (): true | undefined =>
      this.#appends.count === 0 || !this.#driver.isLeader ? true : undefined;
    await this.#driver.until(isDone, ticks).catch(() => undefined);
    await this.#orders.transfer().catch(() => undefined);
  }
}
