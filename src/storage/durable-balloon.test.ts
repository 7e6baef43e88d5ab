import { readFileSync, existsSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { encodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { QedError } from '../errors.ts';
import { decodeRecord, encodeRecord, type Record } from '../balloon/record.ts';
import { Requests, REQUESTS_MAX } from '../balloon/requests.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { checkAsStranger, type StrangerReport } from '../../testutils/stranger.ts';
import { breakWrite, type Break } from '../../testutils/faulty-store.ts';
import { withTempDir } from '../../testutils/temp.ts';
import {
  openDurableBalloon,
  type BalloonEvent,
  type DurableBalloon,
  type NextRecord,
} from './durable-balloon.ts';
import { SEGMENT_LEAVES } from './image.ts';
import { crashDisk, memoryDisk, openMemoryStore, type MemoryDisk } from './memory.ts';
import { type Store } from './store.ts';

const START = 1_760_000_000_000;

function randomRecord(random: Random, known: Uint8Array[], number: number): Record {
  const requests = Array.from({ length: 1 + random.below(3) }, () => {
    const digests = Array.from({ length: 1 + random.below(random.chance(0.2) ? 300 : 5) }, () => {
      const digest = known.length > 0 && random.chance(0.1) ? random.pick(known) : random.bytes(32);
      known.push(digest);
      return digest;
    });
    return { key: random.chance(0.5) ? random.bytes(16) : undefined, eventDigests: Buffer.concat(digests) };
  });
  return { time: START + number * random.below(3), requests };
}

async function stranger(disk: MemoryDisk, hyperEvery = 5): Promise<StrangerReport> {
  return checkAsStranger(await rowsOf(openMemoryStore(disk)), hyperEvery);
}

async function rowsOf(store: Store): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  const rows: (readonly [Uint8Array, Uint8Array])[] = [];
  for await (const row of store.range({})) rows.push(row);
  await store.close();
  return rows;
}

const digestsOf = ({ balloon }: DurableBalloon): string[] =>
  balloon.snapshot ? [balloon.snapshot.historyDigest, balloon.snapshot.hyperDigest].map(encodeHex) : [];

describe('balloon on a store', () => {
  it.each([1, 2, 3])('keeps exactly what the records say, through many openings, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const disk = memoryDisk();
    const known: Uint8Array[] = [];
    const expected: string[] = [];
    let index = 0;
    for (let opening = 0; opening < 8; opening++) {
      const log = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
      expect(log.balloon.size).toBe(expected.length);
      for (let i = 0; i < 6; i++) {
        index += 1 + random.below(3);
        const record = decodeRecord(encodeRecord(randomRecord(random, known, index)));
        const { snapshot, outcomes } = await log.apply(index, record);
        for (const [at, { eventDigests }] of record.requests.entries()) {
          expect(outcomes[at]).toEqual({
            kind: 'logged',
            versionFirst: expected.length,
            count: eventDigests.length / 32,
          });
          for (let d = 0; d < eventDigests.length; d += 32)
            expected.push(encodeHex(eventDigests.subarray(d, d + 32)));
        }
        expect(snapshot.version).toBe(expected.length - 1);
        expect(await log.batchEnd(snapshot.version)).toBe(snapshot.version);
        expect(log.balloon.appliedIndex).toBe(index);
      }
      await log.close();
      const report = await stranger(disk);
      expect(report.problems).toEqual([]);
      expect(report.eventDigests).toEqual(expected);
      expect(report.appliedIndex).toBe(index);
    }
  });

  it('says for every version where its batch ends, and answers about versions not there', async () => {
    const log = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
    await expect(log.batchEnd(0)).rejects.toMatchObject({ code: 'log-empty' });
    const random = seededRandom(11);
    const ends: number[] = [];
    for (const [i, count] of [3, 1, 300, 2].entries()) {
      const requests = [{ key: undefined, eventDigests: random.bytes(32 * count) }];
      const { snapshot } = await log.apply(i + 1, { time: START, requests });
      for (let n = 0; n < count; n++) ends.push(snapshot.version);
    }
    for (const [version, end] of ends.entries()) expect(await log.batchEnd(version)).toBe(end);
    await expect(log.batchEnd(ends.length)).rejects.toMatchObject({ code: 'version-unknown' });
    await expect(log.batchEnd(-1)).rejects.toMatchObject({ code: 'version-malformed' });
    await log.close();
  });

  it('applies many records in few writes as it does one by one', async () => {
    const random = seededRandom(21);
    const known: Uint8Array[] = [];
    const records: NextRecord[] = Array.from({ length: 60 }, (_, at) => ({
      index: 1 + 2 * at,
      record: randomRecord(random, known, at),
    }));
    const repeated = { ...records[3]!.record, time: START + 500 };
    records.push({ index: 200, record: repeated }, { index: 201, record: randomRecord(random, known, 300) });
    const disks = [memoryDisk(), memoryDisk()] as const;
    const [one, many] = await Promise.all(
      disks.map((disk) => openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash })),
    );
    const singly: unknown[] = [];
    for (const { index, record } of records) singly.push(await one!.apply(index, record));
    const { snapshot } = one!.balloon;
    const comparison = { index: 210, record: { ...snapshot!, version: snapshot!.version } };
    const jointly: unknown[] = [];
    let rest = [...records, comparison];
    while (rest.length > 0) {
      const applied = await many!.applyAll(rest);
      jointly.push(...applied);
      rest = rest.slice(applied.length);
    }
    expect(jointly.slice(0, records.length)).toEqual(singly);
    expect(jointly).toHaveLength(records.length + 1);
    // What is wrong with a record comes out when it is alone: those before it are applied.
    const fresh = (index: number): NextRecord => ({
      index,
      record: { time: START, requests: [{ key: undefined, eventDigests: random.bytes(64) }] },
    });
    const [good, bad] = [fresh(220), fresh(5)];
    expect(await many!.applyAll([good, bad])).toEqual([await one!.apply(220, good.record)]);
    await expect(many!.applyAll([bad])).rejects.toMatchObject({ code: 'record-out-of-order' });
    await Promise.all([one!.close(), many!.close()]);
    const [rowsOne, rowsMany] = await Promise.all(disks.map((disk) => rowsOf(openMemoryStore(disk))));
    expect(rowsMany).toEqual(rowsOne);
    expect((await stranger(disks[1])).problems).toEqual([]);
  });

  it.each<Break>(['lost', 'done'])('keeps all or nothing of a group whose write fails (%s)', async (kind) => {
    const random = seededRandom(22);
    const record = () => ({
      time: START,
      requests: [{ key: random.bytes(16), eventDigests: random.bytes(32 * 200) }],
    });
    const disk = memoryDisk();
    const store = breakWrite(openMemoryStore(disk), 1, kind);
    const log = await openDurableBalloon({ store, hash: nativeHash });
    await log.apply(1, record());
    const group = [2, 3, 4].map((index) => ({ index, record: record() }));
    await expect(log.applyAll(group)).rejects.toMatchObject({ code: 'store-failed' });
    await expect(log.applyAll(group)).rejects.toMatchObject({ code: 'store-closed' });
    // Those before the last are shown, and whole.
    expect(log.balloon.size).toBe(600);
    for (const version of [0, 299, 599]) expect(log.balloon.entry(version).time).toBe(START);
    await store.close();
    const report = await stranger(disk);
    expect(report.problems).toEqual([]);
    expect(report.eventDigests.length).toBe(kind === 'done' ? 800 : 200);
  });

  it('takes the later of two times, since a new leader may have a slow clock', async () => {
    const log = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
    const request = (byte: number) => [{ key: undefined, eventDigests: new Uint8Array(32).fill(byte) }];
    await log.apply(1, { time: START, requests: request(1) });
    const { snapshot } = await log.apply(2, { time: START - 5000, requests: request(2) });
    expect(snapshot.time).toBe(START);
    await log.close();
  });

  it('logs a repeated request once, refuses a key for other events, and remembers after opening again', async () => {
    const disk = memoryDisk();
    let log = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
    const random = seededRandom(12);
    const keyed = { key: random.bytes(16), eventDigests: random.bytes(64) };
    const other = { key: undefined, eventDigests: random.bytes(32) };
    const first = await log.apply(1, { time: START, requests: [other, keyed, keyed] });
    expect(first.outcomes.map(({ kind, versionFirst }) => [kind, versionFirst])).toEqual([
      ['logged', 0],
      ['logged', 1],
      ['repeated', 1],
    ]);
    for (let round = 0; round < 2; round++) {
      const before = digestsOf(log);
      const again = await log.apply(2 + round, { time: START + 9, requests: [keyed] });
      expect(again.outcomes).toEqual([{ kind: 'repeated', versionFirst: 1, count: 2 }]);
      const wrong = { key: keyed.key, eventDigests: random.bytes(64) };
      const conflict = await log.apply(4 + round, { time: START + 9, requests: [wrong] });
      expect(conflict.outcomes[0]?.kind).toBe('conflict');
      expect(digestsOf(log)).toEqual(before);
      await log.close();
      log = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
    }
    expect(log.balloon.size).toBe(3);
    await log.close();
  });

  it('forgets the oldest request keys, also on disk, and no others', () => {
    const DIGEST = new Uint8Array(32);
    const requests = new Requests(nativeHash);
    const key = (number: number): Uint8Array =>
      new Uint8Array(16)
        .fill(1)
        .with(0, number & 255)
        .with(1, number >> 8)
        .with(2, number >> 16);
    const rows = new Set<string>();
    const log = (number: number): string => {
      const sorted = requests.sort([{ key: key(number), eventDigests: DIGEST }], number);
      for (const write of sorted.writes) {
        if (write.type === 'put') rows.add(encodeHex(write.key));
        else expect(rows.delete(encodeHex(write.key))).toBe(true);
      }
      requests.commit(sorted);
      return sorted.outcomes[0]!.kind;
    };
    for (let number = 0; number < REQUESTS_MAX + 10; number++) log(number);
    expect(rows.size).toBe(REQUESTS_MAX);
    expect(log(10)).toBe('repeated');
    expect(log(9)).toBe('logged');
    expect(rows.size).toBe(REQUESTS_MAX);
  });
});

