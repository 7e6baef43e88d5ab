// Proof that the simulator can fail: bugs that have been made in real Raft implementations, switched on one at a time. Each must be found.
// Run directly (`tsx testutils/sim/mutants.ts [--seeds 2000] [--trace]`) to see how soon, and by which broken promise.
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { RaftLog } from '../../src/raft/log.ts';
import { message, nobody, type Message } from '../../src/raft/message.ts';
import { balloonMachines } from './balloon-machine.ts';
import { ListMachine, listMachines, type MachineKind } from './machine.ts';
import type { Member } from './member.ts';
import type { Sabotage } from './sabotage.ts';
import { describeFailure, simulate, type Outcome } from './simulate.ts';

export interface Mutant {
  readonly name: string;
  /** Anew for each run: some bugs have a memory. */
  readonly make: () => Sabotage;
  /** A seed that shows it, where it takes many to come to one. Any change may make it another: that costs time, and nothing else. */
  readonly seed: number;
}

const bug = (name: string, make: () => Sabotage, seed = 1): Mutant => ({ name, make, seed });

export const mutants: readonly Mutant[] = [
  // Votes
  bug('gives a second vote in a term', () => grantsVotes(true)),
  bug('votes for a log that is behind its own', () => grantsVotes(false), 11),
  bug(
    'forgets its vote when it restarts',
    () => ({
      recoverHardState: (state) => ({ ...state, vote: nobody }),
    }),
    13,
  ),
  bug('does not step down for a higher term', () => ({
    receive: (member, m) => (leads(member) ? { ...m, term: Math.min(m.term, ownTerm(member)) } : m),
  })),
  // Replication
  bug('acknowledges before its disk is done', () => ({ ackBeforeSync: true })),
  bug('commits an entry of an older term by counting', () => ({ patch: commitAnyTerm }), 128),
  bug('appends without looking at what is before', () => ({ patch: appendUnchecked })),
  bug('cuts its log behind whatever it is sent', () => ({ patch: appendAndCut })),
  bug('tells a follower to commit what it may not have', () => ({
    send: (member, m) => (m.type === 'MsgHeartbeat' ? { ...m, commit: ownCommit(member) } : m),
  })),
  bug('needs one acknowledgement less than a majority', () => ({ send: acknowledgeForOneOther })),
  bug(
    'counts acknowledgements of an earlier term',
    () => ({
      receive: (member, m) => (m.type === 'MsgAppResp' && m.term > 0 ? { ...m, term: ownTerm(member) } : m),
    }),
    23,
  ),
  // State machine
  bug('applies before it is committed', () => ({ applyBeforeCommit: true })),
  bug('adds again when a client repeats a request', () => ({ machines: () => listMachines(false) })),
  bug('takes the log of a Raft snapshot without its state', () => ({ forgetSnapshotData: true })),
  bug('computes something of its own from the same entries', () => ({ machines: ownMachines })),
  bug('dates the entries of its balloon by its own clock', () => ({
    machines: (id) => balloonMachines(id),
  })),
  // Membership
  bug('jumps from one membership to another without the joint one', () => ({ skipJoint: true }), 117),
  // Reads
  bug('answers linearizable reads from what it has', () => ({ readLocally: true })),
  bug('answers reads without waiting for a majority to confirm', () => ({ send: confirmForOthers }), 32),
  bug(
    'trusts a lease although clocks run at different speeds',
    () => ({
      options: { readOnly: 'lease-based', checkQuorum: true },
    }),
    54,
  ),
];

const ownTerm = (member: Member): number => member.status()?.hardState.term ?? 0;
const leads = (member: Member): boolean => member.status()?.softState.role === 'leader';
const ownCommit = (member: Member): number => member.status()?.hardState.commit ?? 0;

/** Turns refused votes into given ones: those that a vote for another, or those that a longer log forbids. */
function grantsVotes(twice: boolean): Sabotage {
  const requests = new Map<string, Message>();
  const given = new Map<string, number>();
  const behind = (member: Member, { logTerm, index }: Message) => {
    const last = member.lastEntry;
    return logTerm < last.term || (logTerm === last.term && index < last.index);
  };
  return {
    receive(member, m) {
      if (m.type === 'MsgVote') requests.set(`${member.id} ${m.from} ${m.term}`, m);
      return m;
    },
    send(member, m) {
      if (m.type !== 'MsgVoteResp') return m;
      const request = requests.get(`${member.id} ${m.to} ${m.term}`);
      const term = `${member.id} ${m.term}`;
      const free = (given.get(term) ?? m.to) === m.to && [nobody, m.to].includes(ownVote(member));
      const grant = request !== undefined && (twice ? !behind(member, request) : free);
      if (!m.reject || grant) given.set(term, m.to);
      return m.reject && grant ? { ...m, reject: false } : m;
    },
  };
}

