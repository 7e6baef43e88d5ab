// The Raft log on disk against a plain list: what a save resolved for is there after a crash at any step, what it replaced is not, and the standing
// outlives compactions and resets.
import { createFakeDisk, type FakeDisk } from '../../testutils/fake-disk.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { noMembers } from '../raft/membership.ts';
import { type Entry, type HardState, type RaftSnapshot } from '../raft/message.ts';
import {
  emptyTable,
  formatStanding,
  formatTable,
  parseStanding,
  type MemberTable,
  type Standing,
} from './members.ts';
import { RaftStorage } from './raft-storage.ts';
import { openWal } from './wal.ts';

const START: Standing = {
  id: 1,
  index: 0,
  term: 0,
  membership: { ...noMembers, voters: [1] },
  table: emptyTable,
  seeds: [],
  floor: { database: 0, log: 0 },
  isCatchingUp: false,
};

async function open(disk: FakeDisk): Promise<RaftStorage> {
  const random = (length: number): Uint8Array => new Uint8Array(length).fill(7);
  const wal = await openWal({ directory: '/raft', disk, random, segmentBytes: 3000 });
  if (!wal.note) await wal.append([], undefined, formatStanding(START));
  const standing = parseStanding(wal.note ?? formatStanding(START));
  if (!standing) throw new Error('the standing cannot be read');
  return new RaftStorage(wal, standing);
}

interface Twin {
  readonly base: number;
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly tableId: number;
}

const emptyTwin: Twin = { base: 0, entries: [], hardState: { term: 0, vote: 0, commit: 0 }, tableId: 1 };
const lastOf = ({ base, entries }: Twin): number => entries.at(-1)?.index ?? base;
const tableOf = (nextId: number): MemberTable => ({ ...emptyTable, nextId });

/** A step that a Raft node could take from here, and what it leads to. */
function nextStep(twin: Twin, random: Random): { twin: Twin; run: (storage: RaftStorage) => Promise<void> } {
  const { hardState } = twin;
  const kind = random.below(10);
  if (kind === 0) {
    const index = lastOf(twin) + 1 + random.below(5);
    const term = hardState.term + 1;
    const tableId = twin.tableId + 1;
    const state = { term, vote: 0, commit: index };
    const snapshot: RaftSnapshot = {
      index,
      term,
      membership: START.membership,
      data: formatTable(tableOf(tableId)),
    };
    return {
      twin: { base: index, entries: [], hardState: state, tableId },
      run(storage) {
        storage.expectSnapshot(index);
        return storage.save({ hardState: state, entries: [], snapshot });
      },
    };
  }
  if (kind === 1) {
    const index = hardState.commit;
    return {
      twin,
      async run(storage) {
        storage.advance({ ...storage.standing, index, term: storage.term(index) ?? 0 });
        await storage.compact(index, { records: random.below(4), bytes: 1e6 });
      },
    };
  }
  if (kind === 2) {
    const tableId = twin.tableId + 1;
    return {
      twin: { ...twin, tableId },
      run(storage) {
        storage.advance({ ...storage.standing, table: tableOf(tableId) });
        return storage.save({ hardState: undefined, entries: [], snapshot: undefined });
      },
    };
  }
  if (kind === 3) {
    const state = { ...hardState, term: hardState.term + 1, vote: random.below(3) };
    return {
      twin: { ...twin, hardState: state },
      run: (storage) => storage.save({ hardState: state, entries: [], snapshot: undefined }),
    };
  }
  // Entries from anywhere behind the commit index on; a new term replaces what was there.
  const from = random.chance(0.3)
    ? hardState.commit + 1 + random.below(lastOf(twin) - hardState.commit + 1)
    : lastOf(twin) + 1;
  const term = hardState.term + (from <= lastOf(twin) || random.chance(0.1) ? 1 : 0) || 1;
  const entries = Array.from({ length: 1 + random.below(4) }, (_, at): Entry => ({
    term,
    index: from + at,
    type: random.chance(0.1) ? 'EntryConfChangeV2' : 'EntryNormal',
    data: random.bytes(random.below(200)),
  }));
  const commit = hardState.commit + random.below(from + entries.length - hardState.commit);
  const state = { term, vote: 1, commit };
  return {
    twin: {
      ...twin,
      entries: [...twin.entries.filter(({ index }) => index < from), ...entries],
      hardState: state,
    },
    run: (storage) => storage.save({ hardState: state, entries, snapshot: undefined }),
  };
}

