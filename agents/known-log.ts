// Which log an agent is about, and why it believes so. In this order: the vkey that it was given; the one it has pinned before, in its state; the one that
// a QED URL shows first; the one that a member says which answers at a --join address. The last two are trust on first use: whoever answers first is
// believed, and held to it as long as the state is kept. That is said aloud.
import { parseVkey, formatVkey, LOG_KEY, type Verifier } from '../src/crypto/vkey.ts';
import { decodeUtf8, encodeUtf8 } from '../src/crypto/encoding.ts';
import { QedError } from '../src/errors.ts';
import { type Store } from '../src/storage/store.ts';

export type HowKnown = 'given' | 'pinned' | 'first seen at a QED URL' | 'first heard from a joined member';

export interface KnownLog {
  readonly verifier: Verifier;
  readonly vkey: string;
  readonly how: HowKnown;
}

export interface LogKnowledge {
  readonly log: KnownLog | undefined;
  /** Resolves when the log is known. */
  readonly known: Promise<KnownLog>;
  /** Somebody says that this is the vkey. True when it is the one that is known now; false when it is another. */
  readonly hear: (vkey: string, how: HowKnown) => boolean;
}

export interface KnowledgeOptions {
  readonly store: Store;
  readonly given: Verifier | undefined;
  /** It was not known before. */
  readonly onLearned: (log: KnownLog) => void;
}

const PINNED = Uint8Array.of(0x70); // p

export async function openKnowledge({ store, given, onLearned }: KnowledgeOptions): Promise<LogKnowledge> {
  const pinnedBytes = store.get(PINNED);
  const pinned = pinnedBytes && decodeUtf8(pinnedBytes);
  if (pinned !== undefined && given && pinned !== formatVkey(given)) {
    throw new QedError(
      'node-mismatch',
      `the state of this agent is about the log ${pinned}, not ${formatVkey(given)}`,
      {
        hint: 'Name another directory with --state, or the vkey that it was made with.',
      },
    );
  }
  let log: KnownLog | undefined;
  let resolveKnown: (log: KnownLog) => void = () => undefined;
  const known = new Promise<KnownLog>((resolve) => (resolveKnown = resolve));

  function settle(verifier: Verifier, how: HowKnown): void {
    log = { verifier, vkey: formatVkey(verifier), how };
    resolveKnown(log);
  }

  if (given) settle(given, 'given');
  else if (pinned !== undefined) settle(parseVkey(pinned), 'pinned');
  if (log !== undefined && pinned === undefined) await pin(store, formatVkey(given!));

  return {
    get log() {
      return log;
    },
    known,
    hear(vkey, how) {
      if (log === undefined) {
        const verifier = readLogKey(vkey);
        if (verifier === undefined) return false;
        settle(verifier, how);
        void pin(store, vkey).catch(() => undefined);
        onLearned({ verifier, vkey, how });
      }
      return log?.vkey === vkey;
    },
  };
}

function pin(store: Store, vkey: string): Promise<void> {
  return store.write([{ type: 'put', key: PINNED, value: encodeUtf8(vkey) }]);
}

function readLogKey(vkey: string): Verifier | undefined {
  try {
    const verifier = parseVkey(vkey);
    return verifier.type === LOG_KEY ? verifier : undefined;
  } catch {
    return undefined;
  }
}
