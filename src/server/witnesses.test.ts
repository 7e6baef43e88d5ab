// The client's side of tlog-witness, against witnesses that keep to the protocol (a small one, written from it) and against ones that do not.
import { codeOf, codeOfPromise } from '../../testutils/code-of.ts';
import { NATIVE, witness as cosignerOf } from '../../testutils/signed-log.ts';
import { logOf } from '../../testutils/stub-log.ts';
import { parseIncremental, parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { openCheckpoint, openCosignatures } from '../crypto/checkpoint.ts';
import { decodeBase64, decodeUtf8, encodeUtf8 } from '../crypto/encoding.ts';
import { parsePolicy, thresholdPolicy } from '../crypto/policy.ts';
import { checkConsistency } from '../history/check.ts';
import { withLines } from './cosigning.ts';
import { checkWitnessPolicy, createWitnesses, type WitnessesOptions } from './witnesses.ts';

const log = logOf(12);
const { log: verifier } = log.trust;
const [one, two, three] = [cosignerOf(31), cosignerOf(32), cosignerOf(33)] as const;
const signed = (version: number): SignedSnapshot => parseSignedSnapshot(log.signedSnapshot(version));

type Answer = { readonly status: number; readonly text: string };

interface Place {
  readonly asked: string[];
  size: number;
  readonly answer: (body: string) => Promise<Answer>;
}

/** What the protocol asks of a witness, as plainly as it can be written. */
function honest(cosigner: ReturnType<typeof cosignerOf>): Place {
  let root = new Uint8Array(0);
  const place: Place = {
    asked: [],
    size: 0,
    answer(body) {
      const [head, note] = [body.slice(0, body.indexOf('\n\n') + 1), body.slice(body.indexOf('\n\n') + 2)];
      const [old, ...proof] = head.split('\n').slice(0, -1);
      place.asked.push(old!);
      const checkpoint = openCheckpoint(note, verifier, NATIVE.verify);
      if (old !== `old ${place.size}`) return Promise.resolve({ status: 409, text: `${place.size}\n` });
      const hashes = proof.map((line) => decodeBase64(line)!);
      const holds =
        place.size === 0
          ? hashes.length === 0
          : checkConsistency(NATIVE.hash, place.size, root, checkpoint.size, checkpoint.root, hashes);
      if (!holds) return Promise.resolve({ status: 422, text: 'no' });
      [place.size, root] = [checkpoint.size, new Uint8Array(checkpoint.root)];
      return Promise.resolve({ status: 200, text: cosigner.cosign(checkpoint, 1_700_000_000) });
    },
  };
  return place;
}

const policyText = `witness W1 ${one.vkey} http://one.example/w/
witness W2 ${two.vkey} http://two.example
witness W3 ${three.vkey} http://three.example
group G 2 W1 W2 W3
quorum G
`;

interface World {
  readonly places: ReadonlyMap<string | undefined, Place['answer']>;
  readonly told: string[];
  time: number;
}

function worldOf(...answers: Place['answer'][]): World {
  const hosts = ['one.example', 'two.example', 'three.example'];
  return { places: new Map(answers.map((answer, at) => [hosts[at], answer])), told: [], time: 0 };
}

function open(at: World, options: Partial<WitnessesOptions> = {}) {
  return createWitnesses({
    policy: parsePolicy(policyText),
    async post(url, body, signal) {
      const { hostname, pathname } = new URL(url);
      expect(pathname).toBe(hostname === 'one.example' ? '/w/add-checkpoint' : '/add-checkpoint');
      const gone = new Promise<Answer>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error)),
      );
      const answering = at.places.get(hostname)?.(decodeUtf8(body)!) ?? Promise.reject(new Error('refused'));
      const { status, text } = await Promise.race([answering, gone]);
      return { status, bytes: encodeUtf8(text) };
    },
    incremental: (start, end) => parseIncremental(log.incremental(start, end)),
    isOpen: false,
    onAnswer: (name, outcome) => at.told.push(`${name.slice(-1)} ${outcome}`),
    onQuorum: (outcome) => at.told.push(outcome),
    onTrouble: (name, error) => at.told.push(`${name.slice(-1)} trouble ${error.code}`),
    now: () => at.time,
    jitter: () => 1,
    waitMs: 500,
    ...options,
  });
}

const namesIn = (version: number, lines: string): string[] =>
  openCosignatures(
    withLines(signed(version), lines).checkpoint,
    [one, two, three].map((cosigner) => cosigner.verifier),
    NATIVE.verify,
  )
    .map(({ name }) => name.slice(-1))
    .sort();

const silent: Place['answer'] = () => new Promise(() => undefined);
const down: Place['answer'] = () => Promise.reject(new Error('down'));
const saying =
  (status: number, text: string): Place['answer'] =>
  () =>
    Promise.resolve({ status, text });

it('brings cosignatures of a quorum, from size to size', async () => {
  const places = [honest(one), honest(two)];
  const at = worldOf(places[0]!.answer, places[1]!.answer, silent);
  const witnesses = open(at);
  for (const version of [2, 3, 3, 9])
    expect(namesIn(version, await witnesses.ask(signed(version), ''))).toEqual(['1', '2']);
  expect(places[0]!.asked).toEqual(['old 0', 'old 3', 'old 4', 'old 4']);
  expect(at.told.filter((word) => word === 'reached')).toHaveLength(4);
});

