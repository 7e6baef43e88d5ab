// The load of a drill: clients that add one event after the other over all nodes, each event with a key of its own, and repeat until there is an
// answer. It keeps every acknowledgment and every signed snapshot, for whoever judges afterwards what became of them.
import { randomBytes } from 'node:crypto';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeHex, equalBytes } from '../../src/crypto/encoding.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { createClient } from '../../src/client/client.ts';
import { nodeTransport } from '../../src/client/transport-node.ts';
import { QedError } from '../../src/errors.ts';
import { urlOf, type Cluster } from './layout.ts';
import { pause } from './processes.ts';

/** A node that is paused takes connections and never answers. */
const ATTEMPT_MS = 1_000;
const DEADLINE_MS = 60_000;

export interface Load {
  /** Version that was told, by event digest in hex. */
  readonly acknowledged: ReadonlyMap<string, number>;
  /** One for each version that a snapshot was signed at. */
  readonly snapshots: ReadonlyMap<number, SignedSnapshot>;
  /** Two different snapshots of the same version, and answers that are none. */
  readonly problems: readonly string[];
  /** Events without any answer by their deadline: they may be in the log or not. */
  readonly unanswered: number;
  /** The longest time without an acknowledgment since this was asked last, in milliseconds. */
  readonly takeGap: () => number;
  readonly stop: () => Promise<void>;
}

export interface LoadOptions {
  readonly workers: number;
  /** Adds a second over all workers; 0 is as many as go. */
  readonly rate: number;
}

/** Keeps one snapshot for each version, and says so when there is another one of the same. */
export function noteSnapshot(
  signed: SignedSnapshot,
  snapshots: Map<number, SignedSnapshot>,
  problems: string[],
): void {
  const { version, historyDigest, hyperDigest } = signed.snapshot;
  const before = snapshots.get(version)?.snapshot;
  if (
    before &&
    !(equalBytes(before.historyDigest, historyDigest) && equalBytes(before.hyperDigest, hyperDigest))
  )
    problems.push(`two different snapshots of version ${version} were signed`);
  snapshots.set(version, signed);
}

export function startLoad(cluster: Cluster, { workers, rate }: LoadOptions): Load {
  const acknowledged = new Map<string, number>();
  const snapshots = new Map<number, SignedSnapshot>();
  const problems: string[] = [];
  const run = randomBytes(8).toString('hex');
  const road = nodeTransport({ connections: workers });
  const client = createClient({
    endpoints: cluster.nodes.map((node) => urlOf(node)),
    apiKey: cluster.apiKey,
    primitives: { hash: nativeHash, verify: nativeVerify },
    transport: road.transport,
    attemptMs: ATTEMPT_MS,
    deadlineMs: DEADLINE_MS,
  });
  let [number, unanswered, isStopped] = [0, 0, false];
  let [last, gap] = [performance.now(), 0];

  function note(eventDigest: Uint8Array, version: number, signed: SignedSnapshot): void {
    const now = performance.now();
    gap = Math.max(gap, now - last);
    last = now;
    acknowledged.set(encodeHex(eventDigest), version);
    noteSnapshot(signed, snapshots, problems);
  }

  async function work(at: number): Promise<void> {
    const everyMs = rate === 0 ? 0 : (workers * 1000) / rate;
    for (
      let due = performance.now() + (at * everyMs) / workers;
      !isStopped;
      due = Math.max(due + everyMs, performance.now() - everyMs)
    ) {
      const wait = due - performance.now();
      if (everyMs > 0 && wait > 0) await pause(wait);
      try {
        const { eventDigest, version, signedSnapshot } = await client.add(`drill ${run} ${number++}`);
        note(eventDigest, version, signedSnapshot);
      } catch (error) {
        if (error instanceof QedError && error.kind === 'world') unanswered += 1;
        else {
          problems.push(String(error));
          await pause(ATTEMPT_MS);
        }
      }
    }
  }

  const all = Promise.all(Array.from({ length: workers }, (_, at) => work(at)));
  let ending: Promise<void> | undefined;
  return {
    acknowledged,
    snapshots,
    problems,
    get unanswered() {
      return unanswered;
    },
    takeGap() {
      const taken = Math.max(gap, performance.now() - last);
      gap = 0;
      return taken;
    },
    stop() {
      isStopped = true;
      ending ??= all.then(() => road.close());
      return ending;
    },
  };
}
