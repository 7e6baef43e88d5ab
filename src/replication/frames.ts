// Frames on a stream between nodes: u32 length ‖ u8 kind ‖ payload. A length beyond the limit is refused before anything is kept of it.
import { U64_BYTES } from '../crypto/encoding.ts';
import { MESSAGE_BYTES_MAX } from './message-codec.ts';
import { RECORD_BYTES_MAX } from './segment.ts';

export const MESSAGE_FRAME = 1;
/** Its payload, at most 16 bytes of the sender's choice, comes back as a pong. */
export const PING_FRAME = 2;
export const PONG_FRAME = 3;
/** A record for the leader, and its two answers; forwards.ts has their form. */
export const RECORD_FRAME = 4;
export const COMMITTED_FRAME = 5;
export const REFUSED_FRAME = 6;

export interface Frame {
  readonly kind: number;
  readonly payload: Uint8Array;
}

export const PING_BYTES_MAX = 16;
const REFUSED_BYTES_MAX = 16 * 1024;
const HEAD_BYTES = 5;

export function formatFrame(kind: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEAD_BYTES + payload.length);
  new DataView(frame.buffer).setUint32(0, payload.length);
  frame[4] = kind;
  frame.set(payload, HEAD_BYTES);
  return frame;
}

/** Cuts a stream into frames. Returns undefined, and is not to be used any more, when the stream is none of ours. */
export function createFrameReader(): (chunk: Uint8Array) => readonly Frame[] | undefined {
  let parts: Uint8Array[] = [];
  let length = 0;

  /** The first `count` bytes, without taking them; one part holds them afterwards. */
  function peek(count: number): Uint8Array {
    if (parts[0]!.length < count) parts = [new Uint8Array(Buffer.concat(parts))];
    return parts[0]!;
  }

  return (chunk) => {
    parts.push(chunk);
    length += chunk.length;
    const frames: Frame[] = [];
    while (length >= HEAD_BYTES) {
      const head = peek(HEAD_BYTES);
      const payloadBytes = new DataView(head.buffer, head.byteOffset).getUint32(0);
      const kind = head[4]!;
      if (payloadBytes > (limits[kind] ?? -1)) return undefined;
      const frameBytes = HEAD_BYTES + payloadBytes;
      if (length < frameBytes) break;
      const bytes = peek(frameBytes);
      frames.push({ kind, payload: bytes.subarray(HEAD_BYTES, frameBytes) });
      const rest = bytes.subarray(frameBytes);
      parts = rest.length > 0 ? [rest, ...parts.slice(1)] : parts.slice(1);
      length -= frameBytes;
    }
    return frames;
  };
}

const limits: Readonly<Record<number, number>> = {
  [MESSAGE_FRAME]: MESSAGE_BYTES_MAX,
  [PING_FRAME]: PING_BYTES_MAX,
  [PONG_FRAME]: PING_BYTES_MAX,
  [RECORD_FRAME]: U64_BYTES + RECORD_BYTES_MAX,
  [COMMITTED_FRAME]: 2 * U64_BYTES,
  [REFUSED_FRAME]: REFUSED_BYTES_MAX,
};
