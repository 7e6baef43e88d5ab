// The one way out: a function that sends one request and gives back the answer as bytes. Everything above it is the same in a browser, in
// Node and in tests; transport-node.ts is the faster one for Node.
import { concat } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';

export interface TransportAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}

/**
 * Rejects when no whole answer came: whatever it rejects with means that the network failed, but for a QedError, which is passed on.
 * It follows no redirection, since the API key is for the server that was named. It reads at most ANSWER_BYTES_MAX.
 */
export type Transport = (
  method: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array | undefined,
  signal: AbortSignal,
) => Promise<TransportAnswer>;

/** The longest answer is the one to a bulk of 10,000 events: about 700 KB. */
export const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

export function fetchTransport(fetchWith: typeof fetch = fetch): Transport {
  return async (method, url, headers, body, signal) => {
    const content = body === undefined ? {} : { body: new Uint8Array(body) };
    const response = await fetchWith(url, { method, headers, ...content, signal, redirect: 'manual' });
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers.entries()),
      bytes: await readAll(response.body, url),
    };
  };
}

async function readAll(body: ReadableStream<Uint8Array> | null, url: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  if (body === null) return new Uint8Array(0);
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return concat(...parts);
    length += value.length;
    if (length > ANSWER_BYTES_MAX) {
      await reader.cancel();
      throw answerTooLong(url);
    }
    parts.push(value);
  }
}

export function answerTooLong(url: string): QedError {
  return new QedError('server-failed', `${url} answered with more than ${ANSWER_BYTES_MAX} bytes`);
}
