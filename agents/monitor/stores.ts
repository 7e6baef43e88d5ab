// The snapshot stores: what they show goes into the journal, where it meets what gossip and the log brought. Of one version there is one state; a store that shows
// another one, or has refused another one, holds the evidence against the log, if the log has signed both.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type Primitives } from '../../src/balloon/verify.ts';
import { type Transport } from '../../src/client/transport.ts';
import { type AlertInput, type AlertKind } from '../alerts.ts';
import { watchStore, type StoreWatch } from '../store-watch.ts';
import { contradictionOf } from '../follow.ts';
import { type Journal } from '../journal.ts';
import { type KnownLog } from '../known-log.ts';
import { createSource } from '../source.ts';
import { conflictsOf } from './conflicts.ts';

export interface StoresOptions {
  readonly log: KnownLog;
  readonly urls: readonly string[];
  readonly apiKey: string | undefined;
  readonly transport: Transport;
  readonly primitives: Primitives;
  readonly journal: Journal;
  readonly raise: (input: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  /** A state that the journal has forgotten. */
  readonly onOlder: (signed: SignedSnapshot) => Promise<void>;
  /** A disk of our own failed. */
  readonly onFailure: (error: unknown) => void;
  readonly everyMs: number;
  readonly maxLagMs: number;
  readonly maxOutageMs: number;
  readonly now: () => number;
  readonly jitter: () => number;
}

export interface Stores {
  /** The log has published this, so they should have it. */
  readonly expect: (signed: SignedSnapshot) => void;
  readonly lookForConflicts: () => Promise<void>;
  readonly figures: () => readonly ReturnType<StoreWatch['figures']>[];
  /** States that were too many to be compared. */
  readonly skipped: () => number;
  readonly close: () => Promise<void>;
}

/** Stores get more time than nodes: a publisher that has missed something asks for it every ten seconds, and delivers it behind newer ones. */
const PATIENCE = 3;
/** A store reads faster than a log proves. */
const OLDER_MAX = 4_096;

export function watchStores(options: StoresOptions): Stores {
  const { log, journal, raise, primitives, now } = options;
  /** Waiting for a proof. */
  let older = 0;
  let skipped = 0;
  const sources = options.urls.map((url) => createSource({ ...options, urls: [url] }));

  async function take(signed: SignedSnapshot): Promise<void> {
    const { added, conflicts } = await journal.add([signed]);
    added.forEach(expect);
    for (const { known, other } of conflicts) raise(contradictionOf(log, known, other));
    if (added.length === 0 && conflicts.length === 0) await takeOlder(signed);
  }

  async function takeOlder(signed: SignedSnapshot): Promise<void> {
    const { version } = signed.snapshot;
    if ((await journal.versionBefore(version + 1)) === version) return;
    if (older >= OLDER_MAX) {
      skipped += 1;
      return;
    }
    older += 1;
    try {
      await options.onOlder(signed);
    } finally {
      older -= 1;
    }
  }

  const watches = options.urls.map((url, at) => {
    let last: number | undefined;
    return watchStore({
      ...options,
      url,
      store: sources[at]!,
      log: log.verifier,
      onSigned(signed) {
        const { version } = signed.snapshot;
        if (version === last) raise(duplicateOf(url, version));
        last = version;
        take(signed).catch(options.onFailure);
      },
      timing: {
        everyMs: options.everyMs,
        graceMs: PATIENCE * options.maxLagMs,
        outageMs: options.maxOutageMs,
      },
    });
  });

  function expect(signed: SignedSnapshot): void {
    for (const one of watches) one.heard(signed);
  }

  return {
    expect,
    async lookForConflicts() {
      const found = await Promise.all(
        sources.map((source) => conflictsOf(source, log.verifier, primitives, now)),
      );
      for (const { known, other } of found.flat()) raise(contradictionOf(log, known, other));
    },
    figures: () => watches.map((one) => one.figures()),
    skipped: () => skipped,
    async close() {
      await Promise.all(watches.map((one) => one.close()));
    },
  };
}

function duplicateOf(url: string, version: number): AlertInput {
  return {
    kind: 'inconsistent',
    subject: `store ${url} duplicate`,
    code: 'snapshot-conflict',
    message: `${url} shows version ${version} twice`,
  };
}
