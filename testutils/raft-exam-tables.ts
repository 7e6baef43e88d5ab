// The exam's tables: what a quorum has acknowledged or voted, and what a sequence of membership changes leads to.
import { describeMembership, describeProgress } from '../src/raft/describe.ts';
import {
  enterJoint,
  leaveJoint,
  noMembers,
  simpleChange,
  type Change,
  type Changed,
} from '../src/raft/membership.ts';
import { Progress } from '../src/raft/progress.ts';
import { ascending, committedIndex, voteResult, type Voters } from '../src/raft/quorum.ts';
import { trackMembers } from '../src/raft/reconfigure.ts';
import { valuesOf, type Arg, type Command, type Interpreter } from './raft-exam.ts';

// --- quorums

/** `committed` or `vote`, for the voters `cfg` and, when `cfgj` is given, jointly for those of `cfgj` as well. */
export function quorumInterpreter(): Interpreter {
  return ({ name, args }) => {
    const voters = numbers(args, 'cfg');
    const joint = valuesOf(args, 'cfgj').length > 0;
    const votersOutgoing = valuesOf(args, 'cfgj').includes('zero') ? [] : numbers(args, 'cfgj');
    const ids = [...new Set([...voters, ...votersOutgoing])];
    const input = valuesOf(args, name === 'vote' ? 'votes' : 'idx');
    if (input.length !== ids.length) {
      const set = ascending(ids).map((id) => `${id}:{}`);
      return `error: mismatched input (explicit or _) for voters map[${set.join(' ')}]: [${input.join(' ')}]\n`;
    }
    const given = new Map(
      ids.map((id, at) => [id, input[at]!] as const).filter(([, value]) => value !== '_'),
    );
    const quorum = { voters: ascending(voters), votersOutgoing: ascending(votersOutgoing) };
    if (name === 'vote') return describeVote(quorum, given);
    return name === 'committed' ? describeCommitted(quorum, given, joint) : 'unknown command';
  };
}

const numbers = (args: readonly Arg[], key: string): readonly number[] => valuesOf(args, key).map(Number);

const swapped = ({ voters, votersOutgoing }: Voters): Voters => ({
  voters: votersOutgoing,
  votersOutgoing: voters,
});

function describeVote(quorum: Voters, given: ReadonlyMap<number, string>): string {
  const votes = new Map([...given].map(([id, vote]) => [id, vote === 'y']));
  const result = voteResult(quorum, votes);
  const mirrored = voteResult(swapped(quorum), votes);
  return mirrored === result ? `${result}\n` : `${mirrored} <-- via symmetry\n${result}\n`;
}

function describeCommitted(quorum: Voters, given: ReadonlyMap<number, string>, joint: boolean): string {
  const acked = new Map([...given].map(([id, index]) => [id, Number(index)]));
  const at = (voters: Voters) => committedIndex(voters, (id) => acked.get(id));
  const result = at(quorum);
  let text = describeTable(ascending([...quorum.voters, ...quorum.votersOutgoing]), acked);
  const mirrored = at(swapped(quorum));
  if (mirrored !== result) text += `${show(mirrored)} <-- via symmetry\n`;
  const doubled = at({ ...quorum, votersOutgoing: quorum.voters });
  if (!joint && doubled !== result) text += `${show(doubled)} <-- via self-joint quorum\n`;
  return `${text}${show(result)}\n`;
}

const show = (index: number): string => (index === Infinity ? '∞' : String(index));

/** One line a voter, with a bar that is the longer the more voters are behind it. */
function describeTable(ids: readonly number[], acked: ReadonlyMap<number, number>): string {
  if (ids.length === 0) return '<empty majority quorum>';
  const sorted = ids.map((id) => acked.get(id) ?? 0).sort((a, b) => a - b);
  const rows = ids.map((id) => {
    const index = acked.get(id);
    const behind = sorted.indexOf(index ?? 0);
    const bar = index === undefined ? '?' : `${'x'.repeat(behind)}>`;
    return `${bar.padEnd(ids.length + 1)} ${String(index ?? 0).padStart(5)}    (id=${id})\n`;
  });
  return `${' '.repeat(ids.length)}    idx\n${rows.join('')}`;
}

// --- membership changes

/** `simple`, `enter-joint` and `leave-joint`, each on what the one before it has left. The log grows by an entry with every command. */
export function membershipInterpreter(): Interpreter {
  let membership = noMembers;
  let tracked = new Map<number, Progress>();
  let lastIndex = 0;
  return (command) => {
    const next = Math.max(lastIndex, 1);
    lastIndex += 1;
    const changed = runChange(command, membership);
    if ('refused' in changed) return `${changed.refused}\n`;
    membership = changed.membership;
    tracked = trackMembers(tracked, membership, changed.restarted, (learner) => {
      return new Progress({
        next,
        learner,
        recentActive: true,
        maxInflightMessages: 10,
        maxInflightBytes: Infinity,
      });
    });
    const rows = [...tracked].map(([id, progress]) => `${id}: ${describeProgress(progress)}\n`);
    return `${describeMembership(membership)}\n${rows.join('')}`;
  };
}

function runChange({ name, args, body }: Command, membership: typeof noMembers): Changed {
  const changes = parseChanges(body);
  if (typeof changes === 'string') return { refused: changes };
  if (name === 'simple') return simpleChange(membership, changes);
  if (name === 'enter-joint')
    return enterJoint(membership, changes, valuesOf(args, 'autoleave')[0] === 'true');
  if (name !== 'leave-joint') return { refused: 'unknown command' };
  return changes.length > 0 ? { refused: 'this command takes no input' } : leaveJoint(membership);
}

const changeTypes: ReadonlyMap<string, Change['type']> = new Map([
  ['v', 'voter'],
  ['l', 'learner'],
  ['r', 'remove'],
  ['u', 'update'],
]);

/** `v1 l2 r3 u4`, or what is wrong with it. */
export function parseChanges(text: string): readonly Change[] | string {
  const changes: Change[] = [];
  for (const token of text.split(/\s+/).filter((part) => part !== '')) {
    const type = changeTypes.get(token[0]!);
    if (token.length < 2) return `unknown token ${token}`;
    if (type === undefined) return `unknown input: ${token}`;
    changes.push({ type, id: Number(token.slice(1)) });
  }
  return changes;
}
