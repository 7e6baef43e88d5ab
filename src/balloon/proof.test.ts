// Every step by which a proof can be altered, at every place of it: all are refused, with the code that the place calls for. Over logs of
// many sizes, with duplicates and with keys that share up to 255 bits.
import { alterations, ZEROS, type Alteration } from '../../testutils/alterations.ts';
import { seededRandom } from '../../testutils/random.ts';
import { digestBatches, digestNear, NATIVE, signedLog, type SignedLog } from '../../testutils/signed-log.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { QedError, type ErrorCode } from '../errors.ts';
import {
  formatIncremental,
  formatMembership,
  formatMembershipProof,
  formatSignedSnapshot,
  formatSnapshot,
  parseIncremental,
  parseMembership,
  parseMembershipProof,
  parseSignedSnapshot,
  parseSnapshot,
  type MembershipJson,
} from './proof.ts';
import { verifyIncremental, verifyMembership, verifySignedSnapshot } from './verify.ts';

const NOTE_CODES: readonly ErrorCode[] = ['note-malformed', 'note-unsigned', 'signature-invalid'];
const FORM: readonly How[] = ['odd', 'fields', 'spelling', 'type'];
type How = Alteration['how'];

/** The codes with which an alteration may be refused: usually one. */
function expectedCodes({ path, how, json }: Alteration, original: unknown): readonly ErrorCode[] {
  const [part = '', ...rest] = path.replace(/^signedSnapshot\./, '').split('.');
  if (part === 'checkpoint') return typeof at(json, path) === 'string' ? NOTE_CODES : ['proof-malformed'];
  // Null is a value of its own where a proof may have none: then it claims something that is false.
  const nulled = how === 'type' && at(json, path) === null && isNullable(path);
  if (FORM.includes(how) && !nulled) return ['proof-malformed'];
  if (how === 'fill') return ['proof-malformed', 'hyper-mismatch'];
  switch (part) {
    case 'snapshot':
    case 'audit':
      return ['snapshot-mismatch'];
    case 'eventDigest':
    case 'start':
    case 'end':
      return ['proof-question'];
    case 'hashes':
      return ['consistency-mismatch'];
    case 'exists':
      return ['proof-malformed'];
    case 'version':
      return nulled ? ['proof-malformed'] : ['hyper-mismatch'];
    case 'hyper':
      // A zero hash is spelled null.
      if (rest[0] === 'path' && JSON.stringify(json).includes(ZEROS)) return ['proof-malformed'];
      return pathLength(original) === 256 && how === 'list'
        ? ['proof-malformed', 'hyper-mismatch']
        : ['hyper-mismatch'];
    default:
      return nulled ? ['proof-malformed'] : ['history-mismatch'];
  }
}

function isNullable(path: string): boolean {
  return /^(?:version|entry|history|hyper\.leaf|hyper\.path\.\d+)$/.test(path);
}

function at(json: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => Reflect.get(Object(value) as object, name), json);
}

function pathLength(json: unknown): unknown {
  return at(json, 'hyper.path.length');
}

/** Alterations that were taken, or refused with another code than theirs. */
function surprises(json: unknown, verify: (json: unknown) => unknown): { wrong: string[]; count: number } {
  verify(json);
  const wrong: string[] = [];
  let count = 0;
  for (const altered of alterations(json)) {
    const code = codeOf(() => verify(altered.json));
    const expected = expectedCodes(altered, json);
    if (!expected.some((one) => one === code)) wrong.push(`${altered.path} ${altered.how}: ${code}`);
    count++;
  }
  return { wrong, count };
}

const random = seededRandom(2026);

/** Questions whose answers have every form: first and later ones, duplicates, empty places, places of others. */
function questions(digests: readonly Uint8Array[], count: number): Uint8Array[] {
  const asked = Array.from({ length: count }, () => random.pick(digests));
  const absent = [
    random.bytes(32),
    ...asked.map((digest) => digestNear(random, digest, random.below(random.chance(0.5) ? 10 : 256))),
  ];
  return [digests[0]!, digests.at(-1)!, ...asked, ...absent];
}

