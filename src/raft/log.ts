// The whole log as the core sees it: storage first, the unstable end behind it, and three marks.
//
//   applied <= applying <= committed <= lastIndex
//
// `committed`: a quorum has it, it will never change. `applying`: handed to the application. `applied`: the application reported it done.
// What is handed out and not yet reported is bounded in bytes (`maxApplyingSize`).
import { assert, QedError } from '../errors.ts';
import { entriesSize, limitSize, type Entry, type RaftSnapshot } from './message.ts';
import type { Say } from './say.ts';
import type { LogStorage } from './storage.ts';
import { Unstable } from './unstable.ts';

/** Names one entry, and with it the whole log up to it: that is the log matching property. */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

export class RaftLog {
  readonly #storage: LogStorage;
  readonly #say: Say;
  readonly #maxApplyingSize: number;
  readonly unstable: Unstable;
  committed: number;
  applying: number;
  applied: number;
  #applyingSize = 0;
  #applyingPaused = false;

  constructor(storage: LogStorage, maxApplyingSize: number, say: Say) {
    this.#storage = storage;
    this.#say = say;
    this.#maxApplyingSize = maxApplyingSize;
    this.unstable = new Unstable(storage.lastIndex() + 1, say);
    this.committed = storage.firstIndex() - 1;
    this.applying = this.committed;
    this.applied = this.committed;
  }

  // --- reading

  firstIndex(): number {
    return this.unstable.firstIndex() ?? this.#storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.#storage.lastIndex();
  }

  /** Undefined for an entry that is compacted away or not there yet. */
  term(index: number): number | undefined {
    const term = this.unstable.term(index);
    if (term !== undefined) return term;
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.#storage.term(index);
  }

