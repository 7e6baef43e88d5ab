import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { codeOf } from '../../testutils/code-of.ts';
import { QedError } from '../errors.ts';
import { formatCheckpoint, openCheckpoint, openCosignatures, parseCheckpoint } from './checkpoint.ts';
import { nativeVerify, privateKeyFromSeed, sign } from './ed25519-node.ts';
import { portableVerify } from './ed25519.ts';
import { concat, decodeBase64, encodeBase64, encodeU64, encodeUtf8 } from './encoding.ts';
import { addSignatures, cosignedMessage, formatNote, formatSignature, openNote } from './note.ts';
import { createCosigner, createLogSigner } from './signer.ts';
import { COSIGNER_KEY, createVerifier, LOG_KEY, parseVkey, type Verifier } from './vkey.ts';

const seededKey = (seed: number) => privateKeyFromSeed(new Uint8Array(32).fill(seed));

const logKey = seededKey(1);
const log = createLogSigner('example.org/log', logKey);
const nodes = [2, 3].map((seed) => createCosigner(`example.org/log/node${seed}`, seededKey(seed)));
const stranger = createCosigner('example.net/witness', seededKey(4));
const cosigners = nodes.map(({ verifier }) => verifier);

const root = decodeBase64('CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=')!;
const checkpoint = { origin: 'example.org/log', size: 20_852_163, root };
const text = `example.org/log\n20852163\n${encodeBase64(root)}\n`;
const time = 1_679_315_147;
const signed = log.signCheckpoint(checkpoint);
const note = addSignatures(
  signed,
  nodes.map((node, at) => node.cosign(checkpoint, time + at)).join('') + stranger.cosign(checkpoint, 5),
);

const open = (candidate: string | Uint8Array) => openCheckpoint(candidate, log.verifier, nativeVerify);
const openTimes = (candidate: string | Uint8Array, keys: readonly Verifier[] = cosigners) =>
  openCosignatures(candidate, keys, nativeVerify);

/** A note over any text by the log's own key: what a broken or evil log could sign. */
function signedByLog(anyText: string, { id, name } = log.verifier): string {
  return formatNote(anyText, [{ name, id, signature: sign(logKey, encodeUtf8(anyText)) }]);
}

describe('a checkpoint', () => {
  it('is three lines', () => {
    expect(formatCheckpoint(checkpoint)).toBe(text);
    expect(parseCheckpoint(text)).toEqual(checkpoint);
    expect(open(signed)).toEqual(checkpoint);
    expect(openCheckpoint(note, log.verifier)).toEqual(checkpoint);
    expect(openCheckpoint(encodeUtf8(note), log.verifier)).toEqual(checkpoint);
  });

  it.each([0, 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1])('comes back with size %d', (size) => {
    expect(open(log.signCheckpoint({ size, root })).size).toBe(size);
  });

  it('opens as published by a Certificate Transparency log, with a public witness', () => {
    const published = `arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
`;
    const logVkey =
      'arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f';
    const witnessVkey = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2';
    expect(openCheckpoint(published, parseVkey(logVkey)).size).toBe(1_432_088_532);
    expect(openCosignatures(published, [parseVkey(witnessVkey)])).toEqual([
      { name: 'remora.n621.de', id: 0xda77ade7, time: 1_779_573_024 },
    ]);
    const forged = published.replace('1432088532', '1432088533');
    expect(codeOf(() => openCheckpoint(forged, parseVkey(logVkey)))).toBe('signature-invalid');
    expect(codeOf(() => openCosignatures(forged, [parseVkey(witnessVkey)]))).toBe('signature-invalid');
  });

  const base64 = encodeBase64(root);
  it.each([
    ['a leading zero', '020852163', base64],
    ['no size', '', base64],
    ['a sign', '+1', base64],
    ['a negative size', '-1', base64],
    ['an exponent', '1e3', base64],
    ['hex', '0x10', base64],
    ['a fraction', '1.0', base64],
    ['a space before the size', ' 1', base64],
    ['a space after the size', '1 ', base64],
    ['2^53', '9007199254740992', base64],
    ['2^64 - 1', '18446744073709551615', base64],
    ['a huge size', '9'.repeat(100_000), base64],
    ['a short root', '1', encodeBase64(root.subarray(1))],
    ['a long root', '1', encodeBase64(concat(root, root))],
    ['no root', '1', ''],
    ['a root without padding', '1', base64.slice(0, -1)],
    ['a root with a trailing bit', '1', base64.replace('I=', 'J=')],
    ['a root in base64url', '1', base64.replace('/', '_')],
    ['a root in hex', '1', Buffer.from(root).toString('hex')],
    ['an extension line', '1', `${base64}\nextension`],
    ['an empty line at the end', '1', `${base64}\n`],
    ['an empty line inside', '1\n', base64],
    ['a root and a signature-like line', '1', `${base64}\n— x AAAAAAA=`],
  ])('with %s is refused, though the log signed it', (_name, size, rootLine) => {
    expect(codeOf(() => open(signedByLog(`example.org/log\n${size}\n${rootLine}\n`)))).toBe('note-malformed');
  });

  it.each([
    'one line\n',
    'example.org/log\n1\n',
    '\n',
    `\n1\n${base64}\n`,
    `a b\n1\n${base64}\n`,
    `a+b\n1\n${base64}\n`,
  ])('is not the text %j', (anyText) => {
    expect(codeOf(() => open(signedByLog(anyText)))).toBe('note-malformed');
  });

  it('needs its last newline', () => {
    expect(codeOf(() => parseCheckpoint(text.slice(0, -1)))).toBe('note-malformed');
  });

  it.each(['example.org/other', 'Example.org/log', 'example.org/log/', 'example.org/lo'])(
    'of the origin %s is not of this log',
    (origin) => {
      const other = formatCheckpoint({ ...checkpoint, origin });
      expect(codeOf(() => open(signedByLog(other)))).toBe('origin-mismatch');
    },
  );

  it('is looked at only after its signature', () => {
    expect(codeOf(() => open(note.replace('20852163', '020852163')))).toBe('signature-invalid');
    expect(codeOf(() => open(`garbage\n\n${stranger.cosign(checkpoint, 1)}`))).toBe('note-unsigned');
  });

  it('is not written from bad values', () => {
    for (const origin of ['', 'a b', 'a+b', 'a\nb', 'a\u2028b', '\ud800', 'x'.repeat(256)]) {
      expect(codeOf(() => formatCheckpoint({ ...checkpoint, origin }))).toBe('name-malformed');
    }
    for (const size of [-1, 0.5, NaN, 2 ** 53]) {
      expect(codeOf(() => log.signCheckpoint({ size, root }))).toBe('version-malformed');
    }
    for (const bytes of [0, 31, 33]) {
      expect(codeOf(() => log.signCheckpoint({ size: 1, root: new Uint8Array(bytes) }))).toBe(
        'digest-malformed',
      );
    }
    expect(codeOf(() => createLogSigner('a b', logKey))).toBe('name-malformed');
    expect(codeOf(() => nodes[0]!.cosign(checkpoint, -1))).toBe('bug');
  });
});

