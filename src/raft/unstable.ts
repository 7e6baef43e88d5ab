// The end of the log that is not known to be on disk yet: new entries, and perhaps a Raft snapshot that they follow.
//
// Entry i of `entries` has index offset + i. What lies before `offset` is in storage, unless the Raft snapshot replaces it; storage may
// also hold entries from `offset` on, which are then obsolete and are overwritten when these here are saved.
// Entries before `inProgress` have been handed out for saving and are not handed out again: offset <= inProgress <= end.
import { assert } from '../errors.ts';
import type { Entry, RaftSnapshot } from './message.ts';
import type { Say } from './say.ts';

export class Unstable {
  readonly #say: Say;
  snapshot: RaftSnapshot | undefined;
  #snapshotInProgress = false;
  entries: Entry[] = [];
  offset: number;
  inProgress: number;

  constructor(offset: number, say: Say) {
    this.offset = offset;
    this.inProgress = offset;
    this.#say = say;
  }

  /** Known here only when a Raft snapshot makes the log begin behind it. */
  firstIndex(): number | undefined {
    return this.snapshot === undefined ? undefined : this.snapshot.index + 1;
  }

  lastIndex(): number | undefined {
    return this.entries.length > 0 ? this.offset + this.entries.length - 1 : this.snapshot?.index;
  }

  term(index: number): number | undefined {
    if (index >= this.offset) return this.entries[index - this.offset]?.term;
    return this.snapshot?.index === index ? this.snapshot.term : undefined;
  }

  /** The entries that nobody is saving yet. */
  nextEntries(): readonly Entry[] {
    return this.entries.slice(this.inProgress - this.offset);
  }

  hasNextEntries(): boolean {
    return this.entries.length > this.inProgress - this.offset;
  }

  nextSnapshot(): RaftSnapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.snapshot;
  }

  /** Everything here has been handed out for saving. */
  acceptInProgress(): void {
    this.inProgress = this.offset + this.entries.length;
    this.#snapshotInProgress = this.snapshot !== undefined;
  }

  /**
   * Entries up to this one are on disk, and no write under way will replace them.
   * A report that does not fit what is here now belongs to entries that were replaced meanwhile.
   */
  stableTo(index: number, term: number): void {
    const found = this.term(index);
    if (found === undefined) {
      this.#say('debug', `entry at index ${index} missing from unstable log; ignoring`);
    } else if (index < this.offset) {
      this.#say('info', `entry at index ${index} matched unstable snapshot; ignoring`);
    } else if (found !== term) {
      this.#say(
        'info',
        `entry at (index,term)=(${index},${term}) mismatched with entry at (${index},${found}) in unstable log; ignoring`,
      );
    } else {
      this.entries = this.entries.slice(index + 1 - this.offset);
      this.offset = index + 1;
      this.inProgress = Math.max(this.inProgress, this.offset);
    }
  }

  stableSnapshotTo(index: number): void {
    if (this.snapshot?.index !== index) return;
    this.snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** The log becomes the Raft snapshot, with nothing behind it. */
  restore(snapshot: RaftSnapshot): void {
    this.offset = snapshot.index + 1;
    this.inProgress = this.offset;
    this.entries = [];
    this.snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Puts entries at their place; what was there and behind is gone. */
  append(entries: readonly Entry[]): void {
    const from = entries[0]!.index;
    const end = this.offset + this.entries.length;
    assert(from <= end, `a gap between unstable entries ${end - 1} and ${from}`);
    if (from === end) {
      this.entries.push(...entries);
    } else if (from <= this.offset) {
      this.#say('info', `replace the unstable entries from index ${from}`);
      this.entries = [...entries];
      this.offset = from;
      this.inProgress = from;
    } else {
      this.#say('info', `truncate the unstable entries before index ${from}`);
      this.entries = [...this.entries.slice(0, from - this.offset), ...entries];
      this.inProgress = Math.min(this.inProgress, from);
    }
  }

  slice(from: number, to: number): readonly Entry[] {
    const end = this.offset + this.entries.length;
    assert(
      this.offset <= from && from <= to && to <= end,
      `unstable entries [${from},${to}) asked for, there are [${this.offset},${end})`,
    );
    return this.entries.slice(from - this.offset, to - this.offset);
  }
}