/** Why the storage cannot be what the twin says, or undefined. The commit index may lag, and what is compacted is not there. */
function difference(storage: RaftStorage, twin: Twin): string | undefined {
  if (storage.lastIndex() !== lastOf(twin)) return `ends at ${storage.lastIndex()}, not ${lastOf(twin)}`;
  const { term, vote, commit } = storage.initialState().hardState;
  if (term !== twin.hardState.term || vote !== twin.hardState.vote) return `term ${term}, vote ${vote}`;
  if (commit > twin.hardState.commit) return `committed up to ${commit}, not ${twin.hardState.commit}`;
  if (storage.standing.table.nextId !== twin.tableId)
    return `table ${storage.standing.table.nextId}, not ${twin.tableId}`;
  const first = storage.firstIndex();
  if (first > Math.max(twin.base, twin.hardState.commit) + 1) return `begins at ${first}`;
  const expected = twin.entries.filter(({ index }) => index >= first);
  const found = first > lastOf(twin) ? [] : (storage.entries(first, lastOf(twin) + 1, Infinity) ?? []);
  const show = (entries: readonly Entry[]): string =>
    entries
      .map(({ index, term, type, data }) => `${index} ${term} ${type} ${Buffer.from(data).toString('hex')}`)
      .join('\n');
  if (show(found) !== show(expected)) return 'other entries';
  return expected.every(({ index, term }) => storage.term(index) === term) ? undefined : 'other terms';
}

describe('the Raft log on disk', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'is what it was asked to be, also after crashes at any step (seed %i)',
    async (seed) => {
      const random = seededRandom(seed);
      let disk = createFakeDisk();
      let twin = emptyTwin;
      for (let life = 0; life < 12; life++) {
        const storage = await open(disk);
        expect(difference(storage, twin)).toBeUndefined();
        twin = { ...twin, hardState: { ...twin.hardState, commit: storage.initialState().hardState.commit } };
        const twins = [twin];
        let acknowledged = 0;
        if (random.chance(0.8)) disk.faults = { powerOffAt: disk.steps + random.below(8000) };
        const underWay: Promise<unknown>[] = [];
        for (let at = 1; at <= 12; at++) {
          const step = nextStep(twins.at(-1)!, random);
          twins.push(step.twin);
          const done = step.run(storage).then(
            () => (acknowledged = Math.max(acknowledged, at)),
            () => undefined,
          );
          underWay.push(done);
          // A Raft node reads terms before it goes on, so not everything may be on its way at once.
          await done;
          if (storage.failure) break;
          if (!disk.faults.powerOffAt) expect(difference(storage, step.twin)).toBeUndefined();
        }
        await Promise.all(underWay);
        await storage.close().catch(() => undefined);
        disk = disk.restart('any', random);
        const again = await open(disk);
        const candidates = twins.slice(acknowledged);
        const problems = candidates.map((candidate) => difference(again, candidate));
        const found = problems.indexOf(undefined);
        expect(found < 0 ? problems : []).toEqual([]);
        twin = candidates[found]!;
        await again.close();
      }
    },
  );

  it('reads as much as a size allows, from memory or disk alike', async () => {
    const disk = createFakeDisk();
    const random = seededRandom(1);
    let storage = await open(disk);
    const entries = Array.from({ length: 100 }, (_, at): Entry => ({
      term: 1,
      index: at + 1,
      type: 'EntryNormal',
      data: random.bytes(100),
    }));
    for (const entry of entries)
      await storage.save({
        hardState: { term: 1, vote: 1, commit: 0 },
        entries: [entry],
        snapshot: undefined,
      });
    const questions = [0, 1, 99, 250, 5000, Infinity].flatMap((size) =>
      [1, 50, 100].map((from) => [from, size] as const),
    );
    const ask = (): string[] =>
      questions.map(([from, size]) => String(storage.entries(from, 101, size)?.map(({ index }) => index)));
    const fromMemory = ask();
    expect(fromMemory[0]).toBe('1');
    await storage.close();
    storage = await open(disk);
    expect(ask()).toEqual(fromMemory);
    expect(storage.entries(0, 2, 10)).toBeUndefined();
    await storage.close();
  });
});
