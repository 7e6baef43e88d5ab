// The core as its driver sees it: inputs in (tick, step, propose, …), one Ready out, advance() when that is done.
// Every call returns at once; nothing happens between calls. One driver, one call at a time.
import { assert, QedError } from '../errors.ts';
import { encodeChange } from './change-codec.ts';
import { RaftLog } from './log.ts';
import { checkMembership, type ConfChange, type Membership } from './membership.ts';
import {
  isLocal,
  isLocalTarget,
  isResponse,
  message,
  nobody,
  type Entry,
  type HardState,
  type Message,
} from './message.ts';
import type { Progress } from './progress.ts';
import { hardState, hex, type Raft, type RaftOptions, type Refused } from './raft.ts';
import { ReadIndex } from './read-index.ts';
import {
  isEmptyHardState,
  sameHardState,
  softState,
  stepsAfter,
  storageMessages,
  type Ready,
  type SoftState,
} from './ready.ts';
import { applyConfChange, restoreMembership } from './reconfigure.ts';
import { becomeFollower } from './roles.ts';
import { silent } from './say.ts';
import { step, tick } from './step.ts';
import { voterIds } from './quorum.ts';

/** What a driver has to say; the rest has the defaults below. */
export type NodeOptions = Pick<RaftOptions, 'id' | 'storage' | 'random'> & Partial<RaftOptions>;

const defaults: Omit<RaftOptions, 'id' | 'storage' | 'random' | 'maxApplyingSize'> = {
  say: silent,
  applied: 0,
  electionTicks: 10,
  heartbeatTicks: 1,
  asyncStorageWrites: false,
  maxSizePerMessage: 1 << 20,
  maxUncommittedSize: Infinity,
  maxInflightMessages: 256,
  maxInflightBytes: Infinity,
  checkQuorum: false,
  preVote: false,
  readOnly: 'safe',
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: false,
};

export interface Status {
  readonly id: number;
  readonly hardState: HardState;
  readonly softState: SoftState;
  readonly applied: number;
  readonly leadTransferee: number;
  readonly membership: Membership;
  /** Of every member; empty unless this node is leader. Read it before the next call, it is not a copy. */
  readonly progress: ReadonlyMap<number, Progress>;
}

export class RaftNode {
  readonly #raft: Raft;
  #lastSoftState: SoftState;
  #lastHardState: HardState;
  #stepsOnAdvance: readonly Message[] = [];

  constructor(options: NodeOptions) {
    this.#raft = createRaft(options);
    this.#lastSoftState = softState(this.#raft);
    this.#lastHardState = hardState(this.#raft);
  }

  // --- inputs

