// Evidence of each kind, made as an agent makes it, against logs that lie and against an honest one: the liar is convicted, the honest log never is,
// and whatever is altered in a document convicts nobody of anything else.
import { GHOST, lies, LyingTree } from '../../testutils/tamper/lying-tree.ts';
import { alterations } from '../../testutils/alterations.ts';
import { digestOf } from '../../testutils/balloon-twin.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import {
  batchOf,
  digestBatches,
  NATIVE,
  signedLog,
  witness,
  type SignedLog,
} from '../../testutils/signed-log.ts';
import { addSignatures } from '../crypto/note.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { encodeEntries } from '../history/entry.ts';
import { consistencyProof, inclusionProof, rootAt } from '../history/view.ts';
import { HyperTree } from '../hyper/tree.ts';
import {
  contradiction,
  falseBatch,
  falseMap,
  hyperMismatch,
  inconsistent,
  refusedProof,
  splitView,
  twoAnswers,
  type Evidence,
} from './evidence.ts';
import { verifyEvidence, type CheckedEvidence } from './evidence-check.ts';
import { parseMembership, parseSignedSnapshot, type SignedSnapshot } from './proof.ts';

const names = (text: string): Uint8Array[] => text.split(' ').map(digestOf);
const honest = signedLog([names('a b'), names('c'), names('d a e'), names('f')]);
/** The same key, and another history from version 1 on. */
const rewritten = signedLog([names('a x'), names('c'), names('d a e'), names('f')]);
const { trust } = honest;
const { log } = trust;

const check = (evidence: unknown) => verifyEvidence(evidence, trust, NATIVE);
const verdict = (evidence: unknown) => codeOf(() => check(evidence));
const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const signed = (of: SignedLog, version: number): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));
const note = (of: SignedLog, version: number): string => of.signedSnapshot(version).checkpoint;

describe('two checkpoints of one size', () => {
  it('convict when their roots differ', () => {
    const evidence = splitView(log, note(honest, 5), note(rewritten, 5));
    expect(check(evidence)).toMatchObject({ kind: 'split-view', conclusive: true });
    expect(check(evidence).statement).toContain('two histories of 6 events');
  });

  it.each([
    ['the same one twice', splitView(log, note(honest, 5), note(honest, 5)), 'evidence-void'],
    ['the same one, cosigned', splitView(log, note(honest, 5), cosigned(note(honest, 5))), 'evidence-void'],
    ['two sizes', splitView(log, note(honest, 2), note(rewritten, 5)), 'evidence-void'],
    [
      'another log',
      splitView(log, note(honest, 5), note(signedLog([names('a')], { seed: 2 }), 0)),
      'note-unsigned',
    ],
    [
      'a text that nobody signed',
      splitView(log, note(honest, 5), note(honest, 5).replace('6', '7')),
      'signature-invalid',
    ],
  ])('do not: %s', (_name, evidence, code) => {
    expect(verdict(evidence)).toBe(code);
  });
});

function cosigned(plain: string): string {
  return addSignatures(
    plain,
    witness(3).cosign({ origin: log.name, size: 6, root: honest.snapshots[2]!.historyDigest }, 1),
  );
}

