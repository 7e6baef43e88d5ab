// Private keys from text: OpenSSH files as `ssh-keygen -t ed25519` writes them, and PKCS#8 PEM, plain or encrypted.
// Pure: reading the file and looking at its permissions is keys.ts. Error messages never hold key material.
//
// Encrypted OpenSSH files need bcrypt_pbkdf, which neither Node nor any kept-up package has: they are refused with the
// command that makes them readable. Encrypted PKCS#8 is opened by OpenSSL with the passphrase.
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { QedError } from '../errors.ts';
import { decodeBase64, decodeUtf8, encodeUtf8, equalBytes } from './encoding.ts';
import { privateKeyFromSeed, publicKeyOf, SEED_BYTES } from './ed25519-node.ts';

export interface PrivateKeySource {
  /** The file that the text comes from, for messages and commands. */
  readonly path: string;
  readonly passphrase?: string | undefined;
}

export function parsePrivateKey(text: string, source: PrivateKeySource): KeyObject {
  const { label, bytes } = parsePem(text, source);
  switch (label) {
    case 'OPENSSH PRIVATE KEY':
      return parseOpenSsh(bytes, source);
    case 'PRIVATE KEY':
    case 'ENCRYPTED PRIVATE KEY':
      return parsePkcs8(bytes, label === 'ENCRYPTED PRIVATE KEY', source);
    default:
      throw malformed(source, `it holds "${label.slice(0, 40)}"`);
  }
}

/** Quotes a path for the commands that we tell people to run. */
export function shellQuote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** One PEM block and nothing else. Lines may end in CRLF and be of any length; the base64 in them is canonical. */
function parsePem(
  text: string,
  source: PrivateKeySource,
): { readonly label: string; readonly bytes: Uint8Array } {
  const block = /^-----BEGIN ([A-Z0-9 ]+)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----\n?$/;
  const parts = block.exec(text.replaceAll('\r\n', '\n'));
  const bytes = parts && decodeBase64(parts[2]!.replaceAll('\n', ''));
  if (!bytes) {
    const label = /^-----BEGIN ([A-Z0-9 ]{1,40})-----/.exec(text)?.[1];
    throw malformed(
      source,
      label ? `its "${label}" block is damaged or of an old kind` : 'it is not one PEM block',
    );
  }
  return { label: parts[1]!, bytes };
}

function parsePkcs8(der: Uint8Array, encrypted: boolean, source: PrivateKeySource): KeyObject {
  const { path, passphrase } = source;
  if (encrypted && !passphrase) {
    throw new QedError('key-encrypted', `the private key ${path} is encrypted and no passphrase was given`, {
      hint: 'Set its passphrase in the environment variable QED_KEY_PASSPHRASE.',
    });
  }
  const key = openPkcs8(der, encrypted ? passphrase : undefined);
  // A wrong passphrase decrypts to noise now and then, so OpenSSL's reasons cannot be told apart.
  if (!key && encrypted) {
    throw new QedError('key-encrypted', `the private key ${path} does not open with the given passphrase`);
  }
  if (!key) throw malformed(source, 'its PKCS#8 content is damaged');
  if (key.asymmetricKeyType !== 'ed25519')
    throw malformed(source, `it is of type ${key.asymmetricKeyType ?? 'unknown'}`);
  return key;
}

/** OpenSSL's own error is dropped on purpose: it adds nothing that a user could act on. */
function openPkcs8(der: Uint8Array, passphrase: string | undefined): KeyObject | undefined {
  try {
    const secret = passphrase === undefined ? {} : { passphrase };
    return createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8', ...secret });
  } catch {
    return undefined;
  }
}

// The OpenSSH container (PROTOCOL.key in its sources), all strings with a u32 length before them:
//   "openssh-key-v1\0"  cipher  kdf  kdf options  u32 number of keys  public key  private section
// and the private section, for one unencrypted key, padded with the bytes 1, 2, 3 … to a multiple of 8:
//   u32 check  u32 the same check  "ssh-ed25519"  public[32]  seed ‖ public [64]  comment  padding
const MAGIC = encodeUtf8('openssh-key-v1\0');
const KEY_TYPE = 'ssh-ed25519';
const PADDING_BLOCK = 8;

