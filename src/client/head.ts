// The kept head: the newest state of the log that was verified here. Every further state must belong to the same history.
//
// It promises: two snapshots that it settles never contradict each other, also across restarts when there is a store. A newer one is taken only
// with a proof that it grew out of the head; an older one only with a proof that the head grew out of it, and only where the question was asked
// before the head was known, or was about the past. Requests run side by side, so answers may arrive in another order than the log's.
import {
  formatSignedSnapshot,
  parseSignedSnapshot,
  type SignedSnapshot,
  type SignedSnapshotJson,
  type Snapshot,
} from '../balloon/proof.ts';
import {
  checkSignedSnapshot,
  verifyIncremental,
  type Primitives,
  type VerifiedSnapshot,
} from '../balloon/verify.ts';
import { equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { type Verifier } from '../crypto/vkey.ts';
import { contradiction, type Evidence } from '../balloon/evidence.ts';

/** Where the head outlives the process. What was saved last is loaded, as JSON, or undefined. */
export interface HeadStore {
  readonly load: () => Promise<unknown>;
  readonly save: (head: SignedSnapshotJson) => Promise<void>;
}

export interface HeadOptions {
  readonly log: Verifier;
  readonly primitives: Primitives;
  readonly store: HeadStore | undefined;
  readonly onEvidence: ((evidence: Evidence) => void) | undefined;
}

/** Asks the log for the incremental proof between two versions. */
export type AskIncremental = (start: number, end: number) => Promise<unknown>;

export interface Head {
  /** The last version of the head; -1 before the first. */
  readonly version: () => Promise<number>;
  readonly signedSnapshot: () => Promise<SignedSnapshotJson | undefined>;
  /** Verifies a snapshot and its place in the history. It must not end before version `since`; for the past that is -1. */
  readonly settle: (signed: SignedSnapshot, since: number, ask: AskIncremental) => Promise<VerifiedSnapshot>;
}

/** So many history digests are remembered, that need no proof again. */
const SETTLED_MAX = 1_024;

export function keepHead(options: HeadOptions): Head {
  const { log, primitives } = options;
  const settled = new Map<number, SignedSnapshot>();
  let head: SignedSnapshot | undefined;
  let opened: Promise<void> | undefined;
  let last: Promise<unknown> = Promise.resolve();

  function open(): Promise<void> {
    opened ??= load().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  }

  async function load(): Promise<void> {
    const saved = await options.store?.load();
    if (saved === undefined) return;
    const signed = parseSignedSnapshot(saved);
    checkSignedSnapshot(signed, { log }, primitives);
    head = signed;
    remember(signed);
  }

  function remember(signed: SignedSnapshot): void {
    if (settled.size >= SETTLED_MAX) {
      for (const oldest of settled.keys()) {
        settled.delete(oldest);
        break;
      }
    }
    settled.set(signed.snapshot.version, signed);
  }

  /** One after the other: each must see the head that the one before left. */
  function inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = last.then(action);
    last = result.catch(() => undefined);
    return result;
  }

  async function place(signed: SignedSnapshot, since: number, ask: AskIncremental): Promise<void> {
    const { version } = signed.snapshot;
    if (version < since) throw rolledBack(version, since);
    const known = settled.get(version) ?? head;
    if (known !== undefined) {
      let incremental: unknown = null;
      try {
        await checkOneHistory(known.snapshot, signed.snapshot, primitives, async (start, end) => {
          incremental = await ask(start, end);
          return incremental;
        });
      } catch (error) {
        if (error instanceof QedError && error.kind === 'refused') {
          options.onEvidence?.(contradiction(log, [known, signed], incremental, primitives.hash));
        }
        throw error;
      }
    }
    remember(signed);
    if (head !== undefined && head.snapshot.version >= version) return;
    head = signed;
    await options.store?.save(formatSignedSnapshot(signed));
  }

  return {
    async version() {
      await open();
      return head?.snapshot.version ?? -1;
    },
    async signedSnapshot() {
      await open();
      return head && formatSignedSnapshot(head);
    },
    async settle(signed, since, ask) {
      await open();
      const verified = checkSignedSnapshot(signed, { log }, primitives);
      await inTurn(() => place(signed, since, ask));
      return verified;
    },
  };
}

/** One of the two grew out of the other. */
async function checkOneHistory(
  known: Snapshot,
  shown: Snapshot,
  primitives: Primitives,
  ask: AskIncremental,
): Promise<void> {
  if (shown.version === known.version) {
    if (equalBytes(known.historyDigest, shown.historyDigest)) return;
    throw new QedError('consistency-mismatch', `the log signed two histories for version ${shown.version}`, {
      hint: 'Keep both signed snapshots: together they prove it to anyone.',
    });
  }
  const [start, end] = shown.version > known.version ? [known, shown] : [shown, known];
  verifyIncremental(await ask(start.version, end.version), { start, end }, primitives);
}

function rolledBack(version: number, since: number): QedError {
  return new QedError(
    'head-rollback',
    `the log shows version ${version} as its newest, but version ${since} was verified before`,
  );
}
