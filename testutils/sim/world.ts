// Virtual time, one source of random, and a network that loses, delays, repeats and reorders: all that a run does not decide itself.
// The same seed gives the same run, step by step.
import type { Message } from '../../src/raft/message.ts';
import { describeMessage } from '../../src/raft/describe.ts';
import { seededRandom, type Random } from '../random.ts';

interface Event {
  readonly time: number;
  /** Events of the same moment happen in the order in which they were planned. */
  readonly order: number;
  readonly run: () => void;
}

export interface NetworkState {
  loss: number;
  repeats: number;
  /** In milliseconds; reordering follows from it. */
  maxDelay: number;
  /** `a-b` when nothing gets from a to b. */
  readonly cut: Set<string>;
}

/** The latest lines are enough to understand a failure, and a run can be long. */
const TRACE_LINES = 400;

export class World {
  readonly seed: number;
  readonly random: Random;
  /** Milliseconds since the start. */
  now = 0;
  /** Steps taken so far. */
  steps = 0;
  readonly network: NetworkState = { loss: 0, repeats: 0, maxDelay: 3, cut: new Set() };
  /** How often what has happened: a run without trouble proves nothing. */
  readonly tally = new Map<string, number>();
  readonly #heap: Event[] = [];
  #planned = 0;
  readonly #trace: string[] | undefined;

  constructor(seed: number, traced: boolean) {
    this.seed = seed;
    this.random = seededRandom(seed);
    this.#trace = traced ? [] : undefined;
  }

  /** Lines are only made when somebody will read them. */
  note(line: () => string): void {
    if (this.#trace === undefined) return;
    this.#trace.push(`${this.now.toFixed(1).padStart(8)} ${line()}`);
    if (this.#trace.length > TRACE_LINES) this.#trace.shift();
  }

  count(what: string): void {
    this.tally.set(what, (this.tally.get(what) ?? 0) + 1);
  }

  get trace(): readonly string[] {
    return this.#trace ?? [];
  }

  /** From `min` to `max`, in tenths of a millisecond. */
  between(min: number, max: number): number {
    return min + this.random.below(Math.max(1, Math.round((max - min) * 10))) / 10;
  }

  later(delay: number, run: () => void): void {
    this.#push({ time: this.now + delay, order: (this.#planned += 1), run });
  }

  /** Takes the next step. False when nothing is planned any more. */
  step(): boolean {
    const event = this.#pop();
    if (event === undefined) return false;
    this.now = event.time;
    this.steps += 1;
    event.run();
    return true;
  }

  /**
   * What is under way when a link is cut, or when its sender dies (`orphaned`), may be lost with it; or it arrives, late and out
   * of order.
   */
  send(m: Message, orphaned: () => boolean, deliver: (m: Message) => void): void {
    const { loss, repeats, maxDelay, cut } = this.network;
    const link = `${m.from}-${m.to}`;
    if (cut.has(link) || this.random.chance(loss)) {
      this.note(() => `lost      ${describeMessage(m)}`);
      return;
    }
    const copies = this.random.chance(repeats) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.later(this.between(0.2, maxDelay), () => {
        const lost = (cut.has(link) || orphaned()) && this.random.chance(0.8);
        this.note(() => `${lost ? 'lost     ' : 'delivered'} ${describeMessage(m)}`);
        if (!lost) deliver(m);
      });
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

const before = (a: Event, b: Event): boolean => a.time < b.time || (a.time === b.time && a.order < b.order);
