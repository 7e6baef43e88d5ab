import * as noble from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { codeOf } from '../../testutils/code-of.ts';
import { concat, decodeHex, encodeHex, encodeUtf8 } from './encoding.ts';
import { checkPublicKey, portableVerify } from './ed25519.ts';
import { nativeVerify, privateKeyFromSeed, publicKeyOf, sign } from './ed25519-node.ts';

noble.hashes.sha512 = sha512;
const { Point } = noble;
type Point = noble.Point;
const order = Point.CURVE().n;
const p = Point.CURVE().p;

const hex = (text: string) => decodeHex(text)!;

function littleEndian(value: bigint): Uint8Array {
  return hex(value.toString(16).padStart(64, '0')).reverse();
}

function challenge(r: Uint8Array, publicKey: Uint8Array, message: Uint8Array): bigint {
  return BigInt(`0x${encodeHex(sha512(concat(r, publicKey, message)).reverse())}`) % order;
}

const keyCode = (publicKey: Uint8Array) => codeOf(() => checkPublicKey(publicKey));

/** What both verifiers say; fails when they differ. */
function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const answers = [
    portableVerify(publicKey, message, signature),
    nativeVerify(publicKey, message, signature),
  ];
  expect(answers[0]).toBe(answers[1]);
  return answers[0]!;
}

/** The eight points of small order: multiples of one of order 8. */
const generator = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a');
const torsion: Point[] = [Point.ZERO];
while (torsion.length < 8) torsion.push(torsion.at(-1)!.add(generator));

describe('known answers', () => {
  // RFC 8032 section 7.1, tests 1 to 3.
  it.each([
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ])('RFC 8032: seed %s', (seed, publicKey, message, signature) => {
    const privateKey = privateKeyFromSeed(hex(seed));
    expect(encodeHex(publicKeyOf(privateKey))).toBe(publicKey);
    expect(encodeHex(sign(privateKey, hex(message)))).toBe(signature);
    expect(verify(hex(publicKey), hex(message), hex(signature))).toBe(true);
    expect(verify(hex(publicKey), encodeUtf8('else'), hex(signature))).toBe(false);
  });

  // The cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko 2020).
  it.each([
    [
      'small A and R',
      'weak',
      '8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000',
    ],
    [
      'small A',
      'weak',
      '9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
      'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04',
    ],
    [
      'small R',
      'no',
      'aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab',
      'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e',
    ],
    [
      'mixed A and R',
      'yes',
      '9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79',
      'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
      '9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009',
    ],
    [
      'valid only with cofactor',
      'no',
      'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
      'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
      '160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09',
    ],
    [
      'valid only with cofactor, before reduction',
      'no',
      'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
      'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
      '21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405',
    ],
    [
      's over L',
      'no',
      '85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40',
      '442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623',
      'e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514',
    ],
    [
      's far over L',
      'no',
      '85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40',
      '442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623',
      '8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22',
    ],
    [
      'R not canonical, reduced',
      'no',
      'fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a',
      'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607',
    ],
    [
      'R not canonical, as it stands',
      'no',
      '84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1',
      'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09',
    ],
  ])('edge case: %s', (_name, expected, message, publicKey, signature) => {
    if (expected === 'weak') {
      expect(keyCode(hex(publicKey))).toBe('key-weak');
      return;
    }
    checkPublicKey(hex(publicKey));
    expect(verify(hex(publicKey), hex(message), hex(signature))).toBe(expected === 'yes');
  });
});