describe('two checkpoints of different sizes', () => {
  const sizes = [
    [2, 5],
    [1, 5],
    [1, 2],
    [2, 6],
  ] as const;

  it.each(sizes)('convict when the later one has another beginning: versions %i and %i', (start, end) => {
    const { view } = rewritten.balloon;
    const startRoot = rootAt(view, start + 1);
    const hashes = consistencyProof(view, start + 1, end + 1);
    const evidence = inconsistent(log, note(honest, start), note(rewritten, end), { startRoot, hashes });
    expect(check(evidence)).toMatchObject({ kind: 'inconsistent', conclusive: true });
  });

  it('convict through the answer of the log itself, which has to lead to what it signed', () => {
    const pair = [signed(rewritten, 5), signed(honest, 2)] as const;
    const evidence = contradiction(log, pair, rewritten.incremental(2, 5), nativeHash);
    expect(check(evidence)).toMatchObject({ kind: 'inconsistent', conclusive: true });
  });

  it('do not convict through an answer that leads nowhere, or through none', () => {
    const pair = [signed(honest, 2), signed(rewritten, 5)] as const;
    for (const answer of [honest.incremental(2, 5), { start: 2 }, null, 'x']) {
      expect(check(contradiction(log, pair, answer, nativeHash))).toMatchObject({ conclusive: false });
    }
    // From a perfect tree on, a proof holds no root of its own.
    const perfect = [signed(honest, 1), signed(rewritten, 5)] as const;
    expect(check(contradiction(log, perfect, rewritten.incremental(1, 5), nativeHash)).conclusive).toBe(
      false,
    );
  });

  it('are a split view when their sizes are equal after all', () => {
    const pair = [signed(honest, 5), signed(rewritten, 5)] as const;
    expect(check(contradiction(log, pair, null, nativeHash)).kind).toBe('split-view');
  });

  it('never convict an honest log', () => {
    const { view } = honest.balloon;
    for (const [start, end] of sizes) {
      const hashes = consistencyProof(view, start + 1, end + 1);
      const [older, newer] = [note(honest, start), note(honest, end)];
      const startRoot = rootAt(view, start + 1);
      expect(verdict(inconsistent(log, older, newer, { startRoot, hashes }))).toBe('evidence-void');
      expect(verdict(inconsistent(log, older, newer, { startRoot: null, hashes }))).toBe('evidence-void');
      const other = { startRoot: rootAt(rewritten.balloon.view, start + 1), hashes };
      expect(verdict(inconsistent(log, older, newer, other))).toBe('evidence-void');
      const foreign = note(rewritten, end);
      expect(verdict(inconsistent(log, older, foreign, other))).toBe('consistency-mismatch');
      expect(verdict(inconsistent(log, newer, older, { startRoot, hashes }))).toBe('evidence-void');
    }
  });
});

describe('two answers about one event', () => {
  const answer = (of: SignedLog, event: string) => parseMembership(of.membership(digestOf(event)));
  const short = signedLog([names('a b')]);
  const moved = signedLog([names('b a'), names('c')]);

  it.each([
    ['there, and then not there', answer(short, 'b'), answer(rewritten, 'b')],
    ['not there, and there before that', answer(rewritten, 'b'), answer(short, 'b')],
    ['two first versions', answer(short, 'b'), answer(moved, 'b')],
    ['two entries', answer(short, 'a'), answer(rewritten, 'a')],
  ])('convict: %s', (_name, one, other) => {
    expect(check(twoAnswers(log, one, other))).toMatchObject({ kind: 'two-answers', conclusive: true });
  });

  it.each([
    ['not there yet', answer(short, 'c'), answer(honest, 'c'), 'evidence-void'],
    ['the same twice', answer(honest, 'b'), answer(honest, 'b'), 'evidence-void'],
    ['absent twice', answer(honest, 'z'), answer(rewritten, 'z'), 'evidence-void'],
    ['two questions', answer(honest, 'a'), answer(honest, 'b'), 'proof-question'],
    ['another log', answer(honest, 'a'), answer(signedLog([names('b')], { seed: 2 }), 'a'), 'note-unsigned'],
  ])('do not: %s', (_name, one, other, code) => {
    expect(verdict(twoAnswers(log, one, other))).toBe(code);
  });
});