describe('records that can be had again', () => {
  it.each([31, 32, 33])('are written by and by, and applied again after a crash, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const known: Uint8Array[] = [];
    const records = Array.from({ length: 40 }, (_, at) => randomRecord(random, known, at));
    const twin = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
    const digests = [''];
    const ends: number[] = [];
    for (const [at, record] of records.entries()) {
      const { snapshot } = await twin.apply(at + 1, record);
      digests.push(digestsOf(twin).join());
      for (let version = ends.length; version <= snapshot.version; version++) ends.push(snapshot.version);
    }
    const disk = memoryDisk();
    for (let crashes = 0, applied = 0, safe = 0; applied < records.length; crashes++) {
      const log = await openDurableBalloon({
        store: openMemoryStore(disk),
        hash: nativeHash,
        durable: false,
      });
      const { balloon } = log;
      expect(balloon.appliedIndex).toBeGreaterThanOrEqual(safe);
      expect(balloon.appliedIndex).toBeLessThanOrEqual(applied);
      expect(digestsOf(log).join()).toBe(digests[balloon.appliedIndex]);
      for (let count = 1 + random.below(8); count > 0 && balloon.appliedIndex < records.length; count--) {
        applied = balloon.appliedIndex + 1;
        await log.apply(applied, records[applied - 1]!);
        expect(digestsOf(log).join()).toBe(digests[applied]);
        const version = random.below(balloon.size);
        expect(balloon.membership(balloon.entry(version).eventDigest).proof.exists).toBe(true);
        if (random.chance(0.3)) await log.flush();
        if (random.chance(0.1)) expect(await log.batchEnd(version)).toBe(ends[version]);
        if (random.chance(0.1)) {
          await log.flush({ durable: true });
          safe = applied;
        }
      }
      expect(crashes).toBeLessThan(1000);
      if (random.chance(0.2)) {
        await log.close();
        safe = applied;
      } else crashDisk(disk, random.below(4));
      expect((await stranger(disk, 20)).problems).toEqual([]);
    }
    await twin.close();
  });

  it('reach the store when they are flushed, when there are many of them, and at the end', async () => {
    const random = seededRandom(34);
    const record = (events: number) => ({
      time: START,
      requests: [{ key: undefined, eventDigests: random.bytes(32 * events) }],
    });
    const disk = memoryDisk();
    const store = openMemoryStore(disk);
    let writes = 0;
    const counted: Store = {
      ...store,
      write: (...given) => {
        writes += 1;
        return store.write(...given);
      },
    };
    const log = await openDurableBalloon({ store: counted, hash: nativeHash, durable: false });
    for (let index = 1; index <= 20; index++) await log.apply(index, record(10));
    expect(writes).toBe(0);
    await log.flush();
    await log.apply(21, record(10));
    await log.flush();
    expect(writes).toBe(2);
    for (let index = 22; writes === 2; index++) await log.apply(index, record(1000));
    expect(log.balloon.size).toBeLessThan(20_000);
    await log.apply(1000, record(3));
    const [{ size }, digests] = [log.balloon, digestsOf(log)];
    await log.close();
    expect(await stranger(disk)).toMatchObject({ problems: [], size });
    const again = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
    expect(digestsOf(again)).toEqual(digests);
    await again.close();
  });

  it.each<Break>(['lost', 'done'])('are all or none written when a write fails (%s)', async (kind) => {
    const random = seededRandom(35);
    const record = () => ({
      time: START,
      requests: [{ key: random.bytes(16), eventDigests: random.bytes(32 * 100) }],
    });
    const disk = memoryDisk();
    const store = breakWrite(openMemoryStore(disk), 1, kind);
    const log = await openDurableBalloon({ store, hash: nativeHash, durable: false });
    await log.apply(1, record());
    await log.flush();
    for (const index of [2, 3, 4]) await log.apply(index, record());
    await expect(log.flush()).rejects.toMatchObject({ code: 'store-failed' });
    await expect(log.apply(5, record())).rejects.toMatchObject({ code: 'store-closed' });
    expect(log.balloon.size).toBe(400);
    for (const version of [0, 150, 399]) expect(log.balloon.snapshotAt(version).snapshot.time).toBe(START);
    await log.close();
    const report = await stranger(disk);
    expect(report.problems).toEqual([]);
    expect(report.size).toBe(kind === 'done' ? 400 : 100);
  });
});

