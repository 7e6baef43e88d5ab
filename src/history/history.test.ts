// The tree against RFC 9162 taken word for word: every root and proof of small sizes, those around tile borders, and sizes up to
// 2^53 - 1; how it grows and what that writes; what is left after a reload; damage; bad questions.
import fc from 'fast-check';
import { codeOf } from '../../testutils/code-of.ts';
import { growLog, hexOf, memoryValues, type MemoryValues } from '../../testutils/history-log.ts';
import {
  historyTwin,
  type SparseLog,
  sparseLog,
  testEntries,
  testEntry,
} from '../../testutils/history-twin.ts';
import { concat, readU64 } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { appendEntries, emptyHistory, growingEntries, type History } from './append.ts';
import { checkConsistency, checkInclusion } from './check.ts';
import { bundleKey, type HistoryReader, type HistoryWrite, pieceKey, tileKey } from './layout.ts';
import { leafHash } from './merkle.ts';
import { openHistory } from './open.ts';
import { emptyTile, type Tile, tileHashes, tilePeaks } from './tile.ts';
import { consistencyProof, entryAt, entryRuns, type HistoryView, inclusionProof, rootAt } from './view.ts';

const hash = nativeHash;
const twin = historyTwin(testEntry);
const ones = (count: number): number[] => new Array<number>(count).fill(1);

function expectInclusion(view: HistoryView, version: number, size: number): void {
  const proof = inclusionProof(view, version, size);
  expect(hexOf(proof)).toBe(hexOf(twin.path(BigInt(version), BigInt(size))));
  const leaf = leafHash(hash, entryAt(view, version));
  expect(checkInclusion(hash, leaf, version, size, proof, rootAt(view, size))).toBe(true);
}

function expectConsistency(view: HistoryView, start: number, end: number): void {
  const proof = consistencyProof(view, start, end);
  expect(hexOf(proof)).toBe(hexOf(twin.proof(BigInt(start), BigInt(end))));
  const roots = [rootAt(view, start), rootAt(view, end)] as const;
  expect(checkConsistency(hash, start, roots[0], end, roots[1], proof)).toBe(true);
}

describe('roots and proofs', () => {
  const views = growLog(hash, ones(514));
  const last = views.at(-1)!;
  const borders = [255, 256, 257, 258, 259, 260, 511, 512, 513, 514];
  const everySize = Array.from({ length: 130 }, (_, i) => i + 1);

  it('every root is the one of the definition, then and later', () => {
    expect(hexOf(rootAt(last, 0))).toBe(hexOf(twin.mth(0n, 0n)));
    for (const { history } of views) {
      const root = hexOf(twin.mth(0n, BigInt(history.size)));
      expect(hexOf(history.root)).toBe(root);
      expect(hexOf(rootAt(last, history.size))).toBe(root);
    }
  });

  it('every proof up to size 130, from the log of that size and from the later one', () => {
    for (const size of everySize) {
      for (let at = 1; at <= size; at++) {
        const view = at % 2 === 0 ? last : views[size - 1]!;
        expectInclusion(view, at - 1, size);
        expectConsistency(view, at, size);
      }
    }
  });

  it.each(borders)('proofs at size %d', (size) => {
    for (let at = 1; at <= size; at += size - at < 3 || at < 3 ? 1 : 7) {
      for (const view of [views[size - 1]!, last]) {
        expectInclusion(view, at - 1, size);
        expectConsistency(view, at, size);
      }
    }
  });

  it('around the first tile of level 2', () => {
    const grown = growLog(hash, [40_000, 25_535, 1, 1, 1, 300]);
    const latest = grown.at(-1)!;
    const keeping = { ...latest, upper: new Map<string, Tile>() };
    for (const view of grown.slice(1, 5)) {
      const { size } = view.history;
      expect(hexOf(view.history.root)).toBe(hexOf(twin.mth(0n, BigInt(size))));
      for (const at of [1, 2, 255, 256, 257, 32_768, 32_769, 40_000, 65_535, 65_536, size]) {
        if (at > size) continue;
        expectInclusion(view, at - 1, size);
        expectConsistency(view, at, size);
        for (const later of [latest, keeping]) {
          expectInclusion(later, at - 1, size);
          expectConsistency(later, at, size);
        }
      }
    }
    expect([...keeping.upper.keys()]).toEqual(['1/0']);
  });

  it('keeps upper tiles, a limited number of them', () => {
    const view = growLog(hash, [40_000, 26_000]).at(-1)!;
    const upper = new Map(Array.from({ length: 512 }, (_, tile) => [`1/${tile + 1}`, emptyTile()]));
    expectInclusion({ ...view, upper }, 70, view.history.size);
    expect(upper.size).toBe(512);
    expect(upper.has('1/0')).toBe(true);
    const reader = memoryValues();
    expect(() => rootAt({ ...view, reader, upper: new Map() }, 32_768)).toThrow(
      'hash tile 0 of level 1 is missing',
    );
  });
});

