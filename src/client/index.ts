// The client library: what a program or a browser page needs to add events, to ask for proofs and to check them. Everything that can be reached
// from here loads in a browser; Node adds its faster transport from transport-node.ts.
export {
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
  type MembershipQuestion as VerifierQuestion,
  type Primitives,
  type Trust,
  type VerifiedMembership,
  type VerifiedSnapshot,
} from '../balloon/verify.ts';
export {
  formatIncremental,
  formatMembership,
  formatSignedSnapshot,
  formatSnapshot,
  parseIncremental,
  parseMembership,
  parseSignedSnapshot,
  parseSnapshot,
  type IncrementalJson,
  type IncrementalProof,
  type MembershipJson,
  type MembershipProof,
  type SignedMembership,
  type SignedSnapshot,
  type SignedSnapshotJson,
  type Snapshot,
  type SnapshotJson,
} from '../balloon/proof.ts';
export { openCheckpoint, openCosignatures, type Checkpoint, type Cosignature } from '../crypto/checkpoint.ts';
export { decodeHex, encodeHex } from '../crypto/encoding.ts';
export { portableHash, type Hash } from '../crypto/hash.ts';
export { formatVkey, parseVkey, type Verifier } from '../crypto/vkey.ts';
export { QedError, type ErrorCode, type ErrorKind } from '../errors.ts';
export { type Added, type AddedBulk, type AddOptions } from './add.ts';
export { type Info } from './answers.ts';
export {
  type CheckpointFound,
  type EventFound,
  type Health,
  type Incremental,
  type Membership,
  type MembershipQuestion,
  type ReadOptions,
  type SnapshotFound,
} from './ask.ts';
export {
  formatIncrementalBundle,
  formatMembershipBundle,
  formatSnapshotBundle,
  verifyBundle,
  type BundleQuestion,
  type VerifiedBundle,
} from './bundle.ts';
export { createClient, type Client, type ClientOptions } from './client.ts';
export { falseMap, splitView, twoAnswers, type Evidence } from '../balloon/evidence.ts';
export { verifyEvidence, type CheckedEvidence } from '../balloon/evidence-check.ts';
export { parsePolicy, thresholdPolicy, type Policy } from '../crypto/policy.ts';
export { type HeadStore } from './head.ts';
export { type ReadFrom } from './nodes.ts';
export { type Event } from './session.ts';
export { fetchTransport, type Transport, type TransportAnswer } from './transport.ts';
export {
  formatTlogProof,
  parseTlogProof,
  tlogProofOf,
  verifyTlogProof,
  type TlogProof,
  type VerifiedTlogProof,
} from './tlog-proof.ts';
