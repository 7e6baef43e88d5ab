// How old what the log shows is. An old state is genuine and proves nothing against the log: it is a log that forgot, or one that hides what is new. A log that
// was heard and then is not, and shows nothing new either, stands still.
import { type AlertInput, type AlertKind } from '../alerts.ts';

export interface AgeOptions {
  readonly logName: string;
  readonly raise: (alert: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  /** A log that shows older states than are known for so long is rolled back. */
  readonly rollbackMs: number;
  /** A log that was heard and then is silent for so long stands still. */
  readonly staleMs: number;
  readonly now: () => number;
}

export interface Age {
  /** The log has said that it is there. */
  readonly heard: () => void;
  /** It shows this version as its newest, while `newest` is known. False when that is older. */
  readonly shown: (version: number, newest: number) => boolean;
}

export function watchAge({ logName, raise, clear, rollbackMs, staleMs, now }: AgeOptions): Age {
  let heardAt: number | undefined;
  let olderSince: number | undefined;
  const stale = (code: 'head-rollback' | 'head-stale', message: string): void =>
    raise({ kind: 'stale', subject: 'head', code, message });

  return {
    heard() {
      heardAt = now();
    },
    shown(version, newest) {
      const isOlder = version < newest;
      olderSince = isOlder ? (olderSince ?? now()) : undefined;
      if (version > newest && heardAt !== undefined) heardAt = now();
      if (olderSince !== undefined && now() - olderSince >= rollbackMs) {
        stale(
          'head-rollback',
          `${logName} shows version ${version} as its newest, but version ${newest} is known to be signed`,
        );
      } else if (heardAt !== undefined && now() - heardAt >= staleMs) {
        const seconds = Math.round((now() - heardAt) / 1000);
        stale(
          'head-stale',
          `nothing was heard of ${logName} for ${seconds} s, and it shows nothing new; it repeats its head every ten seconds`,
        );
      } else if (!isOlder) clear('stale', 'head');
      return !isOlder;
    },
  };
}
