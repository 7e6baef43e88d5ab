// The fuzz run: a real log, its true answers, and every function that reads what others sent. Whatever goes in, only a typed refusal may
// come out; and what is accepted must be true of that log, which is known here, whatever path it took through the verifier.
import { isDeepStrictEqual, types } from 'node:util';
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
  type SignedSnapshotJson,
  type Snapshot,
} from '../src/balloon/proof.ts';
import {
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
  type MembershipQuestion,
  type Trust,
  type VerifiedMembership,
} from '../src/balloon/verify.ts';
import { formatMembershipBundle, formatSnapshotBundle, verifyBundle } from '../src/client/bundle.ts';
import { formatTlogProof, tlogProofOf, verifyTlogProof } from '../src/client/tlog-proof.ts';
import { openCheckpoint, openCosignatures, type Cosignature } from '../src/crypto/checkpoint.ts';
import { encodeHex } from '../src/crypto/encoding.ts';
import { addSignatures, openNote } from '../src/crypto/note.ts';
import { thresholdPolicy } from '../src/crypto/policy.ts';
import { formatVkey, parseVkey, type Verifier } from '../src/crypto/vkey.ts';
import { QedError, type ErrorKind } from '../src/errors.ts';
import { flickering, mutated, mutatedBytes, mutatedText, randomText, randomValue } from './fuzz-values.ts';
import { seededRandom, type Random } from './random.ts';
import { digestBatches, digestNear, NATIVE, signedLog, witness, type SignedLog } from './signed-log.ts';

/** One function under fuzz: `run` makes an input, feeds it, and throws a plain error when what was accepted is not true. */
interface Target {
  readonly name: string;
  readonly weight: number;
  readonly kinds: readonly ErrorKind[];
  readonly run: (random: Random) => void;
}

/** How often each function ended with each code. */
export type FuzzCounts = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Throws at the first input that is answered wrongly; the message names its number, which repeats it with the same seed. */
export function fuzzVerifier(seed: number, inputs: number): FuzzCounts {
  const targets = makeTargets(seededRandom(seed));
  const wheel = targets.flatMap((target) => Array.from({ length: target.weight }, () => target));
  const counts = new Map(targets.map(({ name }) => [name, new Map<string, number>()]));
  for (let input = 0; input < inputs; input++) {
    // Each input has a source of its own, so that it can be repeated alone.
    const random = seededRandom(seed * 1_000_003 + input);
    const target = random.pick(wheel);
    const of = counts.get(target.name)!;
    const code = outcome(target, random, `seed ${seed}, input ${input}, ${target.name}`);
    of.set(code, (of.get(code) ?? 0) + 1);
  }
  return counts;
}

function outcome({ run, kinds }: Target, random: Random, where: string): string {
  try {
    run(random);
    return 'accepted';
  } catch (error) {
    if (error instanceof QedError && kinds.includes(error.kind)) return error.code;
    throw new Error(`${where}: neither truth nor refusal`, { cause: error });
  }
}

function truth(holds: boolean, what: string): void {
  if (!holds) throw new Error(`accepted what is not true: ${what}`);
}

/** A log as it grew: its answers at several sizes, all under one key, and a stranger's and a second history of the same size. */
interface World {
  readonly log: SignedLog;
  readonly trust: Trust;
  readonly cosigners: readonly Verifier[];
  readonly digests: readonly Uint8Array[];
  readonly firstVersions: ReadonlyMap<string, number>;
  /** Snapshots of the log as text, by version. */
  readonly snapshots: ReadonlyMap<number, string>;
  readonly cosigned: readonly Cosignature[];
  readonly memberships: readonly { json: MembershipJson; eventDigest: Uint8Array }[];
  readonly signed: readonly SignedSnapshotJson[];
  readonly incrementals: readonly { json: unknown; start: Snapshot; end: Snapshot }[];
  /** Every proof above as text, without signatures. */
  readonly honest: ReadonlySet<string>;
  readonly fork: Snapshot;
  readonly notes: readonly string[];
  readonly vkeys: readonly string[];
}

