import { codeOf } from '../../testutils/code-of.ts';
import { decodeEntry, encodeEntries, encodeEntry } from './entry.ts';

const digest = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const times = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1_700_000_000_739, Number.MAX_SAFE_INTEGER];

describe('entries', () => {
  it('are digest, hyper digest and time', () => {
    const bytes = encodeEntry({ eventDigest: digest(1), hyperDigest: digest(2), time: 0x0102030405 });
    expect([...bytes]).toEqual([...digest(1), ...digest(2), 0, 0, 0, 1, 2, 3, 4, 5]);
  });

  it.each(times)('come back with time %d', (time) => {
    const entry = { eventDigest: digest(3), hyperDigest: digest(4), time };
    expect(decodeEntry(encodeEntry(entry))).toEqual(entry);
  });

  it('of a batch are its entries end to end', () => {
    const eventDigests = Uint8Array.of(...digest(5), ...digest(6), ...digest(7));
    const batch = encodeEntries({ eventDigests, hyperDigest: digest(8), time: 9 });
    const single = [5, 6, 7].flatMap((byte) => [
      ...encodeEntry({ eventDigest: digest(byte), hyperDigest: digest(8), time: 9 }),
    ]);
    expect([...batch]).toEqual(single);
  });

  it('are not decoded from another length, or with a time that no number holds', () => {
    const bytes = encodeEntry({ eventDigest: digest(1), hyperDigest: digest(2), time: 3 });
    expect(decodeEntry(bytes.subarray(1))).toBeUndefined();
    expect(decodeEntry(Uint8Array.of(...bytes, 0))).toBeUndefined();
    bytes[65] = 0x20; // 2^53
    expect(decodeEntry(bytes)).toBeUndefined();
  });

  it.each([-1, 0.5, NaN, 2 ** 53])('are never written with time %d', (time) => {
    expect(codeOf(() => encodeEntry({ eventDigest: digest(1), hyperDigest: digest(2), time }))).toBe('bug');
  });
});
