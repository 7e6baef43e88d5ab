// Position arithmetic against the same on big integers, above all where 32 bits and 53 bits end.
import {
  consistencySpans,
  edgeTile,
  edgeWidth,
  inclusionSpans,
  levelsAt,
  splitPoint,
  subtreesOf,
  tilePlace,
} from './position.ts';

const MAX = Number.MAX_SAFE_INTEGER;
const around = (middle: number): number[] => [-2, -1, 0, 1, 2].map((step) => middle + step);
const sizes = [
  ...Array.from({ length: 70 }, (_, i) => i + 1),
  ...[256, 65_536, 2 ** 24, 2 ** 31, 2 ** 32, 2 ** 33, 2 ** 40, 2 ** 48, 2 ** 52].flatMap(around),
  3 * 2 ** 31,
  2 ** 32 + 2 ** 31 + 5,
  MAX - 1,
  MAX,
];

describe('splitPoint', () => {
  it.each([
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 4],
    [2 ** 31, 2 ** 30],
    [2 ** 31 + 1, 2 ** 31],
    [2 ** 32, 2 ** 31],
    [2 ** 32 + 1, 2 ** 32],
    [2 ** 52 + 1, 2 ** 52],
    [MAX, 2 ** 52],
  ])('splits %d at %d', (size, point) => expect(splitPoint(size)).toBe(point));
});

describe('subtreesOf', () => {
  it('covers every size without a gap, each subtree smaller than the one before', () => {
    for (const size of sizes) {
      let next = 0n;
      let height = Infinity;
      for (const subtree of subtreesOf({ from: 0, to: size })) {
        expect(subtree.height).toBeLessThan(height);
        expect(BigInt(subtree.index) << BigInt(subtree.height)).toBe(next);
        next += 1n << BigInt(subtree.height);
        height = subtree.height;
      }
      expect(next).toBe(BigInt(size));
    }
  });
});

describe('spans of proofs', () => {
  it('with the leaf they make up the whole tree', () => {
    for (const size of sizes) {
      for (const version of [0, 1, Math.floor(size / 2), size - 2, size - 1]) {
        if (version < 0 || version >= size) continue;
        const spans = [...inclusionSpans(version, size), { from: version, to: version + 1 }];
        expectTiling(spans, size);
      }
    }
  });

  it('with the old tree they make up the new one', () => {
    for (const end of sizes) {
      for (const start of [1, 2, 3, Math.floor(end / 2), splitPoint(end), end - 1, end]) {
        if (start < 1 || start > end) continue;
        const spans = consistencySpans(start, end);
        const isSubtree = spans[0]?.to !== start;
        expectTiling(isSubtree ? [{ from: 0, to: start }, ...spans] : spans, end);
        // One side of `start` or the other, never across: only so can the verifier tell the old tree's parts.
        for (const { from, to } of spans) expect(to <= start || from >= start).toBe(true);
      }
    }
  });

  function expectTiling(spans: readonly { from: number; to: number }[], size: number): void {
    let next = 0;
    for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
      expect(from).toBe(next);
      expect(to).toBeGreaterThan(from);
      next = to;
    }
    expect(next).toBe(size);
  }
});

describe('tilePlace', () => {
  it('puts every subtree where big integers put it', () => {
    for (const size of sizes) {
      for (const { height, index } of subtreesOf({ from: 0, to: size })) {
        const { level, tile, row, position } = tilePlace({ height, index });
        expect(level * 8 + row).toBe(height);
        expect(row).toBeLessThan(8);
        const rowWidth = 1n << BigInt(8 - row);
        expect(BigInt(tile)).toBe(BigInt(index) / rowWidth);
        expect(BigInt(position)).toBe(BigInt(index) % rowWidth);
      }
    }
  });
});

describe('the edge', () => {
  it('is where big integers put it', () => {
    for (const size of [0, ...sizes]) {
      let levels = 0;
      for (let level = 0; level < 7; level++) {
        const hashes = BigInt(size) >> BigInt(8 * level);
        expect(BigInt(edgeTile(size, level))).toBe(hashes / 256n);
        expect(BigInt(edgeWidth(size, level))).toBe(hashes % 256n);
        if (hashes > 0n) levels++;
      }
      expect(levelsAt(size)).toBe(levels);
    }
  });

  it('is the one of the specification for 70,000 entries', () => {
    expect([edgeTile(70_000, 0), edgeWidth(70_000, 0)]).toEqual([273, 112]);
    expect([edgeTile(70_000, 1), edgeWidth(70_000, 1)]).toEqual([1, 17]);
    expect([edgeTile(70_000, 2), edgeWidth(70_000, 2)]).toEqual([0, 1]);
  });
});
