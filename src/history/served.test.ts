import { codeOf } from '../../testutils/code-of.ts';
import { growLog, hexOf } from '../../testutils/history-log.ts';
import { historyTwin, testEntries, testEntry } from '../../testutils/history-twin.ts';
import { concat } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { formatTilePath, parseTilePath, tileBytes, type TileName } from './served.ts';

describe('tile paths', () => {
  it.each<[string, TileName]>([
    ['tile/0/000', { level: 0, index: 0, width: 256 }],
    ['tile/0/x001/x234/067', { level: 0, index: 1_234_067, width: 256 }],
    ['tile/1/x001/000.p/17', { level: 1, index: 1_000, width: 17 }],
    ['tile/63/999.p/255', { level: 63, index: 999, width: 255 }],
    ['tile/entries/x273/112.p/1', { level: 'entries', index: 273_112, width: 1 }],
    ['tile/0/x009/x007/x199/x254/x740/991', { level: 0, index: Number.MAX_SAFE_INTEGER, width: 256 }],
  ])('%s', (path, name) => {
    expect(formatTilePath(name)).toBe(path);
    expect(parseTilePath(path)).toEqual(name);
  });

  it.each([
    '',
    'tile',
    'tile/0',
    'tile/0/',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000',
    'tile/0/x000/000',
    'tile/0/x000/x001/000',
    'tile/0/001/000',
    'tile/0/x001/x000',
    'tile/0/X001/000',
    'tile/0/000/',
    'tile/0//000',
    '/tile/0/000',
    ' tile/0/000',
    'tile/0/000\n',
    'tile/00/000',
    'tile/01/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/a/000',
    'tile/data/000',
    'tile/Entries/000',
    'tile/0/000.p/0',
    'tile/0/000.p/00',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/257',
    'tile/0/000.p/-1',
    'tile/0/000.p/1e1',
    'tile/0/000.p/',
    'tile/0/000.p',
    'tile/0/000.p/1/',
    'tile/0/٠٠٠',
    'tile/0/x009/x007/x199/x254/x740/992',
    'tile/0/x999/x999/x999/x999/x999/999',
    'tile/0/x001/x009/x007/x199/x254/x740/991',
  ])('refuses %j', (path) => expect(parseTilePath(path)).toBeUndefined());
});

describe('served bytes', () => {
  const [, view] = growLog(nativeHash, [60_000, 10_000]);
  const twin = historyTwin(testEntry);
  const hashes = (level: number, index: number, width: number): Uint8Array =>
    concat(
      ...Array.from({ length: width }, (_, i) => {
        const count = 256n ** BigInt(level);
        const at = BigInt(index) * 256n + BigInt(i);
        return twin.mth(at * count, (at + 1n) * count);
      }),
    );

  it.each([
    [0, 0, 256],
    [0, 0, 1],
    [0, 272, 256],
    [0, 273, 112],
    [0, 273, 5],
    [1, 0, 256],
    [1, 0, 200],
    [1, 1, 17],
    [1, 1, 3],
    [2, 0, 1],
  ])('level %d, tile %d, width %d', (level, index, width) => {
    expect(hexOf(tileBytes(view!, { level, index, width }))).toBe(hexOf(hashes(level, index, width)));
  });

  it.each([
    [0, 256],
    [100, 7],
    [273, 112],
    [273, 1],
  ])('entry bundle %d, width %d', (index, width) => {
    const bundle = tileBytes(view!, { level: 'entries', index, width });
    expect(bundle).toHaveLength(width * 74);
    for (const i of [0, width - 1]) {
      const version = index * 256 + i;
      const entry = [0, 72, ...testEntries(version, version + 1)];
      expect([...bundle.subarray(i * 74, (i + 1) * 74)]).toEqual(entry);
    }
  });

  it.each<TileName>([
    { level: 0, index: 273, width: 113 },
    { level: 0, index: 273, width: 256 },
    { level: 0, index: 274, width: 1 },
    { level: 1, index: 1, width: 18 },
    { level: 2, index: 0, width: 2 },
    { level: 2, index: 1, width: 1 },
    { level: 3, index: 0, width: 1 },
    { level: 63, index: 0, width: 1 },
    { level: 'entries', index: 273, width: 113 },
    { level: 'entries', index: 2 ** 40, width: 256 },
  ])('%j is not there yet', (name) => {
    expect(codeOf(() => tileBytes(view!, name))).toBe('version-unknown');
  });
});
