// The check of all that a ledger holds, by what it says and the vkey alone: as a stranger would who was handed a copy.
import { checkSignedSnapshot, type Trust } from '../../src/balloon/verify.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { type Conflict, type Gap, type Ledger } from './ledger.ts';

export interface LedgerVerified {
  readonly snapshots: number;
  readonly first: number | undefined;
  readonly last: number | undefined;
  readonly gaps: readonly Gap[];
  /** Each is proof against the log; the store has done nothing wrong. */
  readonly conflicts: readonly Conflict[];
}

const PAGE = 256;

/** Throws what the first wrong snapshot is refused with. */
export async function verifyLedger(ledger: Ledger, trust: Trust): Promise<LedgerVerified> {
  let snapshots = 0;
  let first: number | undefined;
  let last: number | undefined;
  for (;;) {
    const page = await ledger.list((last ?? -1) + 1, PAGE);
    for (const line of page) {
      const version = verifyLine(line, trust);
      if (last !== undefined && version <= last) {
        throw new QedError(
          'store-corrupt',
          `the snapshot of version ${version} stands where one behind ${last} should`,
        );
      }
      first ??= version;
      last = version;
    }
    snapshots += page.length;
    if (page.length < PAGE) break;
  }
  const conflicts = await ledger.conflicts();
  for (const { stored, refused } of conflicts) verifyConflict(stored, refused, trust);
  return { snapshots, first, last, gaps: ledger.gaps(), conflicts };
}

/** Returns the version. */
export function verifyLine(line: string, trust: Trust): number {
  const signedSnapshot = parseLine(line);
  return checkSignedSnapshot(signedSnapshot, trust, { hash: nativeHash, verify: nativeVerify }).snapshot
    .version;
}

function verifyConflict(stored: string, refused: string, trust: Trust): void {
  const versions = [verifyLine(stored, trust), verifyLine(refused, trust)];
  const isConflict =
    versions[0] === versions[1] &&
    !equalBytes(parseLine(stored).snapshot.historyDigest, parseLine(refused).snapshot.historyDigest);
  if (!isConflict)
    throw new QedError('store-corrupt', `the conflict at version ${versions[1] ?? ''} is none`);
}
