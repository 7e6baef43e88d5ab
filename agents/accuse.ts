// What is said when two signed states do not belong to one history. With evidence that convicts the log it is tampering; without, it is not proven who is wrong.
// It is one alert, however many states contradict each other: the first evidence is enough, and a log that forked goes on signing.
import { splitView, type Evidence } from '../src/balloon/evidence.ts';
import { type AlertInput } from './alerts.ts';
import { isConclusive } from './prove.ts';
import { type KnownLog } from './known-log.ts';

/** Both notes are of the checkpoint of that version. */
export function splitViewOf(
  log: Pick<KnownLog, 'verifier'>,
  version: number,
  notes: readonly [string, string],
): AlertInput {
  return accusationOf(log, splitView(log.verifier, ...notes), [version]);
}

export function accusationOf(
  { verifier }: Pick<KnownLog, 'verifier'>,
  evidence: Evidence,
  versions: readonly number[],
): AlertInput {
  const alert = { subject: 'history', code: 'consistency-mismatch', evidence } as const;
  const where = `version ${[...new Set(versions)].join(' and ')}`;
  if (isConclusive(evidence)) {
    const message = `${verifier.name} has signed two histories, as the evidence proves: ${where}`;
    return { ...alert, kind: 'tampering', message };
  }
  const message = `what ${verifier.name} has signed for ${where} is not shown to be one history: the proofs that its nodes give lead nowhere`;
  return { ...alert, kind: 'inconsistent', message };
}
