// The one door for input: a message, or a tick. First the rules about terms, which are the same for all roles, then what all roles do
// alike, then the role's own answer.
import { candidateAnswers, dropProposal } from './candidate.ts';
import { answerVote, describeRequest, describeVoter, isTransfer, startCampaign } from './campaign.ts';
import { describeMembership } from './describe.ts';
import { followerAnswers, forwardProposal } from './follower.ts';
import { leaderAnswers, propose } from './leader.ts';
import {
  entriesSize,
  message,
  nobody,
  noBytes,
  payloadSize,
  type Entry,
  type Message,
  type RaftSnapshot,
} from './message.ts';
import { hex, isPromotable, send, type Answers, type Raft, type Refused, type Role } from './raft.ts';
import { becomeFollower } from './roles.ts';

export function step(raft: Raft, m: Message): Refused | undefined {
  if (m.term !== 0 && m.term < raft.term) {
    stepOutdated(raft, m);
    return undefined;
  }
  if (m.term > raft.term && !enterTerm(raft, m)) return undefined;
  if (m.type === 'MsgProp') return proposals[raft.role](raft, m);
  const answer = commonAnswers[m.type] ?? answers[raft.role][m.type];
  answer?.(raft, m);
  return undefined;
}

const commonAnswers: Answers = {
  MsgHup: (raft) => startCampaign(raft, raft.options.preVote ? 'pre-election' : 'election'),
  MsgVote: answerVote,
  MsgPreVote: answerVote,
  MsgStorageAppendResp(raft, m) {
    if (m.index !== 0) raft.log.unstable.stableTo(m.index, m.logTerm);
    if (m.snapshot !== undefined) appliedSnapshot(raft, m.snapshot);
  },
  MsgStorageApplyResp: (raft, m) => appliedEntries(raft, m.entries),
};

const answers: Readonly<Record<Role, Answers>> = {
  follower: followerAnswers,
  'pre-candidate': candidateAnswers,
  candidate: candidateAnswers,
  leader: leaderAnswers,
};

const proposals: Readonly<Record<Role, (raft: Raft, m: Message) => Refused | undefined>> = {
  follower: forwardProposal,
  'pre-candidate': dropProposal,
  candidate: dropProposal,
  leader: (raft, m) => propose(raft, m.entries),
};

// --- terms

/** A higher term makes this node a follower in it. False when the message ends here. */
function enterTerm(raft: Raft, m: Message): boolean {
  if ((m.type === 'MsgVote' || m.type === 'MsgPreVote') && isInLease(raft) && !isTransfer(m)) {
    const left = raft.options.electionTicks - raft.electionElapsed;
    raft.say(
      'info',
      `${describeVoter(raft)} ignored ${describeRequest(m)} at term ${raft.term}: lease is not expired (remaining ticks: ${left})`,
    );
    return false;
  }
  // A pre-vote is asked and granted for a term that nobody has entered yet.
  if (m.type === 'MsgPreVote' || (m.type === 'MsgPreVoteResp' && !m.reject)) return true;
  raft.say(
    'info',
    `${hex(raft.id)} [term: ${raft.term}] received a ${m.type} message with higher term from ${hex(m.from)} [term: ${m.term}]`,
  );
  const fromLeader = m.type === 'MsgApp' || m.type === 'MsgHeartbeat' || m.type === 'MsgSnap';
  becomeFollower(raft, m.term, fromLeader ? m.from : nobody);
  return true;
}

/** The leader was heard from lately, so an election now would only disturb. */
function isInLease(raft: Raft): boolean {
  const { checkQuorum, electionTicks } = raft.options;
  return checkQuorum && raft.lead !== nobody && raft.electionElapsed < electionTicks;
}