describe('a map that is not derived from the log', () => {
  const batches = [names('a b'), names('c d'), names('e a f'), names('g')];
  const liar = (lie: keyof typeof lies, from: number): SignedLog =>
    signedLog(batches, { tree: new LyingTree(lies[lie](from)) });

  /** The entry at a version, and what the map of the last snapshot says of an event. */
  function mapAgainst(of: SignedLog, version: number, eventDigest: Uint8Array, tree: HyperTree): Evidence {
    const last = of.snapshots.at(-1)!.version;
    const entry = { version, ...of.balloon.entry(version) };
    const history = inclusionProof(of.balloon.view, version, last + 1);
    const { version: first, path, leaf } = tree.prove(eventDigest);
    const other = leaf && { eventDigest: leaf.key, version: leaf.version };
    return falseMap(
      log,
      { signedSnapshot: signed(of, last), entry, history },
      { eventDigest, version: first, hyper: { path, leaf: other } },
    );
  }

  it.each([
    ['an event left out', 'omission', 3, digestOf('d')],
    ['a first version that is too late', 'version', 2, digestOf('c')],
    ['an event that another version holds', 'ghost', 3, GHOST],
  ] as const)('is convicted by an entry: %s', (_name, lie, version, eventDigest) => {
    const tree = new LyingTree(lies[lie](2));
    const evidence = mapAgainst(signedLog(batches, { tree }), version, eventDigest, tree);
    expect(check(evidence)).toMatchObject({ kind: 'false-map', conclusive: true });
  });

  it('is not convicted where it is right', () => {
    const tree = new HyperTree(nativeHash);
    const of = signedLog(batches, { tree });
    const pairs = [
      [0, 'a'],
      [5, 'a'],
      [0, 'b'],
      [3, 'z'],
    ] as const;
    for (const [version, event] of pairs)
      expect(verdict(mapAgainst(of, version, digestOf(event), tree))).toBe('evidence-void');
  });

  /** What an agent makes of a batch when it has replayed the log up to it. */
  function batchAgainst(of: SignedLog, at: number, given = batches): Evidence {
    const tree = new HyperTree(nativeHash);
    const own = signedLog(given.slice(0, at), { tree });
    const { version, hyperDigest, time } = of.snapshots[at]!;
    const { eventDigests } = batchOf(at + 1, given[at]!);
    return falseBatch(log, {
      history: own.balloon.view.history,
      tree,
      before: at === 0 ? null : signed(own, own.snapshots.at(-1)!.version),
      entries: encodeEntries({ eventDigests, hyperDigest, time }),
      note: note(of, version),
    });
  }

  it.each(Object.keys(lies).flatMap((lie) => [0, 1, 2, 3].map((at) => [lie, at] as const)))(
    'is convicted by its batch: %s from batch %i on',
    (lie, at) => {
      const from = [0, 2, 4, 7][at]!;
      const of = liar(lie as keyof typeof lies, from);
      expect(check(batchAgainst(of, at))).toMatchObject({ kind: 'false-batch', conclusive: true });
    },
  );

  it('is never convicted where each batch leads to its digest, in logs of many shapes', () => {
    const random = seededRandom(7);
    for (let round = 0; round < 20; round++) {
      const shape = Array.from({ length: 1 + random.below(8) }, () => 1 + random.below(12));
      const given = digestBatches(random, shape);
      const of = signedLog(given);
      for (const at of given.keys()) expect(verdict(batchAgainst(of, at, given))).toBe('evidence-void');
    }
  });

  it('convicts liars in logs of many shapes', () => {
    const random = seededRandom(8);
    for (let round = 0; round < 20; round++) {
      const given = digestBatches(random, [3 + random.below(300), 1 + random.below(9), 2 + random.below(5)]);
      const tree = new LyingTree(lies.extra(given[0]!.length + given[1]!.length));
      expect(check(batchAgainst(signedLog(given, { tree }), 2, given)).conclusive).toBe(true);
    }
  });

  it('cannot be made up against an honest log from a part of a batch', () => {
    const evidence = json(batchAgainst(signedLog(batches), 2)) as { entries: string; steps: unknown[] };
    const bytes = Buffer.from(evidence.entries, 'base64');
    const first = { entries: bytes.subarray(0, 144).toString('base64'), steps: evidence.steps.slice(0, 2) };
    const rest = { entries: bytes.subarray(72).toString('base64'), steps: evidence.steps.slice(1) };
    expect(verdict({ ...evidence, ...first })).toBe('history-mismatch');
    expect(verdict({ ...evidence, ...rest })).toBe('history-mismatch');
  });

  it('is only said to be wrong by who names another digest', () => {
    const of = liar('extra', 2);
    const { version } = of.snapshots[1]!;
    const entry = { version, ...of.balloon.entry(version) };
    const under = { signedSnapshot: signed(of, version), entry, history: signed(of, version).audit };
    const evidence = hyperMismatch(log, under, digestOf('replayed'));
    expect(check(evidence)).toMatchObject({ kind: 'hyper-mismatch', conclusive: false });
    expect(verdict(hyperMismatch(log, under, entry.hyperDigest))).toBe('evidence-void');
    expect(verdict(hyperMismatch(log, { ...under, history: [] }, digestOf('x')))).toBe('history-mismatch');
  });
});