describe('each write broken once', () => {
  const breaks: Break[] = ['lost', 'done'];
  it.each(breaks)(
    '%s: the log stops, and opening it again finds all or nothing of the record',
    async (kind) => {
      for (let broken = 0; broken < 12; broken++) {
        const random = seededRandom(broken);
        const disk = memoryDisk();
        const store = breakWrite(openMemoryStore(disk), broken, kind);
        const log = await openDurableBalloon({ store, hash: nativeHash });
        const known: Uint8Array[] = [];
        let acknowledged = 0;
        for (let i = 0; i < 12; i++) {
          const record = randomRecord(random, known, i);
          const before = digestsOf(log);
          try {
            const { snapshot } = await log.apply(i + 1, record);
            expect(i).toBeLessThan(broken);
            acknowledged = snapshot.version + 1;
          } catch (error) {
            expect(error).toBeInstanceOf(QedError);
            expect(i).toBeGreaterThanOrEqual(broken);
            if (i > broken) expect(error).toMatchObject({ code: 'store-closed' });
          }
          if (i >= broken) expect(digestsOf(log)).toEqual(before);
        }
        // Reads go on, and prove what they say, whichever of the two states the store shows.
        const { balloon } = log;
        for (let version = 0; version < balloon.size; version++) {
          expect(balloon.membership(balloon.entry(version).eventDigest).proof.exists).toBe(true);
          balloon.incremental(version, balloon.size - 1);
        }
        await log.close().catch(() => undefined);
        const report = await stranger(disk);
        expect(report.problems).toEqual([]);
        expect(report.appliedIndex).toBe(kind === 'done' ? broken + 1 : broken);
        expect(report.size >= acknowledged).toBe(true);
        const again = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
        expect(again.balloon.size).toBe(report.size);
        await again.apply(broken + 2, randomRecord(random, known, 20));
        await again.close();
        expect((await stranger(disk)).problems).toEqual([]);
      }
    },
  );
});

