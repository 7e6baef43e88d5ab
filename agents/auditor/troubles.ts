// What the log does not answer, or answers falsely, by what it was asked about; said once while it lasts, and over when there is a good answer.
import { QedError } from '../../src/errors.ts';
import { type AlertInput, type AlertKind } from '../alerts.ts';
import { troubleOf } from '../ask.ts';

export interface TroublesOptions {
  readonly logName: string;
  readonly raise: (alert: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  /** An answer did not hold: another node may do better. */
  readonly onFalse: () => void;
  /** No usable answer for so long is an outage. */
  readonly outageMs: number;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

export interface Troubles {
  /** Undefined where the question was not answered, or falsely. Trouble of our own is thrown. */
  readonly attempt: <Answer>(what: string, question: () => Promise<Answer>) => Promise<Answer | undefined>;
  /** What is wrong now, for people. */
  readonly list: () => readonly string[];
}

export function keepTroubles({
  logName,
  raise,
  clear,
  onFalse,
  outageMs,
  now,
  signal,
}: TroublesOptions): Troubles {
  /** Since when it is not answered. */
  const silent = new Map<string, number>();
  const said = new Map<string, string>();

  function say(kind: 'outage' | 'inconsistent', what: string, message: string, { code }: QedError): void {
    said.set(what, message);
    raise({ kind, subject: `log: ${what}`, code, message });
  }

  function settle(what: string): void {
    silent.delete(what);
    if (!said.delete(what)) return;
    for (const kind of ['outage', 'inconsistent'] as const) clear(kind, `log: ${what}`);
  }

  function note(what: string, error: QedError): void {
    if (troubleOf(error) === 'false') {
      silent.delete(what);
      onFalse();
      say(
        'inconsistent',
        what,
        `what ${logName} answers about its ${what} does not hold: ${error.message}`,
        error,
      );
      return;
    }
    const since = silent.get(what) ?? now();
    silent.set(what, since);
    const seconds = Math.round((now() - since) / 1000);
    if (now() - since < outageMs) return;
    const message = `${logName} gives no usable answer about its ${what} since ${seconds} s: ${error.message}`;
    say('outage', what, message, error);
  }

  return {
    async attempt(what, question) {
      try {
        const answer = await question();
        settle(what);
        return answer;
      } catch (error) {
        if (signal.aborted) return undefined;
        if (!(error instanceof QedError)) throw error;
        note(what, error);
        return undefined;
      }
    },
    list: () => [...said.values()],
  };
}
