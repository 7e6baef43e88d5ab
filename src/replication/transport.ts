// All ways between this node and its peers: the door (peer-server.ts), a stream to each peer (peer-stream.ts), and single requests.
// Faults for tests and drills are put here (faults.ts).
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { QedError } from '../errors.ts';
import { createFaults, type Fault } from './faults.ts';
import { type Frame } from './frames.ts';
import { connectTo, type Credentials } from './identity-tls.ts';
import { keepConnections } from './kept-connections.ts';
import { type MemberRecord } from './members.ts';
import { parseError } from './peer-error.ts';
import { openPeerServer, type PeerServerOptions } from './peer-server.ts';
import { openPeerStream, type PeerStream } from './peer-stream.ts';

/** A peer that can be asked for bytes. */
export interface Peer {
  readonly nodeId: string;
  /** Rejects with the peer's own error, or with `unreachable`. */
  readonly fetch: (path: string, options?: FetchOptions) => Promise<Uint8Array>;
}

export interface FetchOptions {
  readonly bytesMax?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** It is asked again and again: the connection is kept for a while. */
  readonly isFrequent?: boolean;
}

export interface TransportOptions extends Omit<PeerServerOptions, 'credentials' | 'faults'> {
  readonly credentials: Credentials;
  readonly ownId: number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly tickMs: number;
  readonly onUnreachable: (id: number) => void;
  /** What a peer answers to a record; see forwards.ts. */
  readonly onAnswer: (from: number, answer: Frame) => boolean;
  /** The connection to the peer ended. */
  readonly onEnd: (id: number) => void;
  readonly onRemoved: () => void;
}

export interface Transport {
  readonly port: number;
  /** The peers from now on: streams to others end, and so do connections from them. */
  readonly setPeers: (peers: readonly MemberRecord[]) => void;
  /** False when the message was dropped. */
  readonly send: (to: number, message: Uint8Array) => boolean;
  readonly sendRecord: (to: number, bytes: Uint8Array) => boolean;
  readonly ping: () => void;
  readonly roundTripMs: (id: number) => number | undefined;
  readonly isConnected: (id: number) => boolean;
  readonly peer: (record: MemberRecord) => Peer;
  /** Asks a peer to do something as leader. */
  readonly order: (to: MemberRecord, order: unknown, signal?: AbortSignal) => Promise<unknown>;
  readonly setFault: (id: number, fault: Fault) => void;
  readonly close: () => Promise<void>;
}

export const FETCH_BYTES_MAX = 16 * 1024 * 1024;
const FETCH_MS = 30_000;
const ORDER_ANSWER_BYTES_MAX = 256 * 1024;
const CONNECT_MS_MIN = 1_000;

