// Asks the log what any client asks: is this event there? About random events, which it must prove to be there, and about random digests, which it must prove
// to be absent. The answers are verified as a client verifies them, and the state under which they stand goes to the audit like any other.
import { refusedProof, type Evidence } from '../../src/balloon/evidence.ts';
import { parseMembership } from '../../src/balloon/proof.ts';
import { verifyMembership, type Primitives, type VerifiedMembership } from '../../src/balloon/verify.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { QedError, type ErrorCode } from '../../src/errors.ts';
import { type AlertInput } from '../alerts.ts';
import { pause } from '../delivery.ts';
import { type AskLog } from '../ask.ts';
import { type Audit } from './audit.ts';
import { type Copy, type Picked } from './copy.ts';

export type QuestionKind = 'presence' | 'absence';
export type QuestionEnd = 'verified' | 'refused';

export interface QuestionsOptions {
  readonly log: Verifier;
  readonly ask: Pick<AskLog, 'membership'>;
  readonly copy: Pick<Copy, 'pick'>;
  readonly audit: Pick<Audit, 'attempt' | 'offer'>;
  readonly primitives: Primitives;
  readonly raise: (alert: AlertInput) => void;
  readonly random: (length: number) => Uint8Array;
  /** Between two questions, which are about a presence and an absence in turn. */
  readonly everyMs: number;
  readonly onEnd: (kind: QuestionKind, end: QuestionEnd) => void;
}

export interface Questions {
  readonly close: () => Promise<void>;
}

const DIGEST_BYTES = 32;
/** Larger answers are not kept as evidence. */
const ANSWER_CHARS_MAX = 64 * 1024;

export function startQuestions(options: QuestionsOptions): Questions {
  const { log, ask, copy, audit, primitives, raise } = options;
  const stop = new AbortController();

  async function put(kind: QuestionKind): Promise<void> {
    const end = await audit.attempt('answers', async () => {
      const picked = kind === 'presence' ? await copy.pick() : { eventDigest: options.random(DIGEST_BYTES) };
      if (picked === undefined) return undefined;
      const answer = await ask.membership(picked.eventDigest);
      return judge(answer, picked);
    });
    if (end !== undefined) options.onEnd(kind, end);
  }

  function judge(answer: unknown, picked: Picked | Pick<Picked, 'eventDigest'>): QuestionEnd {
    const { eventDigest } = picked;
    try {
      const found = verifyMembership(answer, { eventDigest }, { log }, primitives);
      audit.offer(parseMembership(answer).signedSnapshot, 'log');
      return checkFound(found, picked);
    } catch (error) {
      if (!(error instanceof QedError) || error.kind !== 'refused') throw error;
      const isShort = JSON.stringify(answer).length <= ANSWER_CHARS_MAX;
      const evidence = isShort ? refusedProof(log, eventDigest, answer, error.code) : undefined;
      raiseAbout(error.code, error.message, evidence);
      return 'refused';
    }
  }

  /**
   * What was proven fits what is known of the log. Under a state that was replayed it always does; under a newer one the replay will find out. A node that
   * is behind may not have the event yet.
   */
  function checkFound(
    { version, snapshot }: Pick<VerifiedMembership, 'version' | 'snapshot'>,
    picked: Picked | Pick<Picked, 'eventDigest'>,
  ): QuestionEnd {
    if (!('version' in picked)) {
      if (version === null) return 'verified';
      raiseAbout('proof-question', 'it proves that the log holds 32 random bytes', undefined);
      return 'refused';
    }
    const isThere = version !== null && version <= picked.version;
    if (snapshot.version < picked.version || (isThere && (!picked.isFirst || version === picked.version)))
      return 'verified';
    const claim = version === null ? 'is absent' : `was first logged at version ${version}`;
    raiseAbout(
      'proof-question',
      `it proves that an event ${claim}, which is at version ${picked.version}`,
      undefined,
    );
    return 'refused';
  }

  function raiseAbout(code: ErrorCode, why: string, evidence: Evidence | undefined): void {
    const message = `an answer of ${log.name} about an event does not hold: ${why}`;
    raise({ kind: 'inconsistent', subject: `answers ${code}`, code, message, evidence });
  }

  async function run(): Promise<void> {
    for (let count = 0; !stop.signal.aborted; count++) {
      await put(count % 2 === 0 ? 'presence' : 'absence');
      await pause(options.everyMs, stop.signal);
    }
  }

  const running = run();
  return {
    async close() {
      stop.abort();
      await running;
    },
  };
}