function attackMemberships(
  log: SignedLog,
  asked: readonly Uint8Array[],
): { wrong: string[]; kinds: string[] } {
  const kinds = new Set<string>();
  const wrong: string[] = [];
  for (const eventDigest of asked) {
    const membership = log.membership(eventDigest);
    kinds.add(kindOf(membership));
    const found = surprises(membership, (json) => verifyMembership(json, { eventDigest }, log.trust, NATIVE));
    wrong.push(...found.wrong.map((text) => `${kindOf(membership)} ${text}`));
    expect(found.count).toBeGreaterThan(500);
  }
  return { wrong, kinds: [...kinds].sort() };
}

function kindOf({ exists, hyper }: MembershipJson): string {
  if (exists) return 'present';
  return hyper.leaf === null ? 'absent, empty place' : 'absent, place of another';
}

describe('an altered proof is refused', () => {
  const shapes: number[][] = [[1], [2], [1, 1, 1], [3, 1], [1, 2, 5], [9, 8], [40, 1], [250, 6], [256, 1]];

  it.each(shapes.map((counts) => [counts.join(' + '), counts] as const))(
    'in a log of %s events',
    (_name, counts) => {
      const batches = digestBatches(random, counts);
      const log = signedLog(batches);
      const { wrong } = attackMemberships(log, questions(batches.flat(), 1));
      expect(wrong).toEqual([]);
      const ends = log.snapshots.map(({ version }) => version);
      for (const end of ends) {
        const signed = log.signedSnapshot(end);
        expect(surprises(signed, (json) => verifySignedSnapshot(json, log.trust, NATIVE)).wrong).toEqual([]);
        for (const start of ends.filter((version) => version <= end)) {
          const question = { start: snapshotAt(log, start), end: snapshotAt(log, end) };
          const proof = log.incremental(start, end);
          expect(surprises(proof, (json) => verifyIncremental(json, question, NATIVE)).wrong).toEqual([]);
        }
      }
    },
  );

  it('of every kind', () => {
    const batches = digestBatches(random, [30, 30]);
    const digests = batches.flat();
    const { wrong, kinds } = attackMemberships(signedLog(batches), questions(digests, 4));
    expect(wrong).toEqual([]);
    expect(kinds).toEqual(['absent, empty place', 'absent, place of another', 'present']);
  });

  it.each([255, 254, 200, 7])('where two keys share %d bits', (bits) => {
    const first = random.bytes(32);
    const second = digestNear(random, first, bits);
    const log = signedLog([[first], [second, random.bytes(32)]]);
    const third = digestNear(random, first, bits - 1);
    const { wrong, kinds } = attackMemberships(log, [second, third]);
    expect(wrong).toEqual([]);
    expect(kinds).toContain('present');
  });

  it('in a log of random growth, between any two snapshots', () => {
    const log = signedLog(digestBatches(random, [1, 1, 2, 3, 1, 5, 4, 1, 14, 1, 31, 1]));
    const ends = log.snapshots.map(({ version }) => version);
    for (const end of ends) {
      for (const start of ends.filter((version) => version <= end)) {
        const question = { start: snapshotAt(log, start), end: snapshotAt(log, end) };
        const proof = log.incremental(start, end);
        expect(surprises(proof, (json) => verifyIncremental(json, question, NATIVE)).wrong).toEqual([]);
      }
    }
  });
});

function snapshotAt(log: SignedLog, version: number) {
  const snapshot = log.snapshots.find((one) => one.version === version);
  if (snapshot === undefined) throw new Error(`no batch ends with version ${version}`);
  return snapshot;
}

