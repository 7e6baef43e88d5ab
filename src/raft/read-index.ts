// Linearizable reads without writing: a leader answers with its commit index, once it is sure that it was still leader after
// the question came in. For that it sends a round of heartbeats and waits for a majority.
//
// Questions are numbered in the order of arrival. A heartbeat carries the number of the latest question, its answer returns it, so
// one answer vouches for every question up to that number. Numbers start anew with each leadership; answers of an earlier term are
// dropped before they get here.
import { committedIndex, type Voters } from './quorum.ts';
import { noBytes, type Message } from './message.ts';

export interface ReadState {
  /** The read may be answered from a state that has applied up to here. */
  readonly index: number;
  /** What the asker gave to recognize its question. */
  readonly context: Uint8Array;
}

export interface Question {
  readonly request: Message;
  readonly index: number;
}

export class ReadIndex {
  #open: Question[] = [];
  /** How many questions are answered; the first open one has the next number. */
  #answered = 0;
  readonly #acked = new Map<number, number>();

  ask(request: Message, commitIndex: number): void {
    this.#open.push({ request, index: commitIndex });
  }

  /** What the next heartbeats carry: empty where nobody is waiting. */
  context(): Uint8Array {
    if (this.#open.length === 0) return noBytes;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.#answered + this.#open.length));
    return bytes;
  }

  acked(from: number, context: Uint8Array): void {
    if (context.length !== 8) return;
    const number = Number(new DataView(context.buffer, context.byteOffset).getBigUint64(0));
    this.#acked.set(from, Math.max(number, this.#acked.get(from) ?? 0));
  }

  /** The questions that a quorum vouches for by now, in order. */
  confirmed(voters: Voters): readonly Question[] {
    const reached = committedIndex(voters, (id) => this.#acked.get(id));
    const confirmed = this.#open.splice(0, Math.max(0, reached - this.#answered));
    this.#answered += confirmed.length;
    return confirmed;
  }
}
