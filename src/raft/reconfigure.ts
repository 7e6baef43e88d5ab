// A node takes on a membership: at the start, when it applies a change, or with a Raft snapshot. From then on it counts quorums by
// it and, as leader, replicates to its members.
import { QedError } from '../errors.ts';
import { broadcastAppend, commitAcked, sendAppend } from './append.ts';
import { describeMembership } from './describe.ts';
import { changeMembership, memberIds, type ConfChange, type Membership } from './membership.ts';
import { nobody } from './message.ts';
import type { Progress } from './progress.ts';
import { voterIds } from './quorum.ts';
import { hex, newProgress, type Raft } from './raft.ts';
import { becomeFollower } from './roles.ts';

/**
 * Takes the change that the entry at `index` asks for. One from before a Raft snapshot that came in meanwhile is in its membership already.
 * A change that cannot be made must not get here: the leader checks it, and who switched that off vouches for it.
 */
export function applyConfChange(raft: Raft, change: ConfChange, index: number): Membership {
  if (index <= raft.membershipIndex) return raft.membership;
  const changed = changeMembership(raft.membership, change);
  if ('refused' in changed) {
    throw new QedError('bug', `the membership change at ${index} is impossible: ${changed.refused}`);
  }
  const { membership, restarted } = changed;
  const progress = trackMembers(raft.progress, membership, restarted, newMember(raft));
  switchMembership(raft, membership, progress, index);
  return membership;
}

/** Takes a whole membership, and forgets all that was known of members. */
export function restoreMembership(raft: Raft, membership: Membership, index: number): void {
  switchMembership(raft, membership, trackMembers(new Map(), membership, new Set(), newMember(raft)), index);
}

/** The first message to a new member names the last entry: its refusal tells where its log ends. */
function newMember(raft: Raft): (learner: boolean) => Progress {
  const next = Math.max(raft.log.lastIndex(), 1);
  // It counts as active: the next check for a quorum might otherwise depose the leader before the member can answer.
  return (learner) => newProgress(raft, { next, learner, recentActive: true });
}

/** Members keep their progress; new ones, and those removed and added again in one change, start from scratch. */
export function trackMembers(
  tracked: ReadonlyMap<number, Progress>,
  membership: Membership,
  restarted: ReadonlySet<number>,
  fresh: (learner: boolean) => Progress,
): Map<number, Progress> {
  return new Map(
    memberIds(membership).map((id) => {
      const learner = membership.learners.includes(id);
      const known = restarted.has(id) ? undefined : tracked.get(id);
      const progress = known ?? fresh(learner);
      progress.learner = learner;
      return [id, progress];
    }),
  );
}

function switchMembership(
  raft: Raft,
  membership: Membership,
  progress: Map<number, Progress>,
  index: number,
): void {
  raft.membership = membership;
  raft.membershipIndex = index;
  raft.progress = progress;
  raft.say('info', `${hex(raft.id)} switched to configuration ${describeMembership(membership)}`);
  if (raft.role !== 'leader') return;
  const own = progress.get(raft.id);
  if (own === undefined || own.learner) {
    if (raft.options.stepDownOnRemoval) becomeFollower(raft, raft.term, nobody);
    return;
  }
  if (membership.voters.length === 0) return;
  replicateToMembers(raft);
  if (!voterIds(membership).includes(raft.leadTransferee)) raft.leadTransferee = nobody;
}

/** Fewer voters may mean that more is committed; new members should not have to wait for the next proposal. */
function replicateToMembers(raft: Raft): void {
  if (commitAcked(raft)) {
    broadcastAppend(raft);
    return;
  }
  for (const id of raft.progress.keys()) {
    if (id !== raft.id) sendAppend(raft, id, false);
  }
}