describe('cosignatures', () => {
  it('sign the message of the standard', () => {
    const message = `cosignature/v1\ntime 1679315147\nexample.org/log\n20852163\n${encodeBase64(root)}\n`;
    expect(cosignedMessage(text, time)).toEqual(encodeUtf8(message));
    const line = nodes[0]!.cosign(checkpoint, time);
    const bytes = decodeBase64(line.trimEnd().split(' ')[2]!)!;
    expect(bytes).toHaveLength(4 + 72);
    expect(bytes.subarray(4, 12)).toEqual(encodeU64(time));
    for (const verify of [nativeVerify, portableVerify]) {
      expect(verify(cosigners[0]!.publicKey, encodeUtf8(message), bytes.subarray(12))).toBe(true);
    }
  });

  it('are listed for the keys that are asked for', () => {
    const both = [
      { name: 'example.org/log/node2', id: cosigners[0]!.id, time },
      { name: 'example.org/log/node3', id: cosigners[1]!.id, time: time + 1 },
    ];
    expect(openTimes(note)).toEqual(both);
    expect(openCosignatures(encodeUtf8(note), cosigners)).toEqual(both);
    expect(openTimes(note, [cosigners[1]!])).toEqual(both.slice(1));
    expect(openTimes(note, [])).toEqual([]);
    expect(openTimes(signed)).toEqual([]);
  });

  it('of one key count once, with the latest time', () => {
    const again = [time + 100, time - 100].map((other) => nodes[0]!.cosign(checkpoint, other)).join('');
    const names = [{ name: 'example.org/log/node2', id: cosigners[0]!.id, time: time + 100 }];
    expect(openTimes(note + again, [cosigners[0]!])).toEqual(names);
    expect(openTimes(addSignatures(note, again), [cosigners[0]!])).toEqual([
      { ...names[0], time: time - 100 },
    ]);
  });

  it('of a known key must verify', () => {
    const other = { ...checkpoint, size: 1 };
    const wrongText = nodes[0]!.cosign(other, time);
    expect(codeOf(() => openTimes(signed + wrongText))).toBe('signature-invalid');
    expect(codeOf(() => openTimes(note + wrongText))).toBe('signature-invalid');
    expect(openTimes(signed + wrongText, [cosigners[1]!])).toEqual([]);
  });

  it('bind their time', () => {
    const [name, id] = [cosigners[0]!.name, cosigners[0]!.id];
    const signature = sign(seededKey(2), cosignedMessage(text, time));
    const withTime = (bytes: Uint8Array) =>
      signed + formatSignature({ name, id, signature: concat(bytes, signature) });
    expect(openTimes(withTime(encodeU64(time)))).toEqual([{ name, id, time }]);
    expect(codeOf(() => openTimes(withTime(encodeU64(time + 1))))).toBe('signature-invalid');
    // Times from 2^53 on, and a signature without time.
    expect(codeOf(() => openTimes(withTime(new Uint8Array(8).fill(0xff))))).toBe('signature-invalid');
    expect(codeOf(() => openTimes(withTime(Uint8Array.of(0, 32, 0, 0, 0, 0, 0, 0))))).toBe(
      'signature-invalid',
    );
    expect(codeOf(() => openTimes(withTime(new Uint8Array())))).toBe('signature-invalid');
    expect(codeOf(() => openTimes(withTime(concat(encodeU64(time), Uint8Array.of(0)))))).toBe(
      'signature-invalid',
    );
  });
});

