// The door for peers: an HTTPS server that lets in only holders of pinned node keys, whatever they send.
//
//   POST /stream        frames, for as long as the connection lives; the answer carries pongs, and what became of records
//   POST /order         a request to this node as leader, and its answer; JSON
//   GET  /fetch/<path>  bytes that a peer needs to catch up
//
// A stranger's connection is closed when TLS has shown its key, before a byte of HTTP is read from it. A peer that sends what no peer sends loses
// its connection. Everything is bounded: connections, headers, bodies, frames, the time of a handshake and the silence on a stream.
import { createServer, type Server } from 'node:https';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import { decodeDecimal } from '../crypto/encoding.ts';
import { errorTable, QedError } from '../errors.ts';
import {
  createFrameReader,
  formatFrame,
  MESSAGE_FRAME,
  PING_FRAME,
  PONG_FRAME,
  RECORD_FRAME,
  type Frame,
} from './frames.ts';
import { openLine, type Faults } from './faults.ts';
import { formatCommitted, formatRefused, parseForward } from './forwards.ts';
import { keyOfPeer, parseAddress, tlsOptions, type Credentials } from './identity-tls.ts';
import { formatError, toQedError } from './peer-error.ts';

/** Whom a key belongs to. Someone who was removed may ask, but is only told that. */
export type Caller = { readonly id: number; readonly isRemoved: boolean };

export interface PeerServerOptions {
  readonly credentials: Credentials;
  /** host:port; port 0 takes a free one. */
  readonly address: string;
  readonly handshakeMs?: number;
  readonly silenceMs?: number;
  /** All numbers that the key has or had; none for a stranger. */
  readonly callersOf: (nodeKey: Uint8Array) => readonly Caller[];
  /** False when no peer sends such a message. */
  readonly onMessage: (from: number, message: Uint8Array) => boolean;
  /** A record for this node as leader; resolves with its index when it is committed. */
  readonly onRecord: (record: Uint8Array) => Promise<number>;
  readonly onOrder: (from: number, order: unknown, signal: AbortSignal) => Promise<unknown>;
  /** Undefined where there is nothing at the path. */
  readonly onFetch: (path: string, signal: AbortSignal) => Promise<Uint8Array | undefined>;
  readonly faults: Pick<Faults, 'to' | 'from'>;
  readonly now: () => number;
  readonly onRefused: (why: string, remote: string) => void;
}

export interface PeerServer {
  readonly port: number;
  /** Ends the connections of everybody who is no member any more. */
  readonly recheck: () => void;
  readonly close: () => Promise<void>;
}

const CONNECTIONS_MAX = 256;
const FETCHES_MAX = 8;
const ORDER_BYTES_MAX = 64 * 1024;
const ANSWERS_BYTES_MAX = 4 * 1024 * 1024;
const HANDSHAKE_MS = 5_000;
const SILENCE_MS = 30_000;

