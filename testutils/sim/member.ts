// One member: a core with its driver, disk and state machine. It may crash at any moment, then only the disk remains.
//
// The driver works as Ready asks for it, in one of two ways: step by step (save, send, apply, advance) or with storage orders that
// overlap (asyncStorageWrites). Disk and state machine take their time; meanwhile messages and ticks go on.
import { decodeChange } from '../../src/raft/change-codec.ts';
import type { EntryId } from '../../src/raft/log.ts';
import { noMembers, type ConfChange, type Membership } from '../../src/raft/membership.ts';
import {
  noBytes,
  type Entry,
  type HardState,
  type Message,
  type RaftSnapshot,
} from '../../src/raft/message.ts';
import { RaftNode, type NodeOptions, type Status } from '../../src/raft/node.ts';
import { orderedHardState, type Ready } from '../../src/raft/ready.ts';
import type { Checks } from './checks.ts';
import { replay, SimDisk, type LogRecord, type SimStorage } from './disk.ts';
import { encodeRequest, type Machine, type MachineKind, type Request } from './machine.ts';
import type { Sabotage } from './sabotage.ts';
import type { World } from './world.ts';

export interface Cluster {
  readonly world: World;
  readonly checks: Checks;
  readonly options: Partial<NodeOptions>;
  readonly sabotage: Sabotage;
  /** The state machine of all members. */
  readonly machines: MachineKind;
  readonly members: Map<number, Member>;
}

/** An answer to a client: a version for an add, a size for a read; undefined means: ask elsewhere. */
export type Reply = (answer: number | undefined) => void;

/** Answers that others count on. Everything else may be sent before the disk is done. */
const attests = ({ type }: Message): boolean =>
  type === 'MsgAppResp' || type === 'MsgVoteResp' || type === 'MsgPreVoteResp';

const KEPT_ENTRIES = 5;
const SNAPSHOT_PATIENCE = 200;

/** What is gone when the process ends. */
interface Life {
  readonly node: RaftNode;
  readonly storage: SimStorage;
  machine: Machine;
  membership: Membership;
  applied: number;
  appliedTerm: number;
  /** Terms by index, of the whole log as the core has it. */
  readonly terms: Map<number, number>;
  busy: boolean;
  readonly appendWork: Message[];
  readonly applyWork: Message[];
  readonly adds: Map<string, Reply>;
  readonly reads: Map<string, Reply>;
  /** Answered reads that wait until their index is applied. */
  readonly readsAt: { index: number; reply: Reply }[];
}

export class Member {
  readonly id: number;
  readonly disk = new SimDisk();
  readonly cluster: Cluster;
  /** Milliseconds between two ticks: the speed of its clock. */
  tickInterval = 10;
  #life: Life | undefined;
  /** Distinguishes what an earlier life has planned. */
  #lives = 0;
  readonly #machines: MachineKind;

