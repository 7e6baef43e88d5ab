// The test vectors of the two trees. `testutils/vectors/trees.json` was made by this project (npm run vectors); QED_VECTORS names another
// file of the same form, for instance one that an independent implementation made.
import { existsSync, readFileSync } from 'node:fs';
import { type MembershipProofJson, type SnapshotJson } from '../src/balloon/proof.ts';

export interface TreeVectors {
  about: string;
  emptyHyperDigest: string;
  emptyHistoryDigest: string;
  batches: { digests: string[]; time: number; snapshot: SnapshotJson }[];
  membership: {
    why: string;
    eventDigest: string;
    proof: MembershipProofJson;
    snapshot: SnapshotJson;
    holds: boolean;
  }[];
  inclusion: { index: number; size: number; root: string; proof: string[] }[];
  consistency: { start: number; end: number; startDigest: string; endDigest: string; hashes: string[] }[];
  hyper: { key: string; version: number; root: string }[];
}

export const OWN_VECTORS = new URL('./vectors/trees.json', import.meta.url).pathname;

/** Our own vectors, and the independent ones where there are any. */
export function vectorFiles(): readonly string[] {
  const independent =
    process.env['QED_VECTORS'] ?? new URL('../../shared/vectors/trees.json', import.meta.url).pathname;
  return [OWN_VECTORS, independent].filter((path) => existsSync(path));
}

export function readVectors(path: string): TreeVectors {
  return JSON.parse(readFileSync(path, 'utf8')) as TreeVectors;
}