export async function openPeerServer(options: PeerServerOptions): Promise<PeerServer> {
  const { callersOf, onRefused, handshakeMs = HANDSHAKE_MS, faults, now } = options;
  const sockets = new Set<TLSSocket>();
  const keys = new WeakMap<TLSSocket, Uint8Array>();
  /** Those that wait for the answer to an order, which may be that they are no members any more. */
  const answering = new Set<IncomingMessage['socket']>();
  const streams = new Map<number, IncomingMessage>();
  const closing = new AbortController();
  let fetches = 0;

  const server = createServer({
    ...tlsOptions(options.credentials),
    requestCert: true,
    handshakeTimeout: handshakeMs,
    headersTimeout: handshakeMs,
    connectionsCheckingInterval: Math.min(handshakeMs, 1000),
    // A stream is a request without an end; its silence is watched below.
    requestTimeout: 0,
    maxHeaderSize: 4096,
    sessionTimeout: 1,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('secureConnection', admit);
  server.on('tlsClientError', (error, socket) => {
    onRefused(`no TLS connection of a node: ${error.message}`, remoteOf(socket));
    socket.destroy();
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('request', (request, response) => void answer(request, response));
  await listen(server, options.address);

  function admit(socket: TLSSocket): void {
    const key = keyOfPeer(socket);
    socket.on('error', () => undefined);
    if (!key || callersOf(key).length === 0) {
      onRefused(key ? 'its key is not one of a member' : 'it showed no node key', remoteOf(socket));
      socket.destroy();
      return;
    }
    keys.set(socket, key);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  }

  /** The member that a request comes from: the number it goes by, which must be one of its key. */
  function callerOf(request: IncomingMessage): Caller | undefined {
    const { socket } = request;
    const key = socket instanceof TLSSocket ? keys.get(socket) : undefined;
    const claimed = decodeDecimal(String(request.headers['x-qed-member'] ?? ''));
    return key && callersOf(key).find(({ id }) => id === claimed);
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const caller = callerOf(request);
    request.on('error', () => undefined);
    const { method, url = '' } = request;
    try {
      if (!caller || caller.isRemoved) refuse(request, response, caller ? 410 : 403);
      else if (faults.from(caller.id).isCut) request.socket.destroy();
      else if (method === 'POST' && url === '/stream') readStream(caller.id, request, response);
      else await answerQuestion(caller.id, method, url, request, response);
    } catch (error) {
      sendError(response, error);
    }
  }

  async function answerQuestion(
    from: number,
    method: string | undefined,
    url: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    await wait(faults.from(from).delayMs + faults.to(from).delayMs);
    if (method === 'POST' && url === '/order') await answerOrder(from, request, response);
    else if (method === 'GET' && url.startsWith('/fetch/')) await answerFetch(url.slice(7), response);
    else refuse(request, response, 404);
  }

  function refuse(request: IncomingMessage, response: ServerResponse, status: number): void {
    response.writeHead(status, { connection: 'close' }).end(() => request.socket.destroySoon());
  }

  function readStream(from: number, request: IncomingMessage, response: ServerResponse): void {
    // A peer that starts again has forgotten its last stream.
    streams.get(from)?.socket.destroy();
    streams.set(from, request);
    request.once('close', () => {
      if (streams.get(from) === request) streams.delete(from);
    });
    request.socket.setTimeout(options.silenceMs ?? SILENCE_MS, () => request.socket.destroy());
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).flushHeaders();
    const read = createFrameReader();
    const lineFrom = openLine(now);
    const lineTo = openLine(now);
    const isOver = (): boolean => request.socket.destroyed;
    const reply = (answer: Frame): void =>
      lineTo.pass(faults.to(from), () => {
        if (!isOver()) writeAnswer(answer, response);
      });
    const take = (frame: Frame): void => {
      if (isOver() || takeFrame(from, frame, reply)) return;
      refuseFrames();
    };
    const refuseFrames = (): void => {
      onRefused('it sent what is no message of a node', remoteOf(request.socket));
      request.socket.destroy();
    };
    request.once('close', () => {
      lineFrom.close();
      lineTo.close();
    });
    request.on('data', (chunk: Buffer) => {
      const frames = read(chunk);
      if (!frames) refuseFrames();
      for (const frame of frames ?? []) lineFrom.pass(faults.from(from), () => take(frame));
    });
  }

  function takeFrame(from: number, { kind, payload }: Frame, reply: (answer: Frame) => void): boolean {
    if (kind === MESSAGE_FRAME) return options.onMessage(from, payload);
    if (kind === RECORD_FRAME) return takeRecord(payload, reply);
    if (kind !== PING_FRAME) return false;
    reply({ kind: PONG_FRAME, payload });
    return true;
  }

  function takeRecord(payload: Uint8Array, reply: (answer: Frame) => void): boolean {
    const forward = parseForward(payload);
    if (!forward) return false;
    const { number, record } = forward;
    options.onRecord(record).then(
      (index) => reply(formatCommitted(number, index)),
      (error: unknown) => reply(formatRefused(number, error)),
    );
    return true;
  }

  /** A peer that does not read its answers loses its connection. */
  function writeAnswer({ kind, payload }: Frame, response: ServerResponse): void {
    if (response.writableLength > ANSWERS_BYTES_MAX) response.destroy();
    else response.write(formatFrame(kind, payload));
  }

  async function answerOrder(
    from: number,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    answering.add(request.socket);
    response.once('close', () => answering.delete(request.socket));
    const order = parseJson(await readBody(request, ORDER_BYTES_MAX));
    const result = await options.onOrder(from, order, closing.signal);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(result));
  }

  async function answerFetch(path: string, response: ServerResponse): Promise<void> {
    if (fetches >= FETCHES_MAX) throw new QedError('busy', 'too many peers fetch at once');
    fetches += 1;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    try {
      const bytes = await options.onFetch(path, AbortSignal.any([gone.signal, closing.signal]));
      if (!bytes) throw new QedError('not-found', 'there is nothing at this path');
      response
        .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
        .end(bytes);
    } finally {
      fetches -= 1;
    }
  }

  return {
    port: portOf(server),
    recheck() {
      for (const socket of sockets) {
        const key = keys.get(socket);
        if (answering.has(socket)) continue;
        if (!key || callersOf(key).every(({ isRemoved }) => isRemoved)) socket.destroy();
      }
    },
    async close() {
      closing.abort();
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Not even a turn of the event loop when there is nothing to wait for. */
async function wait(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > bytesMax) throw new QedError('body-too-large', `an order of more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new QedError('bad-request', 'an order that is no JSON', { cause });
  }
}

function sendError(response: ServerResponse, cause: unknown): void {
  if (response.headersSent) return void response.destroy();
  const error = toQedError(cause);
  response
    .writeHead(errorTable[error.code].status, { 'content-type': 'application/json' })
    .end(formatError(error));
}

function listen(server: Server, address: string): Promise<void> {
  const { host, port } = parseAddress(address);
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new QedError('address-taken', `cannot listen for peers at ${address}: ${cause.message}`, { cause }),
      ),
    );
    server.listen(port, ...(host === '' ? [] : [host]), resolve);
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function remoteOf(socket: { readonly remoteAddress?: string | undefined }): string {
  return socket.remoteAddress ?? 'unknown';
}
