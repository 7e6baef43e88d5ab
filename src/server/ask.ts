// Asking the management of a node, as commands and joining nodes do: one request, its JSON, and whatever was refused as it was said there.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { z } from 'zod';
import { errorTable, QedError, type ErrorCode } from '../errors.ts';

export interface AskOptions {
  readonly apiKey?: string | undefined;
  /** Certificates that the server's must lead to, PEM, instead of those that Node knows. */
  readonly ca?: string | undefined;
  /** Takes any certificate. */
  readonly insecure?: boolean | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ManagementAnswer {
  readonly json: unknown;
  /** The address of this machine that leads to the server. */
  readonly localHost: string;
}

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 1024 * 1024;

const errorAnswer = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });

/** A GET, or with a body a POST. `unreachable` when no answer of a node comes. */
export async function askManagement(
  url: string,
  body: unknown,
  options: AskOptions = {},
): Promise<ManagementAnswer> {
  const { origin } = new URL(url);
  const { status, json, localHost } = await exchange(url, body, options).catch((cause: unknown) => {
    if (cause instanceof QedError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new QedError('unreachable', `${origin} does not answer: ${why}`, { cause });
  });
  if (status < 300 && json !== undefined) return { json, localHost };
  const parsed = errorAnswer.safeParse(json);
  if (!parsed.success || !isCode(parsed.data.code))
    throw new QedError(
      'unreachable',
      `${origin} answers with status ${status}, which is no answer of a node`,
    );
  const { code, message, hint } = parsed.data;
  throw new QedError(code, `${origin} says: ${message}`, hint === undefined ? {} : { hint });
}

function exchange(
  url: string,
  body: unknown,
  { apiKey, ca, insecure, timeoutMs = TIMEOUT_MS, signal }: AskOptions,
): Promise<ManagementAnswer & { readonly status: number }> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    ...(text === undefined ? {} : { 'content-type': 'application/json' }),
    ...(apiKey === undefined ? {} : { 'api-key': apiKey }),
  };
  const deadline = AbortSignal.timeout(timeoutMs);
  const settings = {
    method: text === undefined ? 'GET' : 'POST',
    headers,
    agent: false,
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    rejectUnauthorized: insecure !== true,
    ...(ca === undefined ? {} : { ca }),
  } as const;
  return new Promise((resolve, reject) => {
    const asked = (url.startsWith('https:') ? httpsRequest : httpRequest)(url, settings);
    asked.on('error', (error) =>
      reject(deadline.aborted ? new Error(`no answer within ${timeoutMs / 1000} s`) : error),
    );
    asked.on('response', (response: IncomingMessage) => {
      const localHost = (response.socket.localAddress ?? '127.0.0.1').replace(/^::ffff:/, '');
      collect(response).then(
        (json) => resolve({ status: response.statusCode ?? 0, json, localHost }),
        reject,
      );
    });
    asked.end(text);
  });
}

/** Undefined for what is no JSON. */
async function collect(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new QedError('server-failed', 'the answer is too long');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

function isCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}
