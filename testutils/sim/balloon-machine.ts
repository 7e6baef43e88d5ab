// The balloon as the state machine of a simulated cluster: its checkpoints carry real history digests, which cover the hyper digests as well, and its
// table of requests is what makes adds happen once. A Raft snapshot carries everything that the balloon had stored, and is opened as after a restart.
import { Balloon } from '../../src/balloon/balloon.ts';
import { rebuildHyper } from '../../src/balloon/rebuild.ts';
import { decodeRecord, encodeRecord, REQUEST_KEY_BYTES } from '../../src/balloon/record.ts';
import { Requests, requestsFrom, requestsTo } from '../../src/balloon/requests.ts';
import { decodeUtf8, encodeHex, encodeUtf8, equalBytes } from '../../src/crypto/encoding.ts';
import { DIGEST_BYTES } from '../../src/crypto/hash.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { entryAt } from '../../src/history/view.ts';
import { keyName, memoryValues } from '../history-log.ts';
import { type Added, type Checkpoint, type Machine, type MachineKind } from './machine.ts';

/** Proofs take longer than all the rest. */
const PROOF_EVERY = 16;

type Rows = ReadonlyMap<string, Uint8Array>;

class BalloonMachine implements Machine {
  readonly #skewMs: number;
  readonly #values = memoryValues();
  readonly #requests = new Requests(nativeHash);
  readonly #balloon: Balloon;
  /** What was added, in order: the balloon itself knows only digests. */
  readonly #texts: string[];

  constructor(skewMs: number, rows: Rows = new Map(), texts: readonly string[] = []) {
    this.#skewMs = skewMs;
    for (const [name, value] of rows) this.#values.values.set(name, value);
    this.#balloon = Balloon.open(nativeHash, this.#values, (view) => rebuildHyper(view, []));
    const isRequest = (name: string): boolean => name >= keyName(requestsFrom) && name < keyName(requestsTo);
    for (const name of [...rows.keys()].filter(isRequest).sort())
      this.#requests.load(
        Uint8Array.from(name, (char) => char.charCodeAt(0)),
        rows.get(name)!,
      );
    this.#texts = [...texts];
  }

  /** As the node does it, without a disk to wait for. */
  apply(data: Uint8Array): Added | undefined {
    const text = decodeUtf8(data) ?? '';
    const { time, requests } = recordOf(text);
    const balloon = this.#balloon;
    const sorted = this.#requests.sort(requests, balloon.size);
    if (sorted.eventDigests.length > 0) {
      const plan = balloon.plan({
        index: balloon.appliedIndex + 1,
        time: Math.max(time, balloon.snapshot?.time ?? 0) + this.#skewMs,
        eventDigests: sorted.eventDigests,
      });
      this.#values.write([...plan.writes, ...sorted.writes]);
      balloon.commit(plan);
      this.#requests.commit(sorted);
      this.#texts.push(text);
    }
    const [outcome] = sorted.outcomes;
    return outcome && { version: outcome.versionFirst };
  }

  checkpoint(): Checkpoint {
    const { size, snapshot } = this.#balloon;
    return { size, digest: snapshot ? encodeHex(snapshot.historyDigest) : '' };
  }

  contents(): readonly string[] {
    return this.#texts.map((text, version) => (this.#holds(text, version) ? text : `no longer ${text}`));
  }

  /** That the entry is there; of some, with a proof that the balloon itself checks. */
  #holds(text: string, version: number): boolean {
    const eventDigest = digestOf(text);
    const entry = entryAt(this.#balloon.view, version);
    const isThere = equalBytes(entry.subarray(0, DIGEST_BYTES), eventDigest);
    if (version % PROOF_EVERY !== 0) return isThere;
    return isThere && this.#balloon.membership(eventDigest).proof.version === version;
  }

  save(): Uint8Array {
    const rows = [...this.#values.values].map(([name, value]) => [name, encodeHex(value)]);
    return encodeUtf8(JSON.stringify({ rows, texts: this.#texts }));
  }
}

/** Through the bytes that a record of the log has. The clocks of those who proposed it differ. */
function recordOf(text: string) {
  const digest = digestOf(text);
  const requests = [{ key: digest.slice(0, REQUEST_KEY_BYTES), eventDigests: digest }];
  return decodeRecord(encodeRecord({ time: 1_000 + digest[0]!, requests }));
}

function digestOf(text: string): Uint8Array {
  return nativeHash.digest(encodeUtf8(text));
}

/** With a skew it is a bug: a member that dates entries by a clock of its own. */
export const balloonMachines = (skewMs = 0): MachineKind => ({
  empty: () => new BalloonMachine(skewMs),
  restore(bytes) {
    const saved = JSON.parse(decodeUtf8(bytes) ?? '') as { rows: [string, string][]; texts: string[] };
    const rows = saved.rows.map(([name, hex]) => [name, new Uint8Array(Buffer.from(hex, 'hex'))] as const);
    return new BalloonMachine(skewMs, new Map(rows), saved.texts);
  },
});
