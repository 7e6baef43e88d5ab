// What is wrong with a node, as far as it has noticed. After a failed write it takes no more events and still answers what it can read; once it
// has found damaged bytes, or that its digests are not those of its cluster, it does not answer either. Only another start changes that, so the
// first cause of each is kept and told.
import { QedError } from '../errors.ts';

export interface Health {
  readonly isReady: boolean;
  /** Why it is not ready. */
  readonly error: QedError | undefined;
}

export interface HealthWatch {
  readonly health: () => Health;
  /** Throws unless events may be added. */
  readonly checkTaking: () => void;
  /** Throws unless questions may be answered. */
  readonly checkAnswering: () => void;
  /** Looks at an error that a question met, and returns it. */
  readonly note: (error: unknown) => unknown;
  /** Nothing is answered any more. */
  readonly noteDamage: (error: QedError) => void;
  /** Looks at an error that writing met: whatever it is, nothing more is written. */
  readonly noteFailedWrite: (error: QedError) => void;
}

/** `lateness`: why a node with nothing wrong is not ready yet. */
export function watchHealth(
  tell: (error: QedError) => void,
  lateness: () => QedError | undefined = () => undefined,
): HealthWatch {
  let failedWrite: QedError | undefined;
  let damage: QedError | undefined;

  function noteDamage(error: QedError): void {
    if (damage) return;
    damage = error;
    tell(error);
  }

  return {
    health() {
      const error = damage ?? failedWrite ?? lateness();
      return { isReady: error === undefined, error };
    },
    checkTaking() {
      const error = damage ?? failedWrite;
      if (error) throw error;
    },
    checkAnswering() {
      if (damage) throw damage;
    },
    note(error) {
      if (error instanceof QedError && isDamage(error)) noteDamage(error);
      return error;
    },
    noteDamage,
    noteFailedWrite(error) {
      if (isDamage(error)) noteDamage(error);
      else if (!failedWrite) {
        failedWrite = error;
        tell(error);
      }
    },
  };
}

function isDamage({ code }: QedError): boolean {
  return code === 'store-corrupt' || code === 'diverged';
}