  /** A founder knows the others from the start; anybody else starts with nothing and is told. */
  constructor(id: number, cluster: Cluster, founders: readonly number[] = []) {
    this.id = id;
    this.cluster = cluster;
    this.#machines = cluster.sabotage.machines?.(id) ?? cluster.machines;
    if (founders.length === 0) return;
    const membership = { ...noMembers, voters: founders };
    const snapshot = { index: 1, term: 1, membership, data: this.#machines.empty().save() };
    this.disk.write({ hardState: { term: 1, vote: 0, commit: 1 }, entries: [], snapshot, compact: 0 });
    this.disk.sync();
    this.disk.image = snapshot;
  }

  get running(): boolean {
    return this.#life !== undefined;
  }

  status(): Status | undefined {
    return this.#life?.node.status();
  }

  /** Of its log, as far as the driver knows. */
  get lastEntry(): EntryId {
    const [index = 0, term = 0] = [...(this.#life?.terms ?? [])].at(-1) ?? [];
    return { index, term };
  }

  get membership(): Membership {
    return this.#life?.membership ?? noMembers;
  }

  get applied(): number {
    return this.#life?.applied ?? 0;
  }

  get machine(): Machine | undefined {
    return this.#life?.machine;
  }

  get storage(): SimStorage | undefined {
    return this.#life?.storage;
  }

  // --- life and death

  start(): void {
    const { world, options, sabotage } = this.cluster;
    const storage = this.disk.recover();
    const image = this.#newestImage(storage);
    if (image !== undefined) storage.saveSnapshot(image);
    const applied = image?.index ?? 0;
    // The image was saved after its entries were known to be committed, even if the note of that was lost.
    const { term, vote, commit } = storage.hardState;
    const saved = { term, vote, commit: Math.max(commit, applied) };
    storage.hardState = sabotage.recoverHardState?.(saved) ?? saved;
    const say = (_: string, line: string) => this.#note(() => line);
    const random = (limit: number) => world.random.below(limit);
    const node = new RaftNode({ ...options, id: this.id, storage, random, say, applied });
    const terms = new Map<number, number>();
    for (let at = storage.firstIndex() - 1; at <= storage.lastIndex(); at += 1) {
      terms.set(at, storage.term(at) ?? 0);
    }
    const life: Life = {
      node,
      storage,
      machine: image === undefined ? this.#machines.empty() : this.#machines.restore(image.data),
      membership: image?.membership ?? noMembers,
      applied,
      appliedTerm: image?.term ?? 0,
      terms,
      busy: false,
      appendWork: [],
      applyWork: [],
      adds: new Map(),
      reads: new Map(),
      readsAt: [],
    };
    storage.newest = () => this.#snapshot(life);
    this.#life = life;
    this.#lives += 1;
    this.#note(() => 'started');
    this.#tickLater();
  }

  /** Of the state machine as it is now: an older one might not know the member that needs it. */
  #snapshot({ applied: index, appliedTerm: term, membership, machine }: Life): RaftSnapshot {
    return { index, term, membership, data: machine.save() };
  }

  /** A Raft snapshot may have reached the log just before a crash, and not the image. */
  #newestImage(storage: SimStorage): RaftSnapshot | undefined {
    const inLog = storage.saved;
    const { image } = this.disk;
    if (inLog.index === 0) return image;
    return image === undefined || inLog.index > image.index ? inLog : image;
  }

  crash(): void {
    if (this.#life === undefined) return;
    this.#note(() => 'crashed');
    this.#life = undefined;
    if (this.disk.crash(this.cluster.world.random)) this.cluster.world.count('unsynced writes lost');
  }

  #note(line: () => string): void {
    this.cluster.world.note(() => `${this.id}: ${line()}`);
  }

  /** Not if the process ends before. */
  #later(delay: number, run: (life: Life) => void): void {
    const lives = this.#lives;
    this.cluster.world.later(delay, () => {
      if (this.#life !== undefined && this.#lives === lives) run(this.#life);
    });
  }

  #tickLater(): void {
    this.#later(this.tickInterval, ({ node }) => {
      node.tick();
      this.#pump();
      this.#tickLater();
    });
  }

  // --- inputs

  receive(m: Message): void {
    if (this.#life === undefined) return;
    this.#life.node.step(this.cluster.sabotage.receive?.(this, m) ?? m);
    this.#pump();
  }

  add(request: Request, reply: Reply): void {
    if (this.#life === undefined) return;
    const data = encodeRequest(request);
    if (this.#life.node.propose(data) !== undefined) reply(undefined);
    else this.#life.adds.set(`${request.client}:${request.number}`, reply);
    this.#pump();
  }

  read(context: string, reply: Reply): void {
    if (this.#life === undefined) return;
    if (this.cluster.sabotage.readLocally === true) {
      reply(this.#life.machine.checkpoint().size);
      return;
    }
    this.#life.reads.set(context, reply);
    this.#life.node.readIndex(new TextEncoder().encode(context));
    this.#pump();
  }

  /** Whatever else an operator does to a node. */
  order(run: (node: RaftNode) => void): void {
    if (this.#life === undefined) return;
    run(this.#life.node);
    this.#pump();
  }

  // --- the driver

  #pump(): void {
    const life = this.#life;
    if (life === undefined || life.busy || !life.node.hasReady()) return;
    const ready = life.node.ready();
    this.#observe(life, ready);
    if (this.cluster.options.asyncStorageWrites === true) {
      if (ready.snapshot !== undefined) this.#voidApplyWork(life);
      this.#takeReads(life, ready);
      for (const m of ready.messages) this.#route(life, m);
      this.#pump();
      return;
    }
    life.busy = true;
    const eager = this.cluster.sabotage.ackBeforeSync === true;
    for (const m of ready.messages) if (eager || !attests(m)) this.#send(m);
    this.#save(life, ready, ready.mustSync || ready.snapshot !== undefined, () => {
      for (const m of ready.messages) if (!eager && attests(m)) this.#send(m);
      this.#takeReads(life, ready);
      this.#apply(life, ready.committedEntries);
      life.node.advance();
      life.busy = false;
      this.#pump();
    });
  }

  /** Shows the checks what the core decided, and keeps the terms of its log. */
  #observe(life: Life, ready: Ready): void {
    const { checks, sabotage } = this.cluster;
    const { terms, node } = life;
    if (ready.snapshot !== undefined) {
      terms.clear();
      terms.set(ready.snapshot.index, ready.snapshot.term);
    }
    const first = ready.entries[0];
    if (first !== undefined) {
      checks.appends(this.id, ready.entries, terms.get(first.index - 1) ?? 0);
      for (let at = first.index; terms.delete(at); at += 1);
      for (const entry of ready.entries) terms.set(entry.index, entry.term);
    }
    const { hardState, softState } = node.status();
    checks.commits(this.id, ready.committedEntries, hardState.term);
    if (softState.role === 'leader') {
      const oldest = life.storage.firstIndex() - 1;
      checks.leads(this.id, hardState.term, (index) => terms.get(index) ?? (index < oldest ? undefined : -1));
    }
    if (sabotage.applyBeforeCommit === true) this.#apply(life, ready.entries);
  }

  /** Writes and, if it must be, syncs; then goes on. */
  #save(
    life: Life,
    work: Pick<Ready, 'hardState' | 'entries' | 'snapshot'>,
    mustSync: boolean,
    then: () => void,
  ): void {
    const record: LogRecord = { ...work, compact: 0 };
    const { world, sabotage } = this.cluster;
    const idle = work.hardState === undefined && work.entries.length === 0 && work.snapshot === undefined;
    if (!idle) this.disk.write(record);
    const done = () => {
      replay(record, life.storage);
      if (work.snapshot !== undefined) this.#restore(life, work.snapshot);
      then();
    };
    if (sabotage.ackBeforeSync === true) {
      this.#later(world.between(20, 200) * this.disk.slowness, () => this.disk.sync());
      this.#later(0.1, done);
      return;
    }
    const delay = mustSync ? world.between(0.5, 3) * this.disk.slowness : 0.1;
    this.#later(delay, () => {
      if (mustSync) this.disk.sync();
      done();
    });
  }

  #restore(life: Life, snapshot: RaftSnapshot): void {
    this.#note(() => `restores a Raft snapshot at ${snapshot.index}`);
    this.cluster.world.count('Raft snapshot restored');
    this.disk.image = snapshot;
    if (this.cluster.sabotage.forgetSnapshotData !== true) {
      life.machine = this.#machines.restore(snapshot.data);
    }
    life.membership = snapshot.membership;
    life.applied = snapshot.index;
    life.appliedTerm = snapshot.term;
  }

  /** Who sends a Raft snapshot has to say if it was lost, or nothing else would ever be sent there. After a while it is taken for lost. */
  #send(m: Message): void {
    if (m.type === 'MsgSnap') {
      this.#later(SNAPSHOT_PATIENCE, ({ node }) => {
        node.reportSnapshot(m.to, false);
        this.#pump();
      });
    }
    const sent = this.cluster.sabotage.send?.(this, m) ?? m;
    const lives = this.#lives;
    const orphaned = () => this.#life === undefined || this.#lives !== lives;
    const { world, members } = this.cluster;
    world.send(sent, orphaned, (arrived) => members.get(arrived.to)?.receive(arrived));
  }

  // --- overlapping storage orders

  #route(life: Life, m: Message): void {
    if (m.type === 'MsgStorageAppend') {
      life.appendWork.push(m);
      if (life.appendWork.length === 1) this.#appendNext(life);
    } else if (m.type === 'MsgStorageApply') {
      life.applyWork.push(m);
      if (life.applyWork.length === 1) this.#applyNext(life);
    } else if (m.to === this.id) {
      this.receive(m);
    } else {
      this.#send(m);
    }
  }

  #appendNext(life: Life): void {
    const m = life.appendWork[0];
    if (m === undefined) return;
    const hardState: HardState | undefined = orderedHardState(m);
    const work = { hardState, entries: m.entries, snapshot: m.snapshot };
    this.#save(life, work, m.responses.length > 0, () => {
      for (const response of m.responses) this.#route(life, response);
      life.appendWork.shift();
      this.#appendNext(life);
    });
  }

  /** A Raft snapshot is on its way to the state machine: what was ordered before comes too late, and is only answered. */
  #voidApplyWork({ applyWork }: Life): void {
    for (const [at, m] of applyWork.entries()) applyWork[at] = { ...m, entries: [] };
  }

  #applyNext(life: Life): void {
    const m = life.applyWork[0];
    if (m === undefined) return;
    this.#later(this.cluster.world.between(0.1, 2), () => {
      this.#apply(life, life.applyWork[0]?.entries ?? []);
      for (const response of m.responses) this.#route(life, response);
      life.applyWork.shift();
      this.#applyNext(life);
    });
  }

  // --- the state machine

  #apply(life: Life, entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (this.cluster.sabotage.applyBeforeCommit === true && entry.index <= life.applied) continue;
      this.cluster.checks.follows(this.id, entry, life.applied);
      if (entry.type !== 'EntryNormal') this.#changeMembership(life, entry);
      else if (entry.data.length > 0) this.#applyRequest(life, entry);
      life.applied = entry.index;
      life.appliedTerm = entry.term;
    }
    this.#answerReads(life);
    if (entries.length > 0 && this.cluster.world.random.chance(0.05)) this.#saveImage(life);
  }

  #applyRequest(life: Life, { data }: Entry): void {
    const added = life.machine.apply(data);
    this.cluster.checks.reaches(this.id, life.machine.checkpoint());
    const request = new TextDecoder().decode(data);
    if (added !== undefined) life.adds.get(request)?.(added.version);
    life.adds.delete(request);
  }

  #changeMembership(life: Life, entry: Entry): void {
    const change = decodeChange(entry.data);
    this.cluster.world.count('membership changed');
    if (change === undefined) throw new Error(`entry ${entry.index} is no membership change`);
    for (const [at, one] of this.#asApplied(change).entries()) {
      // Several only under sabotage; the fraction makes each of them news to the core.
      life.membership = life.node.applyConfChange(one, entry.index + at / 100);
    }
  }

  #asApplied(change: ConfChange): readonly ConfChange[] {
    if (this.cluster.sabotage.skipJoint !== true) return [change];
    return change.changes.map((one) => ({ transition: 'auto', changes: [one], context: noBytes }));
  }

  #takeReads(life: Life, { readStates }: Ready): void {
    for (const { index, context } of readStates) {
      const key = new TextDecoder().decode(context);
      const reply = life.reads.get(key);
      life.reads.delete(key);
      if (reply !== undefined) life.readsAt.push({ index, reply });
    }
    this.#answerReads(life);
  }

  #answerReads(life: Life): void {
    const due = life.readsAt.filter(({ index }) => index <= life.applied);
    if (due.length === 0) return;
    const waiting = life.readsAt.filter(({ index }) => index > life.applied);
    life.readsAt.splice(0, life.readsAt.length, ...waiting);
    for (const { reply } of due) reply(life.machine.checkpoint().size);
  }

  /** Makes the state machine's state safe and drops most of the entries that led to it. */
  #saveImage(life: Life): void {
    const { storage } = life;
    this.disk.image = this.#snapshot(life);
    const compact = Math.min(life.applied - KEPT_ENTRIES, storage.lastIndex());
    if (compact < storage.firstIndex()) return;
    this.#note(() => `compacts its log up to ${compact}`);
    this.cluster.world.count('log compacted');
    this.disk.write({ hardState: undefined, entries: [], snapshot: undefined, compact });
    storage.compact(compact);
    for (const at of life.terms.keys()) if (at < compact) life.terms.delete(at);
  }
}
