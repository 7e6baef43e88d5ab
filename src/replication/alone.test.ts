// A cluster of one, on the fake disk: what everybody may expect of a replicated log, and what only a log without peers can promise.
import { openAlone } from '../../testutils/cluster.ts';
import { createFakeDisk, type FakeDisk } from '../../testutils/fake-disk.ts';
import { seededRandom } from '../../testutils/random.ts';
import { QedError } from '../errors.ts';
import { type Disk } from './disk.ts';
import { type CommittedRecord, type LogStatus, type ReplicatedLog } from './replicated-log.ts';
import { RECORD_BYTES_MAX } from './segment.ts';
import { type ClusterLog, type ClusterLogOptions } from './cluster-log.ts';

function open(disk: Disk, options: Partial<ClusterLogOptions> = {}): Promise<ClusterLog> {
  return openAlone('/log', { disk, ...options });
}

function payload(value: number, bytes = 10): Uint8Array {
  return new Uint8Array(bytes).fill(value);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'resolved';
  } catch (error) {
    return error instanceof QedError ? error.code : String(error);
  }
}

/** Takes groups until `count` records are there. */
async function take(log: ReplicatedLog, appliedIndex: number, count: number): Promise<CommittedRecord[]> {
  const records: CommittedRecord[] = [];
  if (count > 0)
    for await (const group of log.committed(appliedIndex)) {
      expect(group.length).toBeGreaterThan(0);
      records.push(...group);
      if (records.length >= count) break;
    }
  return records;
}

/** A disk whose syncs wait until the test lets them go. */
function gatedDisk(disk: FakeDisk): { disk: Disk; hold: () => void; release: () => void } {
  let gate = Promise.resolve();
  let release = (): void => undefined;
  const hold = (): void => {
    gate = new Promise((resolve) => (release = resolve));
  };
  return {
    disk: {
      ...disk,
      async open(path) {
        const file = await disk.open(path);
        return { ...file, sync: async () => (await gate, file.sync()) };
      },
    },
    hold,
    release: () => release(),
  };
}

