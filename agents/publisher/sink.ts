// Where a publisher delivers to. A sink takes entries in the order of the journal and may see the last ones again after a crash; what it has taken
// is durable. How a sink is named on the command line is here as well.
import { QedError } from '../../src/errors.ts';
import { splitAddress } from '../../src/gossip/address.ts';
import { type Entry } from '../journal.ts';

export interface Sink {
  /** As it is named on the command line. */
  readonly name: string;
  /** Resolves when all of them are there for good. `previous`: the version that comes before the first of them. */
  readonly send: (entries: readonly Entry[], previous: number | null, signal: AbortSignal) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** The receiver holds another snapshot for a version, signed by the same log. */
export type OnConflict = (ours: string, theirs: string) => void;

export type SinkName =
  | { readonly kind: 'file' | 'sqlite'; readonly path: string }
  | { readonly kind: 'ws'; readonly host: string | undefined; readonly port: number };

/** `file:PATH`, `sqlite:PATH`, or `ws:ADDR`. */
export function parseSinkName(text: string): SinkName {
  const match = /^(file|sqlite|ws):(.+)$/.exec(text);
  const [, kind, rest = ''] = match ?? [];
  if (kind === 'file' || kind === 'sqlite') return { kind, path: rest };
  if (kind === 'ws') return { kind, ...splitAddress(rest.replace(/^\/\//, ''), '--sink ws') };
  throw new QedError('option-malformed', `${JSON.stringify(text.slice(0, 80))} is not a sink`, {
    hint: 'A sink is file:PATH, sqlite:PATH or ws:ADDR, such as ws::6001.',
  });
}

/** What the disk said, in our words. */
export function sinkError(name: string, cause: unknown): QedError {
  if (cause instanceof QedError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/ENOSPC|EDQUOT|disk is full/i.test(text)) {
    return new QedError('store-full', `${name}: the disk is full`, {
      hint: 'Free space; delivery goes on by itself.',
      cause,
    });
  }
  return new QedError('store-failed', `${name} cannot be written: ${text}`, { cause });
}
