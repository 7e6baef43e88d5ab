import fc from 'fast-check';
import { decodeChange, encodeChange } from './change-codec.ts';
import {
  changeMembership,
  checkMembership,
  isJoint,
  memberIds,
  noMembers,
  type ConfChange,
  type Membership,
} from './membership.ts';
import { noBytes } from './message.ts';
import { ascending, committedIndex } from './quorum.ts';

const change = fc.record({
  type: fc.constantFrom('voter', 'learner', 'remove', 'update'),
  id: fc.integer({ min: 0, max: 5 }),
});
const confChange: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom('auto', 'implicit', 'explicit'),
  changes: fc.array(change, { maxLength: 4 }),
  context: fc.uint8Array({ maxLength: 3 }),
});

/** Memberships in the order in which a sequence of changes leads to them; refused changes leave no trace. */
function history(changes: readonly ConfChange[]): readonly Membership[] {
  const memberships: Membership[] = [{ ...noMembers, voters: [1, 2, 3] }];
  for (const one of changes) {
    const changed = changeMembership(memberships.at(-1)!, one);
    if ('membership' in changed) memberships.push(changed.membership);
  }
  return memberships;
}

/** Could these alone commit an entry, or elect a leader? */
const suffices = (membership: Membership, group: readonly number[]): boolean =>
  committedIndex(membership, (id) => (group.includes(id) ? 1 : 0)) >= 1;

describe('changeMembership', () => {
  it('leads from one membership to the next so that no two quorums can decide without each other', () => {
    fc.assert(
      fc.property(fc.array(confChange, { maxLength: 12 }), (changes) => {
        const memberships = history(changes);
        for (const [at, next] of memberships.entries()) {
          const before = memberships[Math.max(0, at - 1)]!;
          const all = ascending([...memberIds(before), ...memberIds(next)]);
          for (let mask = 0; mask < 1 << all.length; mask += 1) {
            const group = all.filter((_, bit) => (mask & (1 << bit)) !== 0);
            const others = all.filter((id) => !group.includes(id));
            expect(suffices(before, group) && suffices(next, others)).toBe(false);
          }
        }
      }),
    );
  });

  it('keeps the invariants: one form, nobody both voter and learner, nothing joint outside of a joint membership', () => {
    fc.assert(
      fc.property(fc.array(confChange, { maxLength: 12 }), (changes) => {
        for (const membership of history(changes)) {
          expect(checkMembership(membership)).toEqual(membership);
          expect(membership.voters.length).toBeGreaterThan(0);
          if (!isJoint(membership)) expect(membership.learnersNext).toEqual([]);
        }
      }),
    );
  });

  it('comes, by way of a joint membership, to what the changes ask for', () => {
    const from = { ...noMembers, voters: [1, 2, 3], learners: [4] };
    const joint = changeMembership(from, {
      transition: 'implicit',
      changes: [
        { type: 'learner', id: 1 },
        { type: 'voter', id: 4 },
        { type: 'remove', id: 2 },
      ],
      context: noBytes,
    });
    if (!('membership' in joint)) throw new Error(joint.refused);
    expect(joint.membership).toEqual({
      voters: [3, 4],
      votersOutgoing: [1, 2, 3],
      learners: [],
      learnersNext: [1],
      autoLeave: true,
    });
    const left = changeMembership(joint.membership, { transition: 'auto', changes: [], context: noBytes });
    expect(left).toMatchObject({ membership: { ...noMembers, voters: [3, 4], learners: [1] } });
  });

  it('forgets what it knew of a member that is removed and added again', () => {
    const changed = changeMembership(
      { ...noMembers, voters: [1, 2] },
      {
        transition: 'explicit',
        changes: [
          { type: 'voter', id: 3 },
          { type: 'remove', id: 3 },
          { type: 'voter', id: 3 },
          { type: 'remove', id: 2 },
        ],
        context: noBytes,
      },
    );
    // Number 2 is still a voter of the outgoing half.
    expect(changed).toMatchObject({ restarted: new Set([3]) });
  });
});

describe('checkMembership', () => {
  const cases: readonly (readonly [string, Partial<Membership>])[] = [
    ['a learner that is a voter', { voters: [1, 2], learners: [2] }],
    ['a learner that is an outgoing voter', { voters: [1], votersOutgoing: [2], learners: [2] }],
    ['a learner-to-be that is no outgoing voter', { voters: [1], votersOutgoing: [1], learnersNext: [2] }],
    ['leaving what is not joint', { voters: [1], autoLeave: true }],
  ];
  it.each(cases)('refuses %s', (_, fields) => {
    expect(() => checkMembership({ ...noMembers, ...fields })).toThrow();
  });
});

describe('the bytes of a change', () => {
  it('read back as what was written', () => {
    fc.assert(
      fc.property(confChange, (one) => {
        expect(decodeChange(encodeChange(one))).toEqual(one);
      }),
    );
  });

  it('are never misread: any bytes are a change or nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const decoded = decodeChange(bytes);
        if (decoded !== undefined && bytes.length > 0) {
          const again = encodeChange(decoded);
          expect(again).toEqual(again.length === 0 ? noBytes : bytes);
        }
      }),
    );
  });

  it('are none at all for leaving a joint membership', () => {
    expect(encodeChange({ transition: 'auto', changes: [], context: noBytes })).toHaveLength(0);
  });

  const change = { transition: 'auto', changes: [{ type: 'voter', id: 7 }], context: noBytes } as const;
  const bytes = encodeChange(change);
  const malformed: readonly (readonly [string, Uint8Array])[] = [
    ['are cut', bytes.subarray(0, 5)],
    ['name an unknown transition', Uint8Array.from([9, ...bytes.subarray(1)])],
    ['name an unknown kind of change', Uint8Array.from([...bytes.subarray(0, 3), 9, ...bytes.subarray(4)])],
    ['name an id beyond 2^53', Uint8Array.from([...bytes.subarray(0, 4), 255, ...bytes.subarray(5)])],
  ];
  it.each(malformed)('are refused when they %s', (_, damaged) => {
    expect(decodeChange(damaged)).toBeUndefined();
  });
});
