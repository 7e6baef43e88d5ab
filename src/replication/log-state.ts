// What a log holds, in memory: its base, its hard state, and for each record its term and where it lies. The running log and its recovery
// apply the same items to it in the same order, so that both arrive at the same state.
//
// base      the last record that may be gone: the log answers for everything behind it
// origin    the last record before those listed here. It lies behind the base only while a recovery reads segments whose forerunners were
//           removed: the records between have no place, and a later item, a base or a record that replaces them, must account for them.
import {
  BASE,
  NOTE,
  readHardState,
  RECORD_TYPE_MAX,
  RESET,
  type HardState,
  type Item,
  type Position,
  type SegmentHeader,
} from './segment.ts';

/** Where an item lies, with what is needed to read it alone and to know that it is unchanged. */
export interface Place {
  readonly segment: number;
  readonly at: number;
  readonly bytes: number;
  readonly chain: number;
}

export interface Slot extends Place {
  readonly term: number;
}

export class LogState {
  #base: Position;
  #origin: { readonly index: number; readonly term: number | undefined };
  #hardState: HardState;
  #note: Uint8Array | undefined;
  /** The record at origin.index + 1 first. */
  #slots: Slot[] = [];

  constructor(start: Pick<SegmentHeader, 'base' | 'last' | 'hardState'>) {
    this.#base = start.base;
    this.#origin = start.last;
    this.#hardState = start.hardState;
  }

  get base(): Position {
    return this.#base;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  get note(): Uint8Array | undefined {
    return this.#note;
  }

  get last(): Position {
    const index = this.#origin.index + this.#slots.length;
    return { index, term: this.termAt(index) ?? 0 };
  }

  /** How far records are missing that neither a base nor a replacement accounts for, or undefined. */
  get missingTo(): number | undefined {
    return this.#origin.index > this.#base.index ? this.#origin.index : undefined;
  }

  /** From the base on; undefined elsewhere. */
  termAt(index: number): number | undefined {
    if (index === this.#base.index) return this.#base.term;
    return index === this.#origin.index ? this.#origin.term : this.slot(index)?.term;
  }

  slot(index: number): Slot | undefined {
    return this.#slots[index - this.#origin.index - 1];
  }

  /** Returns why the item cannot follow what is here, and then changes nothing; or undefined. */
  apply(item: Item, place: Place): string | undefined {
    const hardState = readHardState(item);
    if (hardState) {
      if (hardState.term < this.#hardState.term) return `the term falls to ${hardState.term}`;
      this.#hardState = hardState;
      return;
    }
    if (item.type === BASE) return this.#moveBase(item);
    if (item.type === RESET) return this.#reset(item);
    if (item.type === NOTE) {
      // A copy, because the payload is a part of a whole segment.
      this.#note = item.payload.slice();
      return;
    }
    if (item.type > RECORD_TYPE_MAX) return `items of type ${item.type} are not known to this version`;
    return this.#put(item, place);
  }

  /** A record takes the place of its index and voids all records behind it. */
  #put({ index, term }: Item, place: Place): string | undefined {
    const { last } = this;
    if (index > last.index + 1) return `record ${index} follows record ${last.index}`;
    if (index <= this.#base.index)
      return `record ${index} would replace one up to the base, ${this.#base.index}`;
    const before = this.termAt(index - 1);
    if (before !== undefined && term < before)
      return `the term falls from ${before} to ${term} at record ${index}`;
    if (index <= this.#origin.index) this.#origin = { index: index - 1, term: before };
    this.#slots.length = index - this.#origin.index - 1;
    this.#slots.push({ ...place, term });
    return;
  }

  #moveBase({ index, term }: Position): string | undefined {
    const known = this.termAt(index);
    if (index > this.last.index || (known !== undefined && known !== term))
      return `the base, record ${index} of term ${term}, is not in the log`;
    if (index <= this.#base.index) return `the base falls from ${this.#base.index} to ${index}`;
    this.#base = { index, term };
    if (index < this.#origin.index) return;
    this.#slots.splice(0, index - this.#origin.index);
    this.#origin = this.#base;
    return;
  }

  #reset({ index, term }: Position): string | undefined {
    if (index < this.#base.index) return `a reset to record ${index}, before the base, ${this.#base.index}`;
    this.#base = { index, term };
    this.#origin = this.#base;
    this.#slots = [];
    return;
  }
}