describe('the image of the hyper tree', () => {
  const SEGMENT_BYTES = 12 + SEGMENT_LEAVES * 40 + 32;
  const HEADER_BYTES = 18;

  /** A log with an image of three segments, and some events behind them. */
  async function build(imagePath: string): Promise<{ disk: MemoryDisk; digests: string[] }> {
    const random = seededRandom(21);
    const disk = memoryDisk();
    const log = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash, imagePath });
    for (let i = 0; i < 51; i++) {
      await log.apply(i + 1, {
        time: START,
        requests: [{ key: undefined, eventDigests: random.bytes(32 * 1000) }],
      });
    }
    const digests = digestsOf(log);
    await log.close();
    return { disk, digests };
  }

  async function reopen(
    disk: MemoryDisk,
    imagePath: string,
  ): Promise<{ log: DurableBalloon; events: BalloonEvent[] }> {
    const events: BalloonEvent[] = [];
    const onEvent = (event: BalloonEvent): void => void events.push(event);
    const log = await openDurableBalloon({
      store: openMemoryStore(disk),
      hash: nativeHash,
      imagePath,
      onEvent,
    });
    return { log, events };
  }

  const firstProgress = (events: readonly BalloonEvent[]): number | undefined =>
    events.find((event) => event.kind === 'rebuilding')?.versions;

  it('is loaded, carried on, and survives what can happen to its file', async () => {
    await withTempDir(async (dir) => {
      const imagePath = join(dir, 'hyper.image');
      const { disk, digests } = await build(imagePath);
      const whole = readFileSync(imagePath);
      const segments = Math.floor((whole.length - HEADER_BYTES) / SEGMENT_BYTES);
      expect(segments).toBeGreaterThanOrEqual(1);

      const flip = (at: number): Buffer => {
        const changed = Buffer.from(whole);
        changed[at]! ^= 1;
        return changed;
      };
      /** A key changed and the checksum made right again: only the digest of the last entry can tell. */
      const forged = flip(HEADER_BYTES + 12 + 8 + 5);
      const body = forged.subarray(HEADER_BYTES, HEADER_BYTES + SEGMENT_BYTES - 32);
      createHash('sha256')
        .update(body)
        .digest()
        .copy(forged, HEADER_BYTES + SEGMENT_BYTES - 32);

      const cases: { what: string; bytes: Buffer; damaged: boolean }[] = [
        { what: 'as it was', bytes: whole, damaged: false },
        { what: 'a leaf flipped', bytes: flip(HEADER_BYTES + 12 + 100), damaged: true },
        { what: 'a checksum flipped', bytes: flip(HEADER_BYTES + SEGMENT_BYTES - 1), damaged: true },
        { what: 'a count flipped', bytes: flip(HEADER_BYTES + 11), damaged: true },
        { what: 'the header flipped', bytes: flip(3), damaged: true },
        { what: 'forged with a good checksum', bytes: forged, damaged: true },
        {
          what: 'cut in a segment',
          bytes: whole.subarray(0, HEADER_BYTES + SEGMENT_BYTES + 1000),
          damaged: false,
        },
        { what: 'cut in the header', bytes: whole.subarray(0, 5), damaged: false },
        { what: 'empty', bytes: whole.subarray(0, 0), damaged: false },
        {
          what: 'garbage',
          bytes: Buffer.from('not an image of anything, but long enough to be read'),
          damaged: true,
        },
      ];
      for (const { what, bytes, damaged } of cases) {
        writeFileSync(imagePath, bytes);
        const { log, events } = await reopen(disk, imagePath);
        expect([what, digestsOf(log)]).toEqual([what, digests]);
        expect([what, events.some(({ kind }) => kind === 'image-damaged')]).toEqual([what, damaged]);
        expect(existsSync(`${imagePath}.damaged`)).toBe(damaged || existsSync(`${imagePath}.damaged`));
        await log.close();
        // Whatever it was, it has been made good: the next opening needs the entries after it only.
        const next = await reopen(disk, imagePath);
        expect([what, digestsOf(next.log)]).toEqual([what, digests]);
        expect([what, next.events.some(({ kind }) => kind === 'image-damaged')]).toEqual([what, false]);
        expect(firstProgress(next.events)).toBeGreaterThanOrEqual(SEGMENT_LEAVES);
        await next.log.close();
      }
    });
  });

  it('is left out where it is ahead of a store that lost its last writes', async () => {
    await withTempDir(async (dir) => {
      const imagePath = join(dir, 'hyper.image');
      await build(imagePath);
      const random = seededRandom(21);
      const disk = memoryDisk();
      const log = await openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash });
      for (let i = 0; i < 20; i++) {
        await log.apply(i + 1, {
          time: START,
          requests: [{ key: undefined, eventDigests: random.bytes(32 * 1000) }],
        });
      }
      await log.close();
      const again = await reopen(disk, imagePath);
      expect(again.log.balloon.size).toBe(20_000);
      expect(again.events.some(({ kind }) => kind === 'image-damaged')).toBe(false);
      await again.log.close();
    });
  });
});
