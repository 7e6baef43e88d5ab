import fc from 'fast-check';
import { codeOf } from '../../testutils/code-of.ts';
import {
  concat,
  decodeBase64,
  decodeDecimal,
  decodeHex,
  decodeUtf8,
  encodeBase64,
  encodeDecimal,
  encodeHex,
  encodeU64,
  encodeUtf8,
  equalBytes,
  isSize,
  isUnicode,
  readU64,
  writeU64,
} from './encoding.ts';

const bytesOf = (...bytes: number[]) => Uint8Array.from(bytes);

describe('bytes', () => {
  it('joins and compares', () => {
    expect(concat()).toEqual(bytesOf());
    expect(concat(bytesOf(1), bytesOf(), bytesOf(2, 3))).toEqual(bytesOf(1, 2, 3));
    expect(equalBytes(bytesOf(), bytesOf())).toBe(true);
    expect(equalBytes(bytesOf(1, 2), bytesOf(1, 2))).toBe(true);
    expect(equalBytes(bytesOf(1, 2), bytesOf(1, 3))).toBe(false);
    expect(equalBytes(bytesOf(1), bytesOf(1, 0))).toBe(false);
    expect(equalBytes(bytesOf(1, 0), bytesOf(1))).toBe(false);
  });
});

describe('hex', () => {
  it('agrees with Node and comes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const text = encodeHex(bytes);
        expect(text).toBe(Buffer.from(bytes).toString('hex'));
        expect(decodeHex(text)).toEqual(bytes);
        expect(decodeHex(text, bytes.length)).toEqual(bytes);
        expect(decodeHex(text, bytes.length + 1)).toBeUndefined();
      }),
    );
  });

  it.each(['0', 'AB', 'aB', '0x', 'g0', ' 00', '00 ', '00\n', '0\u0660', '００'])('refuses %j', (text) => {
    expect(decodeHex(text)).toBeUndefined();
  });
});

describe('base64', () => {
  it('agrees with Node and comes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const text = encodeBase64(bytes);
        expect(text).toBe(Buffer.from(bytes).toString('base64'));
        expect(decodeBase64(text)).toEqual(bytes);
      }),
    );
  });

  it('has one spelling for every value: all texts of four digits', () => {
    const digits = 'AQgw+/8_-=\n ';
    const seen = new Set<string>();
    for (const a of digits) {
      for (const b of digits) {
        for (const c of digits) {
          for (const d of digits) {
            const text = a + b + c + d;
            const bytes = decodeBase64(text);
            if (bytes === undefined) continue;
            expect(Buffer.from(bytes).toString('base64')).toBe(text);
            expect(seen.has(encodeHex(bytes))).toBe(false);
            seen.add(encodeHex(bytes));
          }
        }
      }
    }
    expect(seen.size).toBeGreaterThan(1000);
  });

  it.each([
    ['no padding', 'AA'],
    ['half the padding', 'AA='],
    ['too much padding', 'AAAA===='],
    ['padding alone', '===='],
    ['padding inside', 'AA==AAAA'],
    ['one digit', 'A'],
    ['one digit, padded', 'A==='],
    ['bits that nothing needs', 'AB=='],
    ['bits that nothing needs, two bytes', 'AAB='],
    ['a newline', 'AAAA\n'],
    ['a newline inside', 'AA\nAA'],
    ['a space', ' AAAA'],
    ['the URL alphabet', 'A-_A'],
    ['another script', 'AAAА'],
  ])('refuses %s', (_name, text) => {
    expect(decodeBase64(text)).toBeUndefined();
  });
});

describe('decimal', () => {
  it.each([0, 1, 9, 10, 4294967295, 4294967296, 2 ** 53 - 1])('takes %d and writes it', (value) => {
    expect(decodeDecimal(String(value))).toBe(value);
    expect(encodeDecimal(value)).toBe(String(value));
  });

  it.each([
    '',
    '00',
    '01',
    '-0',
    '-1',
    '+1',
    '1.0',
    '1e3',
    '0x10',
    ' 1',
    '1 ',
    '1\n',
    '1_000',
    '٣',
    'NaN',
    'Infinity',
    '9007199254740992',
    '9007199254740993',
    '18446744073709551615',
    '1'.repeat(400),
  ])('refuses %j', (text) => {
    expect(decodeDecimal(text)).toBeUndefined();
  });

  it.each([-1, -0, 0.5, NaN, Infinity, 2 ** 53])('does not write %d', (value) => {
    expect(isSize(value)).toBe(false);
    expect(codeOf(() => encodeDecimal(value))).toBe('bug');
  });
});

describe('UTF-8', () => {
  it('keeps a byte order mark and every other character', () => {
    const text = '\ufeffé — 🌲\n';
    expect(decodeUtf8(encodeUtf8(text))).toBe(text);
  });

  it.each([
    ['a lone continuation byte', bytesOf(0x80)],
    ['an overlong slash', bytesOf(0xc0, 0xaf)],
    ['a surrogate', bytesOf(0xed, 0xa0, 0x80)],
    ['a character cut short', bytesOf(0xe2, 0x80)],
    ['beyond Unicode', bytesOf(0xf4, 0x90, 0x80, 0x80)],
    ['a byte that never occurs', bytesOf(0xff)],
  ])('refuses %s', (_name, bytes) => {
    expect(decodeUtf8(bytes)).toBeUndefined();
  });

  it('tells text from lone surrogates', () => {
    expect(isUnicode('🌲')).toBe(true);
    expect(isUnicode('\ud83c')).toBe(false);
    expect(isUnicode('\udf32\ud83c')).toBe(false);
  });
});

describe('u64', () => {
  const edges = [0, 1, 255, 256, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];

  it.each(edges)('writes %d as BigInt would, and reads it', (value) => {
    const expected = new Uint8Array(8);
    new DataView(expected.buffer).setBigUint64(0, BigInt(value));
    expect(encodeU64(value)).toEqual(expected);
    expect(readU64(expected)).toBe(value);
    const inside = new Uint8Array(20);
    writeU64(inside.subarray(1), 2, value);
    expect(inside.subarray(3, 11)).toEqual(expected);
    expect(readU64(inside, 3)).toBe(value);
  });

  it('refuses what is not all there or not a safe integer', () => {
    expect(readU64(new Uint8Array(7))).toBeUndefined();
    expect(readU64(new Uint8Array(8), 1)).toBeUndefined();
    expect(readU64(new Uint8Array(8), -1)).toBeUndefined();
    expect(readU64(bytesOf(0, 0x20, 0, 0, 0, 0, 0, 0))).toBeUndefined();
    expect(readU64(new Uint8Array(8).fill(0xff))).toBeUndefined();
    for (const value of [-1, 0.5, 2 ** 53]) expect(codeOf(() => encodeU64(value))).toBe('bug');
    expect(codeOf(() => writeU64(new Uint8Array(8), 1, 0))).toBe('bug');
  });
});
