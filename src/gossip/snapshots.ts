// Signed snapshots as gossip: one topic for each log, one JSON line a message, in the one spelling that our formatter gives it.
//
// A topic is named after the log's vkey without its key (`qed/snapshots/v1/<origin>+<key id>`), so members who trust another key under the same
// name never meet, and nobody carries messages of logs that he cannot check. Accepted is what the log's key has signed and what is news:
// a snapshot that is not known yet, or the newest one again when a while has passed (the log saying that it is still there). So neither forged nor
// replayed snapshots travel. A second, different snapshot of one version is news of the worst kind: it travels, so that everybody gets the evidence.
import { formatSignedSnapshot, parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { checkSignedSnapshot, type Primitives, type Trust } from '../balloon/verify.ts';
import { decodeUtf8, encodeHex, encodeUtf8, equalBytes } from '../crypto/encoding.ts';
import { type Verifier } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { type Gossip, type Message, type Verdict } from './gossip.ts';

/** What came is verified: the log's key has signed it. */
export interface Received {
  /** New: not heard before. Repeated: the newest one again. Conflict: `other` is of the same version, and both cannot be true. */
  readonly kind: 'new' | 'repeated' | 'conflict';
  readonly signedSnapshot: SignedSnapshot;
  /** As it travels, without a newline. */
  readonly line: string;
  readonly other: SignedSnapshot | undefined;
  readonly author: string;
}

export interface SnapshotsOptions {
  readonly trust: Trust;
  readonly primitives: Primitives;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  readonly receive: (received: Received) => void;
  /** The newest one again travels only if it was not heard for so long. */
  readonly repeatMs?: number;
}

export interface Snapshots {
  /** Resolves with the number of neighbours that got it. */
  readonly publish: (signedSnapshot: SignedSnapshot) => Promise<number>;
  readonly close: () => void;
}

const REPEAT_MS = 1_000;
/** So many snapshots are remembered, to know them again. */
const KNOWN_MAX = 4_096;

interface Known {
  readonly signedSnapshot: SignedSnapshot;
  readonly line: string;
  heardAt: number;
}

export function snapshotTopic({ name, id }: Verifier): string {
  return `qed/snapshots/v1/${name}+${id.toString(16).padStart(8, '0')}`;
}

export function formatLine(signedSnapshot: SignedSnapshot): string {
  return JSON.stringify(formatSignedSnapshot(signedSnapshot));
}

/** Refuses what `formatLine` would not have written. Nothing is verified here. */
export function parseLine(text: string): SignedSnapshot {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new QedError('proof-malformed', 'the signed snapshot is no JSON', { cause });
  }
  const signedSnapshot = parseSignedSnapshot(json);
  if (formatLine(signedSnapshot) !== text) {
    throw new QedError('proof-malformed', 'the signed snapshot is not in its one spelling');
  }
  return signedSnapshot;
}

export function joinSnapshots(gossip: Gossip, options: SnapshotsOptions): Snapshots {
  const { trust, primitives, now, receive, repeatMs = REPEAT_MS } = options;
  const topic = snapshotTopic(trust.log);
  const known = new Map<string, Known>();
  let newest = -1;
  /** Verdicts are given before `receive` is called, one message after the other. */
  const judged = new WeakMap<Message, Received>();

  function remember(signedSnapshot: SignedSnapshot, line: string): void {
    if (known.size >= KNOWN_MAX) {
      for (const oldest of known.keys()) {
        known.delete(oldest);
        break;
      }
    }
    const { version, historyDigest } = signedSnapshot.snapshot;
    known.set(`${version} ${encodeHex(historyDigest)}`, { signedSnapshot, line, heardAt: now() });
    newest = Math.max(newest, version);
  }

  function repeated(found: Known, message: Message): Verdict {
    const { signedSnapshot, line } = found;
    if (signedSnapshot.snapshot.version < newest || now() - found.heardAt < repeatMs) return 'ignore';
    found.heardAt = now();
    judged.set(message, { kind: 'repeated', signedSnapshot, line, other: undefined, author: message.author });
    return 'accept';
  }

  function validate(message: Message): Verdict {
    const line = decodeUtf8(message.data);
    if (line === undefined) return 'reject';
    const signedSnapshot = parseLine(line);
    const { version, historyDigest } = signedSnapshot.snapshot;
    const found = known.get(`${version} ${encodeHex(historyDigest)}`);
    if (found?.line === line) return repeated(found, message);
    checkSignedSnapshot(signedSnapshot, { log: trust.log }, primitives);
    // The same state, signed or cosigned anew: nothing that a receiver does not know.
    if (found) return repeated(found, message);
    const other = otherOf(known, signedSnapshot);
    remember(signedSnapshot, line);
    const kind = other === undefined ? 'new' : 'conflict';
    judged.set(message, { kind, signedSnapshot, line, other, author: message.author });
    return 'accept';
  }

  const leave = gossip.subscribe(topic, {
    validate,
    receive(message) {
      const received = judged.get(message);
      if (received) receive(received);
    },
  });

  return {
    async publish(signedSnapshot) {
      const line = formatLine(signedSnapshot);
      remember(signedSnapshot, line);
      return gossip.publish(topic, encodeUtf8(line));
    },
    close: leave,
  };
}

/** A snapshot of the same version with another history. */
function otherOf(
  known: ReadonlyMap<string, Known>,
  { snapshot }: SignedSnapshot,
): SignedSnapshot | undefined {
  for (const { signedSnapshot } of known.values()) {
    const { version, historyDigest } = signedSnapshot.snapshot;
    if (version === snapshot.version && !equalBytes(historyDigest, snapshot.historyDigest))
      return signedSnapshot;
  }
  return undefined;
}