export async function openTransport(options: TransportOptions): Promise<Transport> {
  const { credentials, ownId, tickMs } = options;
  const streams = new Map<number, { readonly record: MemberRecord; readonly stream: PeerStream }>();
  const faults = createFaults(options.random);
  const connectMs = Math.max(CONNECT_MS_MIN, 20 * tickMs);
  const kept = keepConnections(credentials, connectMs);
  const server = await openPeerServer({ ...options, faults });

  function openStream(record: MemberRecord): PeerStream {
    const { id } = record;
    return openPeerStream({
      ...options,
      target: record,
      from: ownId,
      connectMs,
      retryMs: Math.max(10, tickMs / 2),
      troubleTo: () => faults.to(id),
      troubleFrom: () => faults.from(id),
      onUnreachable: () => options.onUnreachable(id),
      onAnswer: (answer) => options.onAnswer(id, answer),
      onEnd: () => options.onEnd(id),
    });
  }

  async function ask(to: MemberRecord, what: Question): Promise<Uint8Array> {
    const { timeoutMs = FETCH_MS, signal } = what;
    const deadline = AbortSignal.timeout(timeoutMs);
    const stop = signal ? AbortSignal.any([signal, deadline]) : deadline;
    const ways = [faults.to(to.id), faults.from(to.id)];
    if (ways.some(({ isCut }) => isCut))
      throw new QedError('unreachable', `the node ${to.nodeId} is cut off`);
    const delayMs = ways.reduce((sum, way) => sum + way.delayMs, 0);
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (what.isFrequent === true) return askKept(to, what, stop);
    const socket = await connectTo(to, credentials, { timeoutMs: connectMs, signal: stop });
    const cut = (): void => void socket.destroy();
    stop.addEventListener('abort', cut, { once: true });
    try {
      return await exchange({ createConnection: () => socket }, ownId, what);
    } catch (cause) {
      throw silence(to, cause);
    } finally {
      stop.removeEventListener('abort', cut);
      socket.destroy();
    }
  }

  async function askKept(to: MemberRecord, what: Question, signal: AbortSignal): Promise<Uint8Array> {
    try {
      return await exchange({ agent: kept.agent(to), signal }, ownId, what);
    } catch (cause) {
      throw silence(to, cause);
    }
  }

  return {
    port: server.port,
    setPeers(peers) {
      kept.retain(peers);
      const wanted = new Map(peers.filter(({ id }) => id !== ownId).map((record) => [record.id, record]));
      for (const [id, { record, stream }] of streams) {
        if (wanted.get(id)?.raftAddr === record.raftAddr) continue;
        stream.close();
        streams.delete(id);
      }
      for (const [id, record] of wanted)
        if (!streams.has(id)) streams.set(id, { record, stream: openStream(record) });
      server.recheck();
    },
    send: (to, message) => streams.get(to)?.stream.send(message) ?? false,
    sendRecord: (to, bytes) => streams.get(to)?.stream.sendRecord(bytes) ?? false,
    ping() {
      for (const { stream } of streams.values()) stream.ping();
    },
    roundTripMs: (id) => streams.get(id)?.stream.roundTripMs,
    isConnected: (id) => streams.get(id)?.stream.isConnected ?? false,
    peer: (record) => ({
      nodeId: record.nodeId,
      fetch: (path, { bytesMax = FETCH_BYTES_MAX, ...rest } = {}) =>
        ask(record, { method: 'GET', path: `/fetch/${path}`, body: '', bytesMax, ...rest }),
    }),
    async order(to, order, signal) {
      const body = JSON.stringify(order);
      const bytes = await ask(to, {
        method: 'POST',
        path: '/order',
        body,
        bytesMax: ORDER_ANSWER_BYTES_MAX,
        signal,
      });
      return JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown;
    },
    setFault: faults.set,
    async close() {
      for (const { stream } of streams.values()) stream.close();
      streams.clear();
      kept.close();
      await server.close();
    },
  };
}

interface Question extends FetchOptions {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body: string;
  readonly bytesMax: number;
}

function silence({ nodeId }: MemberRecord, cause: unknown): QedError {
  if (cause instanceof QedError) return cause;
  return new QedError('unreachable', `the node ${nodeId} did not answer: ${String(cause)}`, { cause });
}

/** One request and its whole answer. */
function exchange(
  way: Pick<RequestOptions, 'createConnection' | 'agent' | 'signal'>,
  ownId: number,
  { method, path, body, bytesMax }: Question,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const headers = { 'x-qed-member': String(ownId), connection: way.agent ? 'keep-alive' : 'close' };
    const asked = httpRequest({ method, path, headers, ...way });
    asked.on('error', reject);
    asked.on('response', (response) => {
      collect(response, bytesMax).then((bytes) => {
        if (response.statusCode === 200) resolve(bytes);
        else reject(errorOf(bytes, response.statusCode ?? 0));
      }, reject);
    });
    asked.end(body);
  });
}

async function collect(response: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw new QedError('server-failed', `a peer answered with more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The peer's own error, if that is what it sent. */
function errorOf(bytes: Uint8Array, status: number): QedError {
  const error = parseError(bytes);
  if (error) return error;
  if (status === 410) return new QedError('node-removed', 'a peer says that this node was removed');
  return new QedError('unreachable', `a peer answered with status ${status}`);
}
