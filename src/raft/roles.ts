// Becoming something else. Whatever changes the role or the term goes through here, so that nothing of the old role is left behind.
import { assert } from '../errors.ts';
import { appendEntries } from './append.ts';
import { nobody, noBytes } from './message.ts';
import { hex, newProgress, type Raft } from './raft.ts';
import { ReadIndex } from './read-index.ts';

export function becomeFollower(raft: Raft, term: number, lead: number): void {
  reset(raft, term);
  raft.lead = lead;
  raft.role = 'follower';
  raft.say('info', `${hex(raft.id)} became follower at term ${raft.term}`);
}

/** Changes neither term nor vote: asking whether an election could be won must not disturb anybody. */
export function becomePreCandidate(raft: Raft): void {
  assert(raft.role !== 'leader', 'a leader cannot become pre-candidate');
  raft.votes = new Map();
  raft.lead = nobody;
  raft.role = 'pre-candidate';
  raft.say('info', `${hex(raft.id)} became pre-candidate at term ${raft.term}`);
}

export function becomeCandidate(raft: Raft): void {
  assert(raft.role !== 'leader', 'a leader cannot become candidate');
  reset(raft, raft.term + 1);
  raft.vote = raft.id;
  raft.role = 'candidate';
  raft.say('info', `${hex(raft.id)} became candidate at term ${raft.term}`);
}

export function becomeLeader(raft: Raft): void {
  assert(raft.role !== 'follower', 'a follower cannot become leader');
  reset(raft, raft.term);
  raft.lead = raft.id;
  raft.role = 'leader';
  const own = raft.progress.get(raft.id);
  assert(own !== undefined, 'a leader must be a member');
  own.becomeReplicate();
  own.recentActive = true;
  // There may be a membership change in the log that is not applied yet; rather than look for it, wait until the log is applied.
  raft.pendingConfIndex = raft.log.lastIndex();
  // Entries of earlier terms are committed by this one, the first of the leader's own.
  const accepted = appendEntries(raft, [{ type: 'EntryNormal', data: noBytes }]);
  assert(accepted, "a new leader's empty entry was dropped");
  raft.say('info', `${hex(raft.id)} became leader at term ${raft.term}`);
}

function reset(raft: Raft, term: number): void {
  if (raft.term !== term) {
    raft.term = term;
    raft.vote = nobody;
  }
  raft.lead = nobody;
  raft.leadTransferee = nobody;
  raft.electionElapsed = 0;
  raft.heartbeatElapsed = 0;
  const { electionTicks, random } = raft.options;
  raft.randomizedElectionTimeout = electionTicks + random(electionTicks);
  raft.votes = new Map();
  const last = raft.log.lastIndex();
  for (const [id, { learner }] of raft.progress) {
    const progress = newProgress(raft, { next: last + 1, learner, recentActive: false });
    if (id === raft.id) progress.match = last;
    raft.progress.set(id, progress);
  }
  raft.pendingConfIndex = 0;
  raft.uncommittedSize = 0;
  raft.reads = new ReadIndex();
  raft.waitingReads = [];
}
