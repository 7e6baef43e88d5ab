import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { codeOf } from '../../testutils/code-of.ts';
import { QedError } from '../errors.ts';
import { portableVerify } from './ed25519.ts';
import { privateKeyFromSeed, publicKeyOf, sign } from './ed25519-node.ts';
import { concat, decodeBase64, encodeBase64, encodeHex, encodeUtf8 } from './encoding.ts';
import { createKeyFiles, formatPrivateKey, KEY_FILE_BYTES_MAX, readPrivateKey } from './keys.ts';
import { parsePrivateKey } from './private-key.ts';
import { COSIGNER_KEY, LOG_KEY, parseVkey } from './vkey.ts';

// Written by ssh-keygen 9.2 and openssl 3.0; the encrypted ones with the passphrase "open sesame".
const testdata = join(import.meta.dirname, 'testdata');
const fixture = (name: string) => readFileSync(join(testdata, name), 'utf8');

const source = { path: '/keys/qed' };
const parse = (text: string, passphrase?: string) => parsePrivateKey(text, { ...source, passphrase });

/** The refusal itself, where its text is the point. */
function refusal(action: () => unknown): QedError {
  try {
    action();
  } catch (error) {
    if (error instanceof QedError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'qed-keys-'))));
afterEach(() => rmSync(folder, { recursive: true }));

function install(name: string, mode = 0o600): string {
  const path = join(folder, name);
  copyFileSync(join(testdata, name), path);
  chmodSync(path, mode);
  return path;
}