describe('a cluster of one', () => {
  it('leads at once, in a new durable term at each start', async () => {
    const disk = createFakeDisk();
    const appended: [number, number][] = [];
    for (const term of [2, 3, 4]) {
      const log = await open(disk);
      expect(log.status()).toMatchObject({ nodeId: 'node0', role: 'leader', leaderId: 'node0', term });
      expect(log.status().members).toEqual([{ nodeId: 'node0', isVoter: true }]);
      appended.push([await log.append(payload(term)), term]);
      await log.close();
    }
    const log = await open(disk.restart('synced', seededRandom(1)));
    expect((await take(log, 0, 3)).map(({ index, term }) => [index, term])).toEqual(appended);
    await log.close();
  });

  it('gives the consumer every record once and in order, from where it stands', async () => {
    const random = seededRandom(5);
    const log = await open(createFakeDisk(), { segmentBytes: 2000 });
    const appended: Promise<number>[] = [];
    const consumed = take(log, 0, 200);
    for (let value = 1; value <= 200; value++) {
      appended.push(log.append(payload(value, 1 + random.below(60))));
      if (random.chance(0.2)) await appended.at(-1);
    }
    const indexes = await Promise.all(appended);
    expect((await consumed).map(({ index }) => index)).toEqual(indexes);
    expect((await consumed).map((record) => record.payload[0])).toEqual(
      Array.from({ length: 200 }, (_, at) => at + 1),
    );
    const later = await take(log, indexes[149]!, 50);
    expect(later.map(({ index }) => index)).toEqual(indexes.slice(150));
    await log.close();
  });

  it('delivers together what became durable together, and nothing before', async () => {
    const { disk, hold, release } = gatedDisk(createFakeDisk());
    const log = await open(disk);
    const groups = log.committed(0)[Symbol.asyncIterator]();
    const seen: string[] = [];
    const { committedIndex } = log.status();
    hold();
    const first = groups.next().then(({ value }) => {
      seen.push('delivered');
      return value as CommittedRecord[];
    });
    const appended = [1, 2, 3].map((value) => log.append(payload(value)).then(() => seen.push('answered')));
    await new Promise(setImmediate);
    expect(seen).toEqual([]);
    expect(log.status().committedIndex).toBe(committedIndex);
    release();
    await Promise.all(appended);
    expect((await first).map((record) => record.payload[0])).toEqual([1, 2, 3]);
    await log.close();
    expect((await groups.next()).done).toBe(true);
  });

  it('gives a slow consumer larger groups, but bounded ones', async () => {
    const log = await open(createFakeDisk(), { segmentBytes: 64 * 1024 * 1024 });
    for (let value = 0; value < 5; value++) await log.append(payload(value, RECORD_BYTES_MAX - 100));
    const sizes: number[] = [];
    for await (const group of log.committed(0)) {
      sizes.push(group.length);
      if (group.at(-1)?.index === log.status().committedIndex) break;
    }
    // Two of them fit.
    expect(sizes.reduce((sum, size) => sum + size)).toBe(5);
    expect(Math.max(...sizes)).toBe(2);
    await log.close();
  });

  it('refuses before it proposes: too large, too much waiting, given up, closed', async () => {
    const log = await open(createFakeDisk(), { waitingBytesMax: 1000 });
    expect(await codeOf(log.append(new Uint8Array(RECORD_BYTES_MAX + 1)))).toBe('batch-too-large');
    expect(await codeOf(log.append(payload(1), { signal: AbortSignal.abort() }))).toBe('busy');
    // A record larger than the limit gets through alone, or it never would.
    const codes = [payload(1, 2000), payload(2, 10)].map((bytes) => codeOf(log.append(bytes)));
    expect(await Promise.all(codes)).toEqual(['resolved', 'busy']);
    await log.close();
    expect(await codeOf(log.append(payload(3)))).toBe('store-closed');
    expect(log.status()).toMatchObject({ role: 'follower', leaderId: undefined });
  });

  it('tells who gives up on the way that the outcome is unknown; the record goes its way', async () => {
    const log = await open(createFakeDisk());
    const giveUp = new AbortController();
    const answer = codeOf(log.append(payload(1), { signal: giveUp.signal }));
    giveUp.abort();
    expect(await answer).toBe('outcome-unknown');
    await log.append(payload(2));
    expect((await take(log, 0, 2)).map((record) => record.payload[0])).toEqual([1, 2]);
    await log.close();
  });

  it('answers everybody who waits when it closes', async () => {
    const log = await open(createFakeDisk());
    const consumer = take(log, 0, 1000);
    const waiting = Array.from({ length: 30 }, (_, at) => codeOf(log.append(payload(at))));
    await Promise.all([log.close(), log.close()]);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['resolved']));
    await consumer;
  });

  it('ends the consumer when its signal aborts', async () => {
    const log = await open(createFakeDisk());
    const stop = new AbortController();
    const groups = log.committed(0, { signal: stop.signal })[Symbol.asyncIterator]();
    const next = groups.next();
    stop.abort();
    expect((await next).done).toBe(true);
    await log.close();
  });

  it('tells once that it no longer leads, when the disk fails and when it closes', async () => {
    const disk = createFakeDisk();
    const log = await open(disk);
    const heard: LogStatus[] = [];
    log.onLeadership((status) => heard.push(status));
    log.onLeadership(() => heard.push(log.status()))();
    disk.faults = { capacity: 0 };
    // More than the room that the log has made for itself.
    expect(await codeOf(log.append(payload(1, 100_000)))).toBe('outcome-unknown');
    expect(await codeOf(log.append(payload(2)))).toBe('store-full');
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatchObject({ role: 'follower', failure: { code: 'store-full' } });
    await log.close();
    expect(heard).toHaveLength(1);
  });

  it('never loses by compaction what the consumer has not applied', async () => {
    for (const seed of [1, 2, 3]) {
      const random = seededRandom(seed);
      const disk = createFakeDisk();
      let log = await open(disk, { segmentBytes: 600, tail: { records: 0, bytes: 0 } });
      const appended: number[] = [];
      let taken = 0;
      for (let round = 0; round < 40; round++) {
        for (let count = random.below(6); count > 0; count--)
          appended.push(await log.append(payload(appended.length)));
        const count = random.below(appended.length - taken + 1);
        const records = await take(log, appended[taken - 1] ?? 0, count);
        expect(records.length).toBeGreaterThanOrEqual(count);
        expect(records.map(({ index }) => index)).toEqual(appended.slice(taken, taken + records.length));
        expect(records.every((record, at) => record.payload[0] === ((taken + at) & 0xff))).toBe(true);
        taken += records.length;
        const applied = appended[taken - 1] ?? 0;
        await log.compact(applied);
        expect(log.status().firstIndex).toBeLessThanOrEqual(applied + 1);
        if (random.chance(0.8)) continue;
        await log.close();
        const appliedIndex = applied;
        log = await open(disk, { segmentBytes: 600, appliedIndex, tail: { records: 0, bytes: 0 } });
      }
      expect(log.status().firstIndex).toBeGreaterThan(3);
      expect(await codeOf(take(log, 0, 1))).toBe('log-compacted');
      await log.close();
    }
  });

  it('refuses a database that has applied more than the log holds', async () => {
    const disk = createFakeDisk();
    const log = await open(disk);
    const index = await log.append(payload(1));
    await log.close();
    expect(await codeOf(open(disk, { appliedIndex: index + 1 }))).toBe('store-corrupt');
    await (await open(disk, { appliedIndex: index })).close();
  });

  it('says what opening had to cut', async () => {
    const disk = createFakeDisk();
    const log = await open(disk);
    expect(log.repair).toBeUndefined();
    await log.append(payload(1));
    disk.faults = { powerOffAt: disk.steps + 4000 };
    expect(await codeOf(log.append(payload(2, 5000)))).toBe('outcome-unknown');
    await log.close().catch(() => undefined);
    const survivor = disk.restart('written', seededRandom(1));
    const again = await open(survivor);
    expect(again.repair).toMatch(/^cut \d+ bytes of an unfinished write off \/log\/0+1\.wal at byte \d+$/);
    expect((await take(again, 0, 1)).map((record) => record.payload[0])).toEqual([1]);
    expect(again.status().committedIndex).toBe(log.status().committedIndex);
    await again.close();
    const whole = await open(survivor);
    expect(whole.repair).toBeUndefined();
    await whole.close();
  });
});