function makeWorld(random: Random): World {
  const batches = digestBatches(random, [1, 1, 2, 3, 5, 20, 1, 100, 130]);
  const digests = batches.flat();
  const logs = [3, 6, 9].map((count) => signedLog(batches.slice(0, count)));
  const log = logs[2]!;
  const forked = signedLog([
    ...batches.slice(0, 8),
    batches[8]!.map((digest, i) => (i === 9 ? random.bytes(32) : digest)),
  ]);
  const witnesses = [witness(3), witness(4)];
  const cosign = <Json extends { checkpoint: string }>(json: Json): Json => {
    const checkpoint = openCheckpoint(json.checkpoint, log.trust.log);
    const lines = [...witnesses, witness(9)]
      .map((one, i) => one.cosign(checkpoint, 1_700_000_000 + i))
      .join('');
    return { ...json, checkpoint: addSignatures(json.checkpoint, lines) };
  };
  const signed = log.snapshots.map(({ version }) => cosign(log.signedSnapshot(version)));
  const asked = [
    ...digests.slice(0, 8),
    ...digests.slice(-8),
    ...digests.slice(0, 8).map((one) => digestNear(random, one, random.below(30))),
  ];
  const memberships = logs.flatMap((one) =>
    asked.map((eventDigest) => {
      const json = one.membership(eventDigest);
      return { json: { ...json, signedSnapshot: cosign(json.signedSnapshot) }, eventDigest };
    }),
  );
  const incrementals = log.snapshots.flatMap((end) =>
    log.snapshots
      .filter((start) => start.version <= end.version)
      .map((start) => ({ json: log.incremental(start.version, end.version), start, end })),
  );
  const strange = signedLog(batches.slice(0, 4), { seed: 2 });
  const cosigners = witnesses.map(({ verifier }) => verifier);
  const firstVersions = new Map(
    digests.map((digest, version) => [encodeHex(digest), version] as const).reverse(),
  );
  return {
    log,
    trust: { ...log.trust, policy: thresholdPolicy(cosigners, 1) },
    cosigners,
    digests,
    firstVersions,
    snapshots: new Map(
      log.snapshots.map((snapshot) => [snapshot.version, JSON.stringify(formatSnapshot(snapshot))]),
    ),
    cosigned: cosigners.map(({ name, id }, i) => ({ name, id, time: 1_700_000_000 + i })),
    memberships,
    signed,
    incrementals,
    honest: new Set(
      [...[...memberships, ...incrementals].map(({ json }) => json), ...signed].map(withoutSignatures),
    ),
    fork: forked.snapshots.at(-1)!,
    notes: [...signed, strange.signedSnapshot(6), forked.signedSnapshot(digests.length - 1)].map(
      ({ checkpoint }) => checkpoint,
    ),
    vkeys: [log.signer.vkey, strange.signer.vkey, ...witnesses.map(({ vkey }) => vkey)],
  };
}

function makeTargets(random: Random): Target[] {
  const world = makeWorld(random);
  const others = [...[...world.memberships, ...world.incrementals].map(({ json }) => json), ...world.signed];
  const memberships = world.memberships.map(({ json }) => json);
  const parser = <Parsed>(
    parse: (json: unknown) => Parsed,
    format: (parsed: Parsed) => unknown,
    valid: readonly unknown[],
  ): Target => ({
    name: parse.name,
    weight: 2,
    kinds: ['refused'],
    run(source) {
      const parsed = parse(input(source, source.pick(valid), others));
      truth(isDeepStrictEqual(parse(format(parsed)), parsed), 'a form that does not come back');
    },
  });
  const parsers = [
    parser(
      parseSnapshot,
      formatSnapshot,
      world.signed.map(({ snapshot }) => snapshot),
    ),
    parser(parseSignedSnapshot, formatSignedSnapshot, world.signed),
    parser(
      parseMembershipProof,
      formatMembershipProof,
      memberships.map(({ signedSnapshot: _, ...proof }) => proof),
    ),
    parser(parseMembership, formatMembership, memberships),
    parser(
      parseIncremental,
      formatIncremental,
      world.incrementals.map(({ json }) => json),
    ),
  ];
  return [...verifierTargets(world, others), ...savedTargets(world), ...noteTargets(world), ...parsers];
}

/** Mostly the valid value, mutated; now and then one that changes while it is read, another valid one, or anything at all. */
function input(random: Random, valid: unknown, others: readonly unknown[]): unknown {
  const kind = random.below(20);
  if (kind === 0) return randomValue(random);
  if (kind === 1) return flickering(random, valid, random.pick(others));
  if (kind === 2) return random.pick(others);
  return mutated(random, valid, others);
}

