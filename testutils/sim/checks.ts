// What must hold in every run, looked at after every step. Each check remembers what any member has ever shown and compares: a promise
// once made, by whoever, binds everybody.
import type { Entry } from '../../src/raft/message.ts';
import type { Checkpoint } from './machine.ts';

/** A promise was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

interface Committed {
  readonly term: number;
  readonly data: string;
  /** It was committed in this term or before. */
  by: number;
}

export class Checks {
  readonly #leaders = new Map<number, number>();
  readonly #entries = new Map<string, { readonly data: string; readonly previous: number }>();
  readonly #committed = new Map<number, Committed>();
  readonly #checkpoints = new Map<number, string>();
  /** Some completed operation has seen the log at least this long. */
  #seen = 0;
  readonly #added = new Map<string, number>();

  get electionCount(): number {
    return this.#leaders.size;
  }

  get addedCount(): number {
    return this.#added.size;
  }

  /** Election safety: one leader a term. Leader completeness: it has every entry that was committed in an earlier term. */
  leads(id: number, term: number, termAt: (index: number) => number | undefined): void {
    const other = this.#leaders.get(term);
    if (other === id) return;
    if (other !== undefined) throw new Violation(`both ${other} and ${id} are leader in term ${term}`);
    this.#leaders.set(term, id);
    for (const [index, entry] of this.#committed) {
      const has = termAt(index);
      // Undefined: compacted away, so it was committed and applied here.
      if (entry.by < term && has !== undefined && has !== entry.term) {
        throw new Violation(
          `${id} leads term ${term} without entry ${entry.term}/${index}, committed by term ${entry.by}; it has term ${has}`,
        );
      }
    }
  }

  /** Log matching: the same index and term mean the same entry and, by induction, the same log before it. */
  appends(id: number, entries: readonly Entry[], previous: number): void {
    let before = previous;
    for (const entry of entries) {
      const key = `${entry.term}/${entry.index}`;
      const data = textOf(entry);
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, { data, previous: before });
      else if (known.data !== data || known.previous !== before)
        throw new Violation(
          `entry ${key} of ${id} is ${data} after term ${before}, elsewhere ${known.data} after term ${known.previous}`,
        );
      if (entry.term < before) throw new Violation(`entry ${key} of ${id} follows one of term ${before}`);
      before = entry.term;
    }
  }

  /** State machine safety: nobody applies another entry at the same index, ever. */
  commits(id: number, entries: readonly Entry[], term: number): void {
    for (const entry of entries) {
      const data = textOf(entry);
      const known = this.#committed.get(entry.index);
      if (known === undefined) {
        this.#committed.set(entry.index, { term: entry.term, data, by: term });
      } else if (known.term !== entry.term || known.data !== data) {
        throw new Violation(
          `${id} applies ${entry.term}/${entry.index} ${data}, where ${known.term}/${entry.index} ${known.data} was committed`,
        );
      } else {
        known.by = Math.min(known.by, term);
      }
    }
  }

  /** Entries are applied in order, each once. */
  follows(id: number, { index }: Entry, applied: number): void {
    if (index !== applied + 1) throw new Violation(`${id} applies entry ${index} after ${applied}`);
  }

  /** No two contradictory checkpoints. */
  reaches(id: number, { size, digest }: Checkpoint): void {
    const known = this.#checkpoints.get(size);
    if (known === undefined) this.#checkpoints.set(size, digest);
    else if (known !== digest)
      throw new Violation(`${id} has digest ${digest} at size ${size}, elsewhere it was ${known}`);
  }

  // --- linearizable adds and reads: what completed before an operation began, it must see

  /** What an operation that begins now has to see. */
  begins(): number {
    return this.#seen;
  }

  added(request: string, version: number, begun: number): void {
    const before = this.#added.get(request);
    if (before !== undefined && before !== version)
      throw new Violation(`request ${request} was added as ${before} and again as ${version}`);
    if (version < begun)
      throw new Violation(
        `request ${request} got version ${version}, but ${begun} had been reached before it was made`,
      );
    this.#added.set(request, version);
    this.#seen = Math.max(this.#seen, version + 1);
  }

  read(size: number, begun: number): void {
    if (size < begun)
      throw new Violation(
        `a read saw size ${size}, but ${begun} had been reached before it was made: a stale read`,
      );
    this.#seen = Math.max(this.#seen, size);
  }

  /** At the end: every acknowledged add is where it was said to be, and nothing is there twice. */
  holds(id: number, contents: readonly string[]): void {
    for (const [request, version] of this.#added) {
      if (contents[version] !== request)
        throw new Violation(
          `${id} has ${contents[version] ?? 'nothing'} at version ${version}, where ${request} was acknowledged`,
        );
    }
    const twice = contents.find((request, at) => contents.indexOf(request) !== at);
    if (twice !== undefined) throw new Violation(`${id} has request ${twice} twice`);
  }
}

const textOf = ({ type, data }: Entry): string =>
  type === 'EntryNormal' ? new TextDecoder().decode(data) : `${type} ${data.join(' ')}`;
