// What a lying server, log or network could show, and who refuses it: the attacks on a verifier, each mounted with all that an attacker
// can have, the log's own key included where the log itself lies.
import { codeOf } from '../../testutils/code-of.ts';
import { digestOf } from '../../testutils/balloon-twin.ts';
import { keyOfSeed, NATIVE, signedLog, witness } from '../../testutils/signed-log.ts';
import { thresholdPolicy } from '../crypto/policy.ts';
import { sign } from '../crypto/ed25519-node.ts';
import { decodeHex, encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { formatCheckpoint, type Checkpoint } from '../crypto/checkpoint.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { addSignatures, cosignedMessage, formatNote, formatSignature, parseNote } from '../crypto/note.ts';
import { createLogSigner } from '../crypto/signer.ts';
import { type Verifier } from '../crypto/vkey.ts';
import { encodeEntry } from '../history/entry.ts';
import { leafHash, nodeHash } from '../history/merkle.ts';
import { inclusionProof } from '../history/view.ts';
import { hashLeaf } from '../hyper/check.ts';
import { type MembershipJson, type SignedSnapshotJson, type Snapshot } from './proof.ts';
import { verifyIncremental, verifyMembership, verifySignedSnapshot, type Trust } from './verify.ts';

const origin = 'example.org/log';
const log = signedLog([
  [digestOf('a')],
  [digestOf('b'), digestOf('c'), digestOf('a')],
  [digestOf('d'), digestOf('b')],
  [digestOf('e')],
]);
const ends = [0, 3, 5, 6];
const fork = signedLog([
  [digestOf('a')],
  [digestOf('b'), digestOf('c'), digestOf('x')],
  [digestOf('d'), digestOf('b')],
  [digestOf('e')],
]);
const other = signedLog([[digestOf('a')]], { seed: 2 });

const latest = log.signedSnapshot(6);
const hex = (text: string): Uint8Array => decodeHex(text)!;
const snapshotAt = (of: typeof log, version: number): Snapshot =>
  of.snapshots.find((snapshot) => snapshot.version === version)!;

const snapshotCode = (json: unknown, trust: Trust = log.trust): string =>
  codeOf(() => verifySignedSnapshot(json, trust, NATIVE));
const membershipCode = (json: unknown, event: string, version?: number): string =>
  codeOf(() =>
    verifyMembership(
      json,
      { eventDigest: digestOf(event), ...(version === undefined ? {} : { version }) },
      log.trust,
      NATIVE,
    ),
  );
const incrementalCode = (json: unknown, start: Snapshot, end: Snapshot): string =>
  codeOf(() => verifyIncremental(json, { start, end }, NATIVE));

describe('what is true', () => {
  it('is accepted with the native and with the portable primitives', () => {
    for (const primitives of [[NATIVE], []] as const) {
      for (const version of ends) {
        const { snapshot, cosignatures } = verifySignedSnapshot(
          log.signedSnapshot(version),
          log.trust,
          ...primitives,
        );
        expect(snapshot).toEqual(snapshotAt(log, version));
        expect(cosignatures).toEqual([]);
      }
      const present = verifyMembership(
        log.membership(digestOf('b')),
        { eventDigest: digestOf('b') },
        log.trust,
        ...primitives,
      );
      expect(present).toMatchObject({ exists: true, version: 1, time: snapshotAt(log, 3).time });
      const absent = verifyMembership(
        log.membership(digestOf('z')),
        { eventDigest: digestOf('z') },
        log.trust,
        ...primitives,
      );
      expect(absent).toMatchObject({ exists: false, version: null, time: null });
      verifyIncremental(
        log.incremental(3, 6),
        { start: snapshotAt(log, 3), end: snapshotAt(log, 6) },
        ...primitives,
      );
    }
  });

  it.each([
    ['a', 0, true, 0],
    ['a', 6, true, 0],
    ['b', 0, false, 1],
    ['b', 1, true, 1],
    ['b', 5, true, 1],
    ['d', 3, false, 4],
    ['d', 4, true, 4],
    ['e', 5, false, 6],
    ['e', 6, true, 6],
    ['z', 0, false, null],
    ['z', 6, false, null],
  ])('whether %s was there at version %d: %s', (event, version, exists, first) => {
    const eventDigest = digestOf(event);
    const answer = verifyMembership(log.membership(eventDigest), { eventDigest, version }, log.trust, NATIVE);
    expect(answer).toMatchObject({ exists, version: first });
  });

  it('is not answered beyond the snapshot', () => {
    for (const event of ['a', 'z']) {
      expect(membershipCode(log.membership(digestOf(event)), event, 6)).toBe('accepted');
      expect(membershipCode(log.membership(digestOf(event)), event, 7)).toBe('proof-question');
      expect(membershipCode(log.membership(digestOf(event)), event, 2 ** 53 - 1)).toBe('proof-question');
    }
  });

  it('is asked for properly', () => {
    const membership = log.membership(digestOf('a'));
    for (const version of [-1, -0, 0.5, NaN, Infinity, 2 ** 53]) {
      expect(membershipCode(membership, 'a', version)).toBe('version-malformed');
    }
    for (const bytes of [0, 31, 33]) {
      const question = { eventDigest: new Uint8Array(bytes) };
      expect(codeOf(() => verifyMembership(membership, question, log.trust))).toBe('digest-malformed');
    }
    const [early, late] = [snapshotAt(log, 3), snapshotAt(log, 6)];
    expect(incrementalCode(log.incremental(3, 6), late, early)).toBe('range-reversed');
    expect(incrementalCode({ ...log.incremental(3, 6), start: 6, end: 3 }, late, early)).toBe(
      'range-reversed',
    );
  });
});

/** A note over this checkpoint by a key, under whatever name and id is wanted. */
function noteOf(checkpoint: Checkpoint, seed: number, { name, id }: Pick<Verifier, 'name' | 'id'>): string {
  const text = formatCheckpoint(checkpoint);
  return formatNote(text, [{ name, id, signature: sign(keyOfSeed(seed), encodeUtf8(text)) }]);
}

describe('a signed snapshot', () => {
  const size = 7;
  const root = hex(latest.snapshot.historyDigest);
  const honest: Checkpoint = { origin, size, root };
  const { verifier } = log.signer;
  const withCheckpoint = (checkpoint: string): SignedSnapshotJson => ({ ...latest, checkpoint });
  const cosigner = witness(1, origin);
  const cosignedAsSignature = (line: string): string => {
    const { signatures } = parseNote(`x\n\n${line}`);
    return formatNote(formatCheckpoint(honest), [{ ...signatures[0]!, id: verifier.id }]);
  };

  it.each<[string, () => unknown, string]>([
    [
      'the checkpoint of an earlier size',
      () => withCheckpoint(log.signedSnapshot(5).checkpoint),
      'snapshot-mismatch',
    ],
    [
      'the checkpoint of a later size',
      () => ({ ...log.signedSnapshot(5), checkpoint: latest.checkpoint }),
      'snapshot-mismatch',
    ],
    [
      'the checkpoint of another history of this size',
      () => withCheckpoint(fork.signedSnapshot(6).checkpoint),
      'snapshot-mismatch',
    ],
    [
      'the snapshot of another history beside the checkpoint',
      () => ({ ...fork.signedSnapshot(6), checkpoint: latest.checkpoint }),
      'snapshot-mismatch',
    ],
    [
      'the same root at another size, signed',
      () => withCheckpoint(noteOf({ ...honest, size: 8 }, 1, verifier)),
      'snapshot-mismatch',
    ],
    [
      'the same size and another root, signed',
      () => withCheckpoint(noteOf({ ...honest, root: digestOf('r') }, 1, verifier)),
      'snapshot-mismatch',
    ],
    [
      'an empty log, signed',
      () => withCheckpoint(noteOf({ ...honest, size: 0 }, 1, verifier)),
      'snapshot-mismatch',
    ],
    [
      'a checkpoint of another log by its own key',
      () => withCheckpoint(other.signedSnapshot(0).checkpoint),
      'note-unsigned',
    ],
    [
      'a checkpoint of this log by another key',
      () => withCheckpoint(createLogSigner(origin, keyOfSeed(2)).signCheckpoint(honest)),
      'note-unsigned',
    ],
    [
      'a checkpoint by another key under the id of the right one',
      () => withCheckpoint(noteOf(honest, 2, verifier)),
      'signature-invalid',
    ],
    [
      'a checkpoint by the right key under another name',
      () => withCheckpoint(noteOf(honest, 1, { name: 'example.org/other', id: verifier.id })),
      'note-unsigned',
    ],
    [
      'a checkpoint of another origin by the right key',
      () => withCheckpoint(noteOf({ ...honest, origin: 'example.org/other' }, 1, verifier)),
      'origin-mismatch',
    ],
    [
      'a cosignature of the same key and name instead',
      () => withCheckpoint(formatNoteLines(honest, cosigner.cosign(honest, 1))),
      'note-unsigned',
    ],
    [
      'a cosignature under the id of the signature',
      () => withCheckpoint(cosignedAsSignature(cosigner.cosign(honest, 1))),
      'signature-invalid',
    ],
    [
      'no signature of the log among a hundred',
      () => withCheckpoint(formatNoteLines(honest, strangers(100))),
      'note-unsigned',
    ],
    [
      'a hundred and one signatures',
      () => withCheckpoint(`${latest.checkpoint}${strangers(100)}`),
      'note-malformed',
    ],
    ['a text appended to the note', () => withCheckpoint(`${latest.checkpoint}more\n`), 'note-malformed'],
    ['an extension line, signed', () => withCheckpoint(extended('extension\n')), 'note-malformed'],
    [
      'a size with a leading zero, signed',
      () => withCheckpoint(signedText(`${origin}\n07\n${rootLine()}\n`)),
      'note-malformed',
    ],
    [
      'a size in another notation, signed',
      () => withCheckpoint(signedText(`${origin}\n7e0\n${rootLine()}\n`)),
      'note-malformed',
    ],
    [
      'another hyper digest',
      () => withSnapshot({ hyperDigest: encodeHex(digestOf('h')) }),
      'snapshot-mismatch',
    ],
    [
      'the hyper digest of the batch before',
      () => withSnapshot({ hyperDigest: log.signedSnapshot(5).snapshot.hyperDigest }),
      'snapshot-mismatch',
    ],
    ['another event', () => withSnapshot({ eventDigest: encodeHex(digestOf('z')) }), 'snapshot-mismatch'],
    ['another time', () => withSnapshot({ time: latest.snapshot.time + 1 }), 'snapshot-mismatch'],
    [
      'another history digest',
      () => withSnapshot({ historyDigest: encodeHex(digestOf('h')) }),
      'snapshot-mismatch',
    ],
    ['a version more', () => withSnapshot({ version: 7 }), 'snapshot-mismatch'],
    ['the last possible version', () => withSnapshot({ version: 2 ** 53 - 1 }), 'snapshot-mismatch'],
    ['another last entry, with its own audit', () => forgedAudit(), 'snapshot-mismatch'],
    ['an entry in the middle, with its true audit', () => middleEntry(), 'snapshot-mismatch'],
    ['an audit that is left out', () => ({ ...latest, audit: [] }), 'snapshot-mismatch'],
  ])('with %s is refused', (_name, forge, code) => {
    expect(snapshotCode(latest)).toBe('accepted');
    expect(snapshotCode(forge())).toBe(code);
  });

  function withSnapshot(change: Partial<SignedSnapshotJson['snapshot']>): SignedSnapshotJson {
    return { ...latest, snapshot: { ...latest.snapshot, ...change } };
  }
  function formatNoteLines(checkpoint: Checkpoint, lines: string): string {
    return `${formatCheckpoint(checkpoint)}\n${lines}`;
  }
  function strangers(count: number): string {
    return witness(9).cosign(honest, 1).repeat(count);
  }
  function rootLine(): string {
    return formatCheckpoint(honest).split('\n')[2]!;
  }
  function signedText(text: string): string {
    return formatNote(text, [{ ...verifier, signature: sign(keyOfSeed(1), encodeUtf8(text)) }]);
  }
  function extended(line: string): string {
    return signedText(formatCheckpoint(honest) + line);
  }
  function forgedAudit(): unknown {
    const hyperDigest = digestOf('h');
    const forged = { ...snapshotAt(log, 6), hyperDigest };
    const leaf = encodeHex(leafHash(nativeHash, encodeEntry(forged)));
    return {
      ...withSnapshot({ hyperDigest: encodeHex(hyperDigest) }),
      audit: [leaf, ...latest.audit.slice(1)],
    };
  }
  function middleEntry(): unknown {
    const audit = inclusionProof(log.balloon.view, 3, 7).map(encodeHex);
    const { eventDigest, hyperDigest, time } = log.signedSnapshot(3).snapshot;
    return { ...withSnapshot({ eventDigest, hyperDigest, time }), audit };
  }

  it('may carry lines of strangers, and twice the line of its key: the standard says so, and it proves the same', () => {
    const line = latest.checkpoint.split('\n\n')[1]!;
    for (const checkpoint of [latest.checkpoint + strangers(2), latest.checkpoint + line]) {
      expect(verifySignedSnapshot(withCheckpoint(checkpoint), log.trust, NATIVE)).toEqual(
        verifySignedSnapshot(latest, log.trust, NATIVE),
      );
    }
  });
});

describe('cosignatures', () => {
  const checkpoint: Checkpoint = { origin, size: 7, root: hex(latest.snapshot.historyDigest) };
  const [one, two, three] = [witness(3), witness(4), witness(5)] as const;
  const cosigners = [one.verifier, two.verifier];
  const trust = (count: number): Trust => ({ ...log.trust, policy: thresholdPolicy(cosigners, count) });
  const cosigned = (...lines: string[]): unknown => ({
    ...latest,
    checkpoint: lines.length === 0 ? latest.checkpoint : addSignatures(latest.checkpoint, lines.join('')),
  });
  const wrongCheckpoint = { ...checkpoint, size: 6 };
  const bare = sign(keyOfSeed(3), cosignedMessage(formatCheckpoint(checkpoint), 100));

  it.each<[string, unknown, number, string]>([
    ['none, none wanted', cosigned(), 0, 'accepted'],
    ['none, one wanted', cosigned(), 1, 'cosignatures-missing'],
    ['one, one wanted', cosigned(one.cosign(checkpoint, 100)), 1, 'accepted'],
    ['one, two wanted', cosigned(one.cosign(checkpoint, 100)), 2, 'cosignatures-missing'],
    ['both', cosigned(one.cosign(checkpoint, 100), two.cosign(checkpoint, 50)), 2, 'accepted'],
    [
      'one of them and a stranger',
      cosigned(one.cosign(checkpoint, 100), three.cosign(checkpoint, 1)),
      2,
      'cosignatures-missing',
    ],
    ['of another checkpoint', cosigned(one.cosign(wrongCheckpoint, 100)), 0, 'signature-invalid'],
    [
      'without a time',
      cosigned(formatSignature({ ...one.verifier, signature: bare })),
      1,
      'signature-invalid',
    ],
    [
      'a plain signature of the text',
      cosigned(
        formatSignature({
          ...one.verifier,
          signature: sign(keyOfSeed(3), encodeUtf8(formatCheckpoint(checkpoint))),
        }),
      ),
      1,
      'signature-invalid',
    ],
    [
      'a cosigner that wanted none',
      cosigned(one.cosign(checkpoint, 1), two.cosign(wrongCheckpoint, 1)),
      1,
      'signature-invalid',
    ],
  ])('%s', (_name, json, count, code) => {
    expect(snapshotCode(json, trust(count))).toBe(code);
  });

  it('count once for each cosigner, and tell the time', () => {
    const twice = `${latest.checkpoint}${one.cosign(checkpoint, 100)}${one.cosign(checkpoint, 200)}`;
    const json = { ...latest, checkpoint: twice };
    expect(snapshotCode(json, trust(2))).toBe('cosignatures-missing');
    const { name, id } = one.verifier;
    expect(verifySignedSnapshot(json, trust(1), NATIVE)).toMatchObject({
      cosignatures: [{ name, id, time: 200 }],
      quorumTime: 200,
    });
  });

  it('do not stand in for the signature of the log', () => {
    const text = formatCheckpoint(checkpoint);
    const alone = `${text}\n${one.cosign(checkpoint, 100)}${two.cosign(checkpoint, 100)}`;
    expect(snapshotCode({ ...latest, checkpoint: alone }, trust(2))).toBe('note-unsigned');
  });

  it('are asked for properly', () => {
    for (const count of [-1, 0.5, NaN, Infinity, 3]) expect(codeOf(() => trust(count))).toBe('bad-request');
    expect(codeOf(() => thresholdPolicy([], 1))).toBe('bad-request');
    expect(snapshotCode(latest, { log: one.verifier })).toBe('key-malformed');
    for (const keys of [[log.trust.log], [one.verifier, one.verifier]]) {
      expect(snapshotCode(latest, { ...log.trust, policy: thresholdPolicy(keys, 1) })).toBe('key-malformed');
    }
  });
});

describe('a membership proof', () => {
  const present = log.membership(digestOf('b'));
  const absent = log.membership(digestOf('z'));
  const ofA = log.membership(digestOf('a'));
  const nothing = { version: null, entry: null, history: null };
  /** Whatever entry and history belong to a version, from the log itself. */
  const presence = (version: number): Pick<MembershipJson, 'version' | 'entry' | 'history'> => {
    const { hyperDigest, time } = log.balloon.entry(version);
    const history = inclusionProof(log.balloon.view, version, 7).map(encodeHex);
    return { version, entry: { hyperDigest: encodeHex(hyperDigest), time }, history };
  };
  const older = signedLog([[digestOf('a')]]);

  it.each<[string, unknown, string, string]>([
    ['about another event', ofA, 'b', 'proof-question'],
    [
      'about another event, renamed',
      { ...ofA, eventDigest: encodeHex(digestOf('b')) },
      'b',
      'hyper-mismatch',
    ],
    [
      'about an absent event, with a present one in its place',
      { ...present, eventDigest: encodeHex(digestOf('z')) },
      'z',
      'hyper-mismatch',
    ],
    [
      'of presence made of one of absence',
      { ...absent, exists: true, ...presence(0) },
      'z',
      'hyper-mismatch',
    ],
    ['of absence made of one of presence', { ...present, exists: false }, 'b', 'proof-malformed'],
    ['of absence with the real path', { ...present, exists: false, ...nothing }, 'b', 'hyper-mismatch'],
    [
      'of absence by the own leaf',
      {
        ...present,
        exists: false,
        ...nothing,
        hyper: { path: present.hyper.path, leaf: { eventDigest: encodeHex(digestOf('b')), version: 1 } },
      },
      'b',
      'hyper-mismatch',
    ],
    [
      'of absence by the own leaf of another version',
      {
        ...present,
        exists: false,
        ...nothing,
        hyper: { path: present.hyper.path, leaf: { eventDigest: encodeHex(digestOf('b')), version: 5 } },
      },
      'b',
      'hyper-mismatch',
    ],
    [
      'of absence by the leaf of another path',
      {
        ...present,
        exists: false,
        ...nothing,
        hyper: { path: ofA.hyper.path, leaf: { eventDigest: encodeHex(digestOf('a')), version: 0 } },
      },
      'b',
      'hyper-mismatch',
    ],
    [
      'of absence by the leaf of another at the own path',
      {
        ...present,
        exists: false,
        ...nothing,
        hyper: { path: present.hyper.path, leaf: { eventDigest: encodeHex(digestOf('a')), version: 0 } },
      },
      'b',
      'hyper-mismatch',
    ],
    [
      'of absence in an empty tree',
      { ...present, exists: false, ...nothing, hyper: { path: [], leaf: null } },
      'b',
      'hyper-mismatch',
    ],
    [
      'of absence by the root for a leaf',
      {
        ...present,
        exists: false,
        ...nothing,
        hyper: { path: [], leaf: { eventDigest: latest.snapshot.hyperDigest, version: 0 } },
      },
      'b',
      'hyper-mismatch',
    ],
    [
      'of the absence of another',
      { ...absent, eventDigest: encodeHex(digestOf('b')) },
      'b',
      'hyper-mismatch',
    ],
    ['of absence with a version', { ...absent, version: 3 }, 'z', 'proof-malformed'],
    ['of absence with an entry', { ...absent, entry: present.entry }, 'z', 'proof-malformed'],
    ['of absence with a history', { ...absent, history: [] }, 'z', 'proof-malformed'],
    ['with the version of a duplicate', { ...present, ...presence(5) }, 'b', 'hyper-mismatch'],
    [
      'with another version and all that belongs to it',
      { ...present, ...presence(2) },
      'b',
      'hyper-mismatch',
    ],
    [
      'with the right version and the entry of a duplicate',
      { ...present, ...presence(5), version: 1 },
      'b',
      'history-mismatch',
    ],
    ['without version', { ...present, version: null }, 'b', 'proof-malformed'],
    ['without entry', { ...present, entry: null }, 'b', 'proof-malformed'],
    ['without history', { ...present, history: null }, 'b', 'proof-malformed'],
    ['without entry and history', { ...present, entry: null, history: null }, 'b', 'proof-malformed'],
    ['with an empty history', { ...present, history: [] }, 'b', 'history-mismatch'],
    [
      'with another leaf beside it',
      {
        ...present,
        hyper: { ...present.hyper, leaf: { eventDigest: encodeHex(digestOf('a')), version: 0 } },
      },
      'b',
      'proof-malformed',
    ],
    [
      'with another time',
      { ...present, entry: { ...present.entry, time: present.entry!.time - 1 } },
      'b',
      'history-mismatch',
    ],
    [
      'with another hyper digest in its entry',
      { ...present, entry: { ...present.entry, hyperDigest: latest.snapshot.hyperDigest } },
      'b',
      'history-mismatch',
    ],
    [
      'beside the snapshot of another time',
      { ...present, signedSnapshot: log.signedSnapshot(5) },
      'b',
      'hyper-mismatch',
    ],
    [
      'beside the snapshot of another log',
      { ...present, signedSnapshot: other.signedSnapshot(0) },
      'b',
      'note-unsigned',
    ],
    [
      'beside the snapshot of another history',
      { ...present, signedSnapshot: fork.signedSnapshot(6) },
      'b',
      'hyper-mismatch',
    ],
    [
      'of an older log beside the present snapshot',
      { ...older.membership(digestOf('b')), signedSnapshot: latest },
      'b',
      'hyper-mismatch',
    ],
  ])('%s is refused', (_name, json, event, code) => {
    expect(membershipCode(json, event)).toBe(code);
  });

  it('of an older snapshot says what was true then, and answers no later version', () => {
    expect(membershipCode(older.membership(digestOf('b')), 'b')).toBe('accepted');
    expect(membershipCode(older.membership(digestOf('b')), 'b', 0)).toBe('accepted');
    expect(membershipCode(older.membership(digestOf('b')), 'b', 6)).toBe('proof-question');
  });

  it('does not take a node for a leaf, of either tree', () => {
    const [left, right] = [hashLeaf(nativeHash, { key: digestOf('a'), version: 0 }), digestOf('r')];
    expect(encodeHex(nativeHash.digest(new Uint8Array([...left, ...right])))).not.toBe(
      encodeHex(hashLeaf(nativeHash, { key: right, version: 0 })),
    );
    // A history of half the height, whose leaves are the nodes of the true one.
    const entry = encodeEntry(log.balloon.entry(1));
    const node = nodeHash(
      nativeHash,
      leafHash(nativeHash, encodeEntry(log.balloon.entry(0))),
      leafHash(nativeHash, entry),
    );
    const history = present.history!.toSpliced(0, 1, encodeHex(node));
    expect(membershipCode({ ...present, history }, 'b')).toBe('history-mismatch');
    expect(membershipCode({ ...present, history: present.history!.slice(1) }, 'b')).toBe('history-mismatch');
  });

  it('is refused for its signature before anything else of it is looked at', () => {
    const unsigned = { ...present, hyper: { path: [], leaf: null }, signedSnapshot: other.signedSnapshot(0) };
    expect(membershipCode(unsigned, 'b')).toBe('note-unsigned');
    expect(membershipCode(unsigned, 'z')).toBe('note-unsigned');
    expect(membershipCode({ ...unsigned, extra: 1 }, 'z')).toBe('proof-malformed');
  });
});

describe('an incremental proof', () => {
  const at = (version: number): Snapshot => snapshotAt(log, version);
  const proof = log.incremental(3, 6);
  const empty: Snapshot = { ...at(0), version: -1, historyDigest: nativeHash.digest(new Uint8Array(0)) };

  it.each<[string, unknown, Snapshot, Snapshot, string]>([
    ['between equal snapshots', log.incremental(3, 3), at(3), at(3), 'accepted'],
    [
      'between equal snapshots, with a hash',
      { ...log.incremental(3, 3), hashes: proof.hashes.slice(0, 1) },
      at(3),
      at(3),
      'consistency-mismatch',
    ],
    [
      'between snapshots of one version and two roots',
      log.incremental(6, 6),
      at(6),
      snapshotAt(fork, 6),
      'consistency-mismatch',
    ],
    ['that is empty', { ...proof, hashes: [] }, at(3), at(6), 'consistency-mismatch'],
    ['for another start', log.incremental(0, 6), at(3), at(6), 'proof-question'],
    ['for another end', log.incremental(3, 5), at(3), at(6), 'proof-question'],
    [
      'for another range, renamed',
      { ...log.incremental(0, 6), start: 3 },
      at(3),
      at(6),
      'consistency-mismatch',
    ],
    ['for a range that runs backwards', { ...proof, start: 6, end: 3 }, at(3), at(6), 'proof-question'],
    ['from nothing', { ...proof, start: -1 }, at(3), at(6), 'proof-malformed'],
    ['from nothing, asked for', { start: -1, end: 6, hashes: [] }, empty, at(6), 'proof-malformed'],
    ['from an empty log, asked for', { start: 0, end: 6, hashes: [] }, empty, at(6), 'proof-question'],
    ['into another history', proof, at(3), snapshotAt(fork, 6), 'consistency-mismatch'],
    [
      'into another history, with the proof of that one',
      fork.incremental(3, 6),
      at(3),
      snapshotAt(fork, 6),
      'consistency-mismatch',
    ],
    ['out of another history', fork.incremental(3, 6), snapshotAt(fork, 3), at(6), 'consistency-mismatch'],
    [
      'from the part that both histories share',
      fork.incremental(0, 6),
      at(0),
      snapshotAt(fork, 6),
      'accepted',
    ],
    [
      'with its hashes in the other order',
      { ...log.incremental(0, 6), hashes: log.incremental(0, 6).hashes.toReversed() },
      at(0),
      at(6),
      'consistency-mismatch',
    ],
  ])('%s', (_name, json, start, end, code) => {
    expect(incrementalCode(proof, at(3), at(6))).toBe('accepted');
    expect(incrementalCode(json, start, end)).toBe(code);
  });
});
