// The log against its slow twin: a plain list of terms, where the twin knows what was saved and what was not.
import fc from 'fast-check';
import { RaftLog } from './log.ts';
import { MemoryStorage } from '../../testutils/raft-storage.ts';
import { noMembers } from './membership.ts';
import { entrySize, limitSize, noBytes, type Entry } from './message.ts';
import { silent } from './say.ts';

const entry = (index: number, term: number, bytes = 0): Entry => ({
  index,
  term,
  type: 'EntryNormal',
  data: bytes === 0 ? noBytes : new Uint8Array(bytes),
});

/** A stored log with these terms from index 1 on. */
function stored(terms: readonly number[]): MemoryStorage {
  const storage = new MemoryStorage();
  storage.append(terms.map((term, at) => entry(at + 1, term)));
  return storage;
}

const logOf = (terms: readonly number[]): RaftLog => new RaftLog(stored(terms), Infinity, silent);

const termsOf = (log: RaftLog): readonly number[] =>
  (log.slice(log.firstIndex(), log.lastIndex() + 1, Infinity) ?? []).map(({ term }) => term);

type Step =
  | { readonly from: number; readonly terms: readonly number[] }
  | { readonly save: number }
  | { readonly commit: number }
  | { readonly accept: true };

describe('RaftLog', () => {
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({
      from: fc.integer({ min: 1, max: 8 }),
      terms: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({ save: fc.integer({ min: 0, max: 10 }) }),
    fc.record({ commit: fc.integer({ min: 0, max: 10 }) }),
    fc.record({ accept: fc.constant(true as const) }),
  );

  it('reads like one list, whatever part of it is saved', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const storage = stored([1, 1]);
        const log = new RaftLog(storage, Infinity, silent);
        let twin = [1, 1];
        for (const one of steps) {
          twin = run(one, log, storage, twin);
          expect(termsOf(log)).toEqual(twin);
          expect(twin.map((_, at) => log.term(at + 1))).toEqual(twin);
          expect([log.term(twin.length + 1), log.lastIndex()]).toEqual([undefined, twin.length]);
          const { offset, inProgress, entries } = log.unstable;
          expect(offset <= inProgress && inProgress <= offset + entries.length).toBe(true);
        }
      }),
    );
  });

  function run(one: Step, log: RaftLog, storage: MemoryStorage, twin: readonly number[]): number[] {
    if ('from' in one) {
      const from = Math.min(Math.max(one.from, log.committed + 1), twin.length + 1);
      log.append(one.terms.map((term, at) => entry(from + at, term)));
      return [...twin.slice(0, from - 1), ...one.terms];
    }
    if ('save' in one) {
      const { offset, entries } = log.unstable;
      const saved = entries.slice(0, one.save);
      storage.append(saved);
      const last = saved.at(-1);
      if (last !== undefined) log.unstable.stableTo(last.index, last.term);
      expect(log.unstable.offset).toBe(offset + saved.length);
    } else if ('commit' in one) {
      log.commitTo(Math.min(one.commit, twin.length));
    } else {
      log.unstable.acceptInProgress();
      expect(log.unstable.hasNextEntries()).toBe(false);
    }
    return [...twin];
  }

  it('takes entries only where the one before them matches, and replaces only what contradicts them', () => {
    const log = logOf([1, 1, 2, 2]);
    expect(log.appendAfter({ index: 5, term: 2 }, [], 0)).toBeUndefined();
    expect(log.appendAfter({ index: 4, term: 1 }, [], 0)).toBeUndefined();
    // A late copy of what is there must not cut off what came after it.
    expect(log.appendAfter({ index: 1, term: 1 }, [entry(2, 1)], 0)).toBe(2);
    expect(termsOf(log)).toEqual([1, 1, 2, 2]);
    expect(log.appendAfter({ index: 2, term: 1 }, [entry(3, 3)], 2)).toBe(3);
    expect(termsOf(log)).toEqual([1, 1, 3]);
    expect(log.committed).toBe(2);
  });

  it('never gives up a committed entry', () => {
    const log = logOf([1, 1, 2]);
    log.commitTo(2);
    expect(() => log.appendAfter({ index: 1, term: 1 }, [entry(2, 3)], 0)).toThrow(/contradicts a committed/);
    expect(() => log.append([entry(2, 3)])).toThrow(/committed/);
    log.commitTo(1);
    expect(log.committed).toBe(2);
  });

  it('reports a lost log instead of committing what it does not have', () => {
    expect(() => logOf([1, 1]).commitTo(3)).toThrow(
      /entry 3 is committed and stored here, but the log ends at 2/,
    );
  });

  it('commits by counting only what is of the present term', () => {
    const log = logOf([1, 2, 2]);
    expect(log.commitInTerm(3, 3)).toBe(false);
    expect(log.commitInTerm(1, 1)).toBe(true);
    expect(log.commitInTerm(3, 2)).toBe(true);
    expect(log.commitInTerm(2, 2)).toBe(false);
  });

  it('calls a log up to date by its last term first, by its length then', () => {
    const log = logOf([1, 2, 2]);
    const cases = [
      [{ term: 3, index: 1 }, true],
      [{ term: 2, index: 3 }, true],
      [{ term: 2, index: 4 }, true],
      [{ term: 2, index: 2 }, false],
      [{ term: 1, index: 9 }, false],
    ] as const;
    for (const [candidate, expected] of cases) expect(log.isUpToDate(candidate)).toBe(expected);
  });

  it('finds where logs may part by looking at terms alone, like a search through both', () => {
    const terms = fc
      .array(fc.integer({ min: 1, max: 6 }), { maxLength: 10 })
      .map((list) => list.sort((a, b) => a - b));
    fc.assert(
      fc.property(terms, fc.integer({ min: 0, max: 7 }), (list, term) => {
        const expected = list.filter((one) => one <= term).length;
        const found = logOf(list).findConflictByTerm(list.length, term);
        expect(found).toEqual({ index: expected, term: list[expected - 1] ?? 0 });
      }),
    );
  });

  it('hands out committed entries up to a size, and the rest as they are reported done', () => {
    const storage = new MemoryStorage();
    const entries = [1, 2, 3, 4, 5].map((index) => entry(index, 1, 10));
    storage.append(entries);
    const size = entrySize(entries[0]!);
    const log = new RaftLog(storage, size * 2, silent);
    log.commitTo(5);
    const taken: number[][] = [];
    while (log.hasNextCommitted(true)) {
      const batch = log.nextCommitted(true);
      log.acceptApplying(batch, true);
      expect(log.nextCommitted(true)).toEqual([]);
      taken.push(batch.map(({ index }) => index));
      log.appliedTo(batch.at(-1)!.index, size * batch.length);
    }
    expect(taken).toEqual([[1, 2], [3, 4], [5]]);
  });

  it('becomes a Raft snapshot as a whole', () => {
    const log = logOf([1, 1, 2]);
    log.restore({ index: 7, term: 3, membership: noMembers, data: noBytes });
    expect([log.firstIndex(), log.lastIndex(), log.term(7), log.term(6), log.committed]).toEqual([
      8,
      7,
      3,
      undefined,
      7,
    ]);
    expect(log.hasNextCommitted(true)).toBe(false);
  });

  it('does not take a late report of a replaced entry for news of the one in its place', () => {
    const log = logOf([1]);
    log.append([entry(2, 1), entry(3, 1)]);
    log.unstable.acceptInProgress();
    log.append([entry(2, 2)]);
    log.unstable.stableTo(2, 1);
    log.unstable.stableTo(3, 1);
    expect([log.unstable.offset, log.unstable.nextEntries().length]).toEqual([2, 1]);
  });
});

describe('limitSize', () => {
  it('takes as many as fit, and one in any case', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 300 })),
        fc.integer({ min: 0, max: 900 }),
        (sizes, limit) => {
          const entries = sizes.map((bytes, at) => entry(at + 1, 1, bytes));
          const taken = limitSize(entries, limit);
          const total = (count: number) =>
            entries.slice(0, count).reduce((sum, one) => sum + entrySize(one), 0);
          expect(taken).toEqual(entries.slice(0, taken.length));
          if (taken.length > 1) expect(total(taken.length)).toBeLessThanOrEqual(limit);
          if (taken.length < entries.length) expect(total(taken.length + 1)).toBeGreaterThan(limit);
          expect(taken.length > 0 || entries.length === 0).toBe(true);
        },
      ),
    );
  });
});
