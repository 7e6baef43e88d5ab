// Who belongs to the cluster and how a change of it is carried out. A membership is a value: a change makes a new one or is refused.
//
// A change of one voter takes effect at once. Any larger change goes through a joint membership, in which the old voters
// (`votersOutgoing`) and the new ones (`voters`) both have to agree, and which is left by a second change.
//
// Invariants: every list is ascending without repeats; nobody is voter and learner at once. Hence a voter of the old half that is to become
// a learner waits in `learnersNext` until the joint membership is left; outside of one, `votersOutgoing` and `learnersNext` are empty.
import { assert } from '../errors.ts';
import { ascending, type Voters } from './quorum.ts';

export interface Membership extends Voters {
  /** Receive the log, do not vote. */
  readonly learners: readonly number[];
  readonly learnersNext: readonly number[];
  /** The leader leaves the joint membership by itself as soon as it is applied. */
  readonly autoLeave: boolean;
}

export interface Change {
  /** `update` changes nothing here: it lets an application send news of a member through the log. */
  readonly type: 'voter' | 'learner' | 'remove' | 'update';
  readonly id: number;
}

/** `auto` takes the simple way for one change and `implicit` for several; `explicit` leaves leaving to the application. */
export type Transition = 'auto' | 'implicit' | 'explicit';

export interface ConfChange {
  readonly transition: Transition;
  /** None, together with `auto`, leaves a joint membership. */
  readonly changes: readonly Change[];
  readonly context: Uint8Array;
}

/** The outcome of a change, or why it cannot be made. `restarted` were removed on the way: what is known of their logs is void. */
export type Changed =
  { readonly membership: Membership; readonly restarted: ReadonlySet<number> } | { readonly refused: string };

export const noMembers: Membership = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export const isJoint = (membership: Membership): boolean => membership.votersOutgoing.length > 0;

/** Everybody the leader replicates to, ascending. */
export function memberIds(membership: Membership): readonly number[] {
  return ascending([...membership.voters, ...membership.votersOutgoing, ...membership.learners]);
}

export function changeMembership(from: Membership, change: ConfChange): Changed {
  const { transition, changes } = change;
  if (transition === 'auto' && changes.length === 0) return leaveJoint(from);
  if (transition === 'auto' && changes.length === 1) return simpleChange(from, changes);
  return enterJoint(from, changes, transition !== 'explicit');
}

export function simpleChange(from: Membership, changes: readonly Change[]): Changed {
  if (isJoint(from)) return { refused: "can't apply simple config change in joint config" };
  const changed = applyChanges(from, changes);
  if ('refused' in changed) return changed;
  const { voters } = changed.membership;
  const came = voters.filter((id) => !from.voters.includes(id)).length;
  const went = from.voters.filter((id) => !voters.includes(id)).length;
  if (came + went > 1) return { refused: 'more than one voter changed without entering joint config' };
  return changed;
}

export function enterJoint(from: Membership, changes: readonly Change[], autoLeave: boolean): Changed {
  if (isJoint(from)) return { refused: 'config is already joint' };
  if (from.voters.length === 0) return { refused: "can't make a zero-voter config joint" };
  return applyChanges({ ...from, votersOutgoing: from.voters, autoLeave }, changes);
}

export function leaveJoint(from: Membership): Changed {
  if (!isJoint(from)) return { refused: "can't leave a non-joint config" };
  const membership = {
    voters: from.voters,
    votersOutgoing: [],
    learners: ascending([...from.learners, ...from.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  };
  return { membership, restarted: new Set() };
}

/** Changes are made one after the other to the incoming half; the outgoing one stays as it was. */
function applyChanges(from: Membership, changes: readonly Change[]): Changed {
  const restarted = new Set<number>();
  let membership = from;
  for (const { type, id } of changes) {
    // Id 0 marks a change that an application withdrew after it was proposed.
    if (type === 'update' || id === 0) continue;
    const outgoing = from.votersOutgoing.includes(id);
    const rest = without(membership, id);
    if (type === 'voter') membership = { ...rest, voters: ascending([...rest.voters, id]) };
    else if (type === 'remove') membership = rest;
    else if (outgoing) membership = { ...rest, learnersNext: ascending([...rest.learnersNext, id]) };
    else membership = { ...rest, learners: ascending([...rest.learners, id]) };
    if (type === 'remove' && !outgoing) restarted.add(id);
  }
  if (membership.voters.length === 0) return { refused: 'removed all voters' };
  return { membership, restarted };
}

function without(membership: Membership, id: number): Membership {
  const others = (ids: readonly number[]) => ids.filter((other) => other !== id);
  const { voters, learners, learnersNext } = membership;
  return {
    ...membership,
    voters: others(voters),
    learners: others(learners),
    learnersNext: others(learnersNext),
  };
}

/** A membership read from disk or from a peer: brought into the one form, or refused when it breaks an invariant. */
export function checkMembership(from: Membership): Membership {
  const membership = {
    voters: ascending(from.voters),
    votersOutgoing: ascending(from.votersOutgoing),
    learners: ascending(from.learners),
    learnersNext: ascending(from.learnersNext),
    autoLeave: from.autoLeave,
  };
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership;
  const inOutgoing = (id: number) => votersOutgoing.includes(id);
  assert(!learners.some((id) => voters.includes(id) || inOutgoing(id)), 'a member is both voter and learner');
  assert(learnersNext.every(inOutgoing), 'a learner-to-be is no voter of the outgoing half');
  assert(isJoint(membership) || !autoLeave, 'a membership that is not joint cannot be left');
  return membership;
}
