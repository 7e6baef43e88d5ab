// The audit: every state of the log that the auditor meets, by gossip, at the log or in a store, is held against its copy of the log; those that go further make
// the copy grow. One loop does all of it, one thing after the other.
//
// It promises: what does not hold is told apart. No answer is `outage`, after a while and until there is one. An answer that fails a check is `inconsistent`, for
// answers are not signed. Two signed states that cannot both be true are `tampering`, with evidence. An old state is `stale`. Falling behind is `lag`.
import { checkSignedSnapshot, type Primitives } from '../../src/balloon/verify.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeU64, equalBytes, readU64 } from '../../src/crypto/encoding.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { type Store } from '../../src/storage/store.ts';
import { splitViewOf } from '../accuse.ts';
import { type AlertInput, type AlertKind } from '../alerts.ts';
import { pause } from '../delivery.ts';
import { type AskLog } from '../ask.ts';
import { watchAge } from './age.ts';
import { type Copy } from './copy.ts';
import { keepTroubles } from './troubles.ts';

/** Where a state was met. */
export type Met = 'gossip' | 'log' | 'store';

export interface AuditTiming {
  /** The log is asked for its newest state this often, and for what it published. */
  readonly pollMs: number;
  /** No usable answer for so long is an outage. */
  readonly outageMs: number;
  /** A log that shows older states than are known for so long is rolled back. */
  readonly rollbackMs: number;
  /** A log that was heard and then is silent for so long stands still. It repeats its head every ten seconds. */
  readonly staleMs: number;
  /** Being so far behind, after having caught up once, is an alert. */
  readonly lagMs: number;
  /** The wait after a failure doubles from the first to the last. */
  readonly backoffFirstMs: number;
  readonly backoffLastMs: number;
}

export const auditTiming: AuditTiming = {
  pollMs: 2_000,
  outageMs: 15_000,
  rollbackMs: 10_000,
  staleMs: 60_000,
  lagMs: 60_000,
  backoffFirstMs: 100,
  backoffLastMs: 5_000,
};

