import { createHash, randomBytes } from 'node:crypto';
import { codeOf } from '../../testutils/code-of.ts';
import { encodeHex, encodeUtf8 } from './encoding.ts';
import { BLOCK_BYTES, DIGEST_BYTES, portableHash } from './hash.ts';
import { nativeHash } from './hash-node.ts';

// FIPS 180-4 examples, and NIST's vector of a million times "a".
const published: readonly (readonly [string, string])[] = [
  ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  [
    'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
    '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
  ],
  ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
];

describe.each([
  ['portable', portableHash],
  ['native', nativeHash],
])('the %s hash', (_name, hash) => {
  it('gives the published digests', () => {
    for (const [text, digest] of published) expect(encodeHex(hash.digest(encodeUtf8(text)))).toBe(digest);
  });

  it.each([0, 1, 2, 63, 64, 65, 1000])('hashes %d blocks as OpenSSL hashes each', (count) => {
    const blocks = new Uint8Array(randomBytes(count * BLOCK_BYTES));
    const out = new Uint8Array(count * DIGEST_BYTES).fill(0xaa);
    hash.blocks(blocks, out);
    const expected = Array.from({ length: count }, (_, at) =>
      createHash('sha256')
        .update(blocks.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES))
        .digest('hex'),
    );
    expect(encodeHex(out)).toBe(expected.join(''));
  });

  it('reads and writes views into larger buffers, and nothing beside them', () => {
    const blocks = new Uint8Array(randomBytes(3 * BLOCK_BYTES + 7)).subarray(7);
    const whole = new Uint8Array(3 * DIGEST_BYTES + 10).fill(0xaa);
    hash.blocks(blocks, whole.subarray(5, 5 + 3 * DIGEST_BYTES));
    expect(encodeHex(whole.subarray(5, 37))).toBe(encodeHex(hash.digest(blocks.subarray(0, 64))));
    expect(encodeHex(whole.subarray(0, 5)) + encodeHex(whole.subarray(-5))).toBe('aa'.repeat(10));
  });

  it('writes a digest where it is told to, and nothing beside it', () => {
    const data = new Uint8Array(randomBytes(73));
    const whole = new Uint8Array(DIGEST_BYTES + 10).fill(0xaa);
    hash.digestTo(data, whole, 5);
    expect(encodeHex(whole)).toBe(`${'aa'.repeat(5)}${encodeHex(hash.digest(data))}${'aa'.repeat(5)}`);
  });

  it.each([
    [1, 0],
    [63, 32],
    [65, 32],
    [32, 16],
    [96, 48],
    [64, 31],
    [64, 33],
    [64, 64],
    [128, 32],
    [0, 32],
    [64, 0],
  ])('refuses blocks of %d bytes into %d', (blocks, out) => {
    expect(codeOf(() => hash.blocks(new Uint8Array(blocks), new Uint8Array(out)))).toBe('bug');
  });
});

it('gives the same digest natively and portably for every length around the block borders', () => {
  const bytes = new Uint8Array(randomBytes(300));
  for (let length = 0; length <= bytes.length; length++) {
    const data = bytes.subarray(0, length);
    expect(encodeHex(nativeHash.digest(data))).toBe(encodeHex(portableHash.digest(data)));
  }
});
