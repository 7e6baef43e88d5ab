import fc from 'fast-check';
import { codeOf } from '../../testutils/code-of.ts';
import { QedError } from '../errors.ts';
import { nativeVerify, privateKeyFromSeed, publicKeyOf, sign } from './ed25519-node.ts';
import { concat, encodeBase64, encodeUtf8 } from './encoding.ts';
import { addSignatures, formatNote, formatSignature, NOTE_BYTES_MAX, openNote } from './note.ts';
import {
  COSIGNER_KEY,
  createVerifier,
  formatVkey,
  idBytes,
  LOG_KEY,
  parseVkey,
  type Verifier,
} from './vkey.ts';

function testKey(name: string, seed: number) {
  const privateKey = privateKeyFromSeed(new Uint8Array(32).fill(seed));
  const verifier = createVerifier(name, LOG_KEY, publicKeyOf(privateKey));
  const signText = (text: string) => ({ ...verifier, signature: sign(privateKey, encodeUtf8(text)) });
  return { verifier, line: (text: string) => formatSignature(signText(text)), signText };
}

const alice = testKey('example.org/alice', 1);
const bob = testKey('example.org/bob', 2);
const eve = testKey('example.org/eve', 3);
const text = 'A note.\n\nOf two paragraphs.\n';
const note = `${text}\n${alice.line(text)}${eve.line(text)}${bob.line(text)}`;
const trusted = [alice.verifier, bob.verifier];

const open = (candidate: string | Uint8Array, verifiers: readonly Verifier[] = trusted) =>
  openNote(candidate, verifiers, nativeVerify);
const code = (candidate: string | Uint8Array, verifiers?: readonly Verifier[]) =>
  codeOf(() => open(candidate, verifiers));

// The example of golang.org/x/mod/sumdb/note, on which the standard is built.
const neumannVkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const neumannText =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const neumannLine =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';

describe('published notes', () => {
  it.each([
    ['sumdb/note', neumannVkey, neumannText, neumannLine],
    [
      'signed-note',
      'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k',
      'This is an example message.\n',
      '— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n',
    ],
    [
      'sum.golang.org',
      'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8',
      'go.sum database tree\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n',
      '— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n',
    ],
  ])('opens the one of %s', (_source, vkey, published, line) => {
    const verifier = parseVkey(vkey);
    expect(formatVkey(verifier)).toBe(vkey);
    for (const whole of [`${published}\n${line}`, encodeUtf8(`${published}\n${line}`)]) {
      const opened = openNote(whole, [verifier]);
      expect(opened.text).toBe(published);
      expect(formatNote(opened.text, opened.signatures)).toBe(`${published}\n${line}`);
    }
    expect(codeOf(() => openNote(`${published.replace('a', 'b')}\n${line}`, [verifier]))).toBe(
      'signature-invalid',
    );
  });

  it.each([
    ['no signatures', neumannText],
    ['an empty line and nothing', `${neumannText}\n`],
    ['a last line without newline', `${neumannText}\n${neumannLine.slice(0, -1)}`],
    ['a control character', `\u0001${neumannText}\n${neumannLine}`],
    ['not UTF-8', concat(Uint8Array.of(0xff), encodeUtf8(`${neumannText}\n${neumannLine}`))],
    ['a name with a space', `${neumannText}\n${neumannLine.replace('PeterNeumann', 'Bad Name')}`],
    ['a line after the signatures', `${neumannText}\n${neumannLine}Unexpected line.\n`],
  ])('refuses what the reference refuses: %s', (_name, bad) => {
    expect(codeOf(() => openNote(bad, [parseVkey(neumannVkey)]))).toBe('note-malformed');
  });
});