it('catches up with what a witness has cosigned before, also by another leader', async () => {
  const places = [honest(one), honest(two)];
  const at = worldOf(places[0]!.answer, places[1]!.answer);
  await open(at).ask(signed(4), '');
  const later = open(at);
  expect(namesIn(7, await later.ask(signed(7), ''))).toEqual(['1', '2']);
  expect(places[0]!.asked).toEqual(['old 0', 'old 0', 'old 5']);
  await open(at).ask(signed(9), '');
  expect(namesIn(11, await later.ask(signed(11), ''))).toEqual(['1', '2']);
  expect(places[0]!.asked.slice(-2)).toEqual(['old 8', 'old 10']);
});

it('counts what the snapshot carries already', async () => {
  const at = worldOf(honest(one).answer, silent, silent);
  const carried = two.cosign({ origin: verifier.name, size: 4, root: signed(3).snapshot.historyDigest }, 7);
  expect(namesIn(3, await open(at).ask(signed(3), carried))).toEqual(['1', '2']);
});

it('publishes nothing without a quorum, unless that is what the operator wants', async () => {
  const at = worldOf(honest(one).answer, silent, down);
  expect(await codeOfPromise(open(at).ask(signed(3), ''))).toBe('cosignatures-missing');
  expect(at.told).toContain('missed');
  expect(namesIn(4, await open(at, { isOpen: true }).ask(signed(4), ''))).toEqual(['1']);
});

it('leaves a witness alone that does not answer, longer each time, and takes it back', async () => {
  const place = honest(three);
  let isUp = false;
  let asked = 0;
  const at = worldOf(honest(one).answer, honest(two).answer, (body) => {
    asked += 1;
    return isUp ? place.answer(body) : Promise.reject(new Error('down'));
  });
  const witnesses = open(at, { policy: thresholdAll() });
  const times: number[] = [];
  for (at.time = 0; at.time <= 20_000; at.time += 500) {
    const before = asked;
    await witnesses.ask(signed(3), '').catch(() => undefined);
    if (asked > before) times.push(at.time);
  }
  expect(times).toEqual([0, 1000, 3000, 7000, 15_000]);
  expect(at.told.filter((word) => word === '3 trouble unreachable')).toHaveLength(1);
  isUp = true;
  at.time = 40_000;
  expect(namesIn(3, await witnesses.ask(signed(3), ''))).toEqual(['1', '2', '3']);
});

function thresholdAll() {
  return parsePolicy(policyText.replace('group G 2', 'group G all'));
}

describe('what a witness answers', () => {
  const other = one.cosign({ origin: verifier.name, size: 3, root: new Uint8Array(32) }, 1);
  const foreign = three.cosign({ origin: verifier.name, size: 4, root: signed(3).snapshot.historyDigest }, 1);
  it.each<[string, Place['answer'], string]>([
    ['nothing', saying(200, ''), 'signature-invalid'],
    ['no signature line', saying(200, 'thanks\n'), 'signature-invalid'],
    ['a cosignature of another checkpoint', saying(200, other), 'signature-invalid'],
    ["another witness's cosignature", saying(200, foreign), 'signature-invalid'],
    ['a hundred and one lines', saying(200, foreign.repeat(101)), 'signature-invalid'],
    ['bad request', saying(400, 'what?'), 'server-failed'],
    ['forbidden', saying(403, 'no'), 'server-failed'],
    ['an unknown log', saying(404, 'no'), 'server-failed'],
    ['no consistency', saying(422, 'no'), 'server-failed'],
    ['a conflict without a size', saying(409, 'another tree'), 'server-failed'],
    ['a conflict with a size spelled otherwise', saying(409, '03\n'), 'server-failed'],
    ['a conflict with a size that is ahead', saying(409, '99\n'), 'server-failed'],
    ['a redirection', saying(302, ''), 'server-failed'],
    ['too many requests', saying(429, ''), 'unreachable'],
    ['a failure', saying(500, 'x\u0007y'), 'unreachable'],
  ])('is refused, and counts for nothing: %s', async (_name, answer, code) => {
    const at = worldOf(answer, honest(two).answer, down);
    expect(await codeOfPromise(open(at).ask(signed(3), ''))).toBe('cosignatures-missing');
    expect(at.told).toContain(`1 trouble ${code}`);
  });

  it('does not keep it busy: a size that changes with each question is asked for three times', async () => {
    let asked = 0;
    const at = worldOf(() => Promise.resolve({ status: 409, text: `${(asked += 1)}\n` }), honest(two).answer);
    await open(at)
      .ask(signed(9), '')
      .catch(() => undefined);
    expect(asked).toBe(3);
  });

  it('may hold lines of others, which are not passed on', async () => {
    const place = honest(one);
    const at = worldOf(async (body) => {
      const { status, text } = await place.answer(body);
      return { status, text: foreign + text };
    }, honest(two).answer);
    expect(namesIn(3, await open(at).ask(signed(3), ''))).toEqual(['1', '2']);
  });
});

it('is not set up with a policy that could never be met', () => {
  const check = (text: string) => codeOf(() => checkWitnessPolicy(parsePolicy(text), verifier));
  expect(check(policyText)).toBe('accepted');
  expect(check(`log ${log.signer.vkey}\n${policyText}`)).toBe('accepted');
  expect(check(`log ${logOf(1, 2).signer.vkey}\n${policyText}`)).toBe('accepted');
  expect(check(policyText.replace('http://two.example', 'ftp://two.example'))).toBe('option-malformed');
  expect(check(policyText.replace('http://two.example', 'two.example'))).toBe('option-malformed');
  expect(codeOf(() => checkWitnessPolicy(thresholdPolicy([one.verifier], 1), verifier))).toBe('accepted');
});