const ownVote = (member: Member): number => member.status()?.hardState.vote ?? nobody;

/** The leader acts as if one follower had stored what it is just being sent. */
function acknowledgeForOneOther(member: Member, m: Message): Message {
  const [first] = member.membership.voters.filter((id) => id !== member.id);
  const last = m.entries.at(-1);
  if (m.type === 'MsgApp' && m.to === first && last !== undefined) {
    const { from: to, to: from, term } = m;
    const forged = message({ type: 'MsgAppResp', to, from, term, index: last.index });
    member.cluster.world.later(0, () => member.receive(forged));
  }
  return m;
}

/** The leader acts as if everybody had confirmed at once that it still leads. */
function confirmForOthers(member: Member, m: Message): Message {
  if (m.type === 'MsgHeartbeat' && m.context.length > 0) {
    const { from: to, to: from, term, context } = m;
    const forged = message({ type: 'MsgHeartbeatResp', to, from, term, context });
    member.cluster.world.later(0, () => member.receive(forged));
  }
  return m;
}

/** Each member mixes its own number into the digest. */
function ownMachines(id: number): MachineKind {
  const usual = listMachines();
  return { restore: (bytes) => usual.restore(bytes), empty: () => new ListMachine([], `of ${id}`) };
}

// --- bugs inside of the core

function replaceMethod<Target extends object, Name extends keyof Target>(
  target: Target,
  name: Name,
  method: Target[Name],
): () => void {
  const before = target[name];
  target[name] = method;
  return () => {
    target[name] = before;
  };
}

const commitAnyTerm = (): (() => void) =>
  replaceMethod(RaftLog.prototype, 'commitInTerm', function (this: RaftLog, index) {
    if (index <= this.committed || this.term(index) === undefined) return false;
    this.commitTo(index);
    return true;
  });

const appendUnchecked = (): (() => void) =>
  replaceMethod(RaftLog.prototype, 'appendAfter', function (this: RaftLog, previous, entries, commit) {
    if (previous.index > this.lastIndex()) return undefined;
    const fresh = entries.findIndex((entry) => !this.matches(entry));
    if (fresh >= 0) this.unstable.append(entries.slice(fresh));
    const last = previous.index + entries.length;
    this.commitTo(Math.min(commit, last));
    return last;
  });

const appendAndCut = (): (() => void) =>
  replaceMethod(RaftLog.prototype, 'appendAfter', function (this: RaftLog, previous, entries, commit) {
    if (!this.matches(previous)) return undefined;
    if (entries.length > 0) this.unstable.append(entries);
    const last = previous.index + entries.length;
    this.commitTo(Math.min(commit, last));
    return last;
  });

// --- finding them

export interface Found {
  readonly seeds: number;
  readonly outcome: Outcome;
}

export const isShownBy = ({ make }: Mutant, seed: number): boolean =>
  simulate(seed, make()).failure !== undefined;

/** How many seeds it takes until a run fails; undefined if none of so many does. */
export function find(mutant: Mutant, most: number): Found | undefined {
  for (let seed = 1; seed <= most; seed += 1) {
    const outcome = simulate(seed, mutant.make());
    if (outcome.failure !== undefined) return { seeds: seed, outcome };
  }
  return undefined;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '2000' },
      trace: { type: 'boolean', default: false },
    },
  });
  for (const mutant of mutants) {
    const found = find(mutant, Number(values.seeds));
    if (found === undefined) {
      process.exitCode = 1;
      console.log(`NOT FOUND in ${values.seeds} seeds: ${mutant.name}`);
      continue;
    }
    console.log(
      `${String(found.seeds).padStart(5)} seeds  ${mutant.name}\n             ${found.outcome.failure ?? ''}`,
    );
    if (values.trace) console.log(describeFailure(found.outcome, mutant.make()));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
