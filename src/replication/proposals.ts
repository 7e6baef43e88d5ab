// What this node proposed as leader and waits for: from the proposal, over its place in the log, to the commit; or to the end of the office.
import { QedError } from '../errors.ts';
import { type Entry } from '../raft/message.ts';

interface Proposal {
  readonly bytes: number;
  readonly resolve: (index: number) => void;
  readonly reject: (error: QedError) => void;
}

interface Placed extends Proposal {
  readonly term: number;
}

export class Proposals {
  readonly #bytesMax: number;
  readonly #recordsMax: number;
  #bytes = 0;
  /** By the very bytes that were proposed, until the core has given them a place. */
  readonly #unplaced = new Map<Uint8Array, Proposal>();
  readonly #placed = new Map<number, Placed>();

  constructor({ bytesMax, recordsMax }: { readonly bytesMax: number; readonly recordsMax: number }) {
    this.#bytesMax = bytesMax;
    this.#recordsMax = recordsMax;
  }

  get count(): number {
    return this.#placed.size;
  }

  /** Throws `busy` when too much waits already. */
  admit(bytes: number): void {
    const isFull = this.#placed.size > 0 && this.#bytes + bytes > this.#bytesMax;
    if (!isFull && this.#placed.size < this.#recordsMax) return;
    throw new QedError('busy', `${this.#placed.size} records wait for a majority`, {
      hint: 'Try again soon.',
    });
  }

  /** `propose` throws, or gives the bytes a place (`placed`) before it returns. */
  add(data: Uint8Array, propose: () => void, signal: AbortSignal | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void =>
        reject(unknownOutcome('the caller gave up while its record was on its way', signal?.reason));
      const end = (): void => signal?.removeEventListener('abort', giveUp);
      this.#unplaced.set(data, {
        bytes: data.length,
        resolve(index) {
          end();
          resolve(index);
        },
        reject(error) {
          end();
          reject(error);
        },
      });
      try {
        propose();
        signal?.addEventListener('abort', giveUp, { once: true });
      } catch (error) {
        end();
        reject(error instanceof QedError ? error : new QedError('bug', String(error), { cause: error }));
      }
      if (this.#unplaced.delete(data)) reject(unknownOutcome('the log failed at this moment'));
    });
  }

  placed(entries: readonly Entry[]): void {
    if (this.#unplaced.size === 0) return;
    for (const { data, index, term } of entries) {
      const proposal = this.#unplaced.get(data);
      if (!proposal) continue;
      this.#unplaced.delete(data);
      this.#placed.set(index, { ...proposal, term });
      this.#bytes += proposal.bytes;
    }
  }

  committed({ index, term }: Entry): void {
    const proposal = this.#take(index);
    if (!proposal) return;
    if (proposal.term === term) proposal.resolve(index);
    else proposal.reject(unknownOutcome('another leader took its place in the log'));
  }

  /** This node does not lead in any term before `term` any more. */
  lost(term: number, why: string): void {
    if (this.#placed.size === 0) return;
    for (const [index, proposal] of this.#placed)
      if (proposal.term < term) this.#take(index)?.reject(unknownOutcome(why));
  }

  #take(index: number): Placed | undefined {
    const proposal = this.#placed.get(index);
    if (!proposal) return undefined;
    this.#placed.delete(index);
    this.#bytes -= proposal.bytes;
    return proposal;
  }
}

function unknownOutcome(why: string, cause?: unknown): QedError {
  return new QedError('outcome-unknown', `the record may or may not be in the log: ${why}`, {
    hint: 'Send it again with the same idempotency key, or look for its events first.',
    ...(cause === undefined ? {} : { cause }),
  });
}