describe('OpenSSH keys', () => {
  const publicKey = decodeBase64(fixture('openssh-plain.pub').split(' ')[1]!)!.subarray(-32);

  it('open, with the public key of the .pub file', () => {
    const key = readPrivateKey(install('openssh-plain'));
    expect(publicKeyOf(key)).toEqual(publicKey);
    expect(portableVerify(publicKey, encodeUtf8('x'), sign(key, encodeUtf8('x')))).toBe(true);
    // A passphrase in the environment does not get in the way of a plain key, nor do line ends of Windows.
    expect(publicKeyOf(parse(fixture('openssh-plain'), 'unused'))).toEqual(publicKey);
    expect(publicKeyOf(parse(fixture('openssh-plain').replaceAll('\n', '\r\n')))).toEqual(publicKey);
  });

  it('that are encrypted say which command takes the passphrase off', () => {
    const path = install('openssh-encrypted');
    for (const passphrase of [undefined, 'open sesame']) {
      const error = refusal(() => readPrivateKey(path, passphrase));
      expect(error.code).toBe('key-encrypted');
      expect(error.hint).toContain(`ssh-keygen -p -N '' -f ${path}.`);
    }
  });

  it('of other types are named', () => {
    for (const [name, type] of [
      ['openssh-rsa', 'ssh-rsa'],
      ['openssh-ecdsa', 'ecdsa-sha2-nistp256'],
    ] as const) {
      const error = refusal(() => readPrivateKey(install(name)));
      expect(error.code).toBe('key-malformed');
      expect(error.message).toContain(type);
    }
  });

  // A writer of our own, so that each field can be wrong by itself.
  const seed = new Uint8Array(32).fill(7);
  const own = publicKeyOf(privateKeyFromSeed(seed));
  const u32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
  const string = (value: string | Uint8Array) => {
    const bytes = typeof value === 'string' ? encodeUtf8(value) : value;
    return concat(u32(bytes.length), bytes);
  };
  const pem = (bytes: Uint8Array, label = 'OPENSSH PRIVATE KEY') =>
    `-----BEGIN ${label}-----\n${encodeBase64(bytes).replace(/.{70}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`;

  function build(change: Record<string, string | number | Uint8Array> = {}): Uint8Array {
    const field = {
      magic: 'openssh-key-v1\0',
      cipher: 'none',
      kdf: 'none',
      options: '',
      count: 1,
      type: 'ssh-ed25519',
      public: own,
      check: 0x12345678,
      check2: 0x12345678,
      innerType: 'ssh-ed25519',
      innerPublic: own,
      secret: concat(seed, own),
      comment: 'c',
      padding: Uint8Array.of(1, 2, 3, 4),
      publicTail: '',
      tail: '',
      ...change,
    };
    const raw = (value: string | Uint8Array) => (typeof value === 'string' ? encodeUtf8(value) : value);
    const section = concat(
      u32(field.check),
      u32(field.check2),
      string(field.innerType),
      string(field.innerPublic),
      string(field.secret),
      string(field.comment),
      field.padding,
    );
    return concat(
      raw(field.magic),
      string(field.cipher),
      string(field.kdf),
      string(field.options),
      u32(field.count),
      string(concat(string(field.type), string(field.public), raw(field.publicTail))),
      string(section),
      raw(field.tail),
    );
  }

  it('are read as written by another writer, whatever the comment', () => {
    expect(publicKeyOf(parse(pem(build())))).toEqual(own);
    const paddings: number[] = [];
    for (let length = 0; length < 16; length++) {
      // The section without comment and padding has 131 bytes with the comment's length.
      const padding = Uint8Array.from({ length: (16 - ((131 + length) % 8)) % 8 }, (_, at) => at + 1);
      paddings.push(padding.length);
      expect(publicKeyOf(parse(pem(build({ comment: 'x'.repeat(length), padding }))))).toEqual(own);
    }
    expect(new Set(paddings).size).toBe(8);
  });

  const other = publicKeyOf(privateKeyFromSeed(new Uint8Array(32).fill(8)));
  it.each<[string, Record<string, string | number | Uint8Array>]>([
    ['another magic', { magic: 'openssh-key-v2\0' }],
    ['no magic', { magic: '' }],
    ['no key', { count: 0 }],
    ['two keys', { count: 2 }],
    ['options of a KDF', { options: 'x' }],
    ['another type inside', { innerType: 'ssh-ed25518' }],
    ['checks that differ', { check2: 1 }],
    ['another public key inside', { innerPublic: other }],
    ['another public key outside', { public: other }],
    ['another public key after the seed', { secret: concat(seed, other) }],
    ['the seed of another key', { secret: concat(new Uint8Array(32), own) }],
    ['all public keys of another seed', { public: other, innerPublic: other, secret: concat(seed, other) }],
    ['a seed alone', { secret: seed }],
    ['a short public key', { public: own.subarray(1) }],
    ['no padding', { padding: new Uint8Array() }],
    ['padding that is cut short', { padding: Uint8Array.of(1, 2, 3) }],
    ['a block of padding too much', { padding: Uint8Array.from({ length: 12 }, (_, at) => at + 1) }],
    ['zeros for padding', { padding: new Uint8Array(4) }],
    ['one wrong byte of padding', { padding: Uint8Array.of(1, 2, 3, 5) }],
    ['bytes after the public key', { publicTail: 'x' }],
    ['bytes at the end', { tail: 'x' }],
    ['a type that is not text', { type: Uint8Array.of(0xff) }],
  ])('with %s are refused', (_name, change) => {
    expect(codeOf(() => parse(pem(build(change))))).toBe('key-malformed');
  });

  it.each([{ cipher: 'aes256-ctr' }, { kdf: 'bcrypt' }])('with %j count as encrypted', (change) => {
    expect(codeOf(() => parse(pem(build(change))))).toBe('key-encrypted');
  });

  it('cut short anywhere are refused', () => {
    const whole = build();
    for (let length = 0; length < whole.length; length++) {
      expect(codeOf(() => parse(pem(whole.subarray(0, length))))).toBe('key-malformed');
    }
  });

  it('with any one bit changed are refused, or still hold the same key', () => {
    const whole = build();
    for (let at = 0; at < whole.length; at++) {
      const changed = whole.slice();
      changed[at]! ^= 1 << (at % 8);
      const answer = codeOf(() => expect(publicKeyOf(parse(pem(changed)))).toEqual(own));
      expect(['accepted', 'key-malformed', 'key-encrypted']).toContain(answer);
    }
  });

  it.each([
    ['nothing', ''],
    ['text', 'hello\n'],
    ['a public key', fixture('openssh-plain.pub')],
    ['another label', pem(build(), 'RSA PRIVATE KEY')],
    ['labels that differ', pem(build()).replace('END OPENSSH', 'END DSA')],
    ['text before', `hello\n${pem(build())}`],
    ['text after', `${pem(build())}hello\n`],
    ['two keys', pem(build()) + pem(build())],
    ['an empty line', pem(build()).replace('-----\n', '-----\n\n') + '\n'],
    ['headers', pem(build()).replace('-----\n', '-----\nProc-Type: 4,ENCRYPTED\n\n')],
    [
      'base64 that is not canonical',
      pem(build())
        .replace(/=?=\n-----END/, '\n-----END')
        .replace(/\n-----END/, '=\n-----END'),
    ],
    ['no base64', '-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n'],
  ])('in files of %s are refused', (_name, text) => {
    expect(codeOf(() => parse(text))).toBe('key-malformed');
  });

  it('in hostile text give a refusal and nothing else', () => {
    const good = pem(build());
    fc.assert(
      fc.property(
        fc.nat(good.length),
        fc.nat(8),
        fc.string({ unit: 'binary', maxLength: 8 }),
        (at, cut, put) => {
          const changed = good.slice(0, at) + put + good.slice(at + cut);
          const answer = codeOf(() => expect(publicKeyOf(parse(changed))).toEqual(own));
          expect(['accepted', 'key-malformed', 'key-encrypted']).toContain(answer);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('PKCS#8 keys', () => {
  const seedOf = (text: string) => decodeBase64(text.split('\n')[1]!)!.subarray(-32);

  it('open as openssl wrote them', () => {
    const expected = publicKeyOf(privateKeyFromSeed(seedOf(fixture('pkcs8-plain'))));
    expect(publicKeyOf(readPrivateKey(install('pkcs8-plain')))).toEqual(expected);
  });

  it('open with their passphrase only', () => {
    const path = install('pkcs8-encrypted');
    const key = readPrivateKey(path, 'open sesame');
    expect(portableVerify(publicKeyOf(key), encodeUtf8('x'), sign(key, encodeUtf8('x')))).toBe(true);
    for (const wrong of ['open sesamE', ' open sesame', '']) {
      expect(codeOf(() => readPrivateKey(path, wrong))).toBe('key-encrypted');
    }
    const error = refusal(() => readPrivateKey(path));
    expect(error.code).toBe('key-encrypted');
    expect(error.hint).toContain('QED_KEY_PASSPHRASE');
    expect(JSON.stringify(refusal(() => readPrivateKey(path, 'a wrong secret')))).not.toContain(
      'a wrong secret',
    );
  });

  it('of other types are named', () => {
    const error = refusal(() => readPrivateKey(install('pkcs8-ecdsa')));
    expect(error.code).toBe('key-malformed');
    expect(error.message).toContain('type ec');
  });

  it('that are damaged are refused, with nothing of the key in the message', () => {
    const text = fixture('pkcs8-plain');
    for (const bad of [text.replace('MC4C', 'MC4D'), text.replace('M', 'MA'), text.replace(/\n.{8}/, '\n')]) {
      const error = refusal(() => parse(bad));
      expect(error.code).toBe('key-malformed');
      expect(`${error.message}${String(error.hint)}${String(error.cause)}`).not.toContain(
        text.split('\n')[1]!.slice(-16),
      );
    }
  });

  it('come back as written, plain and encrypted', () => {
    const key = privateKeyFromSeed(new Uint8Array(32).fill(5));
    expect(publicKeyOf(parse(formatPrivateKey(key)))).toEqual(publicKeyOf(key));
    const encrypted = formatPrivateKey(key, 'a passphrase');
    expect(encrypted).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    expect(publicKeyOf(parse(encrypted, 'a passphrase'))).toEqual(publicKeyOf(key));
  });
});

describe('key files', () => {
  it.each([0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o660, 0o777])(
    'of mode %o are refused with the chmod to run',
    (mode) => {
      const path = install('pkcs8-plain', mode);
      const error = refusal(() => readPrivateKey(path));
      expect(error.code).toBe('key-permissions');
      expect(error.message).toContain(`0${mode.toString(8)}`);
      expect(error.hint).toBe(`Run: chmod 600 ${path}`);
    },
  );

  it.each([0o600, 0o400, 0o700])('of mode %o are read', (mode) => {
    expect(codeOf(() => readPrivateKey(install('pkcs8-plain', mode)))).toBe('accepted');
  });

  it('behind a symbolic link are judged by what they are', () => {
    symlinkSync(install('pkcs8-plain', 0o644), join(folder, 'link'));
    expect(codeOf(() => readPrivateKey(join(folder, 'link')))).toBe('key-permissions');
  });

  it('with odd names are quoted in commands', () => {
    const path = join(folder, "it's mine");
    writeFileSync(path, fixture('pkcs8-plain'), { mode: 0o600 });
    chmodSync(path, 0o644);
    expect(refusal(() => readPrivateKey(path)).hint).toBe(`Run: chmod 600 '${folder}/it'\\''s mine'`);
  });

  it('that do not exist say how to make one', () => {
    const error = refusal(() => readPrivateKey(join(folder, 'absent')));
    expect(error.code).toBe('key-missing');
    expect(error.hint).toContain(`ssh-keygen -t ed25519 -N '' -f ${join(folder, 'absent')}`);
  });

  it('that are something else are refused', () => {
    mkdirSync(join(folder, 'sub'), { mode: 0o700 });
    expect(codeOf(() => readPrivateKey(join(folder, 'sub')))).toBe('key-malformed');
    writeFileSync(join(folder, 'big'), 'x'.repeat(KEY_FILE_BYTES_MAX + 1), { mode: 0o600 });
    expect(refusal(() => readPrivateKey(join(folder, 'big'))).message).toContain(
      `at most ${KEY_FILE_BYTES_MAX} bytes`,
    );
    writeFileSync(join(folder, 'binary'), Uint8Array.of(0xff, 0), { mode: 0o600 });
    expect(codeOf(() => readPrivateKey(join(folder, 'binary')))).toBe('key-malformed');
    expect(codeOf(() => readPrivateKey(join(install('pkcs8-plain'), 'below')))).toBe('key-file-failed');
  });
});

describe('making keys', () => {
  const mode = (path: string) => statSync(path).mode & 0o777;

  it.each([
    ['a plain log key', LOG_KEY, undefined],
    ['an encrypted node key', COSIGNER_KEY, 'correct horse'],
  ] as const)('writes %s and its vkey', (_name, type, passphrase) => {
    const path = join(folder, 'new');
    const made = createKeyFiles(path, { name: 'example.org/log', type, passphrase });
    expect(mode(path)).toBe(0o600);
    expect(readFileSync(path, 'utf8')).toContain(passphrase ? 'ENCRYPTED PRIVATE KEY' : 'BEGIN PRIVATE KEY');
    expect(made.vkeyPath).toBe(`${path}.pub`);
    expect(readFileSync(made.vkeyPath, 'utf8')).toBe(`${made.vkey}\n`);
    expect(parseVkey(made.vkey)).toEqual(made.verifier);
    expect(made.verifier).toMatchObject({ name: 'example.org/log', type });
    expect(publicKeyOf(readPrivateKey(path, passphrase))).toEqual(made.verifier.publicKey);
    expect(encodeHex(publicKeyOf(made.privateKey))).toBe(encodeHex(made.verifier.publicKey));
  });

  it('never gives the same key twice', () => {
    const vkeys = ['a', 'b'].map(
      (name) => createKeyFiles(join(folder, name), { name: 'n', type: LOG_KEY }).vkey,
    );
    expect(vkeys[0]).not.toBe(vkeys[1]);
  });

  it.each(['new', 'new.pub'])('does not overwrite %s, and leaves nothing', (existing) => {
    writeFileSync(join(folder, existing), 'precious');
    const create = () => createKeyFiles(join(folder, 'new'), { name: 'n', type: LOG_KEY });
    expect(codeOf(create)).toBe('key-exists');
    expect(readFileSync(join(folder, existing), 'utf8')).toBe('precious');
    expect(readdirSync(folder)).toEqual([existing]);
  });

  it('does not write through a link that leads nowhere', () => {
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'new'));
    expect(codeOf(() => createKeyFiles(join(folder, 'new'), { name: 'n', type: LOG_KEY }))).toBe(
      'key-exists',
    );
    expect(readdirSync(folder)).toEqual(['new']);
  });

  it('says so when the folder is not there, and writes nothing under a bad name', () => {
    expect(codeOf(() => createKeyFiles(join(folder, 'no/new'), { name: 'n', type: LOG_KEY }))).toBe(
      'key-file-failed',
    );
    expect(codeOf(() => createKeyFiles(join(folder, 'new'), { name: 'a b', type: LOG_KEY }))).toBe(
      'name-malformed',
    );
    expect(readdirSync(folder)).toEqual([]);
  });
});
