// Saved proofs, in JSON and as C2SP tlog-proof: what was saved is accepted again, and nothing else is.
import { thresholdPolicy } from '../crypto/policy.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { logTransport, digestOf } from '../../testutils/log-transport.ts';
import { seededRandom } from '../../testutils/random.ts';
import { NATIVE, witness } from '../../testutils/signed-log.ts';
import { createClient } from './client.ts';
import {
  formatIncrementalBundle,
  formatMembershipBundle,
  formatSnapshotBundle,
  verifyBundle,
  vkeyRemark,
} from './bundle.ts';
import { formatTlogProof, parseTlogProof, tlogProofOf, verifyTlogProof } from './tlog-proof.ts';

const log = logTransport();
for (let i = 0; i < 9; i++) log.log(`event ${i}`);
const { trust, vkey } = log;
const client = createClient({
  endpoints: ['http://log.example'],
  trust,
  primitives: NATIVE,
  transport: log.transport,
});
const stranger = logTransport({ seed: 2 }).trust;

/** What a reader of the file gets: JSON and nothing more. */
const saved = (bundle: unknown): unknown => JSON.parse(JSON.stringify(bundle));

describe('a saved proof', () => {
  it('is checked again without the log', async () => {
    const there = saved(formatMembershipBundle(await client.membership({ event: 'event 3' }), vkey));
    expect(verifyBundle(there, {}, trust, NATIVE)).toMatchObject({
      exists: true,
      version: 3,
      versionAsked: 8,
    });
    expect(verifyBundle(there, { eventDigest: digestOf('event 3'), version: 2 }, trust)).toMatchObject({
      exists: false,
    });
    const absent = saved(formatMembershipBundle(await client.membership({ event: 'no' }), vkey));
    expect(verifyBundle(absent, {}, trust, NATIVE)).toMatchObject({ exists: false, version: null });
    const grown = saved(formatIncrementalBundle(await client.incremental(2, 7), vkey));
    const increment = verifyBundle(grown, {}, trust, NATIVE);
    expect(increment).toMatchObject({
      start: { snapshot: { version: 2 } },
      end: { snapshot: { version: 7 } },
    });
    const state = saved(formatSnapshotBundle(await client.snapshot(4), vkey));
    expect(verifyBundle(state, {}, trust, NATIVE)).toMatchObject({ snapshot: { version: 4 } });
    expect(vkeyRemark(state)).toBe(vkey);
  });

  it('is refused for another question, another log, or when it was edited', async () => {
    const text = JSON.stringify(formatMembershipBundle(await client.membership({ event: 'event 3' }), vkey));
    const edit = (from: string | RegExp, to: string): unknown => JSON.parse(text.replace(from, to));
    const there: unknown = JSON.parse(text);
    const cases: [unknown, Parameters<typeof verifyBundle>[1], typeof trust, string][] = [
      [there, { eventDigest: digestOf('event 4') }, trust, 'proof-question'],
      [there, { version: 9 }, trust, 'proof-question'],
      [there, {}, stranger, 'note-unsigned'],
      [edit('qed-proof/v1', 'qed-proof/v2'), {}, trust, 'proof-malformed'],
      [edit('"membership"', '"snapshot"'), {}, trust, 'proof-malformed'],
      [edit('"membership"', '"toString"'), {}, trust, 'proof-malformed'],
      [edit('"exists":true', '"exists":false'), {}, trust, 'proof-malformed'],
      [edit(/"version":8\}/, '"version":-1}'), {}, trust, 'proof-malformed'],
      [edit(/"historyDigest":"../, '"historyDigest":"00'), {}, trust, 'snapshot-mismatch'],
      [null, {}, trust, 'proof-malformed'],
      [[], {}, trust, 'proof-malformed'],
    ];
    for (const [bundle, asked, log, code] of cases) {
      expect(codeOf(() => verifyBundle(bundle, asked, log, NATIVE))).toBe(code);
    }
  });

  it('is refused when an increment is put together from two proofs', async () => {
    const one = saved(formatIncrementalBundle(await client.incremental(2, 7), vkey)) as object;
    const two = saved(formatIncrementalBundle(await client.incremental(3, 7), vkey)) as { start: unknown };
    expect(codeOf(() => verifyBundle({ ...one, start: two.start }, {}, trust, NATIVE))).toBe(
      'proof-question',
    );
  });
});

describe('a tlog-proof', () => {
  const eventDigest = digestOf('event 5');
  const proofText = async (): Promise<string> =>
    formatTlogProof(tlogProofOf(await client.membership({ eventDigest }))!);

  it('has the form of the standard and is checked again', async () => {
    const text = await proofText();
    expect(text).toMatch(
      /^c2sp\.org\/tlog-proof@v1\nextra [A-Za-z0-9+/]{54}==\nindex 5\n(?:[A-Za-z0-9+/]{43}=\n){4}\nexample\.org\/log\n9\n/,
    );
    expect(formatTlogProof(parseTlogProof(text))).toBe(text);
    expect(verifyTlogProof(text, eventDigest, trust, NATIVE)).toMatchObject({ version: 5, size: 9 });
    expect(verifyTlogProof(text, eventDigest, trust)).toMatchObject({ version: 5, size: 9 });
  });

  it('does not exist for an absence', async () => {
    expect(tlogProofOf(await client.membership({ event: 'no' }))).toBeUndefined();
  });

  it('is refused for another event, another log, and too few cosigners', async () => {
    const text = await proofText();
    expect(codeOf(() => verifyTlogProof(text, digestOf('event 6'), trust, NATIVE))).toBe('history-mismatch');
    expect(codeOf(() => verifyTlogProof(text, eventDigest, stranger, NATIVE))).toBe('note-unsigned');
    const wanting = { ...trust, policy: thresholdPolicy([witness(3).verifier], 1) };
    expect(codeOf(() => verifyTlogProof(text, eventDigest, wanting, NATIVE))).toBe('cosignatures-missing');
    expect(codeOf(() => verifyTlogProof(text, new Uint8Array(31), trust))).toBe('digest-malformed');
  });

  it('is refused with any one character changed, dropped or added', async () => {
    const text = await proofText();
    const seed = 20_261_120;
    const random = seededRandom(seed);
    const accepted: string[] = [];
    for (let at = 0; at < text.length; at++) {
      const other = random.pick(Array.from('0aZ+/= \n—').filter((character) => character !== text[at]));
      for (const altered of [
        text.slice(0, at) + other + text.slice(at + 1),
        text.slice(0, at) + text.slice(at + 1),
        text.slice(0, at) + other + text.slice(at),
      ]) {
        if (altered === text) continue;
        const code = codeOf(() => verifyTlogProof(altered, eventDigest, trust, NATIVE));
        if (code === 'accepted') accepted.push(`seed ${seed}, at ${at}: ${JSON.stringify(altered)}`);
      }
    }
    expect(accepted).toEqual([]);
  });
});
