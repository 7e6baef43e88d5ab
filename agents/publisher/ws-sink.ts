// Snapshots for whoever connects: WebSocket at ADDR, a text message with one line of JSON for each. `?from=N` replays from version N on and then follows;
// without it only what is new comes; with `?follow=0` the connection ends after the replay.
//
// A reader that is slow gets its messages slowly, and no hole: each message waits until the one before has left. One that stays so far behind that the
// journal has forgotten what it lacks is cut off with a reason, and begins again where it wants.
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { type WebSocket } from 'ws';
import { decodeDecimal } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { type Journal } from '../journal.ts';

export interface WsOptions {
  readonly host: string | undefined;
  readonly port: number;
  readonly journal: Journal;
}

export interface WsServer {
  readonly name: string;
  readonly port: number;
  readonly figures: () => { readonly readers: number; readonly sent: number };
  readonly close: () => Promise<void>;
}

const READERS_MAX = 256;
const BATCH = 64;
// Codes of RFC 6455 and of our own range.
const NORMAL = 1000;
const GOING_AWAY = 1001;
const TRY_LATER = 1013;
const BAD_QUESTION = 4400;
const TOO_SLOW = 4408;

export async function openWsServer({ host, port, journal }: WsOptions): Promise<WsServer> {
  const name = `ws:${host ?? ''}:${port}`;
  // Loaded here: only publishers with this sink need it.
  const { WebSocketServer } = await import('ws');
  const http = createServer((_request, response) => response.writeHead(426).end('this is a WebSocket\n'));
  const server = new WebSocketServer({ server: http, maxPayload: 1_024, perMessageDeflate: false });
  const readers = new Set<WebSocket>();
  const stop = new AbortController();
  let sent = 0;

  async function serve(socket: WebSocket, url: URL, signal: AbortSignal): Promise<void> {
    const fromText = url.searchParams.get('from');
    const from = fromText === null ? undefined : decodeDecimal(fromText);
    if (fromText !== null && from === undefined) {
      socket.close(BAD_QUESTION, 'from is not a plain decimal');
      return;
    }
    const place = journal.queue.next - 1;
    if (from !== undefined) {
      for await (const { line } of journal.from(from)) {
        if (signal.aborted) return;
        await sendLine(socket, line);
      }
    }
    if (url.searchParams.get('follow') === '0') socket.close(NORMAL);
    else await follow(socket, place, from ?? 0, signal);
  }

  async function follow(socket: WebSocket, after: number, from: number, signal: AbortSignal): Promise<void> {
    const isGone = (): boolean => signal.aborted;
    let place = after;
    while (!isGone()) {
      for (const item of await journal.queue.read(place, BATCH)) {
        if (item.number > place + 1) {
          socket.close(TOO_SLOW, 'what comes next is not kept any more; begin again');
          return;
        }
        const { version, line } = journal.entryOf(item);
        if (version >= from) await sendLine(socket, line);
        place = item.number;
        if (isGone()) return;
      }
      await journal.queue.wait(place, signal);
    }
  }

  function sendLine(socket: WebSocket, line: string): Promise<void> {
    return new Promise((resolve, reject) => {
      socket.send(line, (error) => {
        if (!error) sent += 1;
        if (error) reject(error);
        else resolve();
      });
    });
  }

  server.on('connection', (socket, request) => {
    if (readers.size >= READERS_MAX) {
      socket.close(TRY_LATER, 'too many readers');
      return;
    }
    readers.add(socket);
    request.socket.setKeepAlive(true, 30_000);
    const gone = new AbortController();
    const end = (): void => gone.abort();
    stop.signal.addEventListener('abort', end);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      readers.delete(socket);
      stop.signal.removeEventListener('abort', end);
      gone.abort();
    });
    const url = new URL(request.url ?? '/', 'ws://reader');
    serve(socket, url, gone.signal).catch(() => socket.terminate());
  });
  await listenHttp(http, host, port);

  return {
    name,
    port: portOf(http),
    figures: () => ({ readers: readers.size, sent }),
    async close() {
      stop.abort();
      for (const socket of readers) {
        socket.close(GOING_AWAY, 'the publisher stops');
        socket.terminate();
      }
      server.close();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
}

function listenHttp(http: Server, host: string | undefined, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (cause) => {
      reject(
        new QedError(
          'address-taken',
          `--sink ws:${host ?? ''}:${port}: cannot listen there: ${cause.message}`,
          { cause },
        ),
      );
    });
    http.listen({ host, port }, resolve);
  });
}

function portOf(http: Server): number {
  const address: AddressInfo | string | null = http.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
