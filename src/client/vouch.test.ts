// A policy on a log that goes on: which states count, how long they are waited for, and that a quorum behind another history counts for nothing.
import { codeOfPromise } from '../../testutils/code-of.ts';
import { NATIVE, signedLog, witness } from '../../testutils/signed-log.ts';
import { logOf } from '../../testutils/stub-log.ts';
import { parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { addSignatures } from '../crypto/note.ts';
import { thresholdPolicy } from '../crypto/policy.ts';
import { QedError } from '../errors.ts';
import { createVouching, type VouchQuestions } from './vouch.ts';

const log = logOf(10);
const [one, two, three] = [witness(51), witness(52), witness(53)] as const;
const policy = thresholdPolicy(
  [one, two, three].map(({ verifier }) => verifier),
  2,
);
const trust = { log: log.trust.log, policy };

type Cosigner = typeof one;
type By = readonly (readonly [Cosigner, number])[];

/** The snapshot of a version with these cosignatures. */
function signed(version: number, by: By = [], of = log): SignedSnapshot {
  const snapshot = parseSignedSnapshot(of.signedSnapshot(version));
  const head = { origin: trust.log.name, size: version + 1, root: snapshot.snapshot.historyDigest };
  const lines = by.map(([cosigner, time]) => cosigner.cosign(head, time)).join('');
  return lines === '' ? snapshot : { ...snapshot, checkpoint: addSignatures(snapshot.checkpoint, lines) };
}

const both = (time: number): By => [
  [one, time],
  [two, time],
];

interface World {
  /** What the log has published, looked at after each question. */
  published: { version: number; by: By; of?: typeof log }[];
  asked: number;
  slept: number;
  /** What a question takes. */
  askMs: number;
  onSleep: () => void;
}

function open() {
  const at: World = { published: [], asked: 0, slept: 0, askMs: 0, onSleep: () => undefined };
  const vouching = createVouching({
    trust,
    primitives: NATIVE,
    now: () => at.slept + at.asked * at.askMs,
    sleep(milliseconds) {
      at.slept += milliseconds;
      at.onSleep();
      return Promise.resolve();
    },
  });
  const questions: VouchQuestions = {
    published(from) {
      at.asked += 1;
      const list = at.published.filter(({ version }) => version >= from);
      return Promise.resolve(
        list.map(({ version, by, of }) => ({
          ...(of ?? log).signedSnapshot(version),
          checkpoint: signed(version, by, of).checkpoint,
        })),
      );
    },
    // The head refuses what is of another history.
    settle({ snapshot }) {
      const own = log.snapshots[snapshot.version]!;
      if (Buffer.compare(own.historyDigest, snapshot.historyDigest) === 0) return Promise.resolve();
      return Promise.reject(new QedError('consistency-mismatch', 'another history'));
    },
    waitMs: 500,
  };
  return { at, vouch: (one: SignedSnapshot) => vouching.vouch(one, questions) };
}

it('takes what a quorum has cosigned, with the time of the last one that was needed', async () => {
  const { at, vouch } = open();
  expect(
    await vouch(
      signed(3, [
        [one, 100],
        [two, 300],
        [three, 200],
      ]),
    ),
  ).toBe(200);
  expect(at.asked).toBe(0);
});

it('takes what a later state with a quorum has grown out of, and waits for that', async () => {
  const { at, vouch } = open();
  at.onSleep = () => {
    if (at.slept === 150) at.published = [{ version: 6, by: both(70) }];
  };
  expect(await vouch(signed(4))).toBe(70);
  expect(at.slept).toBe(150);
  const before = at.asked;
  expect(await vouch(signed(2))).toBe(70);
  expect(await vouch(signed(5, [[one, 99]]))).toBe(70);
  expect(at.asked).toBe(before);
  at.published = [{ version: 8, by: both(90) }];
  expect(await vouch(signed(7))).toBe(90);
});

it('passes over published states that too few have cosigned', async () => {
  const { at, vouch } = open();
  at.published = [
    { version: 4, by: [[one, 1]] },
    { version: 5, by: [] },
    { version: 6, by: both(2) },
  ];
  expect(await vouch(signed(4))).toBe(2);
});

it('gives up when nobody vouches in time, and says so', async () => {
  const { at, vouch } = open();
  at.published = [{ version: 4, by: [[one, 1]] }];
  expect(await codeOfPromise(vouch(signed(4)))).toBe('cosignatures-missing');
  expect(at.slept).toBeLessThanOrEqual(500);
  expect(at.asked).toBeLessThan(15);
  at.askMs = 100;
  at.asked = at.slept = 0;
  expect(await codeOfPromise(vouch(signed(4)))).toBe('cosignatures-missing');
  expect(at.asked).toBeLessThan(5);
});

it('is not satisfied with a quorum behind another history, nor with an older state', async () => {
  const fork = signedLog(Array.from({ length: 10 }, (_, at) => [new Uint8Array(32).fill(at)]));
  const { at, vouch } = open();
  at.published = [{ version: 6, by: both(1), of: fork }];
  expect(await codeOfPromise(vouch(signed(4)))).toBe('consistency-mismatch');
  at.published = [{ version: 3, by: both(1) }];
  expect(await codeOfPromise(vouch(signed(4)))).toBe('cosignatures-missing');
});

it('refuses a false cosignature, wherever it stands', async () => {
  const { at, vouch } = open();
  const wrong = one.cosign({ origin: trust.log.name, size: 5, root: new Uint8Array(32) }, 1);
  const bad = signed(4);
  expect(await codeOfPromise(vouch({ ...bad, checkpoint: bad.checkpoint + wrong }))).toBe(
    'signature-invalid',
  );
  expect(at.asked).toBe(0);
});
