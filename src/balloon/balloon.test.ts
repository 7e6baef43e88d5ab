// The balloon against its slow twin, batch by batch and through every reopening; what it refuses, and that it then stays as it was;
// and what it says about stored bytes that somebody has changed.
import { BalloonTwin, digestOf } from '../../testutils/balloon-twin.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { keyName, memoryValues } from '../../testutils/history-log.ts';
import { memoryBalloon, type MemoryBalloon } from '../../testutils/memory-balloon.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { batchOf, digestBatches, digestNear } from '../../testutils/signed-log.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { portableHash } from '../crypto/hash.ts';
import { bundleKey, pieceKey, tileKey } from '../history/layout.ts';
import { batchKey, BATCH_EVENTS_MAX, type Balloon, type Batch } from './balloon.ts';
import { formatIncremental, formatMembershipProof, formatSignedSnapshot, formatSnapshot } from './proof.ts';

/** A record of events named by texts. */
function record(index: number, ...events: string[]): Batch {
  return batchOf(index, events.map(digestOf));
}

/** Everything that can be seen from outside, as text. */
function stateOf({ balloon, values }: MemoryBalloon): string {
  const stored = [...values.values].map(([key, value]) => [encodeHex(charCodes(key)), encodeHex(value)]);
  const snapshot = balloon.snapshot && formatSnapshot(balloon.snapshot);
  return JSON.stringify([balloon.size, balloon.appliedIndex, snapshot, stored.sort()]);
}

