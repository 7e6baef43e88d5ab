// What is wrong for a while. A condition becomes an alert when it has held for so long, stays one alert while it holds, and is over when it does not: then
// the next time is news again. Proofs are another matter: they are raised at once and are never over.
import { type ErrorCode } from '../../src/errors.ts';
import { type AlertInput, type AlertKind } from '../alerts.ts';

export interface ConditionsOptions {
  readonly raise: (input: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  readonly onOver: (kind: AlertKind, subject: string) => void;
  readonly now: () => number;
}

export interface Wrong {
  readonly message: string;
  readonly code?: ErrorCode | undefined;
}

export interface Conditions {
  /** How it is now; undefined: all is well. */
  readonly set: (kind: AlertKind, subject: string, wrong: Wrong | undefined, afterMs: number) => void;
  /** Those that are alerts now. */
  readonly open: () => readonly string[];
}

export function watchConditions({ raise, clear, onOver, now }: ConditionsOptions): Conditions {
  const held = new Map<string, { readonly since: number; isRaised: boolean }>();
  return {
    set(kind, subject, wrong, afterMs) {
      const key = `${kind} ${subject}`;
      const before = held.get(key);
      if (wrong === undefined) {
        held.delete(key);
        if (before?.isRaised !== true) return;
        clear(kind, subject);
        onOver(kind, subject);
        return;
      }
      const condition = before ?? { since: now(), isRaised: false };
      held.set(key, condition);
      if (now() - condition.since < afterMs) return;
      condition.isRaised = true;
      raise({ kind, subject, ...wrong });
    },
    open: () => [...held].filter(([, { isRaised }]) => isRaised).map(([key]) => key),
  };
}
