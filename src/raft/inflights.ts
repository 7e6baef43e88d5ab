// The append messages on their way to one follower: at most so many, and about so many bytes.
// A ring, because messages are acknowledged from the oldest on: the leader adds the last index of each message, in ascending
// order, and frees everything up to the index that the follower acknowledges.
import { assert } from '../errors.ts';

export class Inflights {
  readonly #capacity: number;
  readonly #maxBytes: number;
  #ring: { index: number; bytes: number }[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  constructor(capacity: number, maxBytes: number) {
    this.#capacity = capacity;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#count;
  }

  /** One message may overshoot the limit of bytes: otherwise one larger than the limit could never be sent. */
  get full(): boolean {
    return this.#count >= this.#capacity || this.#bytes >= this.#maxBytes;
  }

  add(index: number, bytes: number): void {
    assert(!this.full, 'an append message was sent although too many are in flight');
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#start + this.#count) % this.#ring.length] = { index, bytes };
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Frees every message whose last index is at most `index`. */
  freeUpTo(index: number): void {
    while (this.#count > 0) {
      const oldest = this.#ring[this.#start]!;
      if (oldest.index > index) return;
      this.#start = (this.#start + 1) % this.#ring.length;
      this.#count -= 1;
      this.#bytes -= oldest.bytes;
    }
  }

  clear(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Room is taken as it is needed: a leader has many followers, and few of them ever lag. */
  #grow(): void {
    const size = Math.min(Math.max(1, this.#ring.length * 2), this.#capacity);
    const ordered = [...this.#ring.slice(this.#start), ...this.#ring.slice(0, this.#start)];
    this.#ring = Array.from({ length: size }, (_, at) => ordered[at] ?? { index: 0, bytes: 0 });
    this.#start = 0;
  }
}
