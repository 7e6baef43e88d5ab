// From gossip and HTTP into the journal: in version order, without gaps. Gossip says that there is something new; whether something was published
// in between is asked of the log, which keeps a list of what it published. While the log does not answer, what gossip brought is taken all the
// same, and what turns out to be missing comes later.
//
// `complete` of the journal says up to where nothing is missing. A snapshot directly behind it needs no question.
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives, type Trust } from '../src/balloon/verify.ts';
import { type Conflict, type Journal } from './journal.ts';
import { type Source } from './source.ts';
import { pause } from './delivery.ts';

export interface IntakeOptions {
  readonly journal: Journal;
  readonly source: Pick<Source, 'published' | 'urls'>;
  readonly trust: Trust;
  readonly primitives: Primitives;
  readonly onTaken?: ((added: readonly SignedSnapshot[], from: 'gossip' | 'log') => void) | undefined;
  /** The log has signed two histories. */
  readonly onConflict: (conflict: Conflict) => void;
  /** The log could not be asked, or showed something that it has not signed. */
  readonly onFailure: (error: unknown) => void;
  /** How long gossip waits for the log's answer. */
  readonly patienceMs?: number;
  /** What gossip brings in this time shares a question, so that many agents are no burden to a busy log. */
  readonly gatherMs?: number;
  /** The log is asked this often, whatever gossip says. */
  readonly recheckMs?: number;
}

export interface Intake {
  /** A verified snapshot from gossip. */
  readonly offer: (signedSnapshot: SignedSnapshot) => void;
  /** Ask the log now: there is somebody new to ask, say. */
  readonly recheck: () => void;
  readonly figures: () => { readonly dropped: number; readonly waiting: number };
  readonly close: () => Promise<void>;
}

const PAGE = 256;
const WAITING_MAX = 1_024;
const PATIENCE_MS = 1_000;
const GATHER_MS = 250;
const RECHECK_MS = 10_000;

export function startIntake(options: IntakeOptions): Intake {
  const { journal, source, trust, primitives, onTaken = () => undefined } = options;
  const { patienceMs = PATIENCE_MS, gatherMs = GATHER_MS, recheckMs = RECHECK_MS } = options;
  const stop = new AbortController();
  const waiting = new Map<number, SignedSnapshot>();
  let wake = new AbortController();
  let dropped = 0;
  let checkedAt = -Infinity;
  let lastAskFailed = false;

  async function take(
    list: readonly SignedSnapshot[],
    from: 'gossip' | 'log',
    complete: number | undefined,
  ): Promise<void> {
    const { added, conflicts } = await journal.add(list, complete);
    if (added.length > 0) onTaken(added, from);
    for (const conflict of conflicts) options.onConflict(conflict);
  }

  /** Takes all that the log lists behind `complete`. */
  async function fillFromLog(): Promise<void> {
    for (;;) {
      const page = await source.published(journal.complete + 1, PAGE, patienceMs);
      for (const one of page) checkSignedSnapshot(one, { log: trust.log }, primitives);
      const last = page.at(-1);
      if (last !== undefined) await take(page, 'log', last.snapshot.version);
      if (page.length < PAGE || stop.signal.aborted) return;
    }
  }

  /** False when it could not be asked. */
  async function tryFill(): Promise<boolean> {
    if (source.urls.length === 0) return false;
    try {
      await fillFromLog();
      lastAskFailed = false;
      return true;
    } catch (error) {
      if (!lastAskFailed) options.onFailure(error);
      lastAskFailed = true;
      return false;
    }
  }

  async function step(): Promise<void> {
    const offered = [...waiting.values()].sort((a, b) => a.snapshot.version - b.snapshot.version);
    waiting.clear();
    let isAsked = offered.length > 0;
    for (const one of offered) {
      const { version } = one.snapshot;
      const isNext = version === journal.complete + 1;
      if (!isNext && version > journal.complete && isAsked) {
        await tryFill();
        isAsked = false;
      }
      await take([one], 'gossip', version === journal.complete + 1 ? version : undefined);
    }
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      wake = new AbortController();
      if (waiting.size > 0) {
        if (!waiting.has(journal.complete + 1)) await pause(gatherMs, stop.signal);
        await step();
      } else if (performance.now() - checkedAt >= recheckMs) {
        checkedAt = performance.now();
        await tryFill();
      }
      if (waiting.size === 0) await pause(recheckMs, wake.signal);
    }
  }

  const running = run();

  return {
    offer(signedSnapshot) {
      const { version } = signedSnapshot.snapshot;
      // What does not fit is on the list of the log.
      if (waiting.size >= WAITING_MAX && !waiting.has(version)) dropped += 1;
      else waiting.set(version, signedSnapshot);
      wake.abort();
    },
    recheck() {
      checkedAt = -Infinity;
      wake.abort();
    },
    figures: () => ({ dropped, waiting: waiting.size }),
    async close() {
      stop.abort();
      wake.abort();
      await running;
    },
  };
}
