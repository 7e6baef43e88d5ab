// What a leader does with a message of its own term.
import {
  appendEntries,
  broadcastAppend,
  broadcastHeartbeat,
  commitAcked,
  hasCommittedInTerm,
  sendAppend,
} from './append.ts';
import { decodeChange } from './change-codec.ts';
import { describeChange, describeMembership, describeProgress } from './describe.ts';
import { isJoint, type ConfChange } from './membership.ts';
import { nobody, noBytes, type Entry, type Message } from './message.ts';
import type { Progress } from './progress.ts';
import { voteResult } from './quorum.ts';
import { hex, send, type Answers, type Raft, type Refused } from './raft.ts';
import { becomeFollower } from './roles.ts';

export const leaderAnswers: Answers = {
  MsgBeat: (raft) => broadcastHeartbeat(raft),
  MsgCheckQuorum: checkQuorum,
  MsgReadIndex: answerReadIndex,
  MsgAppResp: fromMember(appendAnswered),
  MsgHeartbeatResp: fromMember(heartbeatAnswered),
  MsgSnapStatus: fromMember(snapshotReported),
  MsgUnreachable: fromMember(unreachable),
  MsgTransferLeader: fromMember(transferLeadership),
};

/** For messages that say something about one member. */
function fromMember(
  answer: (raft: Raft, m: Message, progress: Progress) => void,
): (raft: Raft, m: Message) => void {
  return (raft, m) => {
    const progress = raft.progress.get(m.from);
    if (progress === undefined) {
      raft.say('debug', `${hex(raft.id)} no progress available for ${hex(m.from)}`);
    } else {
      answer(raft, m, progress);
    }
  };
}

// --- staying leader

function checkQuorum(raft: Raft): void {
  const active = new Map<number, boolean>();
  for (const [id, { learner, recentActive }] of raft.progress) {
    if (!learner) active.set(id, recentActive);
  }
  if (voteResult(raft.membership, active) !== 'VoteWon') {
    raft.say('warn', `${hex(raft.id)} stepped down to follower since quorum is not active`);
    becomeFollower(raft, raft.term, nobody);
  }
  for (const [id, progress] of raft.progress) {
    if (id !== raft.id) progress.recentActive = false;
  }
}

// --- proposals

export function propose(raft: Raft, proposed: Message['entries']): Refused | undefined {
  if (proposed.length === 0 || !raft.progress.has(raft.id)) return 'proposal-dropped';
  if (raft.leadTransferee !== nobody) {
    raft.say(
      'debug',
      `${hex(raft.id)} [term ${raft.term}] transfer leadership to ${hex(raft.leadTransferee)} is in progress; dropping proposal`,
    );
    return 'proposal-dropped';
  }
  const entries: Pick<Entry, 'type' | 'data'>[] = [];
  for (const entry of proposed) {
    const change = entry.type === 'EntryNormal' ? undefined : decodeChange(entry.data);
    if (entry.type !== 'EntryNormal' && change === undefined) return 'proposal-dropped';
    const refused = change !== undefined && !admitChange(raft, entry.type, change, entries.length);
    entries.push(refused ? { type: 'EntryNormal', data: noBytes } : entry);
  }
  if (!appendEntries(raft, entries)) return 'proposal-dropped';
  broadcastAppend(raft);
  return undefined;
}

/** One membership change at a time. The check is against the membership in force, which may not be the last one in the log. */
function admitChange(raft: Raft, type: Entry['type'], change: ConfChange, position: number): boolean {
  const problem = changeProblem(raft, change);
  if (problem !== undefined && !raft.options.disableConfChangeValidation) {
    raft.say(
      'info',
      `${hex(raft.id)} ignoring conf change ${describeChange(type, change)} at config ${describeMembership(raft.membership)}: ${problem}`,
    );
    return false;
  }
  raft.pendingConfIndex = raft.log.lastIndex() + position + 1;
  return true;
}

function changeProblem(raft: Raft, change: ConfChange): string | undefined {
  const { pendingConfIndex, log, membership } = raft;
  const leaves = change.changes.length === 0;
  if (pendingConfIndex > log.applied) {
    return `possible unapplied conf change at index ${pendingConfIndex} (applied to ${log.applied})`;
  }
  if (isJoint(membership) && !leaves) return 'must transition out of joint config first';
  if (!isJoint(membership) && leaves) return 'not in joint state; refusing empty conf change';
  return undefined;
}

// --- replication

function appendAnswered(raft: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  if (m.reject) appendRejected(raft, m, progress);
  else appendAccepted(raft, m, progress);
}

/**
 * The member's log does not have the entry before those sent. It hints where its log may agree; where it also names the term there, the
 * leader skips all its own entries of higher terms before that place, for they cannot be in that log. So each term costs one probe at most.
 */
function appendRejected(raft: Raft, m: Message, progress: Progress): void {
  const { id, log, say } = raft;
  say(
    'debug',
    `${hex(id)} received MsgAppResp(rejected, hint: (index ${m.rejectHint}, term ${m.logTerm})) from ${hex(m.from)} for index ${m.index}`,
  );
  const hint = m.logTerm > 0 ? log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!progress.rejected(m.index, hint)) return;
  say('debug', `${hex(id)} decreased progress of ${hex(m.from)} to [${describeProgress(progress)}]`);
  if (progress.state === 'replicate') progress.becomeProbe();
  sendAppend(raft, m.from, true);
}

