// The door for programs that run a log of their own: open one on disk, append, sign, prove, verify. A program that only talks to a server
// or checks proofs wants `qed/client`, which also loads in a browser.
export { QedError, errorTable, type ErrorCode, type ErrorKind, type RefusalCode } from './errors.ts';
export { nativeHash } from './crypto/hash-node.ts';
export { portableHash, type Hash } from './crypto/hash.ts';
export { nativeVerify } from './crypto/ed25519-node.ts';
export { createKeyFiles, readPrivateKey } from './crypto/keys.ts';
export { createCosigner, createLogSigner, type Cosigner, type LogSigner } from './crypto/signer.ts';
export { COSIGNER_KEY, LOG_KEY, formatVkey, parseVkey, type Verifier } from './crypto/vkey.ts';
export { openLevelStore, type LevelOptions } from './storage/level.ts';
export { openMemoryStore } from './storage/memory.ts';
export { type Store, type Write } from './storage/store.ts';
export {
  openDurableBalloon,
  type Applied,
  type BalloonEvent,
  type DurableBalloon,
  type DurableBalloonOptions,
} from './storage/durable-balloon.ts';
export { type Record, type Request } from './balloon/record.ts';
export { type Outcome } from './balloon/requests.ts';
export { signSnapshot } from './balloon/sign.ts';
export {
  formatIncremental,
  formatMembership,
  formatSignedSnapshot,
  type IncrementalProof,
  type MembershipProof,
  type SignedMembership,
  type SignedSnapshot,
  type Snapshot,
} from './balloon/proof.ts';
export {
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
  type Trust,
  type VerifiedMembership,
  type VerifiedSnapshot,
} from './balloon/verify.ts';