function parseOpenSsh(bytes: Uint8Array, source: PrivateKeySource): KeyObject {
  const damaged = () => malformed(source, 'its OpenSSH content is damaged');
  if (!equalBytes(bytes.subarray(0, MAGIC.length), MAGIC)) throw damaged();
  const outer = createReader(bytes.subarray(MAGIC.length), damaged);
  const cipher = outer.text();
  const kdf = outer.text();
  const kdfOptions = outer.string();
  const keys = outer.u32();
  const publicBlob = outer.string();
  const section = outer.string();
  if (cipher !== 'none' || kdf !== 'none') throw encryptedOpenSsh(source);
  if (kdfOptions.length > 0 || keys !== 1 || outer.rest().length > 0) throw damaged();
  const publicKey = readPublicBlob(publicBlob, source, damaged);
  return readPrivateSection(section, publicKey, damaged);
}

function readPublicBlob(blob: Uint8Array, source: PrivateKeySource, damaged: () => QedError): Uint8Array {
  const reader = createReader(blob, damaged);
  const type = reader.text();
  if (type !== KEY_TYPE) throw malformed(source, `it is of type ${JSON.stringify(type.slice(0, 40))}`);
  const publicKey = reader.string();
  if (reader.rest().length > 0) throw damaged();
  return publicKey;
}

function readPrivateSection(section: Uint8Array, publicKey: Uint8Array, damaged: () => QedError): KeyObject {
  const reader = createReader(section, damaged);
  const checks = [reader.u32(), reader.u32()];
  const type = reader.text();
  const innerPublic = reader.string();
  const secret = reader.string();
  reader.string(); // The comment may be any bytes.
  const padding = reader.rest();
  const whole =
    section.length % PADDING_BLOCK === 0 &&
    padding.length < PADDING_BLOCK &&
    padding.every((byte, at) => byte === at + 1) &&
    checks[0] === checks[1] &&
    type === KEY_TYPE &&
    equalBytes(innerPublic, publicKey) &&
    equalBytes(secret.subarray(SEED_BYTES), publicKey);
  if (!whole) throw damaged();
  const key = privateKeyFromSeed(secret.subarray(0, SEED_BYTES));
  // The one public key that all copies must be; this also settles their length.
  if (!equalBytes(publicKeyOf(key), publicKey)) throw damaged();
  return key;
}

/** Reads the SSH wire format front to back; whatever runs past the end throws what `damaged` makes. */
function createReader(bytes: Uint8Array, damaged: () => QedError) {
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw damaged();
    at += length;
    return bytes.subarray(at - length, at);
  };
  const u32 = (): number => {
    const word = take(4);
    return new DataView(word.buffer, word.byteOffset).getUint32(0);
  };
  const string = (): Uint8Array => take(u32());
  const text = (): string => {
    const decoded = decodeUtf8(string());
    if (decoded === undefined) throw damaged();
    return decoded;
  };
  return { u32, string, text, rest: () => bytes.subarray(at) };
}

function encryptedOpenSsh({ path }: PrivateKeySource): QedError {
  return new QedError(
    'key-encrypted',
    `the OpenSSH private key ${path} is encrypted, which qed cannot open`,
    {
      hint:
        `Take its passphrase off: ssh-keygen -p -N '' -f ${shellQuote(path)}. ` +
        'Or use an encrypted PKCS#8 key, as qed generate keypair makes with QED_KEY_PASSPHRASE set.',
    },
  );
}

function malformed({ path }: PrivateKeySource, why: string): QedError {
  return new QedError('key-malformed', `${path} is not a private key that qed can use: ${why}`, {
    hint: 'qed uses Ed25519 keys, as qed generate keypair or ssh-keygen -t ed25519 make them.',
  });
}
