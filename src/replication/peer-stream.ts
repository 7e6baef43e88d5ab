// The way of messages to one peer: one connection, one endless request, frames in the order in which they were sent. Pongs come back as the answer.
//
// Nothing is ever sent twice or kept for long: Raft repeats what it needs. While there is no connection a few messages wait for it; when the
// peer does not take them fast enough, or cannot be reached, messages are dropped and the owner is told.
import { request, type ClientRequest } from 'node:http';
import { readU64, encodeU64 } from '../crypto/encoding.ts';
import {
  createFrameReader,
  formatFrame,
  MESSAGE_FRAME,
  PING_FRAME,
  PONG_FRAME,
  RECORD_FRAME,
  type Frame,
} from './frames.ts';
import { openLine, type Trouble } from './faults.ts';
import { connectTo, type Credentials, type Target } from './identity-tls.ts';

export interface PeerStreamOptions {
  readonly target: Target;
  readonly credentials: Credentials;
  /** This node's number. */
  readonly from: number;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  /** What befalls a message, and an answer. Asked for each one. */
  readonly troubleTo: () => Trouble;
  readonly troubleFrom: () => Trouble;
  readonly connectMs: number;
  /** The shortest pause between two attempts to connect; it grows to twenty times that. */
  readonly retryMs: number;
  readonly onUnreachable: () => void;
  /** An answer to a record. False when no peer answers like that. */
  readonly onAnswer: (answer: Frame) => boolean;
  /** No answers will come any more to the records that were sent so far. */
  readonly onEnd: () => void;
  /** The peer says that this node was removed from the cluster. */
  readonly onRemoved: () => void;
}

export interface PeerStream {
  /** False when the message was dropped. */
  readonly send: (message: Uint8Array) => boolean;
  /** The same for a record with its number, which does not wait for a connection. */
  readonly sendRecord: (bytes: Uint8Array) => boolean;
  /** Measures the round trip and notices a dead connection. To be called about once a second. */
  readonly ping: () => void;
  readonly roundTripMs: number | undefined;
  readonly isConnected: boolean;
  readonly close: () => void;
}

const WAITING_BYTES_MAX = 1024 * 1024;
const QUEUED_BYTES_MAX = 32 * 1024 * 1024;
const SILENCE_PINGS = 6;

export function openPeerStream(options: PeerStreamOptions): PeerStream {
  const { target, credentials, now } = options;
  let stream: ClientRequest | undefined;
  let isOpen = false;
  let isClosed = false;
  let retryAt = -Infinity;
  let pauseMs = options.retryMs;
  let unanswered = 0;
  let roundTripMs: number | undefined;
  /** Frames for the connection, or for the next turn of the event loop. */
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let isScheduled = false;
  const lineTo = openLine(now);

  function connect(): void {
    if (stream || isClosed || now() < retryAt) return;
    retryAt = Infinity;
    void connectTo(target, credentials, { timeoutMs: options.connectMs, signal: closing.signal }).then(
      (socket) => {
        if (isClosed) return void socket.destroy();
        const headers = { 'content-type': 'application/octet-stream', 'x-qed-member': String(options.from) };
        const opened = request({ method: 'POST', path: '/stream', headers, createConnection: () => socket });
        stream = opened;
        opened.on('error', () => disconnect(opened));
        opened.on('close', () => disconnect(opened));
        opened.on('response', (response) => {
          if (response.statusCode === 410) options.onRemoved();
          if (response.statusCode !== 200) {
            disconnect(opened);
            return;
          }
          readAnswers(opened, response);
          isOpen = true;
          pauseMs = options.retryMs;
          unanswered = 0;
          flush();
        });
        opened.flushHeaders();
      },
      () => disconnect(undefined),
    );
  }

  function disconnect(old: ClientRequest | undefined): void {
    if (stream !== old) return;
    old?.destroy();
    stream = undefined;
    isOpen = false;
    roundTripMs = undefined;
    waiting = [];
    waitingBytes = 0;
    retryAt = now() + pauseMs;
    pauseMs = Math.min(pauseMs * 2, options.retryMs * 20);
    options.onEnd();
    if (!isClosed) options.onUnreachable();
  }

  function readAnswers(opened: ClientRequest, response: NodeJS.ReadableStream): void {
    const read = createFrameReader();
    const line = openLine(now);
    const take = (answer: Frame): void => {
      if (stream === opened && !takeAnswer(answer)) disconnect(opened);
    };
    response.on('error', () => disconnect(opened));
    response.on('close', line.close);
    response.on('data', (chunk: Buffer) => {
      const answers = read(chunk);
      if (!answers) disconnect(opened);
      for (const answer of answers ?? []) line.pass(options.troubleFrom(), () => take(answer));
    });
  }

  function takeAnswer(answer: Frame): boolean {
    if (answer.kind !== PONG_FRAME) return options.onAnswer(answer);
    const sentAt = readU64(answer.payload);
    if (sentAt === undefined) return false;
    unanswered = 0;
    roundTripMs = Math.max(0, now() - sentAt / 1000);
    return true;
  }

  function put(frame: Uint8Array): boolean {
    const limit = isOpen ? QUEUED_BYTES_MAX : WAITING_BYTES_MAX;
    const queued = waitingBytes + (isOpen ? (stream?.writableLength ?? 0) : 0);
    if (isClosed || (queued > 0 && queued + frame.length > limit)) return false;
    waiting.push(frame);
    waitingBytes += frame.length;
    if (isOpen) schedule();
    else connect();
    // While it is not even time to try again, nobody will come for it.
    return isOpen || retryAt === Infinity || stream !== undefined || dropWaiting();
  }

  function dropWaiting(): false {
    waiting = [];
    waitingBytes = 0;
    return false;
  }

  /** What is sent in one turn goes out in one piece. */
  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      if (isOpen) flush();
    });
  }

  function flush(): void {
    if (waiting.length === 0) return;
    stream?.write(waiting.length === 1 ? waiting[0] : Buffer.concat(waiting));
    dropWaiting();
  }

  /** What is cut off, or late, counts as sent. */
  function sendFrame(frame: Uint8Array): boolean {
    let isSent = true;
    lineTo.pass(options.troubleTo(), () => (isSent = put(frame)));
    return isSent;
  }

  const closing = new AbortController();
  return {
    send: (message) => sendFrame(formatFrame(MESSAGE_FRAME, message)),
    sendRecord: (bytes) => isOpen && sendFrame(formatFrame(RECORD_FRAME, bytes)),
    ping() {
      unanswered += 1;
      if (isOpen && unanswered > SILENCE_PINGS) disconnect(stream);
      sendFrame(formatFrame(PING_FRAME, encodeU64(Math.round(now() * 1000))));
    },
    get roundTripMs() {
      return roundTripMs;
    },
    get isConnected() {
      return isOpen;
    },
    close() {
      isClosed = true;
      closing.abort();
      lineTo.close();
      disconnect(stream);
    },
  };
}
