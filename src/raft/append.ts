// The leader's sending: entries, Raft snapshots and heartbeats to members, entries to its own log, and the commit index that follows
// from what they acknowledge. Who may be sent what, and when, is decided by each member's Progress.
import { assert } from '../errors.ts';
import { describeProgress } from './describe.ts';
import { payloadSize, type Entry } from './message.ts';
import type { Progress } from './progress.ts';
import { committedIndex } from './quorum.ts';
import { hex, send, type Raft } from './raft.ts';

/** Entries get their place in the log here. False when too much is uncommitted already. */
export function appendEntries(raft: Raft, proposed: readonly Pick<Entry, 'type' | 'data'>[]): boolean {
  const next = raft.log.lastIndex() + 1;
  const entries = proposed.map(({ type, data }, at) => ({ term: raft.term, index: next + at, type, data }));
  const size = payloadSize(entries);
  // An empty log tail takes a proposal of any size, and an entry without data (of a new leader, or to leave a joint membership) always fits.
  if (raft.uncommittedSize > 0 && size > 0 && raft.uncommittedSize + size > raft.options.maxUncommittedSize) {
    raft.say(
      'warn',
      `${hex(raft.id)} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
    );
    return false;
  }
  raft.uncommittedSize += size;
  raft.log.append(entries);
  // The leader counts itself only once the entries are on its own disk, by an acknowledgement like everybody's.
  send(raft, { type: 'MsgAppResp', to: raft.id, index: raft.log.lastIndex() });
  return true;
}

export function broadcastAppend(raft: Raft): void {
  for (const id of raft.progress.keys()) {
    if (id !== raft.id) sendAppend(raft, id, true);
  }
}

/**
 * Sends the entries that the member needs next, with the commit index; or a Raft snapshot where they are gone.
 * Without entries to send, only if `evenIfEmpty`. Returns whether a message went out.
 */
export function sendAppend(raft: Raft, to: number, evenIfEmpty: boolean): boolean {
  const progress = raft.progress.get(to);
  assert(progress !== undefined, `an append message to ${to}, who is no member`);
  if (progress.paused) return false;
  const index = progress.next - 1;
  const logTerm = raft.log.term(index);
  if (logTerm === undefined) return sendSnapshot(raft, to, progress);
  const entries = entriesFor(raft, progress);
  if (!evenIfEmpty && (entries === undefined || entries.length === 0)) return false;
  if (entries === undefined) return sendSnapshot(raft, to, progress);
  send(raft, { type: 'MsgApp', to, index, logTerm, entries, commit: raft.log.committed });
  progress.sentEntries(entries.length, payloadSize(entries));
  progress.sentCommit(raft.log.committed);
  return true;
}

/**
 * To a member whose window is full only an empty message goes: if all those in flight were lost, its answer gets things
 * moving again.
 */
function entriesFor(raft: Raft, progress: Progress): readonly Entry[] | undefined {
  if (progress.state === 'replicate' && progress.inflights.full) return [];
  return raft.log.entriesFrom(progress.next, raft.options.maxSizePerMessage);
}

function sendSnapshot(raft: Raft, to: number, progress: Progress): boolean {
  const { id, log, say } = raft;
  if (!progress.recentActive) {
    say('debug', `ignore sending snapshot to ${hex(to)} since it is not recently active`);
    return false;
  }
  const snapshot = log.snapshot();
  if (snapshot === undefined) {
    say(
      'debug',
      `${hex(id)} failed to send snapshot to ${hex(to)} because snapshot is temporarily unavailable`,
    );
    return false;
  }
  assert(snapshot.index > 0, `an empty Raft snapshot for ${to}`);
  say(
    'debug',
    `${hex(id)} [firstindex: ${log.firstIndex()}, commit: ${log.committed}] sent snapshot` +
      `[index: ${snapshot.index}, term: ${snapshot.term}] to ${hex(to)} [${describeProgress(progress)}]`,
  );
  progress.becomeSnapshot(snapshot.index);
  say(
    'debug',
    `${hex(id)} paused sending replication messages to ${hex(to)} [${describeProgress(progress)}]`,
  );
  send(raft, { type: 'MsgSnap', to, snapshot });
  return true;
}

/** Heartbeats carry the latest waiting read, if there is one. */
export function broadcastHeartbeat(raft: Raft): void {
  const context = raft.reads.context();
  for (const [to, progress] of raft.progress) {
    if (to === raft.id) continue;
    // Not beyond what the member is known to hold: its log may differ behind that.
    const commit = Math.min(progress.match, raft.log.committed);
    send(raft, { type: 'MsgHeartbeat', to, commit, context });
    progress.sentCommit(commit);
  }
}

/** Moves the commit index to what a quorum holds, if that is an entry of this leader's term. */
export function commitAcked(raft: Raft): boolean {
  const index = committedIndex(raft.membership, (id) => raft.progress.get(id)?.match);
  return raft.log.commitInTerm(index, raft.term);
}

export function hasCommittedInTerm(raft: Raft): boolean {
  return raft.log.term(raft.log.committed) === raft.term;
}
