// The client of a log: adds events, asks for proofs, and believes only what it has checked.
//
// It promises: with trust, whatever is returned with `verified: true` was signed by the log's key, belongs to the one history that this client has
// seen so far, and answers the question that was asked. A check that fails throws a QedError of kind `refused`; what could not be checked throws
// another kind, or says `verified: false` where no trust was given. An add that is repeated because no answer came is logged once.
// Events stay here: only their digests travel, unless `sendEvents` asks for more.
import { type SignedSnapshotJson } from '../balloon/proof.ts';
import { type Primitives, type Trust } from '../balloon/verify.ts';
import { portableVerify } from '../crypto/ed25519.ts';
import { portableHash } from '../crypto/hash.ts';
import { parseVkey } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { add, addBulk, addDigests, type Added, type AddedBulk, type AddOptions } from './add.ts';
import { type Info } from './answers.ts';
import {
  checkpoint,
  event,
  health,
  incremental,
  info,
  membership,
  snapshot,
  type CheckpointFound,
  type EventFound,
  type Health,
  type Incremental,
  type Membership,
  type MembershipQuestion,
  type ReadOptions,
  type SnapshotFound,
} from './ask.ts';
import { createCaller } from './call.ts';
import { type Evidence } from '../balloon/evidence.ts';
import { keepHead, type HeadStore } from './head.ts';
import { type ReadFrom } from './nodes.ts';
import { freshly, type Event, type Session } from './session.ts';
import { createVouching } from './vouch.ts';
import { fetchTransport, type Transport } from './transport.ts';

export interface ClientOptions {
  /** Base URLs of the log's nodes, as `http://127.0.0.1:8800`. When one fails, the others are tried. */
  readonly endpoints: readonly string[];
  /** Asks the nodes for the other members of their cluster, which are then used as well. Default true. */
  readonly discover?: boolean | undefined;
  /** Whom questions go to. Default: all nodes in turn. Adds go to the leader where it is known; any node takes them. */
  readonly readFrom?: ReadFrom | undefined;
  readonly apiKey?: string | undefined;
  /** The log's vkey, or the vkey and the policy whose quorum has to vouch for every state. Without it nothing is verified. */
  readonly trust?: Trust | string | undefined;
  /** Keeps the verified head across processes. */
  readonly headStore?: HeadStore | undefined;
  /** Called with what the log signed when it contradicts itself, before the refusal is thrown. Keep it. */
  readonly onEvidence?: ((evidence: Evidence) => void) | undefined;
  /** Refuses a newest state that is older than this. */
  readonly maxAgeMs?: number | undefined;
  /** For one call with all its repetitions and checks. Default 30 s. */
  readonly deadlineMs?: number | undefined;
  /** For one answer. Default 10 s. */
  readonly attemptMs?: number | undefined;
  /** Sends the events themselves, for logs that keep them. Default: only their digests. */
  readonly sendEvents?: boolean | undefined;
  /**
   * Whether an add that the log put into one batch with others asks for a proof that the event is in it. Default true. Without it such an
   * add is `verified` in that its signed snapshot is, and no more.
   */
  readonly proveAdds?: boolean | undefined;
  /** Native hash and signature check, where there are any. */
  readonly primitives?: Primitives | undefined;
  readonly transport?: Transport | undefined;
  readonly now?: (() => number) | undefined;
  readonly random?: ((length: number) => Uint8Array) | undefined;
  readonly sleep?: ((milliseconds: number, signal?: AbortSignal) => Promise<void>) | undefined;
}

export interface Client {
  readonly add: (event: Event, options?: AddOptions) => Promise<Added>;
  readonly addBulk: (events: readonly Event[], options?: AddOptions) => Promise<AddedBulk>;
  readonly addDigests: (eventDigests: readonly Uint8Array[], options?: AddOptions) => Promise<AddedBulk>;
  readonly membership: (question: MembershipQuestion, options?: ReadOptions) => Promise<Membership>;
  readonly incremental: (start: number, end: number, options?: ReadOptions) => Promise<Incremental>;
  /** The newest snapshot, or the first one that covers a version. */
  readonly snapshot: (version?: number, options?: ReadOptions) => Promise<SnapshotFound>;
  readonly event: (version: number, options?: ReadOptions) => Promise<EventFound>;
  readonly info: () => Promise<Info>;
  readonly checkpoint: () => Promise<CheckpointFound>;
  readonly health: () => Promise<Health>;
  /** The newest state that was verified. */
  readonly head: () => Promise<SignedSnapshotJson | undefined>;
}

export function createClient(options: ClientOptions): Client {
  const session = openSession(options);
  const reading = ({ linearizable = false }: ReadOptions = {}): Session =>
    linearizable ? freshly(session) : session;
  return {
    add: (one, addOptions) => add(session, one, addOptions),
    addBulk: (events, addOptions) => addBulk(session, events, addOptions),
    addDigests: (eventDigests, addOptions) => addDigests(session, eventDigests, addOptions),
    membership: (question, readOptions) => membership(reading(readOptions), question),
    incremental: (start, end, readOptions) => incremental(reading(readOptions), start, end),
    snapshot: (version, readOptions) => snapshot(reading(readOptions), version),
    event: (version, readOptions) => event(reading(readOptions), version),
    info: () => info(session),
    checkpoint: () => checkpoint(session),
    health: () => health(session),
    head: async () => session.head?.signedSnapshot(),
  };
}

/** Defaults are set here and nowhere else. */
function openSession(options: ClientOptions): Session {
  const { now = Date.now, random = randomBytes, sleep = sleepFor, maxAgeMs, onEvidence } = options;
  const primitives = options.primitives ?? { hash: portableHash, verify: portableVerify };
  const trust = typeof options.trust === 'string' ? { log: parseVkey(options.trust) } : options.trust;
  const caller = createCaller({
    endpoints: checkEndpoints(options.endpoints),
    apiKey: options.apiKey,
    transport: options.transport ?? fetchTransport(),
    now,
    sleep,
    jitter: () => random(1)[0]! / 256,
    attemptMs: options.attemptMs ?? 10_000,
    readFrom: options.readFrom ?? 'any',
    discover: options.discover ?? true,
  });
  return {
    caller,
    head: trust && keepHead({ log: trust.log, primitives, store: options.headStore, onEvidence }),
    trust,
    vouching: trust?.policy && createVouching({ trust, primitives, sleep, now }),
    maxAgeMs,
    primitives,
    now,
    random,
    sleep,
    deadlineMs: options.deadlineMs ?? 30_000,
    sendEvents: options.sendEvents ?? false,
    proveAdds: options.proveAdds ?? true,
  };
}

function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

function sleepFor(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function checkEndpoints(endpoints: readonly string[]): readonly string[] {
  if (endpoints.length === 0) throw new QedError('bad-request', 'no endpoint is named');
  return endpoints.map((endpoint) => {
    if (!/^https?:\/\/[^/\s?#@]+(?:\/[^\s?#]*)?$/.test(endpoint)) {
      throw new QedError('bad-request', `${JSON.stringify(endpoint)} is not the URL of a node`, {
        hint: 'It looks like http://127.0.0.1:8800.',
      });
    }
    return endpoint.replace(/\/+$/, '');
  });
}
