// From gossip and the list of the log into the journal: order, gaps, a log that does not answer or lies, and two histories.
import { parseSignedSnapshot, type SignedSnapshot } from '../src/balloon/proof.ts';
import { QedError } from '../src/errors.ts';
import { memoryDisk, openMemoryStore } from '../src/storage/memory.ts';
import { startIntake, type Intake } from './intake.ts';
import { openJournal, type Conflict, type Journal } from './journal.ts';
import { NATIVE, type SignedLog } from '../testutils/signed-log.ts';
import { logOf } from '../testutils/stub-log.ts';
import { until } from '../testutils/until.ts';

const log = logOf(600);
const other = logOf(600, 2);
const snapshotOf = (version: number, of: SignedLog = log): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));

interface World {
  /** Versions on the list of the log. */
  published: number[];
  listed: SignedLog;
  isBroken: boolean;
  asked: number;
  readonly urls: string[];
  readonly conflicts: Conflict[];
  readonly failures: unknown[];
}

const open: Intake[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

function world(published: readonly number[] = []): World {
  return {
    published: [...published],
    listed: log,
    isBroken: false,
    asked: 0,
    urls: ['http://log'],
    conflicts: [],
    failures: [],
  };
}

function start(at: World, journal: Journal, recheckMs = 10_000): Intake {
  const intake = startIntake({
    journal,
    source: {
      urls: at.urls,
      published(from, limit) {
        at.asked += 1;
        if (at.isBroken) return Promise.reject(new QedError('unreachable', 'no answer'));
        const versions = at.published.filter((version) => version >= from).slice(0, limit);
        return Promise.resolve(versions.map((version) => snapshotOf(version, at.listed)));
      },
    },
    trust: log.trust,
    primitives: NATIVE,
    onConflict: (conflict) => at.conflicts.push(conflict),
    onFailure: (error) => at.failures.push(error),
    recheckMs,
  });
  open.push(intake);
  return intake;
}

async function inJournal(journal: Journal): Promise<number[]> {
  return (await journal.queue.read(0, 10_000)).map((item) => journal.entryOf(item).version);
}

const has = (journal: Journal, count: number): Promise<void> =>
  until(`${count} in the journal`, () => journal.queue.next - 1 === count);

it('takes all that was published before it came, in order', async () => {
  const at = world(Array.from({ length: 600 }, (_, version) => version));
  const journal = await openJournal(openMemoryStore(), 10_000);
  start(at, journal);
  await has(journal, 600);
  expect(await inJournal(journal)).toEqual(at.published);
  expect(journal.complete).toBe(599);
});

it('asks the log for what gossip has lost, and not when nothing can be missing', async () => {
  const at = world();
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  await until('the first look', () => at.asked === 1);
  for (const version of [0, 1, 2]) {
    at.published.push(version);
    intake.offer(snapshotOf(version));
    await has(journal, version + 1);
  }
  expect(at.asked).toBe(1);
  at.published.push(5, 7, 20);
  intake.offer(snapshotOf(20));
  await has(journal, 6);
  expect(await inJournal(journal)).toEqual([0, 1, 2, 5, 7, 20]);
  expect(at.asked).toBe(2);
});

it('sorts what gossip brings out of order', async () => {
  const at = world();
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  at.published.push(3, 6, 9);
  for (const version of [9, 3, 6, 9]) intake.offer(snapshotOf(version));
  await has(journal, 3);
  expect(await inJournal(journal)).toEqual([3, 6, 9]);
});

it('asks a busy log once for all that gossip brings in a while', async () => {
  const at = world();
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  await until('the first look', () => at.asked === 1);
  for (const version of [9, 19, 29, 39, 49]) {
    at.published.push(version);
    intake.offer(snapshotOf(version));
    await new Promise(setImmediate);
  }
  await has(journal, 5);
  expect(at.asked).toBe(2);
});

it('takes what gossip brings while the log is silent, and what was missing later', async () => {
  const at = world([2, 4, 8]);
  at.isBroken = true;
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  intake.offer(snapshotOf(8));
  await has(journal, 1);
  expect(at.failures).toHaveLength(1);
  at.isBroken = false;
  intake.recheck();
  await has(journal, 3);
  expect(await inJournal(journal)).toEqual([8, 2, 4]);
  expect(journal.complete).toBe(8);
});

it('works with gossip alone, and makes up for it when a URL becomes known', async () => {
  const at = world([0, 1, 5]);
  const [url] = at.urls.splice(0);
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  intake.offer(snapshotOf(5));
  await has(journal, 1);
  expect(at.asked).toBe(0);
  at.urls.push(url!);
  intake.recheck();
  await has(journal, 3);
  expect(await inJournal(journal)).toEqual([5, 0, 1]);
});

it('goes on after a restart where it was', async () => {
  const at = world([0, 1, 2, 3]);
  const disk = memoryDisk();
  const store = openMemoryStore(disk);
  const journal = await openJournal(store, 10_000);
  start(at, journal);
  await has(journal, 4);
  await open.pop()!.close();
  await store.close();
  at.published.push(4, 9);
  const again = await openJournal(openMemoryStore(disk), 10_000);
  expect([again.complete, again.versionLast]).toEqual([3, 3]);
  start(at, again);
  await has(again, 6);
  expect(await inJournal(again)).toEqual([0, 1, 2, 3, 4, 9]);
});

it('believes nothing that the log has not signed', async () => {
  const at = world([0, 1]);
  at.listed = {
    ...log,
    signedSnapshot: (version) => ({
      ...log.signedSnapshot(version),
      snapshot: log.signedSnapshot(version + 1).snapshot,
    }),
  };
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  await until('the refusal', () => at.failures.length > 0);
  expect(at.failures[0]).toMatchObject({ code: 'snapshot-mismatch' });
  expect(await inJournal(journal)).toEqual([]);
  at.listed = log;
  intake.recheck();
  await has(journal, 2);
});

it('hands over both sides when the log has signed two histories, and keeps the first', async () => {
  const at = world([0, 1, 2]);
  const journal = await openJournal(openMemoryStore(), 10_000);
  const intake = start(at, journal);
  await has(journal, 3);
  intake.offer(snapshotOf(2, other));
  await until('the conflict', () => at.conflicts.length > 0);
  expect(at.conflicts).toEqual([{ known: snapshotOf(2), other: snapshotOf(2, other) }]);
  expect(await inJournal(journal)).toEqual([0, 1, 2]);
});

it('notices two histories also when both come at the same moment', async () => {
  const journal = await openJournal(openMemoryStore(), 10_000);
  const both = await Promise.all([journal.add([snapshotOf(2)]), journal.add([snapshotOf(2, other)])]);
  expect(both.map(({ added, conflicts }) => [added.length, conflicts.length])).toEqual([
    [1, 0],
    [0, 1],
  ]);
  expect(await inJournal(journal)).toEqual([2]);
});

it('forgets the oldest when more is there than may be kept, and does not take them again', async () => {
  const at = world();
  const journal = await openJournal(openMemoryStore(), 10);
  at.urls.pop();
  const intake = start(at, journal);
  for (let version = 0; version < 60; version++) {
    intake.offer(snapshotOf(version));
    await has(journal, version + 1);
  }
  const kept = await inJournal(journal);
  expect(kept.length).toBeLessThanOrEqual(20);
  expect(kept.at(-1)).toBe(59);
  expect((await journal.add([snapshotOf(1), snapshotOf(1, other)])).added).toEqual([]);
  expect(await journal.versionBefore(kept[1]!)).toBe(kept[0]);
});
