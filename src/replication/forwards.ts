// Records that this node has sent to the leader, until their answers come back. They travel as frames on the stream to the peer, and the answers
// as frames of its response, so one connection carries them all.
//
//   to the leader   u64 number ‖ record
//   back            u64 number ‖ u64 index of the committed record
//                   u64 number ‖ JSON of the error
//
// A record that was sent and gets no answer, because the connection ended or the leader is cut off, may or may not be in the log.
import { concat, encodeU64, readU64, U64_BYTES } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { COMMITTED_FRAME, REFUSED_FRAME, type Frame } from './frames.ts';
import { formatError, parseError, toQedError } from './peer-error.ts';
import { unknownOutcome } from './proposals.ts';

interface Forward {
  readonly to: number;
  readonly resolve: (index: number) => void;
  readonly reject: (error: QedError) => void;
}

export class Forwards {
  readonly #send: (to: number, bytes: Uint8Array) => boolean;
  #number = 0;
  readonly #underWay = new Map<number, Forward>();

  /** `send` says false when nothing was sent. */
  constructor(send: (to: number, bytes: Uint8Array) => boolean) {
    this.#send = send;
  }

  send(to: number, record: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      const number = ++this.#number;
      this.#underWay.set(number, { to, resolve, reject });
      if (this.#send(to, concat(encodeU64(number), record))) return;
      this.#underWay.delete(number);
      reject(new QedError('busy', 'too much waits for the way to the leader', { hint: 'Try again soon.' }));
    });
  }

  /** False when no peer answers like that. */
  answered(from: number, { kind, payload }: Frame): boolean {
    const number = readU64(payload, 0);
    const rest = payload.subarray(U64_BYTES);
    const answer = kind === COMMITTED_FRAME ? readU64(rest, 0) : parseError(rest);
    if (number === undefined || answer === undefined) return false;
    const forward = this.#underWay.get(number);
    if (forward?.to !== from) return true;
    this.#underWay.delete(number);
    if (typeof answer === 'number') forward.resolve(answer);
    else forward.reject(answer);
    return true;
  }

  /** The connection to the peer ended: no answers will come from there, or from anybody. */
  ended(to?: number): void {
    for (const [number, forward] of this.#underWay) {
      if (to !== undefined && forward.to !== to) continue;
      this.#underWay.delete(number);
      forward.reject(unknownOutcome('the connection to the leader ended'));
    }
  }
}

/** What a peer sent as a record of its own; undefined when it is none. */
export function parseForward(
  payload: Uint8Array,
): { readonly number: number; readonly record: Uint8Array } | undefined {
  const number = readU64(payload, 0);
  // A copy, because the record outlives the piece of the stream that it came in.
  return number === undefined || payload.length === U64_BYTES
    ? undefined
    : { number, record: payload.slice(U64_BYTES) };
}

export function formatCommitted(number: number, index: number): Frame {
  return { kind: COMMITTED_FRAME, payload: concat(encodeU64(number), encodeU64(index)) };
}

export function formatRefused(number: number, error: unknown): Frame {
  return { kind: REFUSED_FRAME, payload: concat(encodeU64(number), formatError(toQedError(error))) };
}
