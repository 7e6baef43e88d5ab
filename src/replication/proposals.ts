// What this node proposed as leader, until it is known what became of it: from the proposal, over its place in the log, to the commit of that
// place. Losing the office decides nothing: the record may have reached the next leader. The first commit that shows it does: terms never fall
// along the log, so where another term has come by the place of a record, the record will never be there.
import { QedError } from '../errors.ts';
import { type Entry } from '../raft/message.ts';

interface Proposal {
  readonly resolve: (index: number) => void;
  readonly reject: (error: QedError) => void;
}

interface Placed extends Proposal {
  readonly index: number;
  readonly term: number;
}

/** Bytes proposed at a time: as much as goes into one message. */
const GROUP_BYTES = 1024 * 1024;

export class Proposals {
  readonly #propose: (group: readonly Uint8Array[]) => void;
  /** By the very bytes: what is proposed at the end of this turn, all together. */
  #waiting = new Map<Uint8Array, Proposal>();
  /** What is being proposed, until the core has given it a place. */
  readonly #unplaced = new Map<Uint8Array, Proposal>();
  readonly #placed = new Map<number, Placed>();
  /** From earlier terms of office; whatever is placed now may have taken their places. */
  #orphans: Placed[] = [];
  /** Of the proposals in `#placed`. */
  #term = 0;

  /** `propose` throws and nothing of the group is in the log, or `placed` is told before it returns. */
  constructor(propose: (group: readonly Uint8Array[]) => void) {
    this.#propose = propose;
  }

  add(data: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) void Promise.resolve().then(() => this.#proposeWaiting());
      // A view of its own, so that the same bytes may be proposed twice.
      this.#waiting.set(data.subarray(), { resolve, reject });
    });
  }

  #proposeWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    let bytes = 0;
    for (const [data, proposal] of waiting) {
      if (bytes > 0 && bytes + data.length > GROUP_BYTES) {
        this.#proposeGroup();
        bytes = 0;
      }
      this.#unplaced.set(data, proposal);
      bytes += data.length;
    }
    this.#proposeGroup();
  }

  #proposeGroup(): void {
    try {
      this.#propose([...this.#unplaced.keys()]);
      if (this.#unplaced.size > 0) this.#refuse(unknownOutcome('the log failed at this moment'));
    } catch (error) {
      this.#refuse(error instanceof QedError ? error : new QedError('bug', String(error), { cause: error }));
    }
  }

  #refuse(error: QedError): void {
    for (const { reject } of this.#unplaced.values()) reject(error);
    this.#unplaced.clear();
  }

  placed(entries: readonly Entry[]): void {
    if (this.#unplaced.size === 0) return;
    for (const { data, index, term } of entries) {
      const proposal = this.#unplaced.get(data);
      if (!proposal) continue;
      this.#unplaced.delete(data);
      if (term > this.#term) this.#orphan();
      this.#term = term;
      this.#placed.set(index, { ...proposal, index, term });
    }
  }

  committed({ index, term }: Entry): void {
    if (term > this.#term) this.#orphan();
    const proposal = this.#placed.get(index);
    this.#placed.delete(index);
    if (proposal?.term === term) proposal.resolve(index);
    else proposal?.reject(lost());
    if (this.#orphans.length > 0) this.#judge(index, term);
  }

  /** A Raft snapshot stands for everything up to `index`: what became of the records there cannot be seen any more. */
  skipped(index: number): void {
    const isOver = (proposal: Placed): boolean => proposal.index <= index;
    for (const proposal of [...this.#placed.values(), ...this.#orphans].filter(isOver)) {
      if (this.#placed.get(proposal.index) === proposal) this.#placed.delete(proposal.index);
      proposal.reject(unknownOutcome('this node fell behind and does not see its place in the log'));
    }
    this.#orphans = this.#orphans.filter((proposal) => !isOver(proposal));
  }

  /** Nothing will be known here any more. */
  end(why: string): void {
    this.#orphan();
    for (const { reject } of this.#orphans) reject(unknownOutcome(why));
    this.#orphans = [];
  }

  #orphan(): void {
    this.#orphans.push(...this.#placed.values());
    this.#placed.clear();
  }

  #judge(index: number, term: number): void {
    const [before, orphans] = [this.#orphans, [] as Placed[]];
    this.#orphans = orphans;
    for (const proposal of before) {
      if (proposal.index === index && proposal.term === term) proposal.resolve(index);
      else if (proposal.index === index || (proposal.index > index && proposal.term < term))
        proposal.reject(lost());
      else orphans.push(proposal);
    }
  }
}

function lost(): QedError {
  return new QedError('no-leader', 'another leader came before the record was committed');
}

export function unknownOutcome(why: string, cause?: unknown): QedError {
  return new QedError('outcome-unknown', `the record may or may not be in the log: ${why}`, {
    hint: 'Send it again with the same idempotency key, or look for its events first.',
    ...(cause === undefined ? {} : { cause }),
  });
}