function verifierTargets(world: World, others: readonly unknown[]): Target[] {
  const { trust } = world;
  return [
    {
      name: 'verifyMembership',
      weight: 14,
      kinds: ['refused'],
      run(random) {
        const { json, eventDigest } = random.pick(world.memberships);
        const question = { eventDigest, ...(random.chance(0.5) ? {} : { version: random.below(300) }) };
        const fed = input(random, json, others);
        checkMembershipAnswer(world, question, verifyMembership(fed, question, trust, NATIVE));
        checkHonest(world, fed, (one) => formatMembership(parseMembership(one)));
      },
    },
    {
      name: 'verifyMembership, any question',
      weight: 2,
      kinds: ['refused', 'caller'],
      run(random) {
        const { json } = random.pick(world.memberships);
        const eventDigest = random.chance(0.5)
          ? random.pick(world.digests)
          : random.bytes(random.pick([0, 31, 32, 33]));
        const question = { eventDigest, version: random.pick([0, 1, 262, 263, -1, 0.5, NaN, 2 ** 53]) };
        checkMembershipAnswer(world, question, verifyMembership(json, question, trust, NATIVE));
      },
    },
    {
      name: 'verifySignedSnapshot',
      weight: 6,
      kinds: ['refused'],
      run(random) {
        const json = input(random, random.pick(world.signed), others);
        const { snapshot, cosignatures } = verifySignedSnapshot(json, trust, NATIVE);
        checkSnapshotAnswer(world, snapshot, cosignatures);
        checkHonest(world, json, (one) => formatSignedSnapshot(parseSignedSnapshot(one)));
      },
    },
    {
      name: 'verifyIncremental',
      weight: 6,
      kinds: ['refused', 'caller'],
      run(random) {
        const { json, start, end: trueEnd } = random.pick(world.incrementals);
        const end = random.chance(0.9) ? trueEnd : random.pick([world.fork, ...world.log.snapshots]);
        const fed = input(random, json, others);
        verifyIncremental(fed, { start, end }, NATIVE);
        // The second history shares all but the last batch.
        truth(end !== world.fork || start.version < world.digests.length - 1, 'growth into another history');
        truth(start.version <= end.version, 'growth backwards');
        if (end !== world.fork) checkHonest(world, fed, (one) => formatIncremental(parseIncremental(one)));
      },
    },
  ];
}

/** There is one proof of each truth: the honest one. What was fed and taken must be it, but for the signatures on its note. */
function checkHonest({ honest }: World, fed: unknown, normal: (fed: unknown) => unknown): void {
  if (!types.isProxy(fed))
    truth(honest.has(withoutSignatures(normal(fed))), 'a proof that no honest log gives');
}

function withoutSignatures(json: unknown): string {
  return JSON.stringify(json, (name, value: unknown) =>
    name === 'checkpoint' && typeof value === 'string' ? value.slice(0, value.lastIndexOf('\n\n')) : value,
  );
}

/** Saved proofs, of both forms. */
function savedTargets(world: World): Target[] {
  const { trust, log } = world;
  const vkey = log.signer.vkey;
  const bundles = world.memberships.map(({ json, eventDigest }) => {
    const { proof, signedSnapshot } = parseMembership(json);
    const found = { proof, signedSnapshot, versionAsked: signedSnapshot.snapshot.version };
    return { json: formatMembershipBundle(found, vkey), eventDigest, tlog: tlogProofOf(found) };
  });
  const tlogs = bundles.flatMap(({ tlog, eventDigest }) => (tlog ? [{ tlog, eventDigest }] : []));
  const texts = tlogs.map(({ tlog }) => formatTlogProof(tlog));
  const others: unknown[] = [
    ...bundles.map(({ json }) => json),
    ...world.signed.map((signed) => formatSnapshotBundle(parseSignedSnapshot(signed), vkey)),
  ];
  return [
    {
      name: 'verifyBundle',
      weight: 4,
      kinds: ['refused'],
      run(random) {
        const { json, eventDigest } = random.pick(bundles);
        const found = verifyBundle(input(random, json, others), { eventDigest }, trust, NATIVE);
        if (found.kind === 'incremental') return;
        if (found.kind === 'snapshot') checkSnapshotAnswer(world, found.snapshot, found.cosignatures);
        else checkMembershipAnswer(world, { eventDigest, version: found.versionAsked }, found);
      },
    },
    {
      name: 'verifyTlogProof',
      weight: 4,
      kinds: ['refused'],
      run(random) {
        const { tlog, eventDigest } = random.pick(tlogs);
        const text = random.chance(0.98)
          ? mutatedText(random, formatTlogProof(tlog), texts)
          : (randomValue(random) as string);
        const { version, time } = verifyTlogProof(text, eventDigest, trust, NATIVE);
        const entry = log.balloon.entry(version);
        truth(isDeepStrictEqual(Buffer.from(entry.eventDigest), Buffer.from(eventDigest)), 'an event');
        truth(entry.time === time, 'a time');
      },
    },
  ];
}

