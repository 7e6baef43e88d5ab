// Linearizable reads: an index such that whoever has applied it sees everything that was acknowledged before the question. All questions of one
// turn share one round to the leader and its quorum; a round that gets no answer, because a message or the leader was lost, is asked again.
import { QedError } from '../errors.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { type ReadState } from '../raft/read-index.ts';

interface Read {
  readonly resolve: (index: number) => void;
  readonly reject: (error: QedError) => void;
}

interface Round {
  readonly context: Uint8Array;
  readonly reads: Set<Read>;
  askedAt: number;
}

export interface ReadRequestsOptions {
  /** Asks the core; the answer carries the same context. */
  readonly ask: (context: Uint8Array) => void;
  readonly random: (length: number) => Uint8Array;
  readonly ticks: () => number;
  readonly retryTicks: number;
  readonly hasLeader: () => boolean;
}

const READS_MAX = 65_536;
/** Random, so that an answer meant for an earlier life of this node fits nothing. */
const CONTEXT_BYTES = 16;

export class ReadRequests {
  readonly #options: ReadRequestsOptions;
  readonly #rounds = new Map<string, Round>();
  #next: Round | undefined;
  #count = 0;

  constructor(options: ReadRequestsOptions) {
    this.#options = options;
  }

  read(signal: AbortSignal | undefined): Promise<number> {
    if (this.#count >= READS_MAX)
      return Promise.reject(new QedError('busy', 'too many reads wait for the leader'));
    const round = (this.#next ??= this.#begin());
    return new Promise((resolve, reject) => {
      const end = (): void => {
        if (round.reads.delete(read)) this.#count -= 1;
        signal?.removeEventListener('abort', giveUp);
      };
      const read: Read = {
        resolve(index) {
          end();
          resolve(index);
        },
        reject(error) {
          end();
          reject(error);
        },
      };
      const giveUp = (): void => read.reject(this.#lateness(signal));
      round.reads.add(read);
      this.#count += 1;
      if (signal?.aborted) giveUp();
      else signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  answered(states: readonly ReadState[]): void {
    for (const { index, context } of states) {
      const key = encodeHex(context);
      const reads = this.#rounds.get(key)?.reads ?? [];
      this.#rounds.delete(key);
      for (const { resolve } of [...reads]) resolve(index);
    }
  }

  tick(): void {
    const { ask, ticks, retryTicks } = this.#options;
    for (const [key, round] of this.#rounds) {
      if (round.reads.size === 0) this.#rounds.delete(key);
      else if (ticks() - round.askedAt >= retryTicks) {
        round.askedAt = ticks();
        ask(round.context);
      }
    }
  }

  end(error: QedError): void {
    for (const { reads } of [...this.#rounds.values()]) for (const { reject } of [...reads]) reject(error);
    this.#rounds.clear();
  }

  /** Questions up to the end of this turn belong to it: none of them came after it is asked. */
  #begin(): Round {
    const { random, ticks, ask } = this.#options;
    const round: Round = { context: random(CONTEXT_BYTES), reads: new Set(), askedAt: ticks() };
    this.#rounds.set(encodeHex(round.context), round);
    queueMicrotask(() => {
      this.#next = undefined;
      ask(round.context);
    });
    return round;
  }

  #lateness(signal: AbortSignal | undefined): QedError {
    const code = this.#options.hasLeader() ? 'busy' : 'no-leader';
    return new QedError(code, 'the leader did not confirm the read in time', { cause: signal?.reason });
  }
}