describe('a signature in the place of another kind', () => {
  // The worst case: one key under one name in both roles.
  const cosigner = createCosigner(log.verifier.name, logKey);
  const cosignature = decodeBase64(cosigner.cosign(checkpoint, time).trimEnd().split(' ')[2]!)!.subarray(4);
  const logSignature = decodeBase64(signed.trimEnd().split(' ').at(-1)!)!.subarray(4);
  const name = log.verifier.name;

  it('is skipped as it stands: the id tells the types apart', () => {
    expect(codeOf(() => open(formatNote(text, [{ ...cosigner.verifier, signature: cosignature }])))).toBe(
      'note-unsigned',
    );
    expect(openTimes(signed, [cosigner.verifier])).toEqual([]);
  });

  it('is refused under the other id: a cosignature as a log signature', () => {
    for (const signature of [cosignature, cosignature.subarray(8)]) {
      const forged = formatNote(text, [{ name, id: log.verifier.id, signature }]);
      expect(codeOf(() => open(forged))).toBe('signature-invalid');
    }
    // The signed message itself as a note does open as a note, but is no checkpoint.
    const message = new TextDecoder().decode(cosignedMessage(text, time));
    const forged = formatNote(message, [{ name, id: log.verifier.id, signature: cosignature.subarray(8) }]);
    expect(openNote(forged, [log.verifier]).text).toBe(message);
    expect(codeOf(() => open(forged))).toBe('note-malformed');
  });

  it('is refused under the other id: a log signature as a cosignature', () => {
    for (const signature of [
      logSignature,
      concat(encodeU64(0), logSignature),
      concat(encodeU64(time), logSignature),
    ]) {
      const forged = formatNote(text, [{ name, id: cosigner.verifier.id, signature }]);
      expect(codeOf(() => openTimes(forged, [cosigner.verifier]))).toBe('signature-invalid');
    }
  });

  it('cannot be asked for with a key of the other kind', () => {
    expect(codeOf(() => openCheckpoint(note, cosigners[0]!))).toBe('key-malformed');
    expect(codeOf(() => openCosignatures(note, [log.verifier]))).toBe('key-malformed');
  });

  it('finds no help in a key with a colliding id', () => {
    const evil = createVerifier(name, LOG_KEY, createLogSigner('x', seededKey(66)).verifier.publicKey);
    const colliding = formatNote(text, [
      { name, id: log.verifier.id, signature: sign(seededKey(66), encodeUtf8(text)) },
    ]);
    expect(codeOf(() => open(colliding))).toBe('signature-invalid');
    expect(codeOf(() => openCheckpoint(colliding, evil))).toBe('note-unsigned');
    expect(evil.id).not.toBe(createVerifier(name, COSIGNER_KEY, evil.publicKey).id);
  });
});

describe('hostile changes', () => {
  const unchanged = (candidate: string | Uint8Array) => {
    expect(open(candidate)).toEqual(checkpoint);
    for (const found of openTimes(candidate)) expect(openTimes(note)).toContainEqual(found);
  };

  it('of any single bit give the same checkpoint or a refusal', () => {
    const bytes = encodeUtf8(note);
    const codes = new Set<string>();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      codes.add(codeOf(() => unchanged(flipped)));
    }
    expect([...codes].sort()).toEqual(['accepted', 'note-malformed', 'note-unsigned', 'signature-invalid']);
  });

  it('at random give the same checkpoint or a refusal', () => {
    const pieces = [...note.split('\n'), '\n', '\n\n', '0', '=', '— ', randomBytes(6).toString('base64')];
    const splice = fc.tuple(
      fc.nat(note.length),
      fc.nat(12),
      fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 4 })),
    );
    fc.assert(
      fc.property(fc.array(splice, { minLength: 1, maxLength: 3 }), (splices) => {
        const changed = splices.reduce(
          (whole, [at, cut, put]) => whole.slice(0, at) + put + whole.slice(at + cut),
          note,
        );
        try {
          unchanged(changed);
        } catch (error) {
          if (!(error instanceof QedError)) throw error;
          expect(error.kind).toBe('refused');
        }
      }),
      { numRuns: 3000 },
    );
  });
});
