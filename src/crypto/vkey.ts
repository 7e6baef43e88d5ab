// Verifier keys in the text form of C2SP signed-note v1.0.0: name + "+" + key id in hex + "+" + base64(type ‖ public key).
// A vkey is what a verifier trusts, so everything is checked here, once: the name, the key id, the type, the point.
// The type is fixed by the vkey, never by a note: a signature is only ever tried as what its key is for.
import { sha256 } from '@noble/hashes/sha2.js';
import { QedError } from '../errors.ts';
import { concat, decodeBase64, encodeBase64, encodeHex, encodeUtf8, isUnicode } from './encoding.ts';
import { checkPublicKey } from './ed25519.ts';

/** Signs a note's text as it stands: the key of a log. */
export const LOG_KEY = 0x01;
/** Signs a checkpoint together with a time, cosignature/v1: the key of a node or a witness. */
export const COSIGNER_KEY = 0x04;
export type KeyType = typeof LOG_KEY | typeof COSIGNER_KEY;

export const NAME_BYTES_MAX = 255;

export interface Verifier {
  readonly name: string;
  /** The first four bytes of SHA-256(name ‖ newline ‖ type ‖ public key), big-endian. It finds a key; it proves nothing. */
  readonly id: number;
  readonly type: KeyType;
  readonly publicKey: Uint8Array;
}

export function createVerifier(name: string, type: KeyType, publicKey: Uint8Array): Verifier {
  checkName(name);
  checkPublicKey(publicKey);
  return { name, id: keyId(name, type, publicKey), type, publicKey };
}

export function formatVkey({ name, id, type, publicKey }: Verifier): string {
  return `${name}+${encodeHex(idBytes(id))}+${encodeBase64(concat(Uint8Array.of(type), publicKey))}`;
}

export function parseVkey(text: string): Verifier {
  const parts = typeof text === 'string' ? /^([^+]*)\+([0-9a-f]{8})\+(.*)$/s.exec(text) : null;
  const key = parts && decodeBase64(parts[3]!);
  if (!key) throw malformed('it is not of the form name+id+base64');
  const type = key[0];
  if (type !== LOG_KEY && type !== COSIGNER_KEY) {
    throw malformed('its type is not 1 (Ed25519) or 4 (cosignature/v1)');
  }
  const verifier = createVerifier(parts[1]!, type, key.subarray(1));
  if (formatVkey(verifier) !== text) throw malformed('its key id is not the one of its name and key');
  return verifier;
}

/** Key names and origins: not empty, no Unicode space, no plus sign, no control character, at most 255 bytes. */
export function checkName(name: string): void {
  if (!isName(name) || /\p{Control}/u.test(name)) {
    const quoted = JSON.stringify(name.slice(0, 64));
    throw new QedError(
      'name-malformed',
      `the name ${quoted} is empty or holds spaces, plus signs or controls`,
    );
  }
  if (encodeUtf8(name).length > NAME_BYTES_MAX) {
    throw new QedError('name-malformed', `the name has more than ${NAME_BYTES_MAX} bytes`);
  }
}

/** What signed-note asks of a key name in a note. Lines of others, which are skipped, may hold what `checkName` refuses. */
export function isName(name: string): boolean {
  return isUnicode(name) && /^[^\p{White_Space}+]+$/u.test(name);
}

/** The four bytes of a key id, as they stand before a signature in a note. */
export function idBytes(id: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, id);
  return bytes;
}

function keyId(name: string, type: KeyType, publicKey: Uint8Array): number {
  const digest = sha256(concat(encodeUtf8(`${name}\n`), Uint8Array.of(type), publicKey));
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

function malformed(why: string): QedError {
  return new QedError('key-malformed', `this is not a verifier key that qed can use: ${why}`, {
    hint: 'A vkey looks like example.org/log+1a2b3c4d+AbCd…; copy it whole, without spaces or line ends.',
  });
}
