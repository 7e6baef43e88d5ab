// A snapshot store over HTTP: POST /batch. When it holds another snapshot for a version, both are evidence against the log, and delivery goes on.
import { checkSignedSnapshot, type Primitives, type Trust } from '../../src/balloon/verify.ts';
import { parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { decodeUtf8, encodeUtf8, equalBytes } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { formatLine, parseLine } from '../../src/gossip/snapshots.ts';
import { type Transport, type TransportAnswer } from '../../src/client/transport.ts';
import { type Entry } from '../journal.ts';
import { type OnConflict, type Sink } from './sink.ts';

export interface StoreSinkOptions {
  readonly url: string;
  /** Of the store; never the log's. */
  readonly apiKey?: string | undefined;
  readonly transport: Transport;
  readonly trust: Trust;
  readonly primitives: Primitives;
  readonly onConflict: OnConflict;
}

const TIMEOUT_MS = 10_000;

export function openStoreSink({
  url,
  apiKey,
  transport,
  trust,
  primitives,
  onConflict,
}: StoreSinkOptions): Sink {
  const base = url.replace(/\/+$/, '');
  const headers = {
    'content-type': 'application/json',
    ...(apiKey === undefined ? {} : { 'api-key': apiKey }),
  };

  async function ask(
    method: string,
    path: string,
    body: Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<TransportAnswer> {
    const timeout = new AbortController();
    const abort = (): void => timeout.abort();
    const timer = setTimeout(abort, TIMEOUT_MS);
    signal.addEventListener('abort', abort);
    try {
      return await transport(method, base + path, headers, body, timeout.signal);
    } catch (cause) {
      throw cause instanceof QedError
        ? cause
        : new QedError('unreachable', `the store ${base} does not answer: ${reason(cause)}`, { cause });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }

  /** What the store shows instead, if the log has signed that as well. */
  async function findConflicts(entries: readonly Entry[], signal: AbortSignal): Promise<void> {
    for (const { version, line } of entries) {
      const answer = await ask('GET', `/snapshot?v=${version}`, undefined, signal);
      if (answer.status !== 200) continue;
      const theirs = parseSignedSnapshot(JSON.parse(decodeUtf8(answer.bytes) ?? ''));
      checkSignedSnapshot(theirs, { log: trust.log }, primitives);
      const isSame = equalBytes(theirs.snapshot.historyDigest, parseLine(line).snapshot.historyDigest);
      if (theirs.snapshot.version === version && !isSame) onConflict(line, formatLine(theirs));
    }
  }

  return {
    name: base,
    async send(entries, previous, signal) {
      const json = `{"previous":${JSON.stringify(previous)},"snapshots":[${entries.map(({ line }) => line).join(',')}]}`;
      const answer = await ask('POST', '/batch', encodeUtf8(json), signal);
      if (answer.status >= 200 && answer.status < 300) return;
      if (answer.status === 409) await findConflicts(entries, signal);
      else throw refused(base, answer);
    },
    close: () => Promise.resolve(),
  };
}

function refused(base: string, { status, bytes }: TransportAnswer): QedError {
  const said = (decodeUtf8(bytes) ?? '').slice(0, 300).replace(/\p{Control}/gu, ' ');
  return new QedError('server-failed', `the store ${base} answered ${status}: ${said}`);
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
