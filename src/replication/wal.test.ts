// Damage, faults and limits of the log on disk. wal-crash.test.ts has the crashes.
import { createFakeDisk, type FakeDisk } from '../../testutils/fake-disk.ts';
import { seededRandom } from '../../testutils/random.ts';
import { changeTwin, difference, emptyTwin, readAll, type WalTwin } from '../../testutils/wal-twin.ts';
import { QedError } from '../errors.ts';
import { segmentName } from './recover.ts';
import { HEADER_BYTES, RECORD_BYTES_MAX } from './segment.ts';
import { openWal, type Wal, type WalRecord } from './wal.ts';

const DIRECTORY = '/log';
const MARK_BYTES = 24;
const random = seededRandom(1);

function open(disk: FakeDisk, segmentBytes = 500): Promise<Wal> {
  return openWal({
    directory: DIRECTORY,
    disk,
    random: (length) => new Uint8Array(length).fill(7),
    segmentBytes,
  });
}

function record(index: number, term = 1, bytes = 20): WalRecord {
  return { type: 0, index, term, payload: new Uint8Array(bytes).fill(index) };
}

function path(number: number): string {
  return `${DIRECTORY}/${segmentName(number)}`;
}

async function segmentPaths(disk: FakeDisk): Promise<string[]> {
  const names = await disk.list(DIRECTORY);
  return names.map((name) => `${DIRECTORY}/${name}`).sort();
}

async function codeOf(attempt: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof attempt === 'function' ? attempt() : attempt);
    return 'resolved';
  } catch (error) {
    return error instanceof QedError ? error.code : String(error);
  }
}

/** Twelve groups in several segments: records, replaced records, hard states. With the states after each group. */
async function sampleLog(disk: FakeDisk): Promise<{ wal: Wal; twins: WalTwin[] }> {
  const wal = await open(disk);
  const twins = [emptyTwin];
  for (let group = 1; group <= 12; group++) {
    const first = wal.last.index + (group % 5 === 0 ? 0 : 1);
    const records = [record(first, group), record(first + 1, group)];
    const hardState = { term: group, vote: group % 3, commit: first - 1 };
    await wal.append(records, hardState);
    twins.push(changeTwin(twins.at(-1)!, { kind: 'append', records, hardState }));
  }
  return { wal, twins };
}

/** The sample log as a clean close leaves it, or as a power failure after the last answer does, without a mark. */
async function sampleDisk(end: 'closed' | 'power off'): Promise<{ disk: FakeDisk; twins: WalTwin[] }> {
  const disk = createFakeDisk();
  const { wal, twins } = await sampleLog(disk);
  if (end === 'power off') return { disk: disk.restart('synced', random), twins };
  await wal.close();
  return { disk, twins };
}

