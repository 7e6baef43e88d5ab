// What is said when two signed states do not belong to one history. With evidence that convicts the log it is tampering; without, it is not proven who is wrong.
// It is one alert, however many states contradict each other: the first evidence is enough, and a log that forked goes on signing.
import { type Evidence } from '../../src/balloon/evidence.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type AlertInput } from '../alerts.ts';
import { isConclusive } from '../auditor/prove.ts';
import { type KnownLog } from '../known-log.ts';

export function accusationOf(
  { verifier }: KnownLog,
  evidence: Evidence,
  states: readonly SignedSnapshot[],
): AlertInput {
  const alert = { subject: 'history', code: 'consistency-mismatch', evidence } as const;
  const versions = [...new Set(states.map(({ snapshot }) => snapshot.version))].join(' and ');
  const where = versions === '' ? '' : ` (version ${versions})`;
  if (isConclusive(evidence)) {
    const message = `${verifier.name} has signed two histories${where}: the evidence convicts it`;
    return { ...alert, kind: 'tampering', message };
  }
  const message = `what ${verifier.name} has signed${where} is not shown to be one history: the proofs that its nodes give lead nowhere`;
  return { ...alert, kind: 'inconsistent', message };
}
