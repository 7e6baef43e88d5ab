// With a policy, a state of the log counts only when the quorum of the policy stands behind it: it has cosigned this state, or a later one that grew out of
// it. Cosignatures come with what the log publishes, some ten times a second; what it answers in between is waited for.
//
// All states that are settled here lie on one history (head.ts), so whatever is not newer than a state with a quorum is vouched for with it.
import { parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { checkSignedSnapshot, type Primitives, type Trust } from '../balloon/verify.ts';
import { QedError } from '../errors.ts';

export interface VouchOptions {
  readonly trust: Trust;
  readonly primitives: Primitives;
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly now: () => number;
}

export interface VouchQuestions {
  /** Published snapshots from a version on, as JSON. */
  readonly published: (version: number) => Promise<readonly unknown[]>;
  /** Finds that a snapshot belongs to the history of the head. */
  readonly settle: (signed: SignedSnapshot) => Promise<unknown>;
  /** How long to wait for cosignatures. */
  readonly waitMs: number;
}

export interface Vouching {
  /** Resolves when a quorum stands behind the settled snapshot, with the Unix seconds since when; null where the policy asks for nobody. */
  readonly vouch: (signed: SignedSnapshot, questions: VouchQuestions) => Promise<number | null>;
}

const WAIT_MS = 50;

export function createVouching({ trust, primitives, sleep, now }: VouchOptions): Vouching {
  let known = { version: -1, time: 0 };

  function note({ snapshot: { version } }: SignedSnapshot, time: number): number {
    if (version >= known.version) known = { version, time };
    return time;
  }

  /** One that too few have cosigned is passed over: those who missed it cosign a later one, or the same again. */
  function quorumTimeOf(signed: SignedSnapshot): number | null | undefined {
    try {
      return checkSignedSnapshot(signed, trust, primitives).quorumTime;
    } catch (error) {
      if (error instanceof QedError && error.code === 'cosignatures-missing') return undefined;
      throw error;
    }
  }

  async function askVouched(version: number, questions: VouchQuestions): Promise<number | null> {
    const until = now() + questions.waitMs;
    // Also bounded where the clock stands still.
    for (let left = questions.waitMs; ; left -= WAIT_MS) {
      const list = (await questions.published(version)).map(parseSignedSnapshot);
      for (const signed of list.filter(({ snapshot }) => snapshot.version >= version)) {
        const time = quorumTimeOf(signed);
        if (time === undefined) continue;
        await questions.settle(signed);
        return time === null ? null : note(signed, time);
      }
      if (Math.min(left, until - now()) < WAIT_MS) {
        throw new QedError(
          'cosignatures-missing',
          `no quorum of the policy has vouched for version ${version} in time`,
        );
      }
      await sleep(WAIT_MS);
    }
  }

  return {
    async vouch(signed, questions) {
      const { version } = signed.snapshot;
      const time = quorumTimeOf(signed);
      if (time !== undefined) return time === null ? null : note(signed, time);
      if (version < known.version) return known.time;
      return askVouched(version, questions);
    },
  };
}