describe('damage', () => {
  it.each(['closed', 'power off'] as const)('of any byte never changes a record (%s)', async (end) => {
    const { disk, twins } = await sampleDisk(end);
    const paths = await segmentPaths(disk);
    expect(paths.length).toBeGreaterThan(2);
    const closed = (await sampleDisk('closed')).disk;
    const groupsEnd = closed.contents(paths.at(-1)!).length - MARK_BYTES;
    const counts = { refused: 0, cut: 0, room: 0 };
    for (const damagedPath of paths)
      for (let at = 0; at < disk.contents(damagedPath).length; at++) {
        const copy = disk.restart('synced', random);
        copy.damage(damagedPath, (bytes) => bytes.with(at, bytes[at]! ^ random.pick([0x01, 0x80, 0xff])));
        const wal = await open(copy).catch((error: unknown) => error);
        if (wal instanceof QedError) {
          expect(wal.code).toBe('store-corrupt');
          expect(wal.message).toMatch(/^\/log\/\d{16}\.wal is damaged at byte \d+: /);
          counts.refused += 1;
          continue;
        }
        // Only what nothing proves to be durable: after a clean close that is the mark itself, otherwise the whole last group.
        const opened = wal as Wal;
        expect(opened.cut?.path).toBe(paths.at(-1));
        expect(opened.cut!.offset).toBeLessThanOrEqual(at);
        const isRoom = end === 'power off' && at >= groupsEnd;
        expect(difference(opened, twins.at(end === 'closed' || isRoom ? -1 : -2)!)).toBeUndefined();
        counts[isRoom ? 'room' : 'cut'] += 1;
      }
    expect(counts.cut).toBe(end === 'closed' ? MARK_BYTES : 24 + 2 * 52 + 40);
    expect(counts.room > 0).toBe(end === 'power off');
    expect(counts.refused).toBeGreaterThan(1000);
  });

  it('of the size is refused, or leaves the log as it once was', async () => {
    const { disk, twins } = await sampleDisk('closed');
    const paths = await segmentPaths(disk);
    for (const damagedPath of paths)
      for (let size = 0; size < disk.contents(damagedPath).length; size++) {
        const copy = disk.restart('synced', random);
        copy.damage(damagedPath, (bytes) => bytes.slice(0, size));
        const wal = await open(copy).catch((error: unknown) => error);
        if (wal instanceof QedError) {
          expect(wal.code).toBe('store-corrupt');
          continue;
        }
        expect(damagedPath).toBe(paths.at(-1));
        expect(size).toBeGreaterThanOrEqual(HEADER_BYTES);
        expect(twins.some((twin) => difference(wal as Wal, twin) === undefined)).toBe(true);
      }
  });

  it('of the files is refused with the file in the message', async () => {
    const { disk } = await sampleDisk('closed');
    const other = createFakeDisk();
    const wal = await open(other);
    for (let index = 1; index <= 20; index++) await wal.append([record(index, 5, 30)]);
    await wal.close();
    const cases: [string, (copy: FakeDisk) => Promise<void> | void, RegExp][] = [
      [
        'first file gone',
        (copy) => copy.remove(path(1)),
        /0002\.wal is damaged at byte 0: records 1 to \d+ lay .* missing/,
      ],
      [
        'file in the middle gone',
        (copy) => copy.remove(path(2)),
        /0002\.wal is damaged at byte 0: the file is missing/,
      ],
      [
        'one file under the name of another',
        (copy) => copy.damage(path(2), () => copy.contents(path(1))),
        /0002\.wal is damaged at byte 0: the header/,
      ],
      [
        'a file of another log',
        (copy) => copy.damage(path(2), () => other.contents(path(2))),
        /0002\.wal is damaged at byte 0: the segment does not follow/,
      ],
      [
        'bytes behind a sealed segment',
        (copy) => copy.damage(path(1), (bytes) => Uint8Array.of(...bytes, 1)),
        /0001\.wal is damaged at byte \d+: the segment is not whole/,
      ],
    ];
    for (const [name, damage, expected] of cases) {
      const copy = disk.restart('synced', random);
      await damage(copy);
      const message = await open(copy).then(
        () => `${name} was accepted`,
        (error: unknown) => String(error),
      );
      expect(message).toMatch(expected);
    }
  });

  it('of a group that was dropped, repeated or swapped is refused', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk, 10_000);
    for (let index = 1; index <= 6; index++) await wal.append([record(index)]);
    await wal.close();
    const whole = disk.contents(path(1));
    const group = (at: number): Uint8Array =>
      whole.slice(HEADER_BYTES + at * 76, HEADER_BYTES + (at + 1) * 76);
    const order = (...groups: number[]): Uint8Array =>
      Uint8Array.of(
        ...whole.slice(0, HEADER_BYTES),
        ...groups.flatMap((at) => [...group(at)]),
        ...whole.slice(-24),
      );
    expect(order(0, 1, 2, 3, 4, 5)).toEqual(whole);
    for (const bytes of [
      order(0, 2, 3, 4, 5),
      order(0, 1, 1, 2, 3, 4, 5),
      order(0, 2, 1, 3, 4, 5),
      order(1, 2, 3, 4, 5),
      order(0, 1, 2, 3, 4),
    ]) {
      const copy = disk.restart('synced', random);
      copy.damage(path(1), () => bytes);
      expect(await codeOf(open(copy))).toBe('store-corrupt');
    }
  });

  it('after opening is found when the record is read', async () => {
    const disk = createFakeDisk();
    const { wal } = await sampleLog(disk);
    disk.damage(path(1), (bytes) => bytes.with(HEADER_BYTES + 60, 99));
    expect(await codeOf(() => readAll(wal, 1))).toBe('store-corrupt');
  });
});

