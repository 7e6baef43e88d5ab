// Text forms, for logs and for tests that compare whole histories. One line each where it fits.
import { decodeChange } from './change-codec.ts';
import type { Change, ConfChange, Membership, Transition } from './membership.ts';
import {
  appendThread,
  applyThread,
  nobody,
  type Entry,
  type HardState,
  type Message,
  type RaftSnapshot,
} from './message.ts';
import type { Progress, ProgressState } from './progress.ts';
import type { Role } from './raft.ts';
import type { Ready, SoftState } from './ready.ts';

const roles: Readonly<Record<Role, string>> = {
  follower: 'StateFollower',
  'pre-candidate': 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
};

export const describeRole = (role: Role): string => roles[role];

const ids = (list: readonly number[]): string => list.join(' ');

const hexIds = (list: readonly number[]): string => list.map((id) => id.toString(16)).join(' ');

/** `voters=(1 2)&&(1 2 3) learners=(4)`, with ids in hex as in all remarks of the core. */
export function describeMembership(membership: Membership): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership;
  let text = `voters=(${hexIds(voters)})`;
  if (votersOutgoing.length > 0) text += `&&(${hexIds(votersOutgoing)})`;
  if (learners.length > 0) text += ` learners=(${hexIds(learners)})`;
  if (learnersNext.length > 0) text += ` learners_next=(${hexIds(learnersNext)})`;
  return autoLeave ? `${text} autoleave` : text;
}

function describeMembers(membership: Membership): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership;
  return (
    `Voters:[${ids(voters)}] VotersOutgoing:[${ids(votersOutgoing)}] ` +
    `Learners:[${ids(learners)}] LearnersNext:[${ids(learnersNext)}] AutoLeave:${autoLeave}`
  );
}

const progressStates: Readonly<Record<ProgressState, string>> = {
  probe: 'StateProbe',
  replicate: 'StateReplicate',
  snapshot: 'StateSnapshot',
};

export function describeProgress(progress: Progress): string {
  let text = `${progressStates[progress.state]} match=${progress.match} next=${progress.next}`;
  if (progress.learner) text += ' learner';
  if (progress.paused) text += ' paused';
  if (progress.pendingSnapshot > 0) text += ` pendingSnap=${progress.pendingSnapshot}`;
  if (!progress.recentActive) text += ' inactive';
  if (progress.inflights.count > 0) text += ` inflight=${progress.inflights.count}`;
  return progress.inflights.count > 0 && progress.inflights.full ? `${text}[full]` : text;
}

const changeTypes: Readonly<Record<Change['type'], string>> = {
  voter: 'v',
  learner: 'l',
  remove: 'r',
  update: 'u',
};

const describeChanges = (changes: readonly Change[]): string =>
  changes.map(({ type, id }) => `${changeTypes[type]}${id}`).join(' ');

const longTransitions: Readonly<Record<Transition, string>> = {
  auto: 'ConfChangeTransitionAuto',
  implicit: 'ConfChangeTransitionJointImplicit',
  explicit: 'ConfChangeTransitionJointExplicit',
};

const longTypes: Readonly<Record<Change['type'], string>> = {
  voter: 'ConfChangeAddNode',
  learner: 'ConfChangeAddLearnerNode',
  remove: 'ConfChangeRemoveNode',
  update: 'ConfChangeUpdateNode',
};

/** A membership change with all its fields, in the form that its entry type has. */
export function describeChange(type: Entry['type'], change: ConfChange): string {
  const changes = change.changes.map((single) => `${longTypes[single.type]} ${single.id}`);
  const context = `[${change.context.join(' ')}]`;
  if (type === 'EntryConfChange') return `{${changes.join(' ')} ${context} 0}`;
  return `{${longTransitions[change.transition]} [${changes.map((c) => `{${c}}`).join(' ')}] ${context}}`;
}

const escapes: ReadonlyMap<number, string> = new Map([
  [0x07, '\\a'],
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0b, '\\v'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
  [0x22, '\\"'],
  [0x5c, '\\\\'],
]);

/** Bytes in quotes: printable ASCII as it is, the rest escaped. */
function quote(data: Uint8Array): string {
  let text = '';
  for (const byte of data) {
    const escaped = escapes.get(byte);
    if (escaped !== undefined) text += escaped;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `"${text}"`;
}

function describeEntry(entry: Entry): string {
  const head = `${entry.term}/${entry.index} ${entry.type}`;
  if (entry.type === 'EntryNormal') return `${head} ${quote(entry.data)}`;
  const change = decodeChange(entry.data);
  const text = change === undefined ? 'malformed' : describeChanges(change.changes);
  return text === '' ? head : `${head} ${text}`;
}

/** One line each. */
export const describeEntries = (entries: readonly Entry[]): string =>
  entries.map((entry) => `${describeEntry(entry)}\n`).join('');

function describeHardState({ term, vote, commit }: HardState): string {
  return vote === nobody ? `Term:${term} Commit:${commit}` : `Term:${term} Vote:${vote} Commit:${commit}`;
}

const describeSoftState = ({ lead, role }: SoftState): string => `Lead:${lead} State:${describeRole(role)}`;

function describeSnapshot({ index, term, membership }: RaftSnapshot): string {
  return `Index:${index} Term:${term} ConfState:${describeMembers(membership)}`;
}

function describeTarget(id: number): string {
  if (id === nobody) return 'None';
  if (id === appendThread) return 'AppendThread';
  return id === applyThread ? 'ApplyThread' : id.toString(16);
}

export function describeMessage(m: Message, indent = ''): string {
  const inner = `${indent}  `;
  let text = `${indent}${describeTarget(m.from)}->${describeTarget(m.to)} ${m.type} Term:${m.term} Log:${m.logTerm}/${m.index}`;
  if (m.reject) text += ` Rejected (Hint: ${m.rejectHint})`;
  if (m.commit !== 0) text += ` Commit:${m.commit}`;
  if (m.vote !== nobody) text += ` Vote:${m.vote}`;
  if (m.entries.length === 1) text += ` Entries:[${describeEntry(m.entries[0]!)}]`;
  if (m.entries.length > 1) {
    text += ` Entries:[${m.entries.map((entry) => `\n${inner}${describeEntry(entry)}`).join('')}\n${indent}]`;
  }
  if (m.snapshot !== undefined) text += `\n${inner}Snapshot: ${describeSnapshot(m.snapshot)}`;
  if (m.responses.length > 0) {
    text += ` Responses:[${m.responses.map((r) => `\n${describeMessage(r, inner)}`).join('')}\n${indent}]`;
  }
  return text;
}

export function describeReady(ready: Ready): string {
  let text = '';
  if (ready.softState !== undefined) text += `${describeSoftState(ready.softState)}\n`;
  if (ready.hardState !== undefined) text += `HardState ${describeHardState(ready.hardState)}\n`;
  if (ready.readStates.length > 0) {
    const states = ready.readStates.map(({ index, context }) => `{${index} [${context.join(' ')}]}`);
    text += `ReadStates [${states.join(' ')}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries)}`;
  if (ready.snapshot !== undefined) text += `Snapshot ${describeSnapshot(ready.snapshot)}\n`;
  if (ready.committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(ready.committedEntries)}`;
  }
  const messages = ready.messages.map((m) => `${describeMessage(m)}\n`);
  if (messages.length > 0) text += `Messages:\n${messages.join('')}`;
  return text === '' ? '<empty Ready>' : `Ready MustSync=${ready.mustSync}:\n${text}`;
}
