// Whether two states that the log has signed belong to one history, by the log's own proof; and if not, the strongest evidence that can be had. A proof that
// leads nowhere convicts nobody: the log may answer anything. One that leads to the newer state from another start than the older one does.
import { contradiction, inconsistent, type Evidence } from '../src/balloon/evidence.ts';
import { parseIncremental, type SignedSnapshot } from '../src/balloon/proof.ts';
import { verifyIncremental, type Primitives } from '../src/balloon/verify.ts';
import { equalBytes } from '../src/crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../src/crypto/hash.ts';
import { type Verifier } from '../src/crypto/vkey.ts';
import { QedError } from '../src/errors.ts';
import { checkConsistency } from '../src/history/check.ts';
import { nodeHash } from '../src/history/merkle.ts';
import { subtreesOf, tilePlace } from '../src/history/position.ts';
import { type AskLog } from './ask.ts';

/** Undefined when they do. Rejects when the log does not answer. */
export type Prove = (one: SignedSnapshot, other: SignedSnapshot) => Promise<Evidence | undefined>;

export function createProve(
  log: Verifier,
  ask: Pick<AskLog, 'incremental' | 'tile'>,
  primitives: Primitives,
): Prove {
  return async (one, other) => {
    const [older, newer] = one.snapshot.version <= other.snapshot.version ? [one, other] : [other, one];
    if (older.snapshot.version === newer.snapshot.version) {
      const isSame = equalBytes(older.snapshot.historyDigest, newer.snapshot.historyDigest);
      return isSame ? undefined : contradiction(log, [older, newer], null, primitives.hash);
    }
    const answer = await ask.incremental(older.snapshot.version, newer.snapshot.version);
    try {
      verifyIncremental(answer, { start: older.snapshot, end: newer.snapshot }, primitives);
      return undefined;
    } catch (error) {
      if (!(error instanceof QedError) || error.kind !== 'refused') throw error;
    }
    const evidence = contradiction(log, [older, newer], answer, primitives.hash);
    if (isConclusive(evidence)) return evidence;
    return (await fromPerfectTree(older, newer, answer)) ?? evidence;
  };

  /** A proof from a perfect tree on does not hold the root of that tree; the log's tiles do. */
  async function fromPerfectTree(
    older: SignedSnapshot,
    newer: SignedSnapshot,
    answer: unknown,
  ): Promise<Evidence | undefined> {
    const [startSize, endSize] = [older.snapshot.version + 1, newer.snapshot.version + 1];
    const [subtree, ...others] = subtreesOf({ from: 0, to: startSize });
    if (subtree === undefined || others.length > 0) return undefined;
    try {
      const { level, tile, row } = tilePlace(subtree);
      const hashes = await ask.tile({ level, index: tile, width: 2 ** row });
      const startRoot = foldTile(primitives.hash, hashes);
      const proof = parseIncremental(answer).hashes;
      const leads = checkConsistency(
        primitives.hash,
        startSize,
        startRoot,
        endSize,
        newer.snapshot.historyDigest,
        proof,
      );
      if (!leads || equalBytes(startRoot, older.snapshot.historyDigest)) return undefined;
      return inconsistent(log, older.checkpoint, newer.checkpoint, { startRoot, hashes: proof });
    } catch (error) {
      // Nothing better to be had.
      if (error instanceof QedError && error.kind !== 'bug') return undefined;
      throw error;
    }
  }
}

/** Whether it convicts the log by itself. */
export function isConclusive(evidence: Evidence): boolean {
  if (evidence.kind === 'inconsistent') return evidence.startRoot !== null;
  return evidence.kind !== 'hyper-mismatch' && evidence.kind !== 'refused-proof';
}

function foldTile(hash: Hash, tile: Uint8Array): Uint8Array {
  let row: Uint8Array[] = Array.from({ length: tile.length / DIGEST_BYTES }, (_, at) =>
    tile.slice(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES),
  );
  while (row.length > 1)
    row = row.flatMap((left, at) => (at % 2 === 0 ? [nodeHash(hash, left, row[at + 1] ?? left)] : []));
  return row[0] ?? new Uint8Array(0);
}
