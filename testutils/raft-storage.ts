// The log in memory: what tests and the simulator use as disk, and the plainest reading of the LogStorage contract.
import { assert } from '../src/errors.ts';
import { noMembers, type Membership } from '../src/raft/membership.ts';
import { limitSize, noBytes, type Entry, type HardState, type RaftSnapshot } from '../src/raft/message.ts';
import type { LogStorage } from '../src/raft/storage.ts';

export class MemoryStorage implements LogStorage {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: RaftSnapshot = { index: 0, term: 0, membership: noMembers, data: noBytes };
  /** Index and term before the first entry. */
  #base = { index: 0, term: 0 };
  #entries: Entry[] = [];

  initialState(): { hardState: HardState; membership: Membership } {
    return { hardState: this.hardState, membership: this.#snapshot.membership };
  }

  firstIndex(): number {
    return this.#base.index + 1;
  }

  lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }

  term(index: number): number | undefined {
    return index === this.#base.index ? this.#base.term : this.#entries[index - this.firstIndex()]?.term;
  }

  entries(from: number, to: number, maxSize: number): readonly Entry[] | undefined {
    const first = this.firstIndex();
    if (from < first) return undefined;
    assert(to <= this.lastIndex() + 1, `entries up to ${to} were asked for, the last is ${this.lastIndex()}`);
    return limitSize(this.#entries.slice(from - first, to - first), maxSize);
  }

  snapshot(): RaftSnapshot {
    return this.#snapshot;
  }

  /** Replaces the whole log. An older Raft snapshot than the one in place is ignored. */
  applySnapshot(snapshot: RaftSnapshot): void {
    if (this.#snapshot.index !== 0 && snapshot.index <= this.#snapshot.index) return;
    this.#snapshot = snapshot;
    this.#base = { index: snapshot.index, term: snapshot.term };
    this.#entries = [];
  }

  /** Notes a Raft snapshot of the state machine, without touching the entries. */
  saveSnapshot(snapshot: RaftSnapshot): void {
    if (snapshot.index > this.#snapshot.index) this.#snapshot = snapshot;
  }

  /** Drops the entries up to `index`, inclusive. The caller has applied them. */
  compact(index: number): void {
    if (index <= this.#base.index) return;
    const term = this.term(index);
    assert(term !== undefined, `compaction up to ${index}, the last entry is ${this.lastIndex()}`);
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }

  /** Appends, replacing what is stored from the first index on. */
  append(entries: readonly Entry[]): void {
    const first = this.firstIndex();
    const fresh = entries.filter((entry) => entry.index >= first);
    const head = fresh[0];
    if (head === undefined) return;
    assert(head.index <= this.lastIndex() + 1, `a gap between entries ${this.lastIndex()} and ${head.index}`);
    this.#entries = [...this.#entries.slice(0, head.index - first), ...fresh];
  }
}
