// What the snapshot stores show (--pubUrls), held against the log and against gossip: a state that the log has signed goes to the audit; one that it has not
// signed, and one that gossip brought and the store lacks, are the store's trouble, or its publisher's. A store that is only late is behind.
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives } from '../src/balloon/verify.ts';
import { encodeHex } from '../src/crypto/encoding.ts';
import { type Verifier } from '../src/crypto/vkey.ts';
import { QedError } from '../src/errors.ts';
import { type AlertInput, type AlertKind } from './alerts.ts';
import { pause } from './delivery.ts';
import { type Source } from './source.ts';

export interface StoreTiming {
  readonly everyMs: number;
  /** What gossip brought must be in the store after so long. */
  readonly graceMs: number;
  readonly outageMs: number;
}

export const storeTiming: StoreTiming = { everyMs: 2_000, graceMs: 30_000, outageMs: 30_000 };

export interface StoreWatchOptions {
  readonly url: string;
  readonly store: Pick<Source, 'published'>;
  readonly log: Verifier;
  readonly primitives: Primitives;
  /** States that the log has signed. */
  readonly onSigned: (signed: SignedSnapshot) => void;
  readonly raise: (alert: AlertInput) => void;
  readonly clear: (kind: AlertKind, subject: string) => void;
  readonly now: () => number;
  readonly timing?: Partial<StoreTiming>;
}

export interface StoreWatch {
  /** Gossip has brought this. */
  readonly heard: (signed: SignedSnapshot) => void;
  readonly figures: () => {
    readonly url: string;
    readonly read: number;
    readonly versionLast: number;
    readonly missing: number;
  };
  readonly close: () => Promise<void>;
}

interface Heard {
  readonly root: string;
  readonly at: number;
}

const PAGE = 256;
const PAGES_AT_ONCE = 8;
const ASK_MS = 5_000;
const KNOWN_MAX = 4_096;

export function watchStore(options: StoreWatchOptions): StoreWatch {
  const { url, store, log, primitives, raise, clear, now } = options;
  const timing = { ...storeTiming, ...options.timing };
  const subject = `store ${url}`;
  const stop = new AbortController();
  const heard = new Map<number, Heard>();
  /** What the store shows, the newest of it. */
  const shown = new Map<number, string>();
  let versionFirst: number | undefined;
  let versionLast = -1;
  let read = 0;
  let missing = 0;
  let failingSince: number | undefined;

  function take(signed: SignedSnapshot): void {
    const { version, historyDigest } = signed.snapshot;
    versionFirst ??= version;
    versionLast = Math.max(versionLast, version);
    remember(shown, version, encodeHex(historyDigest));
    read += 1;
    try {
      checkSignedSnapshot(signed, { log }, primitives);
    } catch (error) {
      if (!(error instanceof QedError) || error.kind !== 'refused') throw error;
      const message = `${url} shows for version ${version} what ${log.name} has not signed: ${error.message}`;
      raise({ kind: 'inconsistent', subject: `${subject} version ${version}`, code: error.code, message });
      return;
    }
    options.onSigned(signed);
  }

  async function readNew(): Promise<void> {
    for (let pages = 0; pages < PAGES_AT_ONCE && !stop.signal.aborted; pages++) {
      const page = await store.published(versionLast + 1, PAGE, ASK_MS);
      for (const signed of page) take(signed);
      if (page.length < PAGE) return;
    }
  }

  /** What gossip brought a while ago must be here by now. */
  async function compareHeard(): Promise<void> {
    let isBehind = false;
    for (const [version, { root, at }] of [...heard]) {
      if (now() - at < timing.graceMs) break;
      // A store may begin later than the log, and forget what is old.
      if (versionFirst === undefined || version > versionLast) {
        isBehind = true;
        break;
      }
      heard.delete(version);
      if (version < versionFirst) continue;
      const known = shown.get(version) ?? (await showLate(version));
      if (known === undefined) lacks(version);
      else if (known !== root) differs(version);
    }
    watchLag(isBehind);
  }

  /** Snapshots that a publisher has made up for stand behind newer ones. */
  async function showLate(version: number): Promise<string | undefined> {
    const [signed] = await store.published(version, 1, ASK_MS);
    if (signed?.snapshot.version !== version) return undefined;
    take(signed);
    return shown.get(version);
  }

  function lacks(version: number): void {
    missing += 1;
    const message = `${url} lacks the snapshot of version ${version}, which gossip brought, though it has newer ones (${missing} in all)`;
    raise({ kind: 'inconsistent', subject, code: 'snapshot-mismatch', message });
  }

  /** Where both are signed the audit finds the contradiction, and keeps it as evidence. */
  function differs(version: number): void {
    const message = `${url} shows another snapshot for version ${version} than gossip brought`;
    raise({
      kind: 'inconsistent',
      subject: `${subject} version ${version}`,
      code: 'snapshot-mismatch',
      message,
    });
  }

  function watchLag(isBehind: boolean): void {
    if (!isBehind) {
      clear('lag', subject);
      return;
    }
    const message = `${url} is behind: it ends at version ${versionLast}, and what gossip brought ${Math.round(timing.graceMs / 1000)} s ago is not there`;
    raise({ kind: 'lag', subject, message });
  }

  async function turn(): Promise<void> {
    try {
      await readNew();
      await compareHeard();
      if (failingSince !== undefined) clear('outage', subject);
      failingSince = undefined;
    } catch (error) {
      if (stop.signal.aborted) return;
      fail(error);
    }
  }

  function fail(error: unknown): void {
    if (!(error instanceof QedError)) throw error;
    if (error.kind === 'refused') {
      raise({
        kind: 'inconsistent',
        subject,
        code: error.code,
        message: `${url} shows what is no list of signed snapshots: ${error.message}`,
      });
      return;
    }
    failingSince ??= now();
    if (now() - failingSince < timing.outageMs) return;
    const seconds = Math.round((now() - failingSince) / 1000);
    raise({
      kind: 'outage',
      subject,
      code: error.code,
      message: `${url} does not answer since ${seconds} s: ${error.message}`,
    });
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      await turn();
      await pause(timing.everyMs, stop.signal);
    }
  }

  const running = run();

  return {
    heard({ snapshot }) {
      remember(heard, snapshot.version, { root: encodeHex(snapshot.historyDigest), at: now() });
    },
    figures: () => ({ url, read, versionLast, missing }),
    async close() {
      stop.abort();
      await running;
    },
  };
}

/** Keeps the newest. */
function remember<Value>(map: Map<number, Value>, version: number, value: Value): void {
  if (map.has(version)) return;
  map.set(version, value);
  if (map.size <= KNOWN_MAX) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
