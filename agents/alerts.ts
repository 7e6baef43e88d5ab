// Alerts: what an agent has to say to people. Each is of one kind, signed by the agent, not repeated while it stays the same, kept on disk until every
// receiver has it, and sent again until it has.
//
//   tampering     the log, or somebody with its key, has contradicted itself: there are signatures that prove it
//   inconsistent  parts that should agree do not, and it is not proven who is wrong
//   stale         the log stands still, or shows an old state
//   outage        something that should answer does not
//   lag           something answers, and is behind
// "No answer" is never tampering, and tampering never "no answer".
//
// A receiver gets { alert, note }: `note` is the signed form (signed-note; its text is "qed alert v1", a newline, and the alert as one line of JSON), `alert`
// the same for those who do not check.
import { type KeyObject } from 'node:crypto';
import { sign } from '../src/crypto/ed25519-node.ts';
import { decodeUtf8, encodeUtf8 } from '../src/crypto/encoding.ts';
import { formatNote, openNote } from '../src/crypto/note.ts';
import { type Verifier } from '../src/crypto/vkey.ts';
import { QedError, type ErrorCode } from '../src/errors.ts';
import { type Transport } from '../src/client/transport.ts';
import { type Store } from '../src/storage/store.ts';
import { startDelivery, type Delivery } from './delivery.ts';
import { type AgentIdentity } from './identity.ts';
import { openQueue } from './queue.ts';

export type AlertKind = 'tampering' | 'inconsistent' | 'stale' | 'outage' | 'lag';

export interface AlertInput {
  readonly kind: AlertKind;
  /** What it is about, in a word that stays the same: alerts of one kind about one thing are one alert. */
  readonly subject: string;
  /** For people: what happened, to what, what to do. */
  readonly message: string;
  readonly code?: ErrorCode | undefined;
  /** What proves it, as JSON; with `--state` it is kept in a file as well. Where it is large, receivers get its kind alone. */
  readonly evidence?: unknown;
}

export interface Alert extends AlertInput {
  /** The origin of the log; null while it is not known. */
  readonly log: string | null;
  readonly agent: { readonly name: string; readonly role: string; readonly vkey: string };
  /** Milliseconds since 1970. */
  readonly time: number;
  /** How often the same was noticed since it was last sent. */
  readonly repeats: number;
}

export interface AlertsOptions {
  readonly store: Store;
  readonly urls: readonly string[];
  readonly transport: Transport;
  readonly identity: AgentIdentity;
  readonly name: string;
  readonly role: string;
  readonly log: () => string | null;
  readonly onRaised: (alert: Alert) => void;
  /** An alert could not be delivered to this URL. */
  readonly onFailure: (url: string, error: unknown) => void;
  readonly now: () => number;
  readonly jitter: () => number;
  /** The same is not sent again for so long. */
  readonly quietMs?: number;
}

export interface Alerts {
  readonly raise: (input: AlertInput) => void;
  /** It is over: the next time is news. */
  readonly clear: (kind: AlertKind, subject: string) => void;
  readonly figures: () => AlertFigures;
  readonly close: () => Promise<void>;
}

export interface AlertFigures {
  readonly raised: Readonly<Record<AlertKind, number>>;
  /** Not delivered yet, to the slowest receiver. */
  readonly waiting: number;
}

const QUIET_MS = 10 * 60_000;
const ALERTS_MAX = 10_000;
const SUBJECTS_MAX = 1_000;
const SEND_MS = 10_000;
const PREFIX = 0x61; // a
const HEADER = 'qed alert v1\n';

