// Ed25519 with Node's OpenSSL: private keys, signing, and the fast twin of `portableVerify`, which accepts the same set.
// A private key is a KeyObject, so that its bytes stay out of our memory, logs and error messages.
import {
  createPrivateKey,
  createPublicKey,
  sign as nodeSign,
  verify as nodeVerify,
  type KeyObject,
} from 'node:crypto';
import { assert } from '../errors.ts';
import { concat, decodeHex } from './encoding.ts';
import { hasLowOrderR, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, type Verify } from './ed25519.ts';

export const SEED_BYTES = 32;

// The DER that stands before the 32 bytes of a key, in SubjectPublicKeyInfo and in PKCS#8 (RFC 8410).
const spkiPrefix = decodeHex('302a300506032b6570032100')!;
const pkcs8Prefix = decodeHex('302e020100300506032b657004220420')!;

export const nativeVerify: Verify = (publicKey, message, signature) => {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  if (hasLowOrderR(signature)) return false;
  const key = createPublicKey({ key: spki(publicKey), format: 'der', type: 'spki' });
  return nodeVerify(null, message, key, signature);
};

export function sign(privateKey: KeyObject, message: Uint8Array): Uint8Array {
  return new Uint8Array(nodeSign(null, message, privateKey));
}

export function publicKeyOf(privateKey: KeyObject): Uint8Array {
  assert(privateKey.asymmetricKeyType === 'ed25519', 'the private key is not an Ed25519 key');
  const der = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return new Uint8Array(der.subarray(spkiPrefix.length));
}

/** The private key of a 32-byte seed (RFC 8032 calls the seed the private key). */
export function privateKeyFromSeed(seed: Uint8Array): KeyObject {
  assert(seed.length === SEED_BYTES, `an Ed25519 seed has 32 bytes, not ${seed.length}`);
  return createPrivateKey({ key: Buffer.from(concat(pkcs8Prefix, seed)), format: 'der', type: 'pkcs8' });
}

function spki(publicKey: Uint8Array): Buffer {
  return Buffer.from(concat(spkiPrefix, publicKey));
}
