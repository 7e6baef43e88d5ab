// The balloon straight from its definition: a list of entries and a map of first versions, joined with nothing but the two slow twins.
import { hash } from 'node:crypto';
import { type Batch } from '../src/balloon/balloon.ts';
import { type IncrementalJson, type MembershipProofJson, type SnapshotJson } from '../src/balloon/proof.ts';
import { historyTwin, type HistoryTwin } from './history-twin.ts';
import { HyperTwin } from './hyper-twin.ts';

interface TwinEntry {
  readonly eventDigest: string;
  readonly hyperDigest: string;
  readonly time: number;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export class BalloonTwin {
  readonly entries: TwinEntry[] = [];
  readonly #hyper = new HyperTwin();
  readonly #history: HistoryTwin = historyTwin((version) => entryBytes(this.entries[Number(version)]!));

  apply({ eventDigests, time }: Batch): SnapshotJson {
    const digests = hex(eventDigests).match(/.{64}/g) ?? [];
    for (const [i, digest] of digests.entries()) this.#hyper.add(digest, this.entries.length + i);
    const hyperDigest = this.#hyper.root();
    for (const eventDigest of digests) this.entries.push({ eventDigest, hyperDigest, time });
    return this.snapshotAt(this.entries.length - 1);
  }

  snapshotAt(version: number): SnapshotJson {
    const historyDigest = hex(this.#history.mth(0n, BigInt(version) + 1n));
    return { version, historyDigest, ...this.entries[version]! };
  }

  audit(version: number): string[] {
    return this.#history.path(BigInt(version), BigInt(version) + 1n).map(hex);
  }

  membership(eventDigest: Uint8Array): MembershipProofJson {
    const { version, path, leaf } = this.#hyper.prove(hex(eventDigest));
    const hyper = { path, leaf: leaf && { eventDigest: leaf.key, version: leaf.version } };
    const asked = { eventDigest: hex(eventDigest), exists: version !== null, version, hyper };
    if (version === null) return { ...asked, entry: null, history: null };
    const { hyperDigest, time } = this.entries[version]!;
    const history = this.#history.path(BigInt(version), BigInt(this.entries.length)).map(hex);
    return { ...asked, entry: { hyperDigest, time }, history };
  }

  incremental(start: number, end: number): IncrementalJson {
    return { start, end, hashes: this.#history.proof(BigInt(start) + 1n, BigInt(end) + 1n).map(hex) };
  }
}

function entryBytes({ eventDigest, hyperDigest, time }: TwinEntry): Uint8Array {
  const bytes = Buffer.from(eventDigest + hyperDigest + time.toString(16).padStart(16, '0'), 'hex');
  return new Uint8Array(bytes);
}

/** SHA-256 of a text: an event digest that is easy to name. */
export function digestOf(event: string): Uint8Array {
  return new Uint8Array(hash('sha256', event, 'buffer'));
}