export async function openAlerts(options: AlertsOptions): Promise<Alerts> {
  const { store, identity, now, quietMs = QUIET_MS } = options;
  const queue = await openQueue({ store, prefix: PREFIX, itemsMax: ALERTS_MAX });
  const open = new Map<string, { at: number; repeats: number }>();
  const raised: Record<AlertKind, number> = { tampering: 0, inconsistent: 0, stale: 0, outage: 0, lag: 0 };
  let last: Promise<void> = Promise.resolve();

  const deliveries = options.urls.map((url): Delivery => {
    const endpoint = alertUrl(url);
    return startDelivery({
      name: `alerts ${endpoint}`,
      queue,
      store,
      batchMax: 1,
      async send(items) {
        for (const { value } of items) await post(options.transport, endpoint, value);
      },
      onFailure: (error) => options.onFailure(endpoint, error),
      onRecovery: () => undefined,
      onHole: () => undefined,
      now,
      jitter: options.jitter,
    });
  });

  function raise(input: AlertInput): void {
    const key = `${input.kind} ${input.subject}`;
    const before = open.get(key);
    if (before && now() - before.at < quietMs) {
      before.repeats += 1;
      return;
    }
    if (open.size >= SUBJECTS_MAX) open.clear();
    open.set(key, { at: now(), repeats: 0 });
    raised[input.kind] += 1;
    const { name, role } = options;
    const agent = { name, role, vkey: identity.vkey };
    const alert = { ...input, log: options.log(), agent, time: now(), repeats: before?.repeats ?? 0 };
    options.onRaised(alert);
    const sent = { ...alert, evidence: toBeSent(input.evidence) };
    const body = JSON.stringify({ alert: sent, note: signAlert(sent, identity) });
    last = last
      .then(() => queue.append([encodeUtf8(body)]))
      .catch((error: unknown) => options.onFailure('the store', error));
  }

  return {
    raise,
    clear: (kind, subject) => void open.delete(`${kind} ${subject}`),
    figures: () => ({
      raised: { ...raised },
      waiting: Math.max(0, ...deliveries.map((one) => one.figures().waiting)),
    }),
    async close() {
      await last;
      await Promise.all(deliveries.map((one) => one.close()));
    },
  };
}

/** Evidence about a large batch has megabytes, and stands twice in what is sent; receivers take a quarter of one. */
const EVIDENCE_CHARS_MAX = 64 * 1024;

function toBeSent(evidence: unknown): unknown {
  if (typeof evidence !== 'object' || evidence === null) return evidence;
  if (JSON.stringify(evidence).length <= EVIDENCE_CHARS_MAX) return evidence;
  return { kind: 'kind' in evidence ? evidence.kind : null, isTooLarge: true };
}

/** A store's endpoint is named without a path; whatever has one is a webhook and taken as it stands. */
export function alertUrl(url: string): string {
  const { pathname, search } = new URL(url);
  return pathname === '/' && search === '' ? `${url.replace(/\/+$/, '')}/alert` : url;
}

export function signAlert(
  alert: Alert,
  { privateKey, verifier }: { privateKey: KeyObject; verifier: Verifier },
): string {
  const text = `${HEADER}${JSON.stringify(alert)}\n`;
  return formatNote(text, [{ ...verifier, signature: sign(privateKey, encodeUtf8(text)) }]);
}

/** The alert as JSON, once the agent's key is found to have signed it. */
export function openAlert(note: string, agent: Verifier): unknown {
  const { text } = openNote(note, [agent]);
  if (!text.startsWith(HEADER)) throw new QedError('note-malformed', 'the note is not an alert');
  try {
    return JSON.parse(text.slice(HEADER.length));
  } catch (cause) {
    throw new QedError('note-malformed', 'the alert is not JSON', { cause });
  }
}

async function post(transport: Transport, url: string, body: Uint8Array): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const { status, bytes } = await transport('POST', url, headers, body, AbortSignal.timeout(SEND_MS));
  if (status >= 200 && status < 300) return;
  const said = (decodeUtf8(bytes) ?? '').slice(0, 200).replace(/\p{Control}/gu, ' ');
  throw new QedError('server-failed', `${url} answered ${status}: ${said}`);
}