describe('opening', () => {
  it('gives the text and the good signatures in the order of their lines', () => {
    const opened = open(note);
    expect(opened.text).toBe(text);
    expect(opened.signatures.map(({ name }) => name)).toEqual(['example.org/alice', 'example.org/bob']);
    expect(open(note, [bob.verifier]).signatures.map(({ name }) => name)).toEqual(['example.org/bob']);
    expect(openNote(note, trusted)).toEqual(opened);
  });

  it('says so when nobody trusted has signed', () => {
    expect(code(note, [])).toBe('note-unsigned');
    expect(code(note, [testKey('example.org/dora', 4).verifier])).toBe('note-unsigned');
    expect(code(`${text}\n${eve.line(text)}`)).toBe('note-unsigned');
    expect(code(`${text}\n${eve.line(text).repeat(100)}`)).toBe('note-unsigned');
  });

  it('skips the name of a known key with another id, and the id with another name', () => {
    const namesake = testKey('example.org/alice', 9);
    expect(code(`${text}\n${namesake.line(text)}`)).toBe('note-unsigned');
    expect(code(`${text}\n${namesake.line(text)}${bob.line(text)}`)).toBe('accepted');
    const otherName = formatSignature({ ...alice.signText(text), name: 'example.org/alicf' });
    expect(code(`${text}\n${otherName}`)).toBe('note-unsigned');
  });

  it('skips names that are odd but allowed', () => {
    const odd = ['\u007f', '\ufeff', '🌲', 'n'.repeat(5000)].map((name) =>
      formatSignature({ ...eve.signText(text), name }),
    );
    expect(code(`${text}\n${odd.join('')}${bob.line(text)}`)).toBe('accepted');
  });

  it('refuses a known name and id with the signature of another key', () => {
    const collision = formatSignature({
      ...eve.signText(text),
      name: alice.verifier.name,
      id: alice.verifier.id,
    });
    for (const lines of [
      collision,
      collision + bob.line(text),
      bob.line(text) + collision,
      alice.line(text) + collision,
    ]) {
      expect(code(`${text}\n${lines}`)).toBe('signature-invalid');
    }
  });

  it('wants every line of a known key right, also the second of one key', () => {
    expect(open(`${text}\n${alice.line(text)}${alice.line(text)}`).text).toBe(text);
    expect(code(`${text}\n${alice.line(text)}${alice.line('else\n')}`)).toBe('signature-invalid');
    expect(code(`${text}\n${alice.line('else\n')}${alice.line(text)}`)).toBe('signature-invalid');
  });

  it('takes 100 signatures and refuses 101', () => {
    expect(code(`${text}\n${alice.line(text)}${eve.line(text).repeat(99)}`)).toBe('accepted');
    expect(code(`${text}\n${alice.line(text)}${eve.line(text).repeat(100)}`)).toBe('note-malformed');
    expect(code(`${text}\n${'\n'.repeat(101)}`)).toBe('note-malformed');
  });

  it('takes a note of 1 MiB and refuses one more byte', () => {
    const rest = encodeUtf8(`\n\n${alice.line(text)}`).length;
    const sized = (bytes: number) => {
      const long = `${'x'.repeat(bytes - rest)}\n`;
      return `${long}\n${alice.line(long)}`;
    };
    expect(encodeUtf8(sized(NOTE_BYTES_MAX))).toHaveLength(NOTE_BYTES_MAX);
    expect(code(sized(NOTE_BYTES_MAX))).toBe('accepted');
    expect(code(sized(NOTE_BYTES_MAX + 1))).toBe('note-malformed');
    expect(code(encodeUtf8(sized(NOTE_BYTES_MAX + 1)))).toBe('note-malformed');
    // Few UTF-16 units, many bytes.
    expect(code(`${'—'.repeat(NOTE_BYTES_MAX / 2)}\n\n${alice.line(text)}`)).toBe('note-malformed');
    expect(code('\n'.repeat(NOTE_BYTES_MAX * 2))).toBe('note-malformed');
  });

  it.each([
    null,
    undefined,
    1,
    {},
    { length: 1 },
    ['a'],
    Symbol('note'),
    new Uint16Array(4),
    new ArrayBuffer(4),
  ])('refuses what is neither text nor bytes: %p', (value) => {
    // What the compiler would refuse still comes, from callers in JavaScript.
    expect(code(value as unknown as string)).toBe('note-malformed');
    expect(codeOf(() => parseVkey(value as unknown as string))).toBe('key-malformed');
  });

  it('refuses one key listed twice, which would count for two', () => {
    expect(code(note, [alice.verifier, bob.verifier, alice.verifier])).toBe('key-malformed');
  });
});