describe('logs near 2^31, 2^32, 2^48 and 2^53', () => {
  const MAX = Number.MAX_SAFE_INTEGER;
  const marks = [
    0,
    255,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 32 + 300,
    2 ** 48,
    MAX - 300,
    MAX - 1,
  ];
  const sparse = sparseLog(marks.map(BigInt));
  const sizes = [
    2 ** 31 - 1,
    2 ** 31,
    2 ** 31 + 1,
    2 ** 32,
    2 ** 32 + 1,
    2 ** 32 + 555,
    2 ** 48 + 1,
    MAX - 1,
    MAX,
  ];

  it.each(sizes)('size %d', (size) => {
    const view = { hash, reader: sparseReader(sparse, size), history: openSparse(sparse, size) };
    const root = view.history.root;
    expect(hexOf(root)).toBe(hexOf(sparse.twin.mth(0n, BigInt(size))));
    for (const at of [...marks, ...sizes].filter((mark) => mark < size)) {
      expect(hexOf(rootAt(view, at))).toBe(hexOf(sparse.twin.mth(0n, BigInt(at))));
      const proof = inclusionProof(view, at, size);
      expect(hexOf(proof)).toBe(hexOf(sparse.twin.path(BigInt(at), BigInt(size))));
      const entry = entryAt(view, at);
      expect(hexOf(entry)).toBe(hexOf(sparse.entry(BigInt(at))));
      expect(checkInclusion(hash, leafHash(hash, entry), at, size, proof, root)).toBe(true);
      if (marks.includes(at)) {
        expect(checkInclusion(hash, leafHash(hash, entry), at + 1, size, proof, root)).toBe(false);
      }
      if (at === 0) continue;
      const growth = consistencyProof(view, at, size);
      expect(hexOf(growth)).toBe(hexOf(sparse.twin.proof(BigInt(at), BigInt(size))));
      expect(checkConsistency(hash, at, rootAt(view, at), size, root, growth)).toBe(true);
    }
  });

  it.each([2 ** 31 - 2, 2 ** 32 - 300, 2 ** 48 - 1, MAX - 700])('growing from size %d', (size) => {
    const reader = memoryValues();
    const behind = sparseReader(sparse, size);
    const both = { get: (key: Uint8Array) => reader.get(key) ?? behind.get(key) };
    let history = openSparse(sparse, size);
    for (const count of [1, 2, 297, 400]) {
      const from = BigInt(history.size);
      const entries = Array.from({ length: count }, (_, i) => sparse.entry(from + BigInt(i)));
      const appended = appendEntries(hash, history, concat(...entries));
      reader.write(appended.writes);
      history = appended.history;
      expect(hexOf(history.root)).toBe(hexOf(sparse.twin.mth(0n, BigInt(history.size))));
      const start = size - 1;
      const proof = consistencyProof({ hash, reader: both, history }, start, history.size);
      expect(hexOf(proof)).toBe(hexOf(sparse.twin.proof(BigInt(start), BigInt(history.size))));
    }
  });

  const openSparse = (log: SparseLog, size: number): History =>
    openHistory(hash, sparseReader(log, size), size);
});