/** A message of an earlier term is not acted on; some are answered, so that the sender learns of this term. */
function stepOutdated(raft: Raft, m: Message): void {
  const { checkQuorum, preVote } = raft.options;
  if ((checkQuorum || preVote) && (m.type === 'MsgHeartbeat' || m.type === 'MsgApp')) {
    // With these options nobody votes for this node, which is ahead in terms, nor does it listen to the leader. The answer
    // makes the leader step down and start again in a term that includes this node.
    send(raft, { type: 'MsgAppResp', to: m.from });
  } else if (m.type === 'MsgPreVote') {
    // Unanswered, two nodes could wait for each other for ever: one ahead in terms, the other in its log.
    raft.say('info', `${describeVoter(raft)} rejected ${describeRequest(m)} at term ${raft.term}`);
    send(raft, { type: 'MsgPreVoteResp', to: m.from, term: raft.term, reject: true });
  } else if (m.type === 'MsgStorageAppendResp') {
    if (m.index !== 0) {
      // A later write of the present term may be about to replace these very entries: they are not stable until that one is done, which
      // reports them as well.
      raft.say(
        'info',
        `${hex(raft.id)} [term: ${raft.term}] ignored entry appends from a ${m.type} message with lower term [term: ${m.term}]`,
      );
    }
    if (m.snapshot !== undefined) appliedSnapshot(raft, m.snapshot);
  } else {
    raft.say(
      'info',
      `${hex(raft.id)} [term: ${raft.term}] ignored a ${m.type} message with lower term from ${hex(m.from)} [term: ${m.term}]`,
    );
  }
}

// --- what the disk and the state machine report

function appliedEntries(raft: Raft, entries: readonly Entry[]): void {
  const last = entries.at(-1);
  if (last === undefined) return;
  appliedTo(raft, last.index, entriesSize(entries));
  raft.uncommittedSize = Math.max(0, raft.uncommittedSize - payloadSize(entries));
}

function appliedSnapshot(raft: Raft, snapshot: RaftSnapshot): void {
  raft.log.unstable.stableSnapshotTo(snapshot.index);
  appliedTo(raft, snapshot.index, 0);
}

function appliedTo(raft: Raft, index: number, size: number): void {
  const applied = Math.max(index, raft.log.applied);
  raft.log.appliedTo(applied, size);
  const { autoLeave } = raft.membership;
  if (!autoLeave || raft.role !== 'leader' || applied < raft.pendingConfIndex) return;
  // Nothing but a leadership transfer can refuse this proposal; then the new leader makes it, or this one with the next entry.
  const membership = describeMembership(raft.membership);
  const leave: Entry = { term: 0, index: 0, type: 'EntryConfChangeV2', data: noBytes };
  if (propose(raft, [leave]) === undefined) {
    raft.say('info', `initiating automatic transition out of joint configuration ${membership}`);
  } else {
    raft.say(
      'debug',
      `not initiating automatic transition out of joint configuration ${membership}: raft proposal dropped`,
    );
  }
}

// --- time

export function tick(raft: Raft): void {
  raft.electionElapsed += 1;
  if (raft.role === 'leader') tickLeader(raft);
  else if (isPromotable(raft) && raft.electionElapsed >= raft.randomizedElectionTimeout) {
    raft.electionElapsed = 0;
    step(raft, message({ type: 'MsgHup', from: raft.id }));
  }
}

function tickLeader(raft: Raft): void {
  const { electionTicks, heartbeatTicks, checkQuorum } = raft.options;
  raft.heartbeatElapsed += 1;
  if (raft.electionElapsed >= electionTicks) {
    raft.electionElapsed = 0;
    if (checkQuorum) step(raft, message({ type: 'MsgCheckQuorum', from: raft.id }));
    // A transfer that has not succeeded by now is given up.
    raft.leadTransferee = nobody;
  }
  if (!isLeader(raft) || raft.heartbeatElapsed < heartbeatTicks) return;
  raft.heartbeatElapsed = 0;
  step(raft, message({ type: 'MsgBeat', from: raft.id }));
}

const isLeader = (raft: Raft): boolean => raft.role === 'leader';