  last(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    assert(term !== undefined, `the term of the last entry ${index} is unknown`);
    return { index, term };
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends there may lead one that ends here. */
  isUpToDate(candidate: EntryId): boolean {
    const last = this.last();
    return candidate.term > last.term || (candidate.term === last.term && candidate.index >= last.index);
  }

  snapshot(): RaftSnapshot | undefined {
    return this.unstable.snapshot ?? this.#storage.snapshot();
  }

  /** Entries from `from` to the end, within `maxSize`. Undefined when they are compacted away. */
  entriesFrom(from: number, maxSize: number): readonly Entry[] | undefined {
    return from > this.lastIndex() ? [] : this.slice(from, this.lastIndex() + 1, maxSize);
  }

  /** Entries [from, to), within `maxSize` but at least one. Undefined when they are compacted away. */
  slice(from: number, to: number, maxSize: number): readonly Entry[] | undefined {
    if (from < this.firstIndex()) return undefined;
    assert(from <= to && to <= this.lastIndex() + 1, `entries [${from},${to}) of ${this.lastIndex()}`);
    const { offset } = this.unstable;
    const storedEnd = Math.min(to, offset);
    let entries: readonly Entry[] = [];
    if (from < storedEnd) {
      const stored = this.#storage.entries(from, storedEnd, maxSize);
      // Fewer than asked for: the size limit lies within the stored part.
      if (stored === undefined || stored.length < storedEnd - from) return stored;
      entries = stored;
    }
    if (to > offset) {
      const fresh = this.unstable.slice(Math.max(from, offset), to);
      entries = entries.length === 0 ? fresh : [...entries, ...fresh];
    }
    return limitSize(entries, maxSize);
  }

  /**
   * The last place at or before `index` where this log may agree with one that has `term` at `index`: terms never fall within a log,
   * so a higher term here cannot be there. Where the term here is unknown the search stops, with term 0.
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (let at = index; at > 0; at -= 1) {
      const ours = this.term(at);
      if (ours === undefined) return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  // --- writing

  /** Takes entries that follow `previous`, if this log has `previous`. Returns the index of the last one, or undefined for a gap. */
  appendAfter(previous: EntryId, entries: readonly Entry[], leaderCommit: number): number | undefined {
    if (!this.matches(previous)) return undefined;
    const last = previous.index + entries.length;
    const fresh = this.#firstNew(entries);
    if (fresh !== undefined) {
      assert(
        entries[fresh]!.index > this.committed,
        `entry ${entries[fresh]!.index} contradicts a committed one (committed up to ${this.committed})`,
      );
      this.append(entries.slice(fresh));
    }
    this.commitTo(Math.min(leaderCommit, last));
    return last;
  }

  /** The position of the first entry that this log does not have; undefined when it has them all. */
  #firstNew(entries: readonly Entry[]): number | undefined {
    for (const [at, entry] of entries.entries()) {
      if (this.matches(entry)) continue;
      if (entry.index <= this.lastIndex()) {
        this.#say(
          'info',
          `found conflict at index ${entry.index} [existing term: ${this.term(entry.index) ?? 0}, conflicting term: ${entry.term}]`,
        );
      }
      return at;
    }
    return undefined;
  }

  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(
      first.index > this.committed,
      `append at ${first.index} would replace committed entries (up to ${this.committed})`,
    );
    this.unstable.append(entries);
  }

  /** Never moves back. */
  commitTo(index: number): void {
    if (index <= this.committed) return;
    if (index > this.lastIndex()) {
      throw new QedError(
        'store-corrupt',
        `the leader says that entry ${index} is committed and stored here, but the log ends at ${this.lastIndex()}`,
        {
          hint: 'This node lost entries that it had acknowledged. Get its data from the cluster: qed rebuild.',
        },
      );
    }
    this.committed = index;
  }

  /** Commits up to an entry of the given term; one of an earlier term is only ever committed by a later one behind it. */
  commitInTerm(index: number, term: number): boolean {
    if (index <= this.committed || this.term(index) !== term) return false;
    this.commitTo(index);
    return true;
  }

  restore(snapshot: RaftSnapshot): void {
    this.#say(
      'info',
      `log [${this.describe()}] starts to restore snapshot [index: ${snapshot.index}, term: ${snapshot.term}]`,
    );
    this.committed = snapshot.index;
    this.unstable.restore(snapshot);
  }

  describe(): string {
    const { offset, inProgress, entries } = this.unstable;
    return (
      `committed=${this.committed}, applied=${this.applied}, applying=${this.applying}, ` +
      `unstable.offset=${offset}, unstable.offsetInProgress=${inProgress}, len(unstable.Entries)=${entries.length}`
    );
  }

  // --- applying

  /** Committed entries to hand to the application next. With `allowUnstable`, also those that this node has not on disk itself. */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return [];
    const room = this.#maxApplyingSize - this.#applyingSize;
    const entries = this.slice(this.applying + 1, this.#appliable(allowUnstable) + 1, room);
    assert(entries !== undefined, `entry ${this.applying + 1} was compacted before it was applied`);
    return entries;
  }

  hasNextCommitted(allowUnstable: boolean): boolean {
    // A Raft snapshot comes first: what follows it is applied to its state.
    if (this.#applyingPaused || this.unstable.snapshot !== undefined) return false;
    return this.applying < this.#appliable(allowUnstable);
  }

  #appliable(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }

  /** The application has taken these entries. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    assert(last.index <= this.committed, `entry ${last.index} was handed out uncommitted`);
    this.applying = last.index;
    this.#applyingSize += entriesSize(entries);
    // Entries left behind mean that the limit was reached, though the sum may still be a little below it.
    this.#applyingPaused =
      this.#applyingSize >= this.#maxApplyingSize || last.index < this.#appliable(allowUnstable);
  }

  /** The application has applied everything up to `index`; `size` bytes of what it was handed are done. */
  appliedTo(index: number, size: number): void {
    assert(
      this.applied <= index && index <= this.committed,
      `applied up to ${index}, outside of [${this.applied}, ${this.committed}]`,
    );
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingSize = Math.max(0, this.#applyingSize - size);
    this.#applyingPaused = this.#applyingSize >= this.#maxApplyingSize;
  }
}