/** The stored values of a sparse log, made up when they are asked for, from what layout.ts says about them. */
function sparseReader(log: SparseLog, size: number): HistoryReader {
  const run = (first: number, count: number): Uint8Array =>
    concat(...Array.from({ length: count }, (_, i) => log.entry(BigInt(first) + BigInt(i))));
  const hashes = (height: number, first: number, count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, i) => log.subtree(height, BigInt(first) + BigInt(i)));
  return {
    get(key) {
      const [kind, number] = [key[1]!, readU64(key, 2)!];
      const edge = size - (size % 256);
      if (kind === 0x70) return number === edge && edge < size ? run(edge, size - edge) : undefined;
      if (kind === 0x65) return number * 256 < edge ? run(number * 256, 256) : undefined;
      const width = Math.floor(size / 2 ** (8 * kind)) - number * 256;
      if (width <= 0 || (kind === 0 && width < 256)) return undefined;
      if (width < 256) return concat(...hashes(8 * kind, number * 256, width));
      const rows = [
        hashes(8 * kind, number * 256, 256),
        hashes(8 * kind + 3, number * 32, 32),
        hashes(8 * kind + 6, number * 4, 4),
      ];
      return concat(...rows.flat());
    },
  };
}

describe('growing', () => {
  const total = 1_800;
  const oneByOne = memoryValues();
  const single = growLog(hash, ones(total), oneByOne);
  const count = fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 600 }));
  const splits = fc
    .array(count, { minLength: 1, maxLength: 10 })
    .filter((batches) => batches.reduce((sum, batch) => sum + batch) <= total);

  it('in any batches gives the same trees and the same full values', () => {
    fc.assert(
      fc.property(splits, (batches) => {
        const reader = memoryValues();
        for (const { history } of growLog(hash, batches, reader)) {
          expectSameHistory(history, single[history.size - 1]!.history);
        }
        for (const [key, value] of reader.values) {
          const isPiece = key.charCodeAt(1) === 0x70;
          const isPartial = key.charCodeAt(1) === 1;
          if (!isPiece && !isPartial) expect(hexOf(value)).toBe(hexOf(oneByOne.values.get(key)!));
        }
      }),
      { numRuns: 40 },
    );
  });

  it('is the same after a reload behind any batch', () => {
    fc.assert(
      fc.property(splits, fc.integer({ min: 1, max: 300 }), (batches, more) => {
        const reader = memoryValues();
        const entries = testEntries(0, total);
        let history = emptyHistory(hash);
        for (const count of [...batches, more]) {
          const next = appendEntries(hash, history, entries.subarray(0, count * 72));
          const reloaded = openHistory(hash, reader, history.size);
          expect(reloaded.pieces).toEqual(history.pieces);
          expectSameHistory(reloaded, history);
          const again = appendEntries(hash, reloaded, entries.subarray(0, count * 72));
          expect(again.writes.map(written)).toEqual(next.writes.map(written));
          reader.write(next.writes);
          history = next.history;
        }
      }),
      { numRuns: 25 },
    );
  });

  it('leaves the old state as it was: a dropped batch has no effect', () => {
    const [before] = growLog(hash, [700]);
    const { history, reader } = before!;
    const kept = appendEntries(hash, history, testEntries(700, 1_100));
    const writes = kept.writes.map(written);
    const other = appendEntries(hash, history, testEntries(0, 400));
    appendEntries(hash, kept.history, testEntries(1_100, 1_200));
    const [apart] = growLog(hash, [700]);
    expectSameHistory(other.history, appendEntries(hash, apart!.history, testEntries(0, 400)).history);
    expectSameHistory(history, single[699]!.history);
    expectSameHistory(kept.history, single[1_099]!.history);
    expect(kept.writes.map(written)).toEqual(writes);
    expectInclusion({ hash, reader, history }, 699, 700);
  });

  it('keeps a copy: the batch may be overwritten by its owner', () => {
    const batch = testEntries(0, 300);
    const { history } = appendEntries(hash, emptyHistory(hash), batch);
    batch.fill(0);
    expect(hexOf(growingEntries(history))).toBe(hexOf(testEntries(256, 300)));
  });

  it('writes little: a single event its 72 bytes, a hash tile and its bundle once in 256', () => {
    const [before] = growLog(hash, [10 * 256 + 5]);
    const writes = appendEntries(hash, before!.history, testEntry(0n)).writes;
    expect(writes).toEqual([{ type: 'put', key: pieceKey(10 * 256 + 5), value: testEntry(0n) }]);
  });

  it('clears the pieces away when their bundle is full', () => {
    const reader = memoryValues();
    growLog(hash, [...ones(255), 2], reader);
    expect([...reader.values.keys()].filter((key) => key.charCodeAt(1) === 0x70)).toHaveLength(1);
    expect(reader.get(bundleKey(0))).toEqual(testEntries(0, 256));
    expect(reader.get(pieceKey(256))).toEqual(testEntries(256, 257));
  });

  it('refuses an empty batch and half an entry', () => {
    expect(codeOf(() => appendEntries(hash, emptyHistory(hash), new Uint8Array(0)))).toBe('batch-empty');
    expect(codeOf(() => appendEntries(hash, emptyHistory(hash), new Uint8Array(73)))).toBe('bug');
  });

  function expectSameHistory(got: History, want: History): void {
    expect(got.size).toBe(want.size);
    expect(hexOf(got.root)).toBe(hexOf(want.root));
    expect(hexOf(growingEntries(got))).toBe(hexOf(growingEntries(want)));
    expect(got.edge.map(nodes)).toEqual(want.edge.map(nodes));
  }

  const nodes = (tile: Tile): string => `${hexOf(tileHashes(tile))} under ${hexOf(tilePeaks(tile))}`;

  const written = (write: HistoryWrite): string =>
    `${write.type} ${hexOf(write.key)} ${write.type === 'put' ? hexOf(write.value) : ''}`;
});