export interface AuditOptions {
  readonly log: Verifier;
  readonly ask: AskLog;
  readonly copy: Copy;
  readonly state: Store;
  readonly primitives: Primitives;
  readonly raise: (alert: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  /** A state was compared. */
  readonly onCompared: (met: Met) => void;
  /** Something of our own is broken: the audit has ended. */
  readonly onBroken: (error: unknown) => void;
  readonly now: () => number;
  readonly timing?: Partial<AuditTiming>;
}

export interface Audit {
  /** A state whose signature was verified. */
  readonly offer: (signed: SignedSnapshot, met: Met) => void;
  /** The log has said that it is there. */
  readonly heard: () => void;
  /** Ask the log now. */
  readonly recheck: () => void;
  readonly figures: () => AuditFigures;
  /** Runs a question, and keeps account of what the log does not answer, or answers falsely. Undefined then. */
  readonly attempt: <Answer>(what: string, question: () => Promise<Answer>) => Promise<Answer | undefined>;
  readonly close: () => Promise<void>;
}

export interface AuditFigures {
  /** The newest signed state that was met. */
  readonly newest: number;
  readonly behindEvents: number;
  readonly behindMs: number;
  readonly compared: number;
  readonly waiting: number;
  readonly dropped: number;
  /** What is wrong now, for people. */
  readonly troubles: readonly string[];
}

interface Pending {
  readonly signed: SignedSnapshot;
  readonly met: Met;
  readonly metAt: number;
  retryAt: number;
}

const PENDING_MAX = 1_024;
/** Who is not further behind is not behind. */
const AT_ONCE_MS = 1_000;
const PAGE = 256;
const PAGES_AT_ONCE = 4;
const LISTED = Uint8Array.of(0x78, 0x6c); // x l

export function startAudit(options: AuditOptions): Audit {
  const { log, ask, copy, state, primitives, raise, clear, now } = options;
  const timing = { ...auditTiming, ...options.timing };
  const stop = new AbortController();
  const pending = new Map<number, Pending>();
  const inbox: Pending[] = [];
  const { name: logName } = log;
  const { outageMs } = timing;
  const troubles = keepTroubles({
    logName,
    raise,
    clear,
    now,
    outageMs,
    onFalse: ask.turn,
    signal: stop.signal,
  });
  const { attempt } = troubles;
  const age = watchAge({ logName, raise, clear, now, ...timing });
  let wake = new AbortController();
  let listed = (readU64(state.get(LISTED) ?? encodeU64(0)) ?? 0) - 1;
  let newest = copy.head?.snapshot.version ?? -1;
  let compared = 0;
  let dropped = 0;
  let polledAt = -Infinity;
  let tries = 0;
  /** Until then no step is tried, whatever is met. */
  let restUntil = 0;
  let wasThere = false;
  let isStopped = false;

  // --- states

  async function meet(one: Pending): Promise<void> {
    const { version, historyDigest } = one.signed.snapshot;
    newest = Math.max(newest, version);
    if (version < copy.size) return compareNow(one);
    const known = pending.get(version);
    if (known === undefined) {
      pending.set(version, one);
      forgetSome();
      return;
    }
    const other = known.signed;
    if (equalBytes(other.snapshot.historyDigest, historyDigest)) return;
    raise(splitViewOf({ verifier: log }, version, [other.checkpoint, one.signed.checkpoint]));
  }

  /** What is forgotten here is on the list of the log, or it was never published. */
  function forgetSome(): void {
    if (pending.size <= PENDING_MAX) return;
    for (const oldest of pending.keys()) {
      if (oldest === newest) continue;
      pending.delete(oldest);
      dropped += 1;
      return;
    }
  }

  async function compareNow({ signed, met }: Pending): Promise<void> {
    const fits = await attempt('proofs', () => copy.compare(signed));
    if (fits === undefined) return;
    compared += 1;
    options.onCompared(met);
  }

  async function comparePending(): Promise<void> {
    for (const [version, one] of [...pending]) {
      if (version >= copy.size) continue;
      pending.delete(version);
      await compareNow(one);
    }
  }

  /** The furthest state that is worth a try now. */
  function target(): Pending | undefined {
    let furthest: Pending | undefined;
    for (const one of pending.values()) {
      const isFurther = one.signed.snapshot.version > (furthest?.signed.snapshot.version ?? -1);
      if (isFurther && one.retryAt <= now()) furthest = one;
    }
    return furthest;
  }

  async function advance(one: Pending): Promise<void> {
    const step = await attempt('entries', () => copy.advance(one.signed));
    isStopped = step === 'stopped';
    if (step === 'grown') {
      tries = 0;
      clear('inconsistent', 'entries');
      restUntil = now() + copy.restMs;
      return comparePending();
    }
    const backoff = isStopped
      ? timing.pollMs
      : Math.min(timing.backoffFirstMs * 2 ** tries, timing.backoffLastMs);
    tries = Math.min(tries + 1, 20);
    restUntil = now() + backoff;
    // Another one goes first.
    one.retryAt = restUntil + backoff;
  }

  // --- asking around

  async function poll(): Promise<void> {
    polledAt = now();
    const shown = await attempt('head', async () => {
      const signed = await ask.latest();
      if (signed !== undefined) checkSignedSnapshot(signed, { log }, primitives);
      return { version: signed?.snapshot.version ?? -1, signed };
    });
    if (shown === undefined) return;
    if (!age.shown(shown.version, newest)) ask.turn();
    if (shown.signed !== undefined) await meet(pendingOf(shown.signed, 'log'));
    if (copy.holdsAll) await compareListed();
  }

  /** What the log lists as published, as far as it is verified: it must be what was replayed. */
  async function compareListed(): Promise<void> {
    for (let pages = 0; pages < PAGES_AT_ONCE && listed + 1 < copy.size; pages++) {
      const page = await attempt('list', async () => {
        const found = await ask.published(listed + 1, PAGE, timing.pollMs);
        for (const signed of found) checkSignedSnapshot(signed, { log }, primitives);
        return found;
      });
      if (page === undefined) return;
      const before = listed;
      for (const signed of page) {
        if (signed.snapshot.version >= copy.size || stop.signal.aborted) break;
        await compareNow(pendingOf(signed, 'log'));
        listed = signed.snapshot.version;
      }
      if (listed > before)
        await state.write([{ type: 'put', key: LISTED, value: encodeU64(listed + 1) }], { durable: false });
      if (page.length < PAGE) return;
    }
  }

  function pendingOf(signed: SignedSnapshot, met: Met): Pending {
    return { signed, met, metAt: now(), retryAt: 0 };
  }

  // --- the loop

  function behindMs(): number {
    for (const { metAt } of pending.values()) return now() - metAt;
    return 0;
  }

  function watchLag(): void {
    if (behindMs() < AT_ONCE_MS) {
      wasThere = true;
      clear('lag', 'verification');
    } else if (wasThere && !isStopped && behindMs() >= timing.lagMs) {
      raise({
        kind: 'lag',
        subject: 'verification',
        message: `the auditor is ${newest + 1 - copy.size} events behind ${log.name}, since ${Math.round(behindMs() / 1000)} s`,
      });
    }
  }

  function idleMs(): number {
    let at = polledAt + timing.pollMs;
    for (const { retryAt } of pending.values()) at = Math.min(at, Math.max(retryAt, restUntil));
    return at - now();
  }

  async function turn(): Promise<void> {
    wake = new AbortController();
    for (const one of inbox.splice(0)) await meet(one);
    if (now() - polledAt >= timing.pollMs) await poll();
    const next = now() < restUntil ? undefined : target();
    if (next !== undefined) await advance(next);
    watchLag();
    const idle = idleMs();
    if (inbox.length === 0 && idle > 0) await pause(idle, wake.signal);
  }

  async function run(): Promise<void> {
    try {
      if (copy.head !== undefined && copy.head.snapshot.version >= copy.size)
        await meet(pendingOf(copy.head, 'log'));
      while (!stop.signal.aborted) await turn();
    } catch (error) {
      if (!stop.signal.aborted) options.onBroken(error);
    }
  }

  const running = run();

  return {
    offer(signed, met) {
      if (inbox.length >= PENDING_MAX) dropped += 1;
      else inbox.push(pendingOf(signed, met));
      wake.abort();
    },
    heard: age.heard,
    recheck() {
      polledAt = -Infinity;
      wake.abort();
    },
    attempt,
    figures: () => ({
      newest,
      behindEvents: Math.max(0, newest + 1 - copy.size),
      behindMs: behindMs(),
      compared,
      waiting: pending.size + inbox.length,
      dropped,
      troubles: troubles.list(),
    }),
    async close() {
      stop.abort();
      wake.abort();
      await running;
      await copy.close();
    },
  };
}