describe('the log on disk', () => {
  it('writes what waits in one group', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk, 100_000);
    const before = disk.syncs;
    await Promise.all(Array.from({ length: 100 }, (_, at) => wal.append([record(at + 1)])));
    expect(disk.syncs - before).toBe(1);
    expect(readAll(wal, 1)).toHaveLength(100);
  });

  it('makes room for small groups, which no opening takes for a write, and leaves none behind when it closes', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk, 10_000);
    const length = (): number => disk.contents(path(1)).length;
    await wal.append([record(1)]);
    const withRoom = length();
    expect(withRoom).toBe(10_000);
    for (let index = 2; index <= 20; index++) await wal.append([record(index)]);
    expect(length()).toBe(withRoom);
    for (const survival of ['synced', 'written', 'any'] as const) {
      const after = disk.restart(survival, random);
      for (let opening = 0; opening < 2; opening++) {
        const again = await open(after, 10_000);
        expect([again.cut, again.last.index]).toEqual([undefined, 20 + opening]);
        await again.append([record(21 + opening)]);
        await again.close();
        expect(after.contents(path(1)).at(-1)).not.toBe(0);
      }
    }
    // A write that the power interrupted shows in the room as it would at the end of the file.
    const end = disk.contents(path(1)).findLastIndex((byte) => byte !== 0) + 1;
    disk.damage(path(1), (bytes) => bytes.fill(1, end + 8, end + 50));
    const torn = await open(disk.restart('synced', random), 10_000);
    expect([torn.cut, torn.last.index]).toEqual([{ path: path(1), offset: end, bytes: 50 }, 20]);
    await torn.close();
    await wal.close();
  });

  it('shows nothing before it is durable', async () => {
    const wal = await open(createFakeDisk());
    const durable = wal.append([record(1)], { term: 1, vote: 2, commit: 0 });
    expect([wal.last.index, wal.hardState.term, wal.termAt(1)]).toEqual([0, 0, undefined]);
    await durable;
    expect([wal.last.index, wal.hardState.term, wal.termAt(1)]).toEqual([1, 1, 1]);
  });

  it('refuses a second opening while the first lasts', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk);
    expect(await codeOf(open(disk))).toBe('store-locked');
    await wal.close();
    await (await open(disk)).close();
  });

  it('is not locked by an opening that failed', async () => {
    const { disk } = await sampleDisk('closed');
    const whole = disk.contents(path(1));
    disk.damage(path(1), () => new Uint8Array(9));
    expect(await codeOf(open(disk))).toBe('store-corrupt');
    disk.damage(path(1), () => whole);
    expect(await codeOf(open(disk))).toBe('resolved');
  });

  it('drops whole segments only, and none that holds a record behind the compacted one', async () => {
    const disk = createFakeDisk();
    let { wal } = await sampleLog(disk);
    const before = (await segmentPaths(disk)).length;
    const commit = wal.hardState.commit;
    await wal.compact(commit);
    const [first, last] = [wal.firstIndex, wal.last.index];
    expect((await segmentPaths(disk)).length).toBeLessThan(before);
    expect(first).toBe(commit + 1);
    await wal.close();
    wal = await open(disk.restart('synced', random));
    expect([wal.firstIndex, wal.last.index]).toEqual([first, last]);
    expect(readAll(wal, first).map(({ index }) => index)).toEqual(
      Array.from({ length: last - commit }, (_, at) => first + at),
    );
  });

  it.each([
    ['a gap', (wal: Wal) => wal.append([record(3)])],
    ['a falling term', (wal: Wal) => wal.append([record(2, 4)])],
    ['a falling term in one call', (wal: Wal) => wal.append([record(2, 6), record(3, 5)])],
    ['a replaced record with a falling term', (wal: Wal) => wal.append([record(1, 5), record(2, 4)])],
    ['a large record', (wal: Wal) => wal.append([record(2, 5, RECORD_BYTES_MAX + 1)])],
    ['a commit index behind the end', (wal: Wal) => wal.append([], { term: 5, vote: 0, commit: 2 })],
    ['a falling hard state', (wal: Wal) => wal.append([], { term: 4, vote: 0, commit: 1 })],
    ['a compaction of what is not there', (wal: Wal) => wal.compact(2)],
  ])('does not let its owner write %s', async (_name, write) => {
    const wal = await open(createFakeDisk());
    await wal.append([record(1, 5)], { term: 5, vote: 0, commit: 1 });
    expect(await codeOf(() => write(wal))).toBe('bug');
    await wal.append([record(2, 5)]);
    expect(wal.last.index).toBe(2);
  });

  it('answers everybody who waits when it closes, and nobody afterwards', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk);
    const waiting = Array.from({ length: 20 }, (_, at) => codeOf(wal.append([record(at + 1)])));
    const closed = wal.close();
    expect(await codeOf(wal.append([record(21)]))).toBe('store-closed');
    await Promise.all([closed, wal.close()]);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['resolved']));
    expect(readAll(await open(disk.restart('synced', random)), 1)).toHaveLength(20);
  });
});