describe('entries', () => {
  const [view] = growLog(hash, [1_000]);

  it('come back one by one', () => {
    for (const version of [0, 1, 255, 256, 767, 768, 999]) {
      expect(entryAt(view!, version)).toEqual(testEntry(BigInt(version)));
    }
  });

  it.each([
    [0, 1_000],
    [0, 0],
    [5, 6],
    [250, 260],
    [256, 512],
    [700, 999],
    [1_000, 1_000],
  ])('come back from %d to %d', (from, to) => {
    const runs = [...entryRuns(view!, from, to)];
    expect(runs.map((run) => run.first)).toEqual(
      Array.from({ length: to }, (_, i) => i).filter((i) => i >= from && (i === from || i % 256 === 0)),
    );
    expect(hexOf(concat(...runs.map((run) => run.entries)))).toBe(hexOf(testEntries(from, to)));
  });
});

describe('damage', () => {
  const size = 3 * 256 + 60;
  const undamaged = memoryValues();
  const history = growLog(hash, [700, 100, 28], undamaged).at(-1)!.history;

  const rows: [string, Uint8Array, (view: HistoryView) => unknown][] = [
    ['entry bundle 1', bundleKey(1), (view) => entryAt(view, 300)],
    ['entry bundle 2', bundleKey(2), (view) => [...entryRuns(view, 0, size)]],
    ['hash tile 0 of level 0', tileKey(0, 0), (view) => inclusionProof(view, 3, size)],
    ['hash tile 2 of level 0', tileKey(0, 2), (view) => rootAt(view, 700)],
    ['hash tile 2 of level 0', tileKey(0, 2), (view) => consistencyProof(view, 700, size)],
    ['hash tile 0 of level 1', tileKey(1, 0), (view) => openHistory(hash, view.reader, size)],
    ['the entry piece at version 768', pieceKey(768), (view) => openHistory(hash, view.reader, size)],
    ['the entry piece at version 800', pieceKey(800), (view) => openHistory(hash, view.reader, size)],
  ];

  it.each(rows)('%s missing, short, long or empty is named', (name, key, read) => {
    const value = undamaged.get(key)!;
    const broken = [undefined, value.subarray(1), Uint8Array.of(...value, 0), new Uint8Array(0)];
    expect(() => read({ hash, history, reader: undamaged })).not.toThrow();
    for (const bytes of broken) {
      const reader = changed(key, bytes);
      expect(codeOf(() => read({ hash, history, reader }))).toBe('store-corrupt');
      expect(() => read({ hash, history, reader })).toThrow(name);
    }
  });

  it.each([
    ['entry bundle 3', bundleKey(3)],
    ['the entry piece at version 801', pieceKey(801)],
    [`the entry piece at version ${size}`, pieceKey(size)],
    ['the entry piece at version 1023', pieceKey(1023)],
    ['hash tile 3 of level 0', tileKey(0, 3)],
    ['hash tile 0 of level 2', tileKey(2, 0)],
  ])('%s that should not be there is named', (name, key) => {
    const reader = changed(key, testEntries(0, 1));
    expect(codeOf(() => openHistory(hash, reader, size))).toBe('store-corrupt');
    expect(() => openHistory(hash, reader, size)).toThrow(name);
  });

  it('a store of another size is not taken for this one', () => {
    for (const other of [0, 255, 256, 512, 700, 767, 768, 800, size - 1, size + 1, 1024, 1025]) {
      expect(codeOf(() => openHistory(hash, undamaged, other))).toBe('store-corrupt');
    }
  });

  function changed(key: Uint8Array, value: Uint8Array | undefined): MemoryValues {
    const reader = memoryValues(new Map(undamaged.values));
    reader.write([value === undefined ? { type: 'del', key } : { type: 'put', key, value }]);
    return reader;
  }
});

