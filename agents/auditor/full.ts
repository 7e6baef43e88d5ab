// Full coverage: every entry is fetched, both trees are rebuilt, and every batch must lead to the hyper digest that the log has signed. What is verified so
// is the log itself, so any other state that the log shows or showed can be held against it without asking.
import {
  falseBatch,
  hyperMismatch,
  inconsistent,
  splitView,
  type Evidence,
} from '../../src/balloon/evidence.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives } from '../../src/balloon/verify.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { BATCH_EVENTS_MAX } from '../../src/balloon/balloon.ts';
import { QedError } from '../../src/errors.ts';
import { decodeEntry, ENTRY_BYTES } from '../../src/history/entry.ts';
import { type Store } from '../../src/storage/store.ts';
import { accusationOf } from '../accuse.ts';
import { type AlertInput } from '../alerts.ts';
import { type AskLog } from '../ask.ts';
import { keepHead, readHead } from '../head.ts';
import { type Copy, type Step } from './copy.ts';
import { fetchEntries } from './entries.ts';
import { type Pace } from './pace.ts';
import { type Prove } from '../prove.ts';
import { type Replica, type WrongBatch } from './replica.ts';

export interface FullOptions {
  readonly log: Verifier;
  readonly ask: AskLog;
  readonly pace: Pace;
  readonly prove: Prove;
  readonly replica: Replica;
  /** Keeps the head. */
  readonly state: Store;
  readonly primitives: Primitives;
  readonly raise: (alert: AlertInput) => void;
  /** From 0 (inclusive) to below. */
  readonly below: (below: number) => number;
  readonly signal: AbortSignal;
  /** Evidence about a large batch has megabytes. Without a place for it, a smaller form is made. */
  readonly keepsFiles: boolean;
}

interface Segment {
  readonly from: number;
  readonly end: SignedSnapshot;
  readonly entries: Uint8Array;
}

/** Entries fetched and verified at a time. */
const SEGMENT = 16_384;
/** Evidence about a batch of so many events goes with the alert. */
const SENT_EVENTS_MAX = 32;