describe('attacks on the form', () => {
  const line = alice.line(text);
  const base64 = line.split(' ')[2]!.trimEnd();
  const withBase64 = (other: string) => `${text}\n— ${alice.verifier.name} ${other}\n`;

  it.each([
    ['nothing', ''],
    ['a newline', '\n'],
    ['two newlines', '\n\n'],
    ['signatures alone', line],
    ['an empty text', `\n${line}`],
    ['no empty line', `${text}${line}`.replace('\n\n', '\n')],
    ['a text that goes on after the signatures', `${note}more\n`],
    ['an empty line at the end', `${note}\n`],
    ['an empty line between signatures, one unsigned', `${text}\n${line}\nx\n`],
    ['another character for the last newline', `${note.slice(0, -1)}x`],
    ['CRLF', note.replaceAll('\n', '\r\n')],
    ['CRLF at one line', note.replace('\n', '\r\n')],
    ['a carriage return at the end', `${note.slice(0, -1)}\r\n`],
    ['a tab', note.replace(' ', '\t')],
    ['a NUL', note.replace('A', '\0')],
    ['a lone surrogate in the text', note.replace('A', '\ud800')],
    ['a lone surrogate in a name', note.replace('eve', '\udfff')],
    ['a hyphen', note.replaceAll('—', '-')],
    ['an en dash', note.replaceAll('—', '–')],
    ['no dash', note.replaceAll('— ', '')],
    ['two spaces before the name', note.replace('— ', '—  ')],
    ['two spaces after the name', note.replace('alice ', 'alice  ')],
    ['a space at the end of a line', note.replace('=\n', '= \n')],
    ['a no-break space in a name', note.replace('example.org/eve', 'example.org/\u00a0eve')],
    ['an ideographic space in a name', note.replace('example.org/eve', 'example.org/\u3000eve')],
    ['a plus in a name', note.replace('example.org/eve', 'example.org/e+e')],
    ['an empty name', note.replace('example.org/eve', '')],
    ['base64 without padding', withBase64(base64.replace(/=+$/, ''))],
    ['base64 with more padding', withBase64(`${base64}=`)],
    ['base64 with four more padding', withBase64(`${base64}====`)],
    ['base64url', withBase64(base64.replaceAll('+', '-').replaceAll('/', '_'))],
    ['base64 with a trailing bit', withBase64(base64.replace(/.=$/, 'B='))],
    ['base64 with a space', withBase64(`${base64.slice(0, 8)} ${base64.slice(8)}`)],
    ['no base64', withBase64('')],
    ['a key id and nothing', withBase64(encodeBase64(idBytes(alice.verifier.id)))],
    ['half a key id', withBase64('AAA=')],
  ])('refuses %s', (_name, bad) => {
    expect(code(bad)).toBe('note-malformed');
    if (!/[\ud800-\udfff]/.test(bad)) expect(code(encodeUtf8(bad))).toBe('note-malformed');
  });

  it.each([
    ['one byte short', (signature: Uint8Array) => signature.subarray(1)],
    ['one byte long', (signature: Uint8Array) => concat(signature, Uint8Array.of(0))],
    ['with a time before it', (signature: Uint8Array) => concat(new Uint8Array(8), signature)],
    ['one byte', (signature: Uint8Array) => signature.subarray(0, 1)],
  ])('refuses a signature %s', (_name, change) => {
    const signed = alice.signText(text);
    expect(code(`${text}\n${formatSignature({ ...signed, signature: change(signed.signature) })}`)).toBe(
      'signature-invalid',
    );
  });

  it('ends the text at the last empty line, so that nobody can append to it', () => {
    const appended = `${note}\nforged\n\n${alice.line(text)}`;
    expect(code(appended)).toBe('signature-invalid');
    const own = testKey('example.org/mallory', 8);
    expect(code(`${note}\nforged\n\n${own.line('forged\n')}`)).toBe('note-unsigned');
  });

  it('does not take a byte order mark for nothing', () => {
    expect(code(`\ufeff${note}`)).toBe('signature-invalid');
    expect(code(encodeUtf8(`\ufeff${note}`))).toBe('signature-invalid');
  });

  it('does not open to another text when any bit is flipped', () => {
    const bytes = encodeUtf8(note);
    const seen: Record<string, number> = {};
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const answer = codeOf(() => expect(open(flipped).text).toBe(text));
      seen[answer] = (seen[answer] ?? 0) + 1;
    }
    expect(Object.keys(seen).sort()).toEqual(['accepted', 'note-malformed', 'signature-invalid']);
  });

  it('does not open to another text when lines are dropped, doubled or swapped', () => {
    const lines = note.split('\n');
    const variants = lines.flatMap((one, at) => [
      lines.toSpliced(at, 1),
      lines.toSpliced(at, 0, one),
      lines.toSpliced(at, 0, ''),
      ...lines.map((other, to) => lines.with(at, other).with(to, one)),
    ]);
    for (const variant of variants) {
      const answer = codeOf(() => expect(open(variant.join('\n')).text).toBe(text));
      expect(['accepted', 'note-malformed', 'signature-invalid', 'note-unsigned']).toContain(answer);
    }
  });

  it('answers random changes with the same text or a refusal', () => {
    const splice = fc.record({
      at: fc.nat(note.length),
      remove: fc.nat(20),
      insert: fc.oneof(
        fc.string({ unit: 'binary', maxLength: 10 }),
        fc.constantFrom('\n', '\n\n', '— ', '=', '+', ' ', '\ud800', line, text, note),
      ),
    });
    fc.assert(
      fc.property(fc.array(splice, { minLength: 1, maxLength: 4 }), fc.boolean(), (splices, asBytes) => {
        const changed = splices.reduce(
          (whole, { at, remove, insert }) => whole.slice(0, at) + insert + whole.slice(at + remove),
          note,
        );
        try {
          expect(open(asBytes ? encodeUtf8(changed) : changed).text).toBe(text);
        } catch (error) {
          if (!(error instanceof QedError)) throw error;
          expect(error.kind).toBe('refused');
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('answers random bytes with a refusal', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(['note-malformed', 'note-unsigned']).toContain(code(bytes));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('writing', () => {
  it('writes what it opens', () => {
    expect(formatNote(text, [alice.signText(text), eve.signText(text), bob.signText(text)])).toBe(note);
  });

  it.each([
    ['no signature', text, []],
    ['a text without its newline', 'text', [alice.signText('text')]],
    ['an empty text', '', [alice.signText('')]],
    ['a control character', 'a\rb\n', [alice.signText('a\rb\n')]],
    ['a lone surrogate', '\ud800\n', [alice.signText('\ud800\n')]],
    ['a bad name', text, [{ ...alice.signText(text), name: 'a b' }]],
    ['an empty signature', text, [{ ...alice.signText(text), signature: new Uint8Array() }]],
    ['101 signatures', text, Array.from({ length: 101 }, () => alice.signText(text))],
  ])('does not write %s', (_name, bad, signatures) => {
    expect(codeOf(() => formatNote(bad, signatures))).toBe('note-malformed');
  });

  it('adds signatures, and replaces those of the same key', () => {
    const one = `${text}\n${alice.line('old\n')}${eve.line(text)}`;
    expect(addSignatures(one, bob.line(text) + alice.line(text))).toBe(
      `${text}\n${alice.line(text)}${eve.line(text)}${bob.line(text)}`,
    );
    expect(addSignatures(note, alice.line(text))).toBe(note);
  });

  it.each([
    ['nothing', ''],
    ['no newline', bob.line(text).slice(0, -1)],
    ['an empty line', `\n${bob.line(text)}`],
    ['more text', `\nforged\n\n${bob.line(text)}`],
    ['a note', note],
    ['101 lines', eve.line(text).repeat(101)],
  ])('does not add %s', (_name, lines) => {
    expect(codeOf(() => addSignatures(note, lines))).toBe('note-malformed');
  });

  it('does not grow a note beyond 100 signatures', () => {
    const lines = Array.from({ length: 98 }, (_, at) =>
      formatSignature({ ...eve.signText(text), id: at }),
    ).join('');
    expect(codeOf(() => addSignatures(note, lines))).toBe('note-malformed');
  });
});

describe('vkeys', () => {
  const vkey = alice.verifier;
  const good = formatVkey(vkey);
  const withKey = (bytes: Uint8Array) => `${vkey.name}+${good.split('+')[1]!}+${encodeBase64(bytes)}`;
  const typed = concat(Uint8Array.of(LOG_KEY), vkey.publicKey);

  it('come back as they were, of both types', () => {
    expect(parseVkey(good)).toEqual(vkey);
    const cosigner = createVerifier(vkey.name, COSIGNER_KEY, vkey.publicKey);
    expect(cosigner.id).not.toBe(vkey.id);
    expect(parseVkey(formatVkey(cosigner))).toEqual(cosigner);
    expect(parseVkey('remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2').type).toBe(
      COSIGNER_KEY,
    );
  });

  it.each([
    ['nothing', '', 'key-malformed'],
    ['two parts', 'a+00000000', 'key-malformed'],
    ['a newline at the end', `${good}\n`, 'key-malformed'],
    ['a space before', ` ${good}`, 'name-malformed'],
    ['no name', good.replace(vkey.name, ''), 'name-malformed'],
    ['a name with a space', good.replace('alice', 'a ice'), 'name-malformed'],
    ['a name with a newline', good.replace('alice', 'a\nice'), 'name-malformed'],
    ['a name with a DEL', good.replace('alice', 'a\u007fice'), 'name-malformed'],
    ['a long name', good.replace('alice', 'a'.repeat(300)), 'name-malformed'],
    ['another name', good.replace('alice', 'alicf'), 'key-malformed'],
    ['another id', good.replace(/\+[0-9a-f]{8}\+/, '+00000000+'), 'key-malformed'],
    [
      'an id in capitals',
      'PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
      'key-malformed',
    ],
    ['a short id', 'PeterNeumann+c74f20a+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', 'key-malformed'],
    ['no key', withKey(new Uint8Array()), 'key-malformed'],
    ['a type and no key', withKey(Uint8Array.of(1)), 'key-malformed'],
    ['a short key', withKey(typed.subarray(0, 32)), 'key-malformed'],
    ['a long key', withKey(concat(typed, Uint8Array.of(0))), 'key-malformed'],
    ['another known type', withKey(concat(Uint8Array.of(COSIGNER_KEY), vkey.publicKey)), 'key-malformed'],
    ['an unknown type', withKey(concat(Uint8Array.of(2), vkey.publicKey)), 'key-malformed'],
    ['no base64', `${vkey.name}+00000000+!!!!`, 'key-malformed'],
    ['base64url', 'sum.golang.org+033de0ae+Ac4zctda0e5eza-HJyk9SxEdh-s3Ux18htTTAD8OuAn8', 'key-malformed'],
    ['the zero key', withKey(concat(Uint8Array.of(1), new Uint8Array(32))), 'key-weak'],
    ['the identity', withKey(concat(Uint8Array.of(1, 1), new Uint8Array(31))), 'key-weak'],
    [
      'wrong length, right id',
      'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==',
      'key-malformed',
    ],
    [
      'unknown type, right id',
      'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
      'key-malformed',
    ],
  ])('with %s are refused', (_name, bad, expected) => {
    expect(codeOf(() => parseVkey(bad))).toBe(expected);
  });
});
