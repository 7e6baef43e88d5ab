// The load itself: so many connections, each with one request on its way. Without a rate the next one follows at once; with a rate every request has its
// time, and its latency counts from there, so that a server that stalls is not flattered by a generator that waits for it.
import { decodeUtf8 } from '../../src/crypto/encoding.ts';
import { type Connection, type Reply } from './connection.ts';
import { type Asker } from './kinds.ts';
import { type Latencies } from './latency.ts';

export interface LoadOptions {
  readonly connections: readonly Connection[];
  readonly asker: () => Asker;
  readonly durationMs: number;
  /** Requests at most. */
  readonly count: number;
  /** Requests a second over all connections; 0 is as many as go. */
  readonly rate: number;
  /** One of so many answers is checked; 0 is none. */
  readonly sampleEvery: number;
  readonly signal: AbortSignal;
}

export interface Tally {
  requests: number;
  events: number;
  /** Refusals of the server and lost answers, by code. */
  readonly errors: Map<string, number>;
  sampled: number;
  /** Why a sampled answer did not hold. */
  readonly refused: string[];
}

const PAUSE_AFTER_ERROR_MS = 20;
const REFUSED_MAX = 10;

/** Returns the seconds that it took. */
export async function runLoad(
  options: LoadOptions,
  tally: Tally,
  latencies: readonly Latencies[],
): Promise<number> {
  const { durationMs, count, rate, signal } = options;
  const begin = performance.now();
  const end = begin + durationMs;
  let issued = 0;

  /** The time of the next request; undefined when there is none. */
  function next(): number | undefined {
    const now = performance.now();
    const at = rate > 0 ? begin + (issued * 1000) / rate : now;
    if (issued >= count || now >= end || at >= end || signal.aborted) return undefined;
    issued += 1;
    return at;
  }

  async function work(connection: Connection): Promise<void> {
    const ask = options.asker();
    for (let at = next(); at !== undefined; at = next()) {
      if (at > performance.now()) await pause(at - performance.now());
      const isSampled = options.sampleEvery > 0 && issued % options.sampleEvery === 0;
      const request = ask();
      const reply = await connection.send(request, isSampled);
      const took = performance.now() - at;
      if (reply.status >= 200 && reply.status < 300) {
        tally.requests += 1;
        tally.events += request.events;
        for (const one of latencies) one.add(took);
        if (isSampled && request.check !== undefined) sample(reply, request.check, tally);
      } else {
        const code = codeOf(reply);
        tally.errors.set(code, (tally.errors.get(code) ?? 0) + 1);
        await pause(PAUSE_AFTER_ERROR_MS);
      }
    }
  }

  await Promise.all(options.connections.map(work));
  return (performance.now() - begin) / 1000;
}

function sample({ bytes }: Reply, check: (json: unknown) => void, tally: Tally): void {
  tally.sampled += 1;
  try {
    check(parse(bytes));
  } catch (error) {
    if (tally.refused.length < REFUSED_MAX)
      tally.refused.push(error instanceof Error ? error.message : String(error));
  }
}

function codeOf({ status, bytes }: Reply): string {
  const json = status === 0 ? undefined : parse(bytes);
  const code = typeof json === 'object' && json !== null && 'code' in json ? json.code : undefined;
  if (typeof code === 'string' && /^[a-z-]{1,40}$/.test(code)) return code;
  return status === 0 ? 'unreachable' : `http ${status}`;
}

function parse(bytes: Uint8Array): unknown {
  try {
    const json: unknown = JSON.parse(decodeUtf8(bytes) ?? '');
    return json;
  } catch {
    return undefined;
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