export function openFull(options: FullOptions): Copy {
  const { log, ask, pace, prove, replica, state, primitives, raise } = options;
  const trust = { log };
  /** The newest state that is how the log goes on behind what is here. It is kept before its entries are taken, so it never lies before them. */
  let reached = readHead(state, log, primitives);
  /** The newest state that is wholly replayed. */
  let head: SignedSnapshot | undefined;
  let next: { readonly from: number; readonly segment: Promise<Segment> } | undefined;
  let stopped: { readonly version: number; readonly why: string } | undefined;

  checkOwnCopy();

  /** What was verified before must still be here. If it is not, that is this machine's trouble and not the log's. */
  function checkOwnCopy(): void {
    if (reached === undefined || reached.snapshot.version >= replica.size) return;
    const { version, historyDigest } = reached.snapshot;
    if (equalBytes(replica.rootAt(version + 1), historyDigest)) {
      head = reached;
      return;
    }
    throw new QedError('store-corrupt', `the replica does not lead to the head of version ${version}`, {
      hint: 'Remove the directory "replica" in --state: the log is replayed from its beginning, up to that head.',
    });
  }

  async function compare(signed: SignedSnapshot): Promise<boolean> {
    const { version, historyDigest } = signed.snapshot;
    const root = replica.rootAt(version + 1);
    // With the entry of its last version, which its audit proof has put under that root, goes the hyper digest.
    if (equalBytes(root, historyDigest)) return true;
    const evidence = await evidenceAgainst(signed, root);
    if (evidence !== undefined) raise(accusationOf({ verifier: log }, evidence, [version]));
    else {
      raise({
        kind: 'inconsistent',
        subject: 'history',
        code: 'consistency-mismatch',
        message: `${log.name} has signed another history for version ${version} than the one that was replayed, of which no signed state is kept here`,
      });
    }
    return false;
  }

  /** `signed` is of a size that is replayed, and has another root. */
  function evidenceAgainst(
    signed: SignedSnapshot,
    root: Uint8Array,
  ): Promise<Evidence | undefined> | Evidence {
    const known = head ?? reached;
    const size = signed.snapshot.version + 1;
    const knownSize = (known?.snapshot.version ?? -1) + 1;
    if (known === undefined) return Promise.resolve(undefined);
    if (knownSize === size) return splitView(log, known.checkpoint, signed.checkpoint);
    if (knownSize < size || knownSize > replica.size) return prove(signed, known);
    const hashes = replica.consistency(size, knownSize);
    return inconsistent(log, signed.checkpoint, known.checkpoint, { startRoot: root, hashes });
  }

  // --- forward

  async function fetchSegment(from: number, target: SignedSnapshot): Promise<Segment> {
    const end = target.snapshot.version + 1 - from <= SEGMENT ? target : await endOfSegment(from, target);
    const entries = await fetchEntries(ask, pace, from, end.snapshot.version + 1);
    return { from, end, entries };
  }

  /** Some signed state in between: what is verified at once stays small. */
  async function endOfSegment(from: number, target: SignedSnapshot): Promise<SignedSnapshot> {
    const asked = from + SEGMENT - 1;
    const end = await covering(asked);
    return end.snapshot.version < target.snapshot.version ? end : target;
  }

  async function covering(version: number): Promise<SignedSnapshot> {
    const signed = await ask.covering(version);
    checkSignedSnapshot(signed, trust, primitives);
    const behind = signed.snapshot.version - version;
    if (behind >= 0 && behind < BATCH_EVENTS_MAX) return signed;
    throw new QedError(
      'proof-question',
      `the log shows version ${signed.snapshot.version} as the end of the batch of version ${version}`,
    );
  }

  async function advance(target: SignedSnapshot): Promise<Step> {
    if (stopped !== undefined) return 'stopped';
    const from = replica.size;
    const fetched = next?.from === from ? next.segment : fetchSegment(from, target);
    next = undefined;
    const { end, entries } = await fetched;
    const appended = replica.append(entries);
    if (!equalBytes(appended.history.root, end.snapshot.historyDigest)) return refuse(end);
    const endSize = end.snapshot.version + 1;
    if (endSize <= target.snapshot.version) {
      next = { from: endSize, segment: fetchSegment(endSize, target) };
      next.segment.catch(() => undefined);
    }
    if (reached === undefined || reached.snapshot.version < end.snapshot.version) {
      await keepHead(state, end);
      reached = end;
    }
    const wrong = await replica.adopt(entries, appended, options.signal);
    if (wrong !== undefined) return accuse(wrong, end);
    if (replica.size === endSize) head = end;
    return 'grown';
  }

  // --- what does not fit

  /** The entries that the log serves do not lead to this state. Either the state is not of the log's history, or the entries are not. */
  async function refuse(end: SignedSnapshot): Promise<Step> {
    const shown = await ask.covering(end.snapshot.version);
    checkSignedSnapshot(shown, trust, primitives);
    const evidence = (await prove(end, shown)) ?? (reached && (await prove(reached, end)));
    const { version } = end.snapshot;
    if (evidence !== undefined) {
      raise(accusationOf({ verifier: log }, evidence, [version, shown.snapshot.version]));
    } else {
      raise({
        kind: 'inconsistent',
        subject: 'entries',
        code: 'history-mismatch',
        message: `the entries that ${log.name} serves from version ${replica.size} on do not lead to the state of version ${version} that it has signed; entries are not signed, so a damaged node shows the same`,
      });
    }
    ask.turn();
    return 'refused';
  }

  async function accuse(wrong: WrongBatch, end: SignedSnapshot): Promise<Step> {
    const { versionLast, why } = wrong;
    stopped = { version: versionLast, why: why.message };
    const evidence = await evidenceOf(wrong, end);
    raise({
      kind: 'tampering',
      subject: 'hyper tree',
      code: why.code,
      message: `the batch that ends at version ${versionLast} is under the signature of ${log.name}, and ${why.message}; nothing behind it can be verified`,
      evidence,
    });
    return 'stopped';
  }

  async function evidenceOf(wrong: WrongBatch, end: SignedSnapshot): Promise<Evidence | undefined> {
    const { replayed, versionLast, history, before, entries, inclusion } = wrong;
    if (replayed === undefined) return undefined;
    const isSmall = entries.length / ENTRY_BYTES <= SENT_EVENTS_MAX;
    const note = options.keepsFiles || isSmall ? await noteAt(versionLast, end) : undefined;
    if (note !== undefined)
      return falseBatch(log, { history, tree: replica.giveTree(), before, entries, note });
    const entry = decodeEntry(entries.slice(-ENTRY_BYTES));
    return (
      entry &&
      hyperMismatch(
        log,
        { signedSnapshot: end, entry: { version: versionLast, ...entry }, history: inclusion },
        replayed,
      )
    );
  }

  /** The checkpoint of exactly this version, if the log still shows one. */
  async function noteAt(version: number, end: SignedSnapshot): Promise<string | undefined> {
    if (end.snapshot.version === version) return end.checkpoint;
    try {
      const signed = await covering(version);
      const isUnderEnd = signed.snapshot.version === version && (await prove(signed, end)) === undefined;
      return isUnderEnd ? signed.checkpoint : undefined;
    } catch (error) {
      if (error instanceof QedError && error.kind !== 'bug') return undefined;
      throw error;
    }
  }

  return {
    get size() {
      return replica.size;
    },
    get head() {
      return reached;
    },
    holdsAll: true,
    rootAt: (size) => (size <= replica.size ? replica.rootAt(size) : undefined),
    restMs: 0,
    compare,
    advance,
    pick() {
      if (replica.distinct === 0 || stopped !== undefined) return Promise.resolve(undefined);
      return Promise.resolve({ ...replica.event(options.below(replica.distinct)), isFirst: true });
    },
    figures: () => ({
      coverage: 'full',
      events: replica.size,
      distinct: replica.distinct,
      batches: replica.batches,
      stopped: stopped ?? null,
    }),
    async close() {
      await next?.segment.catch(() => undefined);
      await replica.close();
    },
  };
}