describe('what is parsed', () => {
  const batches = digestBatches(seededRandom(5), [3, 9]);
  const log = signedLog(batches);
  const present = log.membership(batches[0]![0]!);
  const absent = log.membership(new Uint8Array(32));
  const { signedSnapshot: signed, ...proof } = present;
  const incremental = log.incremental(2, 11);

  it('comes back as it was', () => {
    for (const json of [present, absent]) expect(formatMembership(parseMembership(json))).toEqual(json);
    expect(formatMembershipProof(parseMembershipProof(proof))).toEqual(proof);
    expect(formatSignedSnapshot(parseSignedSnapshot(signed))).toEqual(signed);
    expect(formatSnapshot(parseSnapshot(signed.snapshot))).toEqual(signed.snapshot);
    expect(formatIncremental(parseIncremental(incremental))).toEqual(incremental);
  });

  it('also through a text, and from objects without a prototype', () => {
    expect(parseMembership(JSON.parse(JSON.stringify(present)))).toEqual(parseMembership(present));
    const bare = Object.assign(Object.create(null) as object, incremental);
    expect(parseIncremental(bare)).toEqual(parseIncremental(incremental));
  });

  const parsers: [string, (json: unknown) => unknown, unknown][] = [
    ['parseMembership', parseMembership, present],
    ['parseMembershipProof', parseMembershipProof, proof],
    ['parseSignedSnapshot', parseSignedSnapshot, signed],
    ['parseSnapshot', parseSnapshot, signed.snapshot],
    ['parseIncremental', parseIncremental, incremental],
  ];

  it.each(parsers)('%s takes altered values only where the form stays right', (_name, parse, good) => {
    for (const altered of alterations(good)) {
      const { how, path, json } = altered;
      const code = codeOf(() => parse(json));
      expect(['accepted', 'proof-malformed']).toContain(code);
      const isForm = FORM.includes(how) && !path.endsWith('checkpoint');
      const nulled = at(json, path) === null && isNullable(path);
      if (isForm && !nulled) expect(`${path} ${how} ${code}`).toBe(`${path} ${how} proof-malformed`);
    }
  });

  it.each(parsers)('%s takes no value of another form', (_name, parse, good) => {
    for (const [, other, form] of parsers) {
      expect(codeOf(() => other(good))).toBe(other === parse ? 'accepted' : 'proof-malformed');
      expect(codeOf(() => parse(form))).toBe(form === good ? 'accepted' : 'proof-malformed');
    }
  });

  it('is bounded', () => {
    const digest = encodeHex(new Uint8Array(32).fill(1));
    const long = (count: number): string[] => new Array<string>(count).fill(digest);
    const withPath = (path: unknown): unknown => ({ ...proof, hyper: { path, leaf: null } });
    expect(codeOf(() => parseMembershipProof(withPath(long(256))))).toBe('accepted');
    expect(codeOf(() => parseMembershipProof(withPath(long(257))))).toBe('proof-malformed');
    expect(codeOf(() => parseIncremental({ ...incremental, hashes: long(64) }))).toBe('accepted');
    expect(codeOf(() => parseIncremental({ ...incremental, hashes: long(65) }))).toBe('proof-malformed');
    expect(codeOf(() => parseSignedSnapshot({ ...signed, audit: long(65) }))).toBe('proof-malformed');
    const checkpoint = 'x'.repeat(1024 * 1024);
    expect(codeOf(() => parseSignedSnapshot({ ...signed, checkpoint }))).toBe('accepted');
    expect(codeOf(() => parseSignedSnapshot({ ...signed, checkpoint: `${checkpoint}x` }))).toBe(
      'proof-malformed',
    );
  });

  it('has one spelling: an empty sibling is null, never zeros', () => {
    const first = new Uint8Array(32).fill(0x80);
    const near = signedLog([[first, digestNear(seededRandom(1), first, 3)]]).membership(first);
    const path = near.hyper.path.map((hash) => hash ?? ZEROS);
    expect(path).toContain(ZEROS);
    const zeros = { ...near, hyper: { ...near.hyper, path } };
    expect(codeOf(() => parseMembership(near))).toBe('accepted');
    expect(codeOf(() => parseMembership(zeros))).toBe('proof-malformed');
  });

  it('is read once, whatever an object does when it is read', () => {
    function* endless(): Generator<string> {
      for (;;) yield encodeHex(new Uint8Array(32));
    }
    const hashes = Object.assign([...incremental.hashes], { [Symbol.iterator]: endless });
    expect(parseIncremental({ ...incremental, hashes })).toEqual(parseIncremental(incremental));
    let reads = 0;
    const growing = new Proxy([...incremental.hashes], {
      get: (list, name): unknown => (name === 'length' ? (reads++ === 0 ? 1 : 1e9) : Reflect.get(list, name)),
    });
    expect(codeOf(() => parseIncremental({ ...incremental, hashes: growing }))).toBe('accepted');
    const throwing = Object.defineProperty({ ...incremental }, 'hashes', {
      enumerable: true,
      get: () => {
        throw new QedError('bug', 'not a refusal');
      },
    });
    expect(codeOf(() => parseIncremental(throwing))).toBe('proof-malformed');
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    expect(codeOf(() => parseIncremental(proxy))).toBe('proof-malformed');
    expect(codeOf(() => parseIncremental({ ...incremental, hashes: proxy }))).toBe('proof-malformed');
  });
});
