// Who may do what: API keys with scopes. The node keeps only SHA-256 digests of keys; that is enough for keys that are long and random, as
// `openssl rand -hex 32` makes them. A short key can be guessed from its digest, or by trying: `isGuessable` finds those worth a warning.
import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type IncomingHttpHeaders } from 'node:http';
import { decodeHex } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { nativeDigest } from '../crypto/hash-node.ts';
import { QedError } from '../errors.ts';

/** `append` adds events, `read` asks questions, `admin` may do everything. */
export type Scope = 'append' | 'read' | 'admin';

export interface ApiKey {
  readonly name: string;
  readonly digest: Uint8Array;
  readonly scopes: readonly Scope[];
}

export interface Access {
  readonly keys: readonly ApiKey[];
  /** Whether questions need a key too. */
  readonly readsNeedKey: boolean;
}

/** Bits of a key that nobody can guess. */
const KEY_CHARS_MIN = 24;
const SCOPES: readonly Scope[] = ['append', 'read', 'admin'];

export function singleKey(key: string): ApiKey {
  return { name: 'the key of --api-key', digest: nativeDigest(key), scopes: ['admin'] };
}

export function isGuessable(key: string): boolean {
  return key.length < KEY_CHARS_MIN || new Set(key).size < 8;
}

/**
 * The keys of a file, one a line: a name, its scopes with commas between them, and the SHA-256 of the key in hex.
 * Empty lines and lines that begin with # are skipped.
 */
export function readApiKeys(path: string): readonly ApiKey[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new QedError('key-file-failed', `the API keys in ${path} cannot be read: ${String(cause)}`, {
      cause,
    });
  }
  const lines = text.split('\n').map((line, at) => ({ words: line.trim().split(/\s+/), number: at + 1 }));
  const keys = lines
    .filter(({ words }) => words[0] !== '' && !words[0]!.startsWith('#'))
    .map(({ words, number }) => parseKeyLine(words, `${path}, line ${number}`));
  const names = new Set(keys.map(({ name }) => name));
  if (names.size < keys.length) throw badLine(path, 'two keys have the same name');
  if (keys.length === 0) throw badLine(path, 'it holds no key');
  return keys;
}

function parseKeyLine([name, scopeList, hex, ...rest]: readonly string[], where: string): ApiKey {
  const digest = decodeHex(hex ?? '', DIGEST_BYTES);
  if (name === undefined || digest === undefined || rest.length > 0) {
    throw badLine(where, 'it is not a name, scopes and 64 lower-case hex digits');
  }
  const scopes = (scopeList ?? '').split(',').map((word) => {
    const scope = SCOPES.find((known) => known === word);
    if (scope === undefined) throw badLine(where, `a scope is not one of ${SCOPES.join(', ')}`);
    return scope;
  });
  return { name, digest, scopes };
}

function badLine(where: string, why: string): QedError {
  return new QedError('option-malformed', `${where}: ${why}`, {
    hint: 'A line looks like: ci append,read $(printf %s "$KEY" | sha256sum), without the dash at the end.',
  });
}

/** Throws unless the request may do what needs `scope`. Takes as long for a wrong key as for a right one. */
export function checkAccess(
  { keys, readsNeedKey }: Access,
  scope: Scope,
  headers: IncomingHttpHeaders,
): void {
  if (keys.length === 0 || (scope === 'read' && !readsNeedKey)) return;
  const presented = presentedKey(headers);
  if (presented === undefined) {
    throw new QedError('unauthorized', 'this needs an API key', {
      hint: 'Send it in the header Api-Key, or as Authorization: Bearer.',
    });
  }
  const found = findKey(keys, presented);
  if (found === undefined) throw new QedError('unauthorized', 'the API key is not one of this node');
  if (!found.scopes.includes(scope) && !found.scopes.includes('admin')) {
    throw new QedError('forbidden', `the API key does not have the scope ${scope}`);
  }
}

function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  const plain = headers['api-key'];
  if (typeof plain === 'string') return plain;
  return /^Bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

function findKey(keys: readonly ApiKey[], presented: string): ApiKey | undefined {
  const digest = nativeDigest(presented);
  return keys.reduce<ApiKey | undefined>(
    (found, key) => (timingSafeEqual(key.digest, digest) ? key : found),
    undefined,
  );
}