function appendAccepted(raft: Raft, m: Message, progress: Progress): void {
  const news = progress.acked(m.index);
  // A probe that found nothing missing is good news, too: the member can be sent entries ahead again.
  if (!news && !(progress.match === m.index && progress.state === 'probe')) return;
  resumeReplication(raft, m, progress);
  if (commitAcked(raft)) {
    releaseWaitingReads(raft);
    broadcastAppend(raft);
  } else if (m.from !== raft.id && progress.canBumpCommit(raft.log.committed)) {
    sendAppend(raft, m.from, true);
  }
  // The acknowledgement made room; fill it, but with entries only.
  if (m.from !== raft.id) while (sendAppend(raft, m.from, false));
  if (m.from === raft.leadTransferee && progress.match === raft.log.lastIndex()) {
    raft.say('info', `${hex(raft.id)} sent MsgTimeoutNow to ${hex(m.from)} after received MsgAppResp`);
    send(raft, { type: 'MsgTimeoutNow', to: m.from });
  }
}

function resumeReplication(raft: Raft, m: Message, progress: Progress): void {
  if (progress.state === 'probe') {
    progress.becomeReplicate();
  } else if (progress.state === 'replicate') {
    progress.inflights.freeUpTo(m.index);
  } else if (progress.match + 1 >= raft.log.firstIndex()) {
    // Whatever Raft snapshot the member has applied, from wherever: it reaches into this log, so entries can follow.
    raft.say(
      'debug',
      `${hex(raft.id)} recovered from needing snapshot, resumed sending replication messages to ${hex(m.from)} [${describeProgress(progress)}]`,
    );
    progress.becomeProbe();
    progress.becomeReplicate();
  }
}

function heartbeatAnswered(raft: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.flowPaused = false;
  // The member is there. Something for it may have been lost, or it is only probed: an append message will tell.
  if (progress.match < raft.log.lastIndex() || progress.state === 'probe') sendAppend(raft, m.from, true);
  if (raft.options.readOnly !== 'safe' || m.context.length === 0) return;
  raft.reads.acked(m.from, m.context);
  for (const { request, index } of raft.reads.confirmed(raft.membership)) answerRead(raft, request, index);
}

/** The transport says how sending a Raft snapshot ended. Either way the next message waits for a sign of life. */
function snapshotReported(raft: Raft, m: Message, progress: Progress): void {
  if (progress.state !== 'snapshot') return;
  // A failed one is not probed behind.
  if (m.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  raft.say(
    'debug',
    `${hex(raft.id)} snapshot ${m.reject ? 'failed' : 'succeeded'}, resumed sending replication messages to ${hex(m.from)} [${describeProgress(progress)}]`,
  );
  progress.flowPaused = true;
}

/** Entries sent ahead to a member that cannot be reached are probably lost. */
function unreachable(raft: Raft, m: Message, progress: Progress): void {
  if (progress.state === 'replicate') progress.becomeProbe();
  raft.say(
    'debug',
    `${hex(raft.id)} failed to send message to ${hex(m.from)} because it is unreachable [${describeProgress(progress)}]`,
  );
}

// --- handing over

function transferLeadership(raft: Raft, m: Message, progress: Progress): void {
  const { id, term, leadTransferee: earlier, log, say } = raft;
  const to = m.from;
  if (progress.learner) {
    say('debug', `${hex(id)} is learner. Ignored transferring leadership`);
    return;
  }
  if (earlier === to) {
    say(
      'info',
      `${hex(id)} [term ${term}] transfer leadership to ${hex(to)} is in progress, ignores request to same node ${hex(to)}`,
    );
    return;
  }
  if (earlier !== nobody) {
    raft.leadTransferee = nobody;
    say('info', `${hex(id)} [term ${term}] abort previous transferring leadership to ${hex(earlier)}`);
  }
  if (to === id) {
    say('debug', `${hex(id)} is already leader. Ignored transferring leadership to self`);
    return;
  }
  say('info', `${hex(id)} [term ${term}] starts to transfer leadership to ${hex(to)}`);
  // It has one election timeout to succeed.
  raft.electionElapsed = 0;
  raft.leadTransferee = to;
  if (progress.match === log.lastIndex()) {
    send(raft, { type: 'MsgTimeoutNow', to });
    say(
      'info',
      `${hex(id)} sends MsgTimeoutNow to ${hex(to)} immediately as ${hex(to)} already has up-to-date log`,
    );
  } else {
    sendAppend(raft, to, true);
  }
}

// --- reads

function answerReadIndex(raft: Raft, m: Message): void {
  const { voters, votersOutgoing } = raft.membership;
  const alone = voters.length === 1 && votersOutgoing.length === 0;
  if (alone) answerRead(raft, m, raft.log.committed);
  // Until an entry of its own term is committed, a leader may not know of all that is.
  else if (!hasCommittedInTerm(raft)) raft.waitingReads.push(m);
  else confirmRead(raft, m);
}

function confirmRead(raft: Raft, m: Message): void {
  if (raft.options.readOnly === 'lease-based') {
    answerRead(raft, m, raft.log.committed);
    return;
  }
  raft.reads.ask(m, raft.log.committed);
  raft.reads.acked(raft.id, raft.reads.context());
  broadcastHeartbeat(raft);
}

function releaseWaitingReads(raft: Raft): void {
  const waiting = raft.waitingReads;
  raft.waitingReads = [];
  for (const request of waiting) confirmRead(raft, request);
}

function answerRead(raft: Raft, request: Message, index: number): void {
  if (request.from === nobody || request.from === raft.id) {
    raft.readStates.push({ index, context: request.entries[0]?.data ?? noBytes });
  } else {
    send(raft, { type: 'MsgReadIndexResp', to: request.from, index, entries: request.entries });
  }
}
