// Who is enough: decisions by a majority of voters, and by two majorities at once while the voters are being exchanged.
// An empty half agrees with everything, so that a membership that is not joint decides by its one majority alone.

/** The voters of a membership. `votersOutgoing` is empty unless the membership is joint. */
export interface Voters {
  readonly voters: readonly number[];
  readonly votersOutgoing: readonly number[];
}

export type VoteResult = 'VotePending' | 'VoteLost' | 'VoteWon';

/** What a voter has acknowledged, or undefined where it has not reported. */
export type Acked = (id: number) => number | undefined;

/** The highest index that both majorities have acknowledged. Infinity without any voter. */
export function committedIndex(joint: Voters, acked: Acked): number {
  return Math.min(majorityIndex(joint.voters, acked), majorityIndex(joint.votersOutgoing, acked));
}

function majorityIndex(ids: readonly number[], acked: Acked): number {
  if (ids.length === 0) return Infinity;
  const indexes = ids.map((id) => acked(id) ?? 0).sort((a, b) => b - a);
  return indexes[Math.floor(ids.length / 2)]!;
}

/** Won needs both majorities; one lost half loses the whole. */
export function voteResult(joint: Voters, votes: ReadonlyMap<number, boolean>): VoteResult {
  const halves = [majorityVote(joint.voters, votes), majorityVote(joint.votersOutgoing, votes)];
  if (halves.includes('VoteLost')) return 'VoteLost';
  return halves.includes('VotePending') ? 'VotePending' : 'VoteWon';
}

function majorityVote(ids: readonly number[], votes: ReadonlyMap<number, boolean>): VoteResult {
  if (ids.length === 0) return 'VoteWon';
  const needed = Math.floor(ids.length / 2) + 1;
  const granted = ids.filter((id) => votes.get(id) === true).length;
  const open = ids.filter((id) => !votes.has(id)).length;
  if (granted >= needed) return 'VoteWon';
  return granted + open >= needed ? 'VotePending' : 'VoteLost';
}

/** Everybody who has a vote, ascending. */
export function voterIds(joint: Voters): readonly number[] {
  if (joint.votersOutgoing.length === 0) return joint.voters;
  return ascending([...joint.voters, ...joint.votersOutgoing]);
}

/** Sorted, each once: the one form in which sets of ids are kept. */
export function ascending(ids: Iterable<number>): readonly number[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}
