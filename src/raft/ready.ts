// What a node wants done: the contract between the core and whoever drives it.
//
// In this order, and nothing of the next step before the one above it is done:
//   1. save `hardState`, `entries` and `snapshot`, durably if `mustSync` says so or there is a Raft snapshot
//   2. send `messages`
//   3. load `snapshot` into the state machine, apply `committedEntries`, report membership changes among them (`applyConfChange`)
//   4. advance()
// Only messages that carry entries or heartbeats may be sent before step 1 is done: those do not attest anything. With asyncStorageWrites
// the same work is ordered by MsgStorageAppend and MsgStorageApply among the messages; all others may be sent at once. A Raft snapshot then
// makes void what was ordered to be applied before it: such an order is answered without being carried out.
import { appendThread, applyThread, message } from './message.ts';
import type { Entry, HardState, Message, RaftSnapshot } from './message.ts';
import type { Raft, Role } from './raft.ts';
import type { ReadState } from './read-index.ts';

/** For information only; never saved. */
export interface SoftState {
  readonly lead: number;
  readonly role: Role;
}

export interface Ready {
  /** Undefined where nothing changed, here and below. */
  readonly softState: SoftState | undefined;
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** To be appended to the log on disk; they replace what is there from the first one's index on. */
  readonly entries: readonly Entry[];
  readonly snapshot: RaftSnapshot | undefined;
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly mustSync: boolean;
}

export function softState(raft: Raft): SoftState {
  return { lead: raft.lead, role: raft.role };
}

export const isEmptyHardState = ({ term, vote, commit }: HardState): boolean =>
  term === 0 && vote === 0 && commit === 0;

export const sameHardState = (a: HardState, b: HardState): boolean =>
  a.term === b.term && a.vote === b.vote && a.commit === b.commit;

/** The orders to the local threads that stand for a Ready's writes when they are asynchronous. */
export function storageMessages(raft: Raft, ready: Omit<Ready, 'messages'>): readonly Message[] {
  const orders: Message[] = [];
  const { entries, snapshot, hardState: changed, committedEntries } = ready;
  const waiting = raft.messagesAfterAppend;
  if (entries.length > 0 || changed !== undefined || snapshot !== undefined || waiting.length > 0) {
    const written = needsAppendResp(raft, snapshot) ? [storageAppendResp(raft, snapshot)] : [];
    // The leader's acknowledgement to itself goes first: it reads terms that are still at hand then.
    const responses = [...waiting, ...written];
    const order = { to: appendThread, from: raft.id, entries, snapshot, responses };
    orders.push(message({ type: 'MsgStorageAppend', ...order, ...changed }));
  }
  if (committedEntries.length > 0) {
    const responses = [storageApplyResp(raft, committedEntries)];
    orders.push(
      message({
        type: 'MsgStorageApply',
        to: applyThread,
        from: raft.id,
        entries: committedEntries,
        responses,
      }),
    );
  }
  return orders;
}

/** The hard state that a MsgStorageAppend orders to save: its fields are all zero when it did not change. */
export function orderedHardState({ term, vote, commit }: Message): HardState | undefined {
  const state = { term, vote, commit };
  return isEmptyHardState(state) ? undefined : state;
}

/** What the node tells itself once the work of a Ready is done. */
export function stepsAfter(raft: Raft, ready: Ready): readonly Message[] {
  const steps = raft.messagesAfterAppend.filter(({ to }) => to === raft.id);
  if (needsAppendResp(raft, ready.snapshot)) steps.push(storageAppendResp(raft, ready.snapshot));
  if (ready.committedEntries.length > 0) steps.push(storageApplyResp(raft, ready.committedEntries));
  return steps;
}

function needsAppendResp(raft: Raft, snapshot: RaftSnapshot | undefined): boolean {
  return raft.log.unstable.entries.length > 0 || snapshot !== undefined;
}

/**
 * Reports the unstable entries as stored. It names the last one there is, saved by this write or by an earlier one: the report of that earlier
 * write may have been dropped because the term changed in between, and would be missing otherwise.
 */
function storageAppendResp(raft: Raft, snapshot: RaftSnapshot | undefined): Message {
  const last = raft.log.unstable.entries.length > 0 ? raft.log.last() : { index: 0, term: 0 };
  return message({
    type: 'MsgStorageAppendResp',
    to: raft.id,
    from: appendThread,
    term: raft.term,
    index: last.index,
    logTerm: last.term,
    snapshot,
  });
}

function storageApplyResp(raft: Raft, entries: readonly Entry[]): Message {
  return message({ type: 'MsgStorageApplyResp', to: raft.id, from: applyThread, entries });
}