describe('an answer that a verifier refuses', () => {
  const answer = { ...honest.membership(digestOf('b')), version: 0 };

  it('is the word of who kept it', () => {
    const evidence = refusedProof(log, digestOf('b'), answer, 'hyper-mismatch');
    expect(check(evidence)).toMatchObject({ kind: 'refused-proof', conclusive: false });
  });

  it('is nothing when it holds, or is refused for another reason', () => {
    expect(verdict(refusedProof(log, digestOf('b'), answer, 'history-mismatch'))).toBe('evidence-void');
    const good = honest.membership(digestOf('b'));
    expect(verdict(refusedProof(log, digestOf('b'), good, 'hyper-mismatch'))).toBe('evidence-void');
  });
});

describe('whatever is altered in evidence', () => {
  const tree = new LyingTree(lies.ghost(2));
  const batches = [names('a b'), names('c')];
  const of = signedLog(batches, { tree });
  const { path } = tree.prove(GHOST);
  const documents: Record<string, Evidence> = {
    'split-view': splitView(log, note(honest, 5), note(rewritten, 5)),
    inconsistent: inconsistent(log, note(honest, 2), note(rewritten, 5), {
      startRoot: rootAt(rewritten.balloon.view, 3),
      hashes: consistencyProof(rewritten.balloon.view, 3, 6),
    }),
    'false-map': falseMap(
      log,
      {
        signedSnapshot: signed(of, 2),
        entry: { version: 2, ...of.balloon.entry(2) },
        history: inclusionProof(of.balloon.view, 2, 3),
      },
      { eventDigest: GHOST, version: 2, hyper: { path, leaf: null } },
    ),
  };

  it.each(Object.keys(documents))('is refused, or changes nothing that is shown: %s', (name) => {
    const evidence = json(documents[name]);
    const digestsOf = ({ statement }: CheckedEvidence) => statement.match(/[0-9a-f]{64}/g)?.toSorted();
    const shown = digestsOf(check(evidence));
    let refused = 0;
    for (const { path: place, json: altered } of alterations(evidence)) {
      if (verdict(altered) !== 'accepted') refused += 1;
      // The vkey is a remark, lines by strangers may stand on a note, and two notes may change places.
      else if (check(altered).conclusive) expect([place, digestsOf(check(altered))]).toEqual([place, shown]);
    }
    expect(refused).toBeGreaterThan(30);
  });

  it('takes nothing that is no evidence', () => {
    const evidence = documents['split-view']!;
    const wrong = [
      null,
      [],
      'x',
      {},
      { ...evidence, format: 'qed-proof/v1' },
      { ...evidence, kind: 'toString' },
      { ...evidence, kind: 'fork' },
      { ...evidence, more: 1 },
      { ...evidence, vkey: null },
      { ...evidence, notes: [note(honest, 5)] },
    ];
    for (const one of wrong) expect(verdict(one)).toBe('proof-malformed');
  });

  it('says the same with the portable primitives', () => {
    for (const evidence of Object.values(documents))
      expect(verifyEvidence(json(evidence), trust)).toEqual(check(evidence));
  });
});