describe('a disk that fails', () => {
  it('by a failed fsync leaves the outcome unknown, and nothing more is taken', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk);
    await wal.append([record(1)]);
    disk.faults = { failSync: disk.syncs + 1 };
    const first = codeOf(wal.append([record(2)]));
    await Promise.resolve();
    const behind = codeOf(wal.append([record(3)]));
    expect(await first).toBe('outcome-unknown');
    expect(await behind).toBe(wal.last.index === 1 ? 'store-closed' : 'resolved');
    expect(await codeOf(wal.append([record(3)]))).toBe('store-closed');
    expect(wal.last.index).toBe(1);
    await wal.close();
  });

  it('by a failed fsync gets the record again at the next opening, though it looks written', async () => {
    const disk = createFakeDisk();
    const wal = await open(disk);
    disk.faults = { failSync: disk.syncs + 1 };
    expect(await codeOf(wal.append([record(1)]))).toBe('outcome-unknown');
    await wal.close();
    // The process starts again and still sees the record, which the disk never got. Then the power fails.
    const again = await open(disk);
    expect(again.last.index).toBe(1);
    const afterwards = await open(disk.restart('synced', random));
    expect(afterwards.last.index).toBe(1);
  });

  it('by being full refuses with store-full, and goes on from there after the next opening', async () => {
    for (let room = 0; room < 400; room += 7) {
      const disk = createFakeDisk();
      const wal = await open(disk);
      await wal.append([record(1)]);
      const used = (await segmentPaths(disk)).reduce((sum, name) => sum + disk.contents(name).length, 0);
      disk.faults = { capacity: used + room };
      let acknowledged = 1;
      const appendNext = (): Promise<string> => codeOf(wal.append([record(acknowledged + 1)]));
      let code = await appendNext();
      for (; code === 'resolved'; code = await appendNext()) acknowledged += 1;
      expect(code).toBe('store-full');
      expect(await codeOf(wal.append([record(acknowledged + 1)]))).toBe('store-full');
      await wal.close();
      disk.faults = {};
      const again = await open(disk);
      expect(again.last.index).toBe(acknowledged);
      await again.append([record(acknowledged + 1)]);
      expect(readAll(again, 1)).toHaveLength(acknowledged + 1);
    }
  });
});