function checkSnapshotAnswer(world: World, snapshot: Snapshot, cosignatures: readonly Cosignature[]): void {
  truth(world.snapshots.get(snapshot.version) === JSON.stringify(formatSnapshot(snapshot)), 'a snapshot');
  for (const one of cosignatures) {
    truth(
      world.cosigned.some((true_) => isDeepStrictEqual(true_, one)),
      'a cosignature',
    );
  }
  truth(cosignatures.length >= 1, 'too few cosignatures');
}

function checkMembershipAnswer(world: World, question: MembershipQuestion, answer: VerifiedMembership): void {
  const { snapshot, exists, version, time, cosignatures } = answer;
  checkSnapshotAnswer(world, snapshot, cosignatures);
  const asked = question.version ?? snapshot.version;
  const known = world.firstVersions.get(encodeHex(question.eventDigest));
  const first = known === undefined || known > snapshot.version ? null : known;
  truth(asked <= snapshot.version, 'an answer beyond the snapshot');
  truth(version === first && exists === (first !== null && first <= asked), 'a membership');
  truth(time === (first === null ? null : world.log.balloon.entry(first).time), 'a time');
}

function noteTargets({ trust, cosigners, notes, vkeys, snapshots, cosigned }: World): Target[] {
  const { log } = trust;
  const texts = new Set(notes.map((note) => note.slice(0, note.lastIndexOf('\n\n') + 1)));
  const note = (random: Random): string | Uint8Array => {
    const kind = random.below(20);
    if (kind === 0) return randomText(random);
    if (kind === 1) return random.bytes(random.below(300));
    if (kind === 2 && random.chance(0.01)) return random.pick(notes).repeat(6000);
    const text = mutatedText(random, random.pick(notes), notes);
    return random.chance(0.5) ? text : mutatedBytes(random, text);
  };
  // A value that is no note comes from callers in JavaScript alone.
  const anyNote = (random: Random): string =>
    (random.chance(0.02) ? randomValue(random) : note(random)) as string;
  return [
    {
      name: 'openNote',
      weight: 4,
      kinds: ['refused'],
      run: (random) =>
        truth(texts.has(openNote(anyNote(random), [log, ...cosigners], NATIVE.verify).text), 'a note'),
    },
    {
      name: 'openCheckpoint',
      weight: 4,
      kinds: ['refused'],
      run(random) {
        const { size, root } = openCheckpoint(anyNote(random), log, NATIVE.verify);
        const snapshot = snapshots.get(size - 1) ?? '';
        // The second history is signed by the same key: such a log is caught by comparing, not by opening.
        truth(
          snapshot.includes(encodeHex(root)) || size === [...snapshots.keys()].at(-1)! + 1,
          'a checkpoint',
        );
      },
    },
    {
      name: 'openCosignatures',
      weight: 4,
      kinds: ['refused'],
      run(random) {
        for (const one of openCosignatures(anyNote(random), cosigners, NATIVE.verify)) {
          truth(
            cosigned.some((true_) => isDeepStrictEqual(true_, one)),
            'a cosignature',
          );
        }
      },
    },
    {
      name: 'parseVkey',
      weight: 4,
      kinds: ['caller'],
      run(random) {
        const text = random.chance(0.95)
          ? mutatedText(random, random.pick(vkeys), vkeys)
          : (randomValue(random) as string);
        truth(formatVkey(parseVkey(text)) === text, 'a vkey');
      },
    },
  ];
}
