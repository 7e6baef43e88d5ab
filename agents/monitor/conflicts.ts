// What a snapshot store has refused because it had another snapshot of that version: where the log has signed both, they convict it.
import { parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives } from '../../src/balloon/verify.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { type Conflict } from '../journal.ts';
import { type Source } from '../source.ts';

const ASK_MS = 3_000;

/** Empty as well when it does not answer, or knows no such list: whether it answers is watched elsewhere. */
export async function conflictsOf(
  store: Pick<Source, 'caller'>,
  log: Verifier,
  primitives: Primitives,
  now: () => number,
): Promise<readonly Conflict[]> {
  try {
    const json = await store.caller()?.callJson({ method: 'GET', path: '/conflicts' }, now() + ASK_MS);
    return listOf(json).flatMap((one) => readConflict(one, log, primitives));
  } catch (error) {
    if (error instanceof QedError && error.kind !== 'bug') return [];
    throw error;
  }
}

function readConflict(json: unknown, log: Verifier, primitives: Primitives): readonly Conflict[] {
  if (typeof json !== 'object' || json === null || !('stored' in json) || !('refused' in json)) return [];
  try {
    const [known, other] = [parseSignedSnapshot(json.stored), parseSignedSnapshot(json.refused)];
    for (const one of [known, other]) checkSignedSnapshot(one, { log }, primitives);
    const isContradiction =
      known.snapshot.version === other.snapshot.version &&
      !equalBytes(known.snapshot.historyDigest, other.snapshot.historyDigest);
    return isContradiction ? [{ known, other }] : [];
  } catch (error) {
    // A store that does not check may hold anything.
    if (error instanceof QedError && error.kind === 'refused') return [];
    throw error;
  }
}

function listOf(json: unknown): readonly unknown[] {
  const list: unknown =
    typeof json === 'object' && json !== null && 'conflicts' in json ? json.conflicts : undefined;
  return Array.isArray(list) ? list : [];
}
