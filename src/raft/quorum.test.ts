import fc from 'fast-check';
import { ascending, committedIndex, voteResult, voterIds, type Voters, type VoteResult } from './quorum.ts';

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 }).map(ascending);
const voters = fc.record({ voters: ids, votersOutgoing: ids });
/** What some of nine voters said. */
const said = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<ReadonlyMap<number, T>> =>
  fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), value)).map((pairs) => new Map(pairs));
const acks = said(fc.integer({ min: 1, max: 12 }));

const isQuorum = (half: readonly number[], has: (id: number) => boolean): boolean =>
  half.filter(has).length * 2 > half.length || half.length === 0;

describe('committedIndex', () => {
  it('is the highest index that a majority of each half has reached, found by trying them all', () => {
    fc.assert(
      fc.property(voters, acks, (joint, acked) => {
        const reached = (id: number, index: number) => (acked.get(id) ?? 0) >= index;
        const committed = (index: number) =>
          [joint.voters, joint.votersOutgoing].every((half) => isQuorum(half, (id) => reached(id, index)));
        const expected = voterIds(joint).length === 0 ? Infinity : highest(committed);
        expect(committedIndex(joint, (id) => acked.get(id))).toBe(expected);
      }),
    );
  });

  it('never exceeds what one half alone would commit', () => {
    fc.assert(
      fc.property(voters, acks, (joint, acked) => {
        const of = (one: Voters) => committedIndex(one, (id) => acked.get(id));
        expect(of(joint)).toBe(
          Math.min(
            of({ ...joint, votersOutgoing: [] }),
            of({ voters: joint.votersOutgoing, votersOutgoing: [] }),
          ),
        );
      }),
    );
  });
});

function highest(committed: (index: number) => boolean): number {
  let index = 0;
  while (committed(index + 1)) index += 1;
  return index;
}

describe('voteResult', () => {
  it('is decided exactly when no outstanding vote can change it any more', () => {
    fc.assert(
      fc.property(voters, said(fc.boolean()), (joint, cast) => {
        expect(voteResult(joint, cast)).toBe(byEnumeration(joint, cast));
      }),
    );
  });
});

/** All ways in which those who have not voted might vote. A half without voters agrees. */
function byEnumeration(joint: Voters, cast: ReadonlyMap<number, boolean>): VoteResult {
  const open = voterIds(joint).filter((id) => !cast.has(id));
  const outcomes = new Set<boolean>();
  for (let mask = 0; mask < 1 << open.length; mask += 1) {
    const yes = (id: number) => cast.get(id) ?? (mask & (1 << open.indexOf(id))) !== 0;
    outcomes.add([joint.voters, joint.votersOutgoing].every((half) => isQuorum(half, yes)));
  }
  if (outcomes.size > 1) return 'VotePending';
  return outcomes.has(true) ? 'VoteWon' : 'VoteLost';
}