  tick(): void {
    tick(this.#raft);
  }

  /**
   * A message from a peer, or the response to a storage order. The driver vouches that `from` is who sent it; what the message says is
   * not trusted further than Raft trusts a member.
   */
  step(m: Message): Refused | undefined {
    if (isLocal(m.type) && !isLocalTarget(m.from)) return 'local-message';
    if (isResponse(m.type) && !isLocalTarget(m.from) && !this.#raft.progress.has(m.from))
      return 'unknown-peer';
    return step(this.#raft, m);
  }

  propose(data: Uint8Array): Refused | undefined {
    return this.#propose({ term: 0, index: 0, type: 'EntryNormal', data });
  }

  /** Takes effect when it is committed and handed back by `applyConfChange`; while another one is under way, the leader makes it empty. */
  proposeConfChange(
    change: ConfChange,
    type: 'EntryConfChange' | 'EntryConfChangeV2' = 'EntryConfChangeV2',
  ): Refused | undefined {
    return this.#propose({ term: 0, index: 0, type, data: encodeChange(change) });
  }

  #propose(entry: Entry): Refused | undefined {
    return step(this.#raft, message({ type: 'MsgProp', from: this.#raft.id, entries: [entry] }));
  }

  /** The driver applied the committed change at `index`. What it returns is for the application's own state and Raft snapshots. */
  applyConfChange(change: ConfChange, index: number): Membership {
    return applyConfChange(this.#raft, change, index);
  }

  campaign(): void {
    step(this.#raft, message({ type: 'MsgHup' }));
  }

  transferLeadership(to: number): void {
    step(this.#raft, message({ type: 'MsgTransferLeader', from: to }));
  }

  forgetLeader(): void {
    step(this.#raft, message({ type: 'MsgForgetLeader' }));
  }

  /** Asks for an index to read at; the answer, with the same context, comes in a Ready, or never: ask again after a while. */
  readIndex(context: Uint8Array): void {
    const entry: Entry = { term: 0, index: 0, type: 'EntryNormal', data: context };
    step(this.#raft, message({ type: 'MsgReadIndex', entries: [entry] }));
  }

  reportUnreachable(id: number): void {
    step(this.#raft, message({ type: 'MsgUnreachable', from: id }));
  }

  /** Whoever sent a Raft snapshot has to say how it ended: nothing else is sent to that member before. */
  reportSnapshot(id: number, succeeded: boolean): void {
    step(this.#raft, message({ type: 'MsgSnapStatus', from: id, reject: !succeeded }));
  }

  /** For tests: when the next election of this node is due. Chosen anew with every change of role. */
  setElectionTimeout(ticks: number): void {
    this.#raft.randomizedElectionTimeout = ticks;
  }

  // --- outputs

  hasReady(): boolean {
    const raft = this.#raft;
    const { log } = raft;
    const state = hardState(raft);
    return (
      this.#softStateChanged() ||
      (!isEmptyHardState(state) && !sameHardState(state, this.#lastHardState)) ||
      log.unstable.nextSnapshot() !== undefined ||
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      log.unstable.hasNextEntries() ||
      log.hasNextCommitted(this.#appliesUnstable()) ||
      raft.readStates.length > 0
    );
  }

  /** All that is to be done now. Without asyncStorageWrites the next one may only be taken after advance(). */
  ready(): Ready {
    assert(this.#stepsOnAdvance.length === 0, 'a Ready was taken before the last one was advanced');
    const ready = this.#collect();
    this.#accept(ready);
    return ready;
  }

  /** The last Ready is done. Not with asyncStorageWrites: there the responses say so. */
  advance(): void {
    assert(!this.#raft.options.asyncStorageWrites, 'advance() does not go with asyncStorageWrites');
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (const m of steps) step(this.#raft, m);
  }

  status(): Status {
    const raft = this.#raft;
    return {
      id: raft.id,
      hardState: hardState(raft),
      softState: softState(raft),
      applied: raft.log.applied,
      leadTransferee: raft.leadTransferee,
      membership: raft.membership,
      progress: raft.role === 'leader' ? raft.progress : new Map(),
    };
  }

  #collect(): Ready {
    const raft = this.#raft;
    const { log, options } = raft;
    const entries = log.unstable.nextEntries();
    const state = hardState(raft);
    const last = this.#lastHardState;
    const messages = [...raft.messages];
    const ready = {
      softState: this.#softStateChanged() ? softState(raft) : undefined,
      hardState: sameHardState(state, last) ? undefined : state,
      readStates: raft.readStates,
      entries,
      snapshot: log.unstable.nextSnapshot(),
      committedEntries: log.nextCommitted(this.#appliesUnstable()),
      messages,
      mustSync: entries.length > 0 || state.vote !== last.vote || state.term !== last.term,
    };
    const afterwards = options.asyncStorageWrites
      ? storageMessages(raft, ready)
      : raft.messagesAfterAppend.filter(({ to }) => to !== raft.id);
    messages.push(...afterwards);
    return ready;
  }

  #accept(ready: Ready): void {
    const raft = this.#raft;
    if (ready.softState !== undefined) this.#lastSoftState = ready.softState;
    if (ready.hardState !== undefined) this.#lastHardState = ready.hardState;
    if (!raft.options.asyncStorageWrites) this.#stepsOnAdvance = stepsAfter(raft, ready);
    raft.readStates = [];
    raft.messages = [];
    raft.messagesAfterAppend = [];
    raft.log.unstable.acceptInProgress();
    raft.log.acceptApplying(ready.committedEntries, this.#appliesUnstable());
  }

  #softStateChanged(): boolean {
    const { lead, role } = this.#lastSoftState;
    return this.#raft.lead !== lead || this.#raft.role !== role;
  }

  /** In step with advance(), committed entries are applied only after they have been saved in the same Ready. */
  #appliesUnstable(): boolean {
    return !this.#raft.options.asyncStorageWrites;
  }
}

function createRaft(given: NodeOptions): Raft {
  const options = checkOptions(given);
  const { id, storage, say, applied } = options;
  const initial = storage.initialState();
  const log = new RaftLog(storage, options.maxApplyingSize, say);
  const raft: Raft = {
    options,
    id,
    log,
    say,
    role: 'follower',
    term: 0,
    vote: nobody,
    lead: nobody,
    membership: initial.membership,
    membershipIndex: 0,
    progress: new Map(),
    votes: new Map(),
    messages: [],
    messagesAfterAppend: [],
    leadTransferee: nobody,
    pendingConfIndex: 0,
    uncommittedSize: 0,
    reads: new ReadIndex(),
    waitingReads: [],
    readStates: [],
    electionElapsed: 0,
    heartbeatElapsed: 0,
    randomizedElectionTimeout: 0,
  };
  const membership = checkMembership(initial.membership);
  restoreMembership(raft, membership, Math.max(applied, log.applied));
  if (!isEmptyHardState(initial.hardState)) loadHardState(raft, initial.hardState);
  if (applied > 0) log.appliedTo(applied, 0);
  becomeFollower(raft, raft.term, nobody);
  const last = log.last();
  const peers = voterIds(membership).map(hex).join(',');
  say(
    'info',
    `newRaft ${hex(id)} [peers: [${peers}], term: ${raft.term}, commit: ${log.committed}, applied: ${log.applied}, ` +
      `lastindex: ${last.index}, lastterm: ${last.term}]`,
  );
  return raft;
}

function loadHardState(raft: Raft, { term, vote, commit }: HardState): void {
  const { log } = raft;
  if (commit < log.committed || commit > log.lastIndex()) {
    throw new QedError(
      'store-corrupt',
      `the saved commit index ${commit} lies outside of the saved log [${log.committed}, ${log.lastIndex()}]`,
      {
        hint: 'The Raft log of this node lost entries. Get its data from the cluster: qed rebuild.',
      },
    );
  }
  log.committed = commit;
  raft.term = term;
  raft.vote = vote;
}

function checkOptions(given: NodeOptions): RaftOptions {
  const options = { ...defaults, ...given };
  const maxApplyingSize = given.maxApplyingSize ?? options.maxSizePerMessage;
  const { id, heartbeatTicks, electionTicks, maxInflightMessages, maxInflightBytes } = options;
  assert(Number.isSafeInteger(id) && id > 0, `a node id must be a positive integer, not ${id}`);
  assert(heartbeatTicks > 0, 'heartbeatTicks must be greater than 0');
  assert(electionTicks > heartbeatTicks, 'electionTicks must be greater than heartbeatTicks');
  assert(maxInflightMessages > 0, 'maxInflightMessages must be greater than 0');
  assert(
    maxInflightBytes >= options.maxSizePerMessage,
    'maxInflightBytes must be at least maxSizePerMessage',
  );
  assert(
    options.readOnly === 'safe' || options.checkQuorum,
    'lease-based reads need checkQuorum: without it a deposed leader would go on answering',
  );
  return { ...options, maxApplyingSize };
}
