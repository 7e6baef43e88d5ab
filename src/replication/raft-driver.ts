// Drives the Raft core: hands it messages and ticks, and does what its Ready asks for. Writes overlap: while one fsync is under way, messages
// go on, entries are already with the followers, and what waits goes to disk together. Applying is instant: all it does is to take
// membership changes and to move the mark up to which records may be read (cluster.ts hands them out).
import { assert, QedError } from '../errors.ts';
import { decodeChange } from '../raft/change-codec.ts';
import { type ConfChange } from '../raft/membership.ts';
import { message, nobody, type Entry, type Message } from '../raft/message.ts';
import { RaftNode, type NodeOptions, type Status } from '../raft/node.ts';
import { type ReadState } from '../raft/read-index.ts';
import { orderedHardState, type Ready } from '../raft/ready.ts';
import { type SayLevel } from '../raft/say.ts';
import { changeTable, type Standing } from './members.ts';
import { type RaftStorage } from './raft-storage.ts';

export interface DriverOptions {
  readonly storage: RaftStorage;
  readonly random: (limit: number) => number;
  readonly electionTicks: number;
  readonly say: (level: SayLevel, line: string) => void;
  /** Puts a message on its way to a peer. */
  readonly send: (m: Message) => void;
  /** Entries got their places in the log. */
  readonly onPlaced: (entries: readonly Entry[]) => void;
  readonly onCommitted: (entry: Entry) => void;
  readonly onReads: (reads: readonly ReadState[]) => void;
  /** After every step that may have changed something, when all of its effects are in place. */
  readonly onStep: () => void;
  readonly onMembers: (standing: Standing) => void;
  readonly onFailure: (failure: QedError) => void;
}

const RAFT: Partial<NodeOptions> = {
  heartbeatTicks: 1,
  asyncStorageWrites: true,
  checkQuorum: true,
  preVote: true,
  readOnly: 'safe',
  // Requests are forwarded once, above, with their answers.
  disableProposalForwarding: true,
  stepDownOnRemoval: true,
  maxSizePerMessage: 1024 * 1024,
  maxApplyingSize: 16 * 1024 * 1024,
  maxUncommittedSize: 64 * 1024 * 1024,
  maxInflightMessages: 256,
  maxInflightBytes: 32 * 1024 * 1024,
};

export class RaftDriver {
  readonly #options: DriverOptions;
  readonly #storage: RaftStorage;
  readonly #node: RaftNode;
  #status: Status;
  #isPumping = false;
  #isStopped = false;
  #failure: QedError | undefined;
  #ticks = 0;
  readonly #waits = new Set<() => void>();

  constructor(options: DriverOptions) {
    const { storage, random, electionTicks, say } = options;
    const { id, index } = storage.standing;
    this.#options = options;
    this.#storage = storage;
    this.#node = new RaftNode({ ...RAFT, id, storage, random, electionTicks, say, applied: index });
    this.#status = this.#node.status();
  }

  get status(): Status {
    return this.#status;
  }

  get isLeader(): boolean {
    return this.#status.softState.role === 'leader' && !this.#isStopped;
  }

  /** As leader it takes no records while another one is about to take over. */
  get isHandingOver(): boolean {
    return this.#status.leadTransferee !== nobody;
  }

  get leader(): number {
    return this.#isStopped ? nobody : this.#status.softState.lead;
  }

  get ticks(): number {
    return this.#ticks;
  }

  /** Committed here as far as it can be read. */
  get applied(): number {
    return this.#storage.standing.index;
  }

  /** Why it stopped by itself. */
  get failure(): QedError | undefined {
    return this.#failure;
  }

  // --- inputs

  tick(): void {
    this.#ticks += 1;
    this.#run((node) => node.tick());
  }

  step(m: Message): void {
    this.#run((node) => node.step(m));
  }

