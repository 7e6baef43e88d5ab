// Ed25519 (RFC 8032) for verifiers, in JavaScript, so that it loads in a browser. The native twin is ed25519-node.ts.
//
// Implementations differ at the edges of Ed25519. Two verifiers of one log must not, so the accepted set is fixed here:
//   - the public key is the canonical encoding of a point that is not of low order, checked once when a key is loaded;
//   - s < L;
//   - R is, byte for byte, the encoding of [s]B - [k]A. Hence R is canonical and the equation is the one without cofactor;
//   - R is not of low order.
// This is RFC 8032 section 5.1.7 with its stricter equation, which is what OpenSSL and Go check, and what public transparency
// tools therefore accept. They take an R of low order; newer versions of Node do not, and no honest signer makes one.
// The cofactored equation of verify in @noble/ed25519 takes signatures with a torsion part, which the others refuse, so the
// equation is written out here, on the library's points.
import { Point } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { QedError } from '../errors.ts';
import { concat, encodeHex, equalBytes } from './encoding.ts';

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** Whether the signature is valid. The key must have passed `checkPublicKey`; never throws, whatever the other bytes are. */
export type Verify = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean;

const order = Point.CURVE().n;

// The canonical encodings of the eight points of low order; y is 1, -1, 0, and two more values with either sign of x.
const lowOrderPoints: ReadonlySet<string> = new Set([
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
]);

export const portableVerify: Verify = (publicKey, message, signature) => {
  if (signature.length !== SIGNATURE_BYTES || hasLowOrderR(signature)) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  const a = decodePoint(publicKey);
  if (s >= order || a === undefined) return false;
  const k = littleEndian(sha512(concat(r, publicKey, message))) % order;
  const expected = Point.BASE.multiply(s, false).subtract(a.multiply(k, false));
  return equalBytes(expected.toBytes(), r);
};

/** Part of every verification, since libraries do not agree on it. */
export function hasLowOrderR(signature: Uint8Array): boolean {
  return lowOrderPoints.has(encodeHex(signature.subarray(0, 32)));
}

/** Refuses public keys under which anybody could sign (low order) or that have a second spelling (not canonical). */
export function checkPublicKey(publicKey: Uint8Array): void {
  if (publicKey.length !== PUBLIC_KEY_BYTES) {
    throw new QedError('key-malformed', `an Ed25519 public key has 32 bytes, not ${publicKey.length}`);
  }
  const point = decodePoint(publicKey);
  if (point === undefined) throw new QedError('key-malformed', 'the public key is not a point of Ed25519');
  if (point.isSmallOrder()) throw new QedError('key-weak', 'the public key is a point of low order');
  if (!equalBytes(point.toBytes(), publicKey)) {
    throw new QedError('key-weak', 'the public key is not canonically encoded');
  }
}

/** Takes encodings that are not canonical as well: `checkPublicKey` tells them from bytes that are no point at all. */
function decodePoint(bytes: Uint8Array): Point | undefined {
  try {
    return Point.fromBytes(bytes, true);
  } catch {
    return undefined;
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${encodeHex(bytes.toReversed())}`);
}
