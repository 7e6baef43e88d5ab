import fc from 'fast-check';
import { Inflights } from './inflights.ts';
import { Progress } from './progress.ts';

describe('Inflights', () => {
  it('behaves as a plain list does', () => {
    const operation = fc.oneof(
      fc.record({ add: fc.integer({ min: 1, max: 3 }), bytes: fc.integer({ min: 0, max: 40 }) }),
      fc.record({ free: fc.integer({ min: 0, max: 40 }) }),
      fc.constant('clear' as const),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 100 }),
        fc.array(operation, { maxLength: 60 }),
        (capacity, maxBytes, operations) => {
          const ring = new Inflights(capacity, maxBytes);
          let list: { index: number; bytes: number }[] = [];
          let index = 0;
          const full = () =>
            list.length >= capacity || list.reduce((sum, one) => sum + one.bytes, 0) >= maxBytes;
          for (const one of operations) {
            if (one === 'clear') {
              ring.clear();
              list = [];
            } else if ('free' in one) {
              ring.freeUpTo(one.free);
              list = list.filter((flight) => flight.index > one.free);
            } else if (full()) {
              expect(() => ring.add(index + 1, 1)).toThrow();
            } else {
              index += one.add;
              ring.add(index, one.bytes);
              list.push({ index, bytes: one.bytes });
            }
            expect([ring.count, ring.full]).toEqual([list.length, full()]);
          }
        },
      ),
    );
  });
});

function follower(fields: Partial<Pick<Progress, 'match' | 'next'>> = {}): Progress {
  const progress = new Progress({
    next: 5,
    learner: false,
    recentActive: true,
    maxInflightMessages: 2,
    maxInflightBytes: 100,
  });
  return Object.assign(progress, fields);
}

describe('Progress', () => {
  it('probes with one message at a time', () => {
    const progress = follower();
    progress.sentEntries(1, 10);
    expect(progress.paused).toBe(true);
    expect(progress.next).toBe(5);
    expect(progress.rejected(4, 2)).toBe(true);
    expect([progress.next, progress.paused]).toEqual([3, false]);
  });

  it('replicates ahead until its window is full, and goes on when there is room', () => {
    const progress = follower({ match: 4 });
    progress.becomeReplicate();
    progress.sentEntries(3, 30);
    expect([progress.next, progress.paused]).toEqual([8, false]);
    progress.sentEntries(1, 10);
    expect([progress.next, progress.paused]).toEqual([9, true]);
    expect(progress.acked(7)).toBe(true);
    progress.inflights.freeUpTo(7);
    expect(progress.paused).toBe(false);
  });

  it('does not believe outdated answers', () => {
    const progress = follower({ match: 4, next: 9 });
    expect(progress.acked(4)).toBe(false);
    expect(progress.rejected(6, 5)).toBe(false);
    progress.becomeReplicate();
    expect(progress.rejected(4, 1)).toBe(false);
  });

  it('probes behind a Raft snapshot that may have arrived, but not behind a failed one', () => {
    const arrived = follower();
    arrived.becomeSnapshot(20);
    expect(arrived.paused).toBe(true);
    arrived.becomeProbe();
    expect(arrived.next).toBe(21);
    const failed = follower();
    failed.becomeSnapshot(20);
    failed.pendingSnapshot = 0;
    failed.becomeProbe();
    expect(failed.next).toBe(1);
  });

  it('tells a commit index once, and again when messages may be lost', () => {
    const progress = follower({ match: 4 });
    progress.becomeReplicate();
    progress.sentEntries(4, 1);
    expect(progress.canBumpCommit(6)).toBe(true);
    progress.sentCommit(6);
    expect(progress.canBumpCommit(6)).toBe(false);
    expect(progress.canBumpCommit(7)).toBe(true);
    progress.becomeProbe();
    expect(progress.canBumpCommit(6)).toBe(false);
    progress.acked(6);
    expect(progress.canBumpCommit(6)).toBe(true);
  });
});
