// The state machine that a simulated cluster replicates: behind an interface, so that another one can take its place.
import { nativeHash } from '../../src/crypto/hash-node.ts';

/** Where a client's add is in the log. The same for every repetition of the same request. */
export interface Added {
  readonly version: number;
}

export interface Checkpoint {
  readonly size: number;
  readonly digest: string;
}

export interface Machine {
  apply(data: Uint8Array): Added | undefined;
  checkpoint(): Checkpoint;
  /** Everything that was added, in order. */
  contents(): readonly string[];
  save(): Uint8Array;
}

export interface MachineKind {
  empty(): Machine;
  restore(bytes: Uint8Array): Machine;
}

export interface Request {
  readonly client: number;
  /** Ascending for each client: a request with the number of an earlier one is that one again. */
  readonly number: number;
}

export const encodeRequest = ({ client, number }: Request): Uint8Array =>
  new TextEncoder().encode(`${client}:${number}`);

/** A list of requests, with a digest that covers all of it: the least that can tell one history from another. */
export class ListMachine implements Machine {
  readonly #contents: string[];
  #digest: string;
  readonly #answered = new Map<number, { number: number; version: number }>();
  readonly #exactlyOnce: boolean;

  constructor(contents: readonly string[] = [], digest = '', exactlyOnce = true) {
    this.#contents = [...contents];
    this.#digest = digest;
    this.#exactlyOnce = exactlyOnce;
    for (const [version, text] of contents.entries()) this.#remember(text, version);
  }

  apply(data: Uint8Array): Added {
    const text = new TextDecoder().decode(data);
    const [client, number] = numbersOf(text);
    const answered = this.#answered.get(client);
    if (this.#exactlyOnce && answered !== undefined && answered.number >= number) {
      return { version: answered.version };
    }
    const version = this.#contents.push(text) - 1;
    this.#digest = hash(`${this.#digest} ${text}`);
    this.#remember(text, version);
    return { version };
  }

  #remember(text: string, version: number): void {
    const [client, number] = numbersOf(text);
    this.#answered.set(client, { number, version });
  }

  checkpoint(): Checkpoint {
    return { size: this.#contents.length, digest: this.#digest };
  }

  contents(): readonly string[] {
    return this.#contents;
  }

  save(): Uint8Array {
    return new TextEncoder().encode(`${this.#digest}\n${this.#contents.join('\n')}`);
  }
}

const numbersOf = (text: string): readonly [number, number] => {
  const [client = '', number = ''] = text.split(':');
  return [Number(client), Number(number)];
};

const hash = (text: string): string =>
  Array.from(nativeHash.digest(new TextEncoder().encode(text)).subarray(0, 8), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');

export const listMachines = (exactlyOnce = true): MachineKind => ({
  empty: () => new ListMachine([], '', exactlyOnce),
  restore(bytes) {
    const [digest = '', ...contents] = new TextDecoder().decode(bytes).split('\n');
    return new ListMachine(
      contents.filter((text) => text !== ''),
      digest,
      exactlyOnce,
    );
  },
});