function charCodes(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

describe('a batch that is refused', () => {
  const digests = (count: number): Uint8Array => new Uint8Array(count * 32).fill(7);
  const good = record(3, 'c');
  const bad: [string, Batch, string][] = [
    ['no event', { ...good, eventDigests: digests(0) }, 'batch-empty'],
    ['a digest of 31 bytes', { ...good, eventDigests: digests(1).subarray(1) }, 'digest-malformed'],
    ['a digest and a half', { ...good, eventDigests: new Uint8Array(48) }, 'digest-malformed'],
    ['10,001 events', { ...good, eventDigests: digests(BATCH_EVENTS_MAX + 1) }, 'batch-too-large'],
    ['the index of the last record', { ...good, index: 2 }, 'record-out-of-order'],
    ['an earlier index', { ...good, index: 1 }, 'record-out-of-order'],
    ['the index 0', { ...good, index: 0 }, 'record-out-of-order'],
    ['a negative index', { ...good, index: -3 }, 'record-out-of-order'],
    ['half an index', { ...good, index: 3.5 }, 'record-out-of-order'],
    ['no number as index', { ...good, index: NaN }, 'record-out-of-order'],
    ['an index of 2^53', { ...good, index: 2 ** 53 }, 'record-out-of-order'],
    ['an earlier time', { ...good, time: record(2).time - 1 }, 'time-backwards'],
    ['a negative time', { ...good, time: -1 }, 'time-backwards'],
    ['half a millisecond', { ...good, time: good.time + 0.5 }, 'time-backwards'],
    ['no number as time', { ...good, time: NaN }, 'time-backwards'],
    ['a time of 2^53', { ...good, time: 2 ** 53 }, 'time-backwards'],
  ];

  it.each(bad)('with %s changes nothing', (_name, batch, code) => {
    const log = memoryBalloon(nativeHash);
    const twin = new BalloonTwin();
    for (const one of [record(1, 'a'), record(2, 'b', 'a')]) {
      log.apply(one);
      twin.apply(one);
    }
    const before = stateOf(log);
    expect(codeOf(() => log.balloon.plan(batch))).toBe(code);
    expect(stateOf(log)).toBe(before);
    expect(formatSnapshot(log.apply(good))).toEqual(twin.apply(good));
  });

  it.each(bad.filter(([, { index }]) => !(index > 0 && index < 3)))(
    'with %s is refused by an empty log too',
    (_name, batch, code) => {
      const log = memoryBalloon(nativeHash);
      if (batch.time === record(2).time - 1) return;
      expect(codeOf(() => log.balloon.plan(batch))).toBe(code);
      expect(log.values.values.size).toBe(0);
      expect(formatSnapshot(log.apply(good))).toEqual(new BalloonTwin().apply(good));
    },
  );

  it('10,000 events, equal times and gaps between records are fine', () => {
    const log = memoryBalloon(nativeHash);
    const time = 0;
    log.apply({ index: 5, time, eventDigests: digests(BATCH_EVENTS_MAX) });
    log.apply({ index: 900, time, eventDigests: digests(1) });
    expect([log.balloon.size, log.balloon.appliedIndex]).toEqual([BATCH_EVENTS_MAX + 1, 900]);
  });
});

describe('a question that is refused', () => {
  const log = memoryBalloon(nativeHash);
  for (const batch of [record(1, 'a'), record(2, 'b', 'c', 'd', 'e')]) log.apply(batch);
  const versions: [string, unknown, string][] = [
    ['negative', -1, 'version-malformed'],
    ['minus zero', -0, 'version-malformed'],
    ['fractional', 0.5, 'version-malformed'],
    ['NaN', NaN, 'version-malformed'],
    ['infinite', Infinity, 'version-malformed'],
    ['2^53', 2 ** 53, 'version-malformed'],
    ['a text', '1', 'version-malformed'],
    ['null', null, 'version-malformed'],
    ['missing', undefined, 'version-malformed'],
    ['a BigInt', 1n, 'version-malformed'],
    ['the next one', 5, 'version-unknown'],
    ['2^53 - 1', 2 ** 53 - 1, 'version-unknown'],
  ];

  it.each(versions)('a version that is %s', (_name, value, code) => {
    // What the compiler would refuse still comes, from callers in JavaScript.
    const version = value as number;
    const before = stateOf(log);
    for (const ask of [
      () => log.balloon.incremental(version, 4),
      () => log.balloon.incremental(0, version),
      () => log.balloon.snapshotAt(version),
    ]) {
      expect(codeOf(ask)).toBe(code);
    }
    expect(stateOf(log)).toBe(before);
  });

  it('a range that runs backwards', () => {
    expect(codeOf(() => log.balloon.incremental(3, 2))).toBe('range-reversed');
    expect(log.balloon.incremental(3, 3).hashes).toEqual([]);
  });

  it.each([0, 31, 33, 64])('an event digest of %d bytes', (bytes) => {
    expect(codeOf(() => log.balloon.membership(new Uint8Array(bytes)))).toBe('digest-malformed');
  });

  it('anything about an empty log', () => {
    const { balloon } = memoryBalloon(nativeHash);
    expect([balloon.size, balloon.appliedIndex, balloon.snapshot]).toEqual([0, 0, undefined]);
    expect(codeOf(() => balloon.membership(digestOf('a')))).toBe('log-empty');
    expect(codeOf(() => balloon.incremental(0, 0))).toBe('log-empty');
    expect(codeOf(() => balloon.snapshotAt(0))).toBe('log-empty');
    expect(codeOf(() => balloon.snapshotAt(-1))).toBe('version-malformed');
    expect(codeOf(() => balloon.membership(new Uint8Array(31)))).toBe('digest-malformed');
  });
});

describe('planning', () => {
  it('twice without commit or discard is a bug, and the first plan still holds', () => {
    const log = memoryBalloon(nativeHash);
    log.apply(record(1, 'a'));
    const plan = log.balloon.plan(record(2, 'b'));
    expect(codeOf(() => log.balloon.plan(record(2, 'c')))).toBe('bug');
    log.values.write(plan.writes);
    log.balloon.commit(plan);
    const twin = new BalloonTwin();
    twin.apply(record(1, 'a'));
    expect(formatSnapshot(log.balloon.snapshotAt(1).snapshot)).toEqual(twin.apply(record(2, 'b')));
  });

  it('must come before commit and discard', () => {
    const { balloon } = memoryBalloon(nativeHash);
    expect(codeOf(() => balloon.discard())).toBe('bug');
    const plan = balloon.plan(record(1, 'a'));
    balloon.commit(plan);
    expect(codeOf(() => balloon.commit(plan))).toBe('bug');
  });

  it('is committed itself, never a plan that was discarded', () => {
    const { balloon } = memoryBalloon(nativeHash);
    const dropped = balloon.plan(record(1, 'a'));
    balloon.discard();
    const plan = balloon.plan(record(1, 'b'));
    expect(codeOf(() => balloon.commit(dropped))).toBe('bug');
    balloon.commit(plan);
    expect(balloon.snapshot).toEqual(plan.snapshot);
  });

  it('keeps nothing of the bytes it was handed', () => {
    const log = memoryBalloon(nativeHash);
    const batch = record(1, 'a', 'b');
    log.apply(batch);
    const before = stateOf(log);
    batch.eventDigests.fill(0);
    expect(stateOf(log)).toBe(before);
    expect(log.balloon.membership(digestOf('b')).proof.version).toBe(1);
  });
});

/** Compares answers about some events and versions with the twin's. */
function compareAnswers(
  random: Random,
  balloon: Balloon,
  twin: BalloonTwin,
  known: readonly Uint8Array[],
): void {
  const near = digestNear(random, random.pick(known), random.below(20));
  for (const digest of [random.pick(known), known.at(-1)!, near, random.bytes(32)]) {
    expect(formatMembershipProof(balloon.membership(digest).proof)).toEqual(twin.membership(digest));
  }
  const end = random.below(balloon.size);
  const start = random.below(end + 1);
  expect(formatIncremental(balloon.incremental(start, end))).toEqual(twin.incremental(start, end));
  const { snapshot, audit } = balloon.snapshotAt(end);
  expect(formatSnapshot(snapshot)).toEqual(twin.snapshotAt(end));
  expect(audit.map(encodeHex)).toEqual(twin.audit(end));
}

describe('beside its slow twin', () => {
  const seeds = Array.from({ length: 6 }, (_, i) => 100 + i);

  it.each(seeds)('it gives the same digests and proofs after every batch and reopening, seed %d', (seed) => {
    const random = seededRandom(seed);
    const counts = Array.from({ length: 10 }, () => 1 + random.below(random.chance(0.2) ? 120 : 6));
    const batches = digestBatches(random, counts);
    let log = memoryBalloon(seed % 4 === 0 ? portableHash : nativeHash);
    const twin = new BalloonTwin();
    const known: Uint8Array[] = [];
    for (const [i, digests] of batches.entries()) {
      const batch = batchOf(i + 1, digests);
      if (random.chance(0.3)) {
        log.balloon.plan(batchOf(i + 1, [random.bytes(32), ...digests]));
        log.balloon.discard();
      }
      known.push(...digests);
      expect(formatSnapshot(log.apply(batch))).toEqual(twin.apply(batch));
      compareAnswers(random, log.balloon, twin, known);
      if (random.chance(0.5)) log = memoryBalloon(nativeHash, log.values);
      compareAnswers(random, log.balloon, twin, known);
    }
    expect(log.balloon.size).toBe(known.length);
  });

  it('it agrees across tiles and bundles', () => {
    const random = seededRandom(7);
    const twin = new BalloonTwin();
    let log = memoryBalloon(nativeHash);
    const batches = digestBatches(random, [254, 1, 1, 1, 255, 260]);
    for (const [i, digests] of batches.entries()) {
      expect(formatSnapshot(log.apply(batchOf(i + 1, digests)))).toEqual(twin.apply(batchOf(i + 1, digests)));
      log = memoryBalloon(nativeHash, log.values);
      for (let k = 0; k < 4; k++) compareAnswers(random, log.balloon, twin, batches.slice(0, i + 1).flat());
    }
  });

  it('reads between plan and commit see the old state, and a discarded plan leaves no trace', () => {
    const random = seededRandom(11);
    const batches = digestBatches(random, [5, 40, 3, 300, 1]);
    const log = memoryBalloon(nativeHash);
    const twin = new BalloonTwin();
    const known: Uint8Array[] = [];
    for (const [i, digests] of batches.entries()) {
      const batch = batchOf(i + 1, digests);
      if (i > 0) {
        const before = stateOf(log);
        for (const finish of ['discard', 'keep'] as const) {
          const other = finish === 'discard' ? batchOf(i + 1, [random.bytes(32), ...known]) : batch;
          log.balloon.plan(other);
          const next = digests[0]!;
          for (let k = 0; k < 3; k++) compareAnswers(random, log.balloon, twin, [...known, next]);
          expect(stateOf(log)).toBe(before);
          log.balloon.discard();
          compareAnswers(random, log.balloon, twin, known);
        }
      }
      known.push(...digests);
      expect(formatSnapshot(log.apply(batch))).toEqual(twin.apply(batch));
    }
  });

  it('two balloons that are fed the same records store the same bytes, also when one is reopened and plans in vain', () => {
    const random = seededRandom(13);
    const batches = digestBatches(random, [1, 100, 3, 200, 1, 1, 256, 5]);
    const one = memoryBalloon(nativeHash);
    let other = memoryBalloon(portableHash);
    for (const [i, digests] of batches.entries()) {
      const batch = batchOf(i + 1, digests);
      other.balloon.plan(batchOf(i + 1, [random.bytes(32)]));
      other.balloon.discard();
      expect(other.apply(batch)).toEqual(one.apply(batch));
      expect(stateOf(other)).toBe(stateOf(one));
      other = memoryBalloon(portableHash, other.values);
      expect(stateOf(other)).toBe(stateOf(one));
    }
  });

  it('a write that was lost leaves the log where it was', () => {
    const log = memoryBalloon(nativeHash);
    log.apply(record(1, 'a', 'b'));
    const before = stateOf(log);
    const plan = log.balloon.plan(record(2, 'c'));
    expect(stateOf(memoryBalloon(nativeHash, log.values))).toBe(before);
    log.balloon.discard();
    expect(log.apply(record(2, 'c'))).toEqual(plan.snapshot);
  });
});

describe('stored bytes that were changed', () => {
  const random = seededRandom(17);
  // Two full bundles and tiles, then pieces of two batches.
  const batches = digestBatches(random, [1, 99, 156, 200, 56, 3, 4]);
  const log = memoryBalloon(nativeHash);
  for (const [i, digests] of batches.entries()) log.apply(batchOf(i + 1, digests));
  const last = log.balloon.size - 1;
  const known = batches.flat();

  interface Question {
    readonly ask: (balloon: Balloon) => unknown;
    readonly answer: string;
  }
  const questions = Array.from({ length: last + 1 }, (_, version) => questionsAbout(version));

  function questionsAbout(version: number): Question[] {
    const asks: Question['ask'][] = [
      ({ size, appliedIndex, snapshot }) => [size, appliedIndex, snapshot && formatSnapshot(snapshot)],
      (balloon) => formatMembershipProof(balloon.membership(known[version]!).proof),
      (balloon) => formatIncremental(balloon.incremental(version, last)),
      (balloon) => formatIncremental(balloon.incremental(version >> 1, version)),
      (balloon) => formatSignedSnapshot({ ...balloon.snapshotAt(version), checkpoint: '' }),
    ];
    return asks.map((ask) => ({ ask, answer: JSON.stringify(ask(log.balloon)) }));
  }

  /** Asks every kind of question. An answer is either the one of the undamaged log, or a refusal, whose code is returned. */
  function askAll(balloon: Balloon, alsoAbout: number): string[] {
    const asked = questions.filter((_, version) => version % 9 === 0 || version === alsoAbout).flat();
    return asked.map(({ ask, answer }) =>
      codeOf(() => {
        if (JSON.stringify(ask(balloon)) !== answer) throw new Error(`a wrong answer: not ${answer}`);
      }),
    );
  }

  /** The codes of opening with a changed value, and of all questions after it. */
  function codesWith(key: Uint8Array, value: Uint8Array | undefined, alsoAbout = last): string[] {
    const values = new Map(log.values.values);
    if (value === undefined) values.delete(keyName(key));
    else values.set(keyName(key), value);
    let codes: string[] = [];
    const opening = codeOf(() => {
      codes = askAll(memoryBalloon(nativeHash, memoryValues(values)).balloon, alsoAbout);
    });
    return [...new Set([opening, ...codes])].filter((code) => code !== 'accepted');
  }

  const stateKey = charCodes('bs');
  const kinds: [string, Uint8Array][] = [
    ['the first bundle', bundleKey(0)],
    ['the second bundle', bundleKey(1)],
    ['the first piece', pieceKey(512)],
    ['the last piece', pieceKey(515)],
    ['the first tile', tileKey(0, 0)],
    ['the second tile', tileKey(0, 1)],
    ['the tile of level 1', tileKey(1, 0)],
    ['the state', stateKey],
    ['the index of the last batch', batchKey(last)],
  ];

  it('none', () => {
    const codes = askAll(memoryBalloon(nativeHash, log.values).balloon, last);
    expect(new Set(codes)).toEqual(new Set(['accepted']));
  });

  it.each(kinds)('%s, any byte of it', (name, key) => {
    const value = log.values.get(key)!;
    // Every byte of a short value, some of a long one.
    const step = value.length < 100 ? 1 : Math.floor(value.length / 12);
    for (let at = 0; at < value.length; at += step) {
      const changed = value.slice();
      changed[at]! ^= 1 << random.below(8);
      const isBundle = name.includes('bundle');
      const version = isBundle ? Math.floor(at / 72) + (name.includes('first') ? 0 : 256) : last;
      const codes = codesWith(key, changed, version);
      expect(codes.filter((code) => code !== 'store-corrupt')).toEqual([]);
      // No question here leads through every byte of a tile. Those that do not are answered as ever.
      if (!name.includes('tile')) expect(codes).toEqual(['store-corrupt']);
    }
  });

  it.each(kinds)('%s, gone, shorter, longer, empty or that of another', (name, key) => {
    const value = log.values.get(key)!;
    const others = kinds.filter(([other]) => other !== name).map(([, other]) => log.values.get(other)!);
    const longer = Uint8Array.of(...value, 0);
    for (const changed of [undefined, value.subarray(1), longer, new Uint8Array(0), ...others]) {
      expect(codesWith(key, changed)).toEqual(['store-corrupt']);
    }
  });

  it('every row of a tile that a proof leads through', () => {
    const tile = log.values.get(tileKey(0, 0))!;
    for (const slot of [0, 1, 255, 256, 287, 288, 291]) {
      const changed = tile.slice();
      changed[slot * 32]! ^= 1;
      expect(codesWith(tileKey(0, 0), changed)).toEqual(['store-corrupt']);
    }
  });

  it('the last entry, where a bundle ends with it', () => {
    const full = memoryBalloon(nativeHash);
    full.apply(batchOf(1, known.slice(0, 256)));
    for (const at of [0, 31, 32, 63, 64, 71]) {
      const bundle = full.values.get(bundleKey(0))!.slice();
      bundle[255 * 72 + at]! ^= 1;
      const values = memoryValues(new Map(full.values.values).set(keyName(bundleKey(0)), bundle));
      expect(codeOf(() => memoryBalloon(nativeHash, values))).toBe('store-corrupt');
    }
  });

  it('the tile that the last entry fills, while the log is open: only what is behind the entry itself', () => {
    const full = memoryBalloon(nativeHash);
    full.apply(batchOf(1, known.slice(0, 256)));
    const tile = full.values.get(tileKey(0, 0))!;
    const right = JSON.stringify(full.balloon.snapshotAt(255));
    for (const slot of [254, 252, 248, 286, 284, 280, 290, 288]) {
      const changed = tile.slice();
      changed[slot * 32 + 9]! ^= 1;
      full.values.values.set(keyName(tileKey(0, 0)), changed);
      expect(codeOf(() => full.balloon.snapshotAt(255))).toBe('store-corrupt');
    }
    full.values.values.set(keyName(tileKey(0, 0)), tile);
    full.values.values.delete(keyName(bundleKey(0)));
    expect(JSON.stringify(full.balloon.snapshotAt(255))).toBe(right);
  });

  it('an entry that is asked for by its version', () => {
    const bundle = log.values.get(bundleKey(0))!.slice();
    bundle[7 * 72]! ^= 1;
    const { balloon, values } = memoryBalloon(nativeHash, memoryValues(new Map(log.values.values)));
    values.values.set(keyName(bundleKey(0)), bundle); // While the log is open.
    expect(codeOf(() => balloon.entry(7))).toBe('store-corrupt');
    expect(balloon.entry(8)).toEqual(log.balloon.entry(8));
  });

  it('a batch of which one value was not written', () => {
    const plan = log.balloon.plan(batchOf(100, digestBatches(random, [300])[0]!));
    log.balloon.discard();
    const puts = plan.writes.filter(({ type }) => type === 'put');
    expect(puts).toHaveLength(6);
    for (const put of puts) {
      const part = memoryValues(new Map(log.values.values));
      part.write(plan.writes.filter((write) => write !== put));
      expect(codeOf(() => memoryBalloon(nativeHash, part).balloon.snapshotAt(600))).toBe('store-corrupt');
    }
  });
});