describe('bad questions', () => {
  const [view] = growLog(hash, [10]);
  const empty: HistoryView = { hash, history: emptyHistory(hash), reader: memoryValues() };
  const malformed = [-1, -0.5, 0.5, NaN, Infinity, 2 ** 53, 2 ** 60];

  it.each(malformed)('%d is no version and no size', (value) => {
    for (const ask of [
      () => rootAt(view!, value),
      () => inclusionProof(view!, value, 10),
      () => inclusionProof(view!, 0, value),
      () => consistencyProof(view!, value, 10),
      () => consistencyProof(view!, 1, value),
      () => entryAt(view!, value),
      () => entryRuns(view!, value, 10),
      () => entryRuns(view!, 0, value),
      () => openHistory(hash, memoryValues(), value),
    ]) {
      expect(codeOf(ask)).toBe('version-malformed');
    }
  });

  it.each<[string, string, () => unknown]>([
    ['root beyond the log', 'version-unknown', () => rootAt(view!, 11)],
    ['entry beyond the log', 'version-unknown', () => entryAt(view!, 10)],
    ['entries beyond the log', 'version-unknown', () => entryRuns(view!, 0, 11)],
    ['entries backwards', 'range-reversed', () => entryRuns(view!, 5, 4)],
    ['version beyond the log', 'version-unknown', () => inclusionProof(view!, 10, 10)],
    ['size beyond the log', 'version-unknown', () => inclusionProof(view!, 3, 11)],
    ['version beyond the size', 'range-reversed', () => inclusionProof(view!, 5, 5)],
    ['inclusion in nothing', 'log-empty', () => inclusionProof(view!, 0, 0)],
    ['inclusion in an empty log', 'log-empty', () => inclusionProof(empty, 0, 1)],
    ['growth of nothing', 'log-empty', () => consistencyProof(view!, 0, 5)],
    ['growth of an empty log', 'log-empty', () => consistencyProof(empty, 1, 1)],
    ['growth beyond the log', 'version-unknown', () => consistencyProof(view!, 5, 11)],
    ['growth backwards', 'range-reversed', () => consistencyProof(view!, 6, 5)],
  ])('%s: %s', (_, name, ask) => expect(codeOf(ask)).toBe(name));
});