  /** Throws when nothing of it is in the log, or ever will be. */
  propose(group: readonly Uint8Array[]): void {
    if (this.#isStopped) throw stopped(this.#failure);
    const entries = group.map((data): Entry => ({ type: 'EntryNormal', index: 0, term: 0, data }));
    const { id } = this.#storage.standing;
    const refused = this.#run((node) => node.step(message({ type: 'MsgProp', from: id, entries })));
    if (refused === undefined) return;
    if (!this.isLeader || this.isHandingOver)
      throw new QedError('no-leader', 'the leadership changes at this moment', { hint: 'Try again soon.' });
    throw new QedError('busy', 'too much waits for a majority', { hint: 'Try again soon.' });
  }

  proposeChange(change: ConfChange): void {
    this.#run((node) => node.proposeConfChange(change));
  }

  /** Anything else that the core can be told. */
  tell(what: (node: RaftNode) => void): void {
    this.#run(what);
  }

  /** Takes nothing more and does nothing more. Writes under way go to their end. */
  stop(): void {
    this.#isStopped = true;
    for (const look of [...this.#waits]) look();
  }

  /**
   * Resolves with what `look` finds; it looks at once and after every step, and may throw. `busy` after so many ticks without a find.
   */
  until<Found>(look: () => Found | undefined, ticks: number, signal?: AbortSignal): Promise<Found> {
    return new Promise((resolve, reject) => {
      const end = this.#ticks + ticks;
      const finish = (): void => {
        this.#waits.delete(attempt);
        signal?.removeEventListener('abort', attempt);
      };
      const attempt = (): void => {
        try {
          const found = look();
          if (found === undefined && this.#isStopped) throw stopped(this.#failure);
          if (found === undefined && (this.#ticks >= end || signal?.aborted))
            throw new QedError('busy', 'the cluster did not get that far in time', { hint: 'Try again.' });
          if (found === undefined) return;
          finish();
          resolve(found);
        } catch (error) {
          finish();
          reject(error instanceof QedError ? error : new QedError('bug', String(error), { cause: error }));
        }
      };
      this.#waits.add(attempt);
      signal?.addEventListener('abort', attempt);
      attempt();
    });
  }

  // --- the loop

  #run<Result>(input: (node: RaftNode) => Result): Result | undefined {
    if (this.#isStopped) return undefined;
    try {
      const result = input(this.#node);
      this.#pump();
      return result;
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.#isStopped && this.#node.hasReady()) this.#handle(this.#node.ready());
    } finally {
      this.#isPumping = false;
    }
    this.#status = this.#node.status();
    this.#options.onStep();
    for (const look of [...this.#waits]) look();
  }

  #handle({ readStates, messages }: Ready): void {
    if (readStates.length > 0) this.#options.onReads(readStates);
    for (const m of messages) this.#route(m);
  }

  #route(m: Message): void {
    if (m.type === 'MsgStorageAppend') this.#save(m);
    else if (m.type === 'MsgStorageApply') this.#apply(m);
    else if (m.to === this.#storage.standing.id) this.#node.step(m);
    else this.#options.send(m);
  }

  #save(m: Message): void {
    const { entries, snapshot, responses } = m;
    this.#options.onPlaced(entries);
    const saved = this.#storage.save({ hardState: orderedHardState(m), entries, snapshot });
    saved.then(
      () => {
        if (snapshot) this.#options.onMembers(this.#storage.standing);
        // A commit index alone is answered by nothing, and changes nothing here.
        if (responses.length > 0) this.#run(() => responses.forEach((response) => this.#route(response)));
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #apply({ entries, responses }: Message): void {
    let { membership, table } = this.#storage.standing;
    for (const entry of entries) {
      if (entry.type === 'EntryNormal') {
        this.#options.onCommitted(entry);
        continue;
      }
      const change = decodeChange(entry.data);
      assert(change !== undefined, `entry ${entry.index} is no membership change`);
      membership = this.#node.applyConfChange(change, entry.index);
      table = changeTable(table, change);
    }
    const { standing } = this.#storage;
    const { index, term } = entries.at(-1) ?? standing;
    this.#storage.advance({ ...standing, index, term, membership, table });
    if (membership !== standing.membership || table !== standing.table)
      this.#options.onMembers(this.#storage.standing);
    for (const response of responses) this.#node.step(response);
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    // The log tells a write under way that its outcome is unknown; why that is so, it says itself.
    const known = this.#storage.failure ?? error;
    this.#failure =
      known instanceof QedError ? known : new QedError('bug', 'the Raft core failed', { cause: error });
    this.stop();
    this.#options.onFailure(this.#failure);
  }
}

export function stopped(failure: QedError | undefined): QedError {
  const code = failure?.code === 'store-full' ? failure.code : 'store-closed';
  return failure
    ? new QedError(code, `this node's log takes nothing more: ${failure.message}`, { cause: failure })
    : new QedError(code, 'the log is closed');
}
