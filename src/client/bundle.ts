// A saved proof: everything that is needed to check an answer later, without the log. One JSON document:
//
//   { "format": "qed-proof/v1", "kind": "membership",  "vkey", "question": { "eventDigest", "version" }, "membership" }
//   { "format": "qed-proof/v1", "kind": "incremental", "vkey", "start", "end", "incremental" }     start and end: signed snapshots
//   { "format": "qed-proof/v1", "kind": "snapshot",    "vkey", "signedSnapshot" }
//
// The vkey in it is a remark for people. A verifier brings its own, and its own question: who could edit the file could edit both.
import {
  formatIncremental,
  formatMembership,
  formatSignedSnapshot,
  type SignedMembership,
  type SignedSnapshot,
} from '../balloon/proof.ts';
import {
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
  type Primitives,
  type Trust,
  type VerifiedMembership,
  type VerifiedSnapshot,
} from '../balloon/verify.ts';
import { decodeHex, encodeHex, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type Incremental, type Membership } from './ask.ts';

const FORMAT = 'qed-proof/v1';

export interface BundleQuestion {
  /** The event that the proof must be about. Without it, the one that the file names. */
  readonly eventDigest?: Uint8Array | undefined;
  /** Without it, the version that the file names. */
  readonly version?: number | undefined;
}

export type VerifiedBundle =
  | ({
      readonly kind: 'membership';
      readonly eventDigest: Uint8Array;
      readonly versionAsked: number;
    } & VerifiedMembership)
  | { readonly kind: 'incremental'; readonly start: VerifiedSnapshot; readonly end: VerifiedSnapshot }
  | ({ readonly kind: 'snapshot' } & VerifiedSnapshot);

export function formatMembershipBundle(
  found: SignedMembership & Pick<Membership, 'versionAsked'>,
  vkey: string | null,
): unknown {
  const question = { eventDigest: encodeHex(found.proof.eventDigest), version: found.versionAsked };
  return { format: FORMAT, kind: 'membership', vkey, question, membership: formatMembership(found) };
}

export function formatIncrementalBundle(
  { proof, signedSnapshots }: Incremental,
  vkey: string | null,
): unknown {
  if (signedSnapshots === undefined) {
    throw new QedError(
      'vkey-unknown',
      'without a vkey there are no signed snapshots to save beside the proof',
    );
  }
  const [start, end] = [
    formatSignedSnapshot(signedSnapshots.start),
    formatSignedSnapshot(signedSnapshots.end),
  ];
  return { format: FORMAT, kind: 'incremental', vkey, start, end, incremental: formatIncremental(proof) };
}

export function formatSnapshotBundle(signed: SignedSnapshot, vkey: string | null): unknown {
  return { format: FORMAT, kind: 'snapshot', vkey, signedSnapshot: formatSignedSnapshot(signed) };
}

export function verifyBundle(
  json: unknown,
  asked: BundleQuestion,
  trust: Trust,
  primitives?: Primitives,
): VerifiedBundle {
  const bundle = readObject(json, 'the file');
  if (bundle['format'] !== FORMAT) throw malformed(`the file is not of the format ${FORMAT}`);
  switch (bundle['kind']) {
    case 'membership':
      return verifySavedMembership(bundle, asked, trust, primitives);
    case 'incremental':
      return verifySavedIncremental(bundle, trust, primitives);
    case 'snapshot':
      return { kind: 'snapshot', ...verifySignedSnapshot(bundle['signedSnapshot'], trust, primitives) };
    default:
      throw malformed('the file is neither about a membership nor about an increment nor a snapshot');
  }
}

/** The vkey that the file names, to show to a person. */
export function vkeyRemark(json: unknown): string | undefined {
  const vkey = typeof json === 'object' && json !== null && 'vkey' in json ? json.vkey : undefined;
  return typeof vkey === 'string' && /^[!-~]{1,400}$/.test(vkey) ? vkey : undefined;
}

function verifySavedMembership(
  bundle: Fields,
  asked: BundleQuestion,
  trust: Trust,
  primitives?: Primitives,
): VerifiedBundle {
  const question = readObject(bundle['question'], 'question');
  const eventDigest = asked.eventDigest ?? readDigest(question['eventDigest']);
  const versionAsked = asked.version ?? question['version'];
  if (!isSize(versionAsked)) throw malformed('question.version is not a version');
  const verified = verifyMembership(
    bundle['membership'],
    { eventDigest, version: versionAsked },
    trust,
    primitives,
  );
  return { kind: 'membership', eventDigest, versionAsked, ...verified };
}

function verifySavedIncremental(bundle: Fields, trust: Trust, primitives?: Primitives): VerifiedBundle {
  const start = verifySignedSnapshot(bundle['start'], trust, primitives);
  const end = verifySignedSnapshot(bundle['end'], trust, primitives);
  verifyIncremental(bundle['incremental'], { start: start.snapshot, end: end.snapshot }, primitives);
  return { kind: 'incremental', start, end };
}

type Fields = Readonly<Record<string, unknown>>;

function readObject(json: unknown, what: string): Fields {
  try {
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...json };
  } catch {
    // An object made to throw when it is read is as good as none.
  }
  throw malformed(`${what} is not an object`);
}

function readDigest(json: unknown): Uint8Array {
  const digest = typeof json === 'string' ? decodeHex(json, DIGEST_BYTES) : undefined;
  if (digest === undefined) throw malformed('question.eventDigest is not 64 lower-case hex digits');
  return digest;
}

function malformed(why: string): QedError {
  return new QedError('proof-malformed', `the saved proof is malformed: ${why}`);
}