describe('one accepted set', () => {
  // Keys and signatures with every pair of torsion parts: the cofactored equation holds for all of them, the one without
  // cofactor only where the parts cancel out. Ours must say so, natively and portably.
  it('holds to the equation without cofactor', () => {
    let cofactoredOnly = 0;
    let accepted = 0;
    for (const [i, inKey] of torsion.entries()) {
      for (const [j, inR] of torsion.entries()) {
        const secret = BigInt(1_000_003 + i);
        const nonce = BigInt(7_000_001 + 64 * i + j);
        const publicKey = Point.BASE.multiply(secret).add(inKey).toBytes();
        checkPublicKey(publicKey);
        const message = encodeUtf8(`torsion ${i} ${j}`);
        const r = Point.BASE.multiply(nonce).add(inR).toBytes();
        const k = challenge(r, publicKey, message);
        const signature = concat(r, littleEndian((nonce + k * secret) % order));
        const cancels = inR.add(torsion[Number((k * BigInt(i)) % 8n)]!).is0();
        expect(verify(publicKey, message, signature)).toBe(cancels);
        expect(noble.verify(signature, message, publicKey, { zip215: false })).toBe(true);
        if (cancels) accepted++;
        else cofactoredOnly++;
      }
    }
    expect(accepted).toBeGreaterThan(0);
    expect(cofactoredOnly).toBeGreaterThan(40);
  });

  it('refuses every R of low order, whatever its encoding, though the equation holds', () => {
    const secret = 123_456_789n;
    const publicKey = Point.BASE.multiply(secret).toBytes();
    const message = encodeUtf8('R is of low order');
    const canonical = torsion.map((point) => point.toBytes());
    for (const r of [...canonical, littleEndian(p + 1n), littleEndian(1n + 2n ** 255n)]) {
      const s = (challenge(r, publicKey, message) * secret) % order;
      const signature = concat(r, littleEndian(s));
      expect(verify(publicKey, message, signature)).toBe(false);
      expect(noble.verify(signature, message, publicKey)).toBe(true);
    }
  });

  it('takes only s below L, and every other change of a signature for what it is', () => {
    for (let seed = 0; seed < 12; seed++) {
      const privateKey = privateKeyFromSeed(new Uint8Array(32).fill(seed));
      const publicKey = publicKeyOf(privateKey);
      const message = encodeUtf8(`message ${seed}`);
      const signature = sign(privateKey, message);
      expect(verify(publicKey, message, signature)).toBe(true);
      const s = BigInt(`0x${encodeHex(signature.slice(32).reverse())}`);
      for (let times = 1n; s + times * order < 2n ** 256n; times++) {
        expect(
          verify(publicKey, message, concat(signature.subarray(0, 32), littleEndian(s + times * order))),
        ).toBe(false);
      }
      for (let bit = seed; bit < 512; bit += 37) {
        const flipped = signature.slice();
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        expect(verify(publicKey, message, flipped)).toBe(false);
      }
    }
  });

  it.each([0, 1, 32, 63, 64, 65, 72, 128])('refuses a signature of %d zero bytes', (length) => {
    const publicKey = publicKeyOf(privateKeyFromSeed(new Uint8Array(32)));
    expect(verify(publicKey, encodeUtf8('x'), new Uint8Array(length))).toBe(false);
    expect(verify(littleEndian(2n), encodeUtf8('x'), new Uint8Array(length))).toBe(false);
  });
});

describe('public keys', () => {
  it('refuses all eight points of small order', () => {
    expect(new Set(torsion.map((point) => point.toHex())).size).toBe(8);
    for (const point of torsion) expect(keyCode(point.toBytes())).toBe('key-weak');
  });

  it('refuses every encoding that is not canonical: y of p and above, both signs, and negative zeros', () => {
    const sign = 2n ** 255n;
    const codes: string[] = [];
    for (let y = p; y < 2n ** 255n; y++)
      codes.push(keyCode(littleEndian(y)), keyCode(littleEndian(y + sign)));
    expect(codes).toHaveLength(38);
    expect(new Set(codes)).toEqual(new Set(['key-weak', 'key-malformed']));
    // y of p and p + 1 are zero and one again, points of order 4 and 1.
    expect(codes.slice(0, 4)).toEqual(['key-weak', 'key-weak', 'key-weak', 'key-weak']);
    expect(keyCode(littleEndian(1n + sign))).toBe('key-weak');
    expect(keyCode(littleEndian(p - 1n + sign))).toBe('key-weak');
  });

  it('refuses wrong lengths and bytes that are no point', () => {
    for (const length of [0, 31, 33, 64]) expect(keyCode(new Uint8Array(length))).toBe('key-malformed');
    expect(keyCode(littleEndian(2n))).toBe('key-malformed');
  });

  it('takes keys that people make', () => {
    for (let seed = 0; seed < 20; seed++) {
      expect(keyCode(publicKeyOf(privateKeyFromSeed(new Uint8Array(32).fill(seed))))).toBe('accepted');
    }
  });
});
