// The disk of one member: a log of records that are safe once they are synced, and an image of the state machine that is replaced as
// a whole. A crash keeps all that was synced, and of the rest some records from the front; the last of these may be torn.
import { MemoryStorage } from '../raft-storage.ts';
import type { Entry, HardState, RaftSnapshot } from '../../src/raft/message.ts';
import type { Random } from '../random.ts';

/** One write. Its parts are safe together or not at all: a checksum covers them. */
export interface LogRecord {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: RaftSnapshot | undefined;
  /** Entries up to here are dropped. */
  readonly compact: number;
}

/** The log as the core reads it. Raft snapshots for others are made when they are asked for. */
export class SimStorage extends MemoryStorage {
  newest: (() => RaftSnapshot) | undefined;
  /** The one that the log begins behind. */
  saved = super.snapshot();

  override snapshot(): RaftSnapshot {
    return this.newest?.() ?? this.saved;
  }

  override applySnapshot(snapshot: RaftSnapshot): void {
    super.applySnapshot(snapshot);
    this.saved = super.snapshot();
  }
}

interface Written {
  readonly record: LogRecord;
  torn: boolean;
}

export class SimDisk {
  #records: Written[] = [];
  #synced = 0;
  image: RaftSnapshot | undefined;
  /** How much longer than usual everything takes. */
  slowness = 1;

  write(record: LogRecord): void {
    this.#records.push({ record, torn: false });
  }

  sync(): void {
    this.#synced = this.#records.length;
  }

  /** Whether anything was lost. */
  crash(random: Random): boolean {
    const unsynced = this.#records.length - this.#synced;
    const kept = random.below(unsynced + 1);
    this.#records.length = this.#synced + kept;
    const torn = kept > 0 && random.chance(0.5);
    if (torn) this.#records.at(-1)!.torn = true;
    return torn || kept < unsynced;
  }

  /** What a restart finds: everything before the first torn record, which is cut off. */
  recover(): SimStorage {
    const torn = this.#records.findIndex((written) => written.torn);
    if (torn >= 0) this.#records.length = torn;
    this.#synced = this.#records.length;
    const storage = new SimStorage();
    for (const { record } of this.#records) replay(record, storage);
    return storage;
  }
}

export function replay({ hardState, entries, snapshot, compact }: LogRecord, storage: MemoryStorage): void {
  if (hardState !== undefined) storage.hardState = hardState;
  if (snapshot !== undefined) storage.applySnapshot(snapshot);
  storage.append(entries);
  if (compact > 0) storage.compact(compact);
}
