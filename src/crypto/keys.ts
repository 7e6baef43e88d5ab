// Key files: the one place of src/crypto that touches a disk. Private keys are read only when nobody else can read them,
// and written so that nobody else can; an existing file is never overwritten.
import { closeSync, existsSync, fstatSync, fsyncSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { QedError } from '../errors.ts';
import { decodeUtf8 } from './encoding.ts';
import { publicKeyOf } from './ed25519-node.ts';
import { parsePrivateKey, shellQuote } from './private-key.ts';
import { createVerifier, formatVkey, type KeyType, type Verifier } from './vkey.ts';

export const KEY_FILE_BYTES_MAX = 64 * 1024;

const OTHERS = 0o077;

export interface NewKey {
  readonly privateKey: KeyObject;
  readonly verifier: Verifier;
  readonly vkey: string;
  /** The file that holds the vkey, for people to hand out. */
  readonly vkeyPath: string;
}

/** The Ed25519 private key in an OpenSSH or PKCS#8 PEM file. The passphrase is for encrypted PKCS#8 and else unused. */
export function readPrivateKey(path: string, passphrase?: string): KeyObject {
  const bytes = readKeyFile(path);
  const text = decodeUtf8(bytes);
  if (text === undefined) throw new QedError('key-malformed', `the private key ${path} is not a text file`);
  return parsePrivateKey(text, { path, passphrase });
}

/**
 * Makes a key: `path` gets the private key as PKCS#8 PEM, encrypted if there is a passphrase, and `path`.pub its vkey,
 * one line, under the given name and type. The name may be made from the public key.
 */
export function createKeyFiles(
  path: string,
  {
    name,
    type,
    passphrase,
  }: {
    readonly name: string | ((publicKey: Uint8Array) => string);
    readonly type: KeyType;
    readonly passphrase?: string | undefined;
  },
): NewKey {
  const vkeyPath = `${path}.pub`;
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = publicKeyOf(privateKey);
  const verifier = createVerifier(typeof name === 'string' ? name : name(publicKey), type, publicKey);
  const vkey = formatVkey(verifier);
  // Both are looked at before either is written, so that a refusal leaves nothing behind.
  for (const file of [path, vkeyPath]) if (existsSync(file)) throw exists(file);
  writeNewFile(path, formatPrivateKey(privateKey, passphrase), 0o600);
  writeNewFile(vkeyPath, `${vkey}\n`, 0o644);
  return { privateKey, verifier, vkey, vkeyPath };
}

/**
 * PKCS#8 PEM; with a passphrase encrypted by AES-256. OpenSSL derives that key with 2,048 rounds of PBKDF2 and offers no
 * more here, so the strength has to come from a long passphrase.
 */
export function formatPrivateKey(privateKey: KeyObject, passphrase?: string): string {
  const secret = passphrase ? { cipher: 'aes-256-cbc', passphrase } : {};
  return privateKey.export({ format: 'pem', type: 'pkcs8', ...secret }).toString();
}

/** Permissions and content come from one open file, so that it cannot be exchanged in between. */
function readKeyFile(path: string): Uint8Array {
  const file = attempt(path, 'read', () => openSync(path, 'r'));
  try {
    const stat = attempt(path, 'read', () => fstatSync(file));
    if (!stat.isFile() || stat.size > KEY_FILE_BYTES_MAX) {
      throw new QedError('key-malformed', `${path} is not a file of at most ${KEY_FILE_BYTES_MAX} bytes`);
    }
    // Windows has no such bits.
    if (process.platform !== 'win32' && (stat.mode & OTHERS) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw new QedError(
        'key-permissions',
        `the private key ${path} has mode ${mode}: others than its owner can use it`,
        {
          hint: `Run: chmod 600 ${shellQuote(path)}`,
        },
      );
    }
    return attempt(path, 'read', () => readFileSync(file));
  } finally {
    closeSync(file);
  }
}

function writeNewFile(path: string, content: string, mode: number): void {
  attempt(path, 'written', () => {
    const file = openSync(path, 'wx', mode);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}

/** Turns what the file system says into our codes. */
function attempt<Result>(path: string, what: 'read' | 'written', action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
    if (code === 'EEXIST') throw exists(path);
    if (code === 'ENOENT' && what === 'read') {
      throw new QedError('key-missing', `there is no private key at ${path}`, {
        hint: `Make one: qed generate keypair, or ssh-keygen -t ed25519 -N '' -f ${shellQuote(path)}`,
        cause,
      });
    }
    throw new QedError('key-file-failed', `the key file ${path} could not be ${what}: ${String(code)}`, {
      cause,
    });
  }
}

function exists(path: string): QedError {
  return new QedError('key-exists', `${path} exists and is not overwritten`, {
    hint: 'Move it away, or name another path.',
  });
}
