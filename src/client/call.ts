// One request to the log, sent until it is answered: backoff with jitter, Retry-After, the next endpoint when one fails, and one deadline
// over all of it.
//
// It promises: an answer is one that some endpoint gave with a status of success; everything else is thrown. What a server says about itself is
// never a refusal: only our own checks refuse. A request that may change the log and got no answer ends as `outcome-unknown`.
import { decodeUtf8 } from '../crypto/encoding.ts';
import { errorTable, QedError, type ErrorCode } from '../errors.ts';
import { type Transport, type TransportAnswer } from './transport.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** With the leading slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Whether the log may have changed although no answer came. */
  readonly changes?: boolean;
  /** Not repeated, and whatever is answered is the answer. */
  readonly once?: boolean;
}

/** What the caller of a request takes from the world outside. */
export interface World {
  readonly transport: Transport;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly jitter: () => number;
  /** Resolves after that time, or at once when the signal is aborted; never rejects. */
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
}

export interface CallerOptions extends World {
  /** Base URLs without a slash at the end; at least one. */
  readonly endpoints: readonly string[];
  readonly apiKey: string | undefined;
  /** Longest wait for one answer. */
  readonly attemptMs: number;
}

export interface Caller {
  /** `until`: the time after which it gives up. */
  readonly call: (request: ApiRequest, until: number) => Promise<TransportAnswer>;
  /** As `call`, for answers in JSON. */
  readonly callJson: (request: ApiRequest, until: number) => Promise<unknown>;
  /** The next call goes to another endpoint first. */
  readonly turn: () => void;
}

const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 5_000;
/** A server may ask for more patience than this; it does not get it. */
const RETRY_AFTER_MAX_MS = 30_000;

type Attempt =
  | { readonly kind: 'answered'; readonly answer: TransportAnswer }
  | { readonly kind: 'failed'; readonly error: QedError; readonly maybeDone: boolean }
  | { readonly kind: 'broken'; readonly error: QedError }
  | { readonly kind: 'later'; readonly error: QedError; readonly afterMs: number };

export function createCaller(options: CallerOptions): Caller {
  const { endpoints, now, sleep } = options;
  // The endpoint that answered last. With several nodes, the leader that a node names would be preferred here.
  let preferred = 0;

  async function call(request: ApiRequest, until: number): Promise<TransportAnswer> {
    const first = preferred;
    let maybeDone = false;
    for (let count = 0; ; count++) {
      const at = (first + count) % endpoints.length;
      const attempt = await tryOnce(endpoints[at]!, request, Math.min(options.attemptMs, until - now()));
      if (attempt.kind === 'answered') {
        preferred = at;
        return attempt.answer;
      }
      maybeDone ||= attempt.kind === 'broken' || (attempt.kind === 'failed' && attempt.maybeDone);
      // A node that is broken stays so; the others may be sound.
      const isHopeless = attempt.kind === 'broken' && count >= endpoints.length - 1;
      if (isHopeless) throw givenUp(attempt.error, request, maybeDone);
      const wait = waitMs(attempt, count, endpoints.length, options.jitter());
      if (request.once === true || now() + wait >= until) throw givenUp(attempt.error, request, maybeDone);
      if (wait > 0) await sleep(wait);
    }
  }

  async function tryOnce(endpoint: string, request: ApiRequest, timeoutMs: number): Promise<Attempt> {
    const url = endpoint + request.path;
    const timeout = new AbortController();
    const answered = new AbortController();
    void sleep(Math.max(timeoutMs, 0), answered.signal).then(() => timeout.abort());
    try {
      const headers = { ...request.headers, ...authorization(options.apiKey) };
      const sent = options.transport(request.method, url, headers, request.body, timeout.signal);
      const answer = await orAborted(sent, timeout.signal);
      return request.once === true ? { kind: 'answered', answer } : judge(answer, url);
    } catch (error) {
      if (error instanceof QedError) throw error;
      return { kind: 'failed', ...networkError(error, endpoint, timeout.signal.aborted) };
    } finally {
      answered.abort();
    }
  }

  return {
    call,
    async callJson(request, until) {
      return parseJson(await call(request, until), request.path);
    },
    turn() {
      preferred = (preferred + 1) % endpoints.length;
    },
  };
}

/** A transport that does not listen to its signal must not hold us up either. */
function orAborted<Answer>(sent: Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('no answer in time')), { once: true });
    sent.then(resolve, reject);
  });
}

function authorization(apiKey: string | undefined): Record<string, string> {
  return apiKey === undefined ? {} : { 'api-key': apiKey };
}

/** Half of the wait is chance, so that many clients that failed together do not come back together. */
function waitMs(attempt: Attempt, count: number, endpointCount: number, jitter: number): number {
  const round = Math.floor(count / endpointCount);
  const backoff = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(round, 20), BACKOFF_LAST_MS);
  const spread = backoff * (0.5 + jitter / 2);
  if (attempt.kind === 'later') return Math.max(attempt.afterMs, spread);
  const roundEnds = count % endpointCount === endpointCount - 1;
  return roundEnds ? spread : 0;
}

/** Success is returned, what may pass is tried again, everything else is thrown. */
function judge(answer: TransportAnswer, url: string): Attempt {
  const { status } = answer;
  if (status >= 200 && status < 300) return { kind: 'answered', answer };
  const error = serverError(answer, url);
  if (status === 429 || status === 502 || status === 503 || status === 504) {
    return { kind: 'later', error, afterMs: retryAfterMs(answer.headers['retry-after']) };
  }
  if (status >= 500) return { kind: 'broken', error };
  throw error;
}

/** Only the form with seconds: a date would have to trust two clocks. */
function retryAfterMs(text: string | undefined): number {
  return text !== undefined && /^[0-9]{1,6}$/.test(text)
    ? Math.min(Number(text) * 1000, RETRY_AFTER_MAX_MS)
    : 0;
}

/** The error that a server's answer tells of. Kinds that are not a server's to claim become `server-failed`. */
function serverError(answer: TransportAnswer, url: string): QedError {
  const said = readError(answer.bytes);
  const where = `${url} answered ${answer.status}`;
  if (said === undefined) return new QedError('server-failed', `${where}, without saying why`);
  const options = said.hint === undefined ? {} : { hint: said.hint };
  const { kind } = errorTable[said.code];
  if (kind === 'caller' || kind === 'world') return new QedError(said.code, said.message, options);
  return new QedError('server-failed', `${where}: ${said.code}: ${said.message}`, options);
}

const SAID_MAX = 1_000;

function readError(bytes: Uint8Array): { code: ErrorCode; message: string; hint?: string } | undefined {
  const json = tryJson(bytes);
  if (typeof json !== 'object' || json === null || !('code' in json) || !('message' in json))
    return undefined;
  const { code, message } = json;
  if (typeof code !== 'string' || typeof message !== 'string' || !isCode(code)) return undefined;
  const hint = 'hint' in json && typeof json.hint === 'string' ? { hint: printable(json.hint) } : {};
  return { code, message: printable(message), ...hint };
}

function isCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

/** What strangers wrote goes to terminals and logs: short, and without controls. */
function printable(text: string): string {
  return text.slice(0, SAID_MAX).replace(/\p{Control}/gu, ' ');
}

function parseJson(answer: TransportAnswer, path: string): unknown {
  const type = answer.headers['content-type'] ?? '';
  const json = /^application\/json(?:;|$)/i.test(type.trim()) ? tryJson(answer.bytes) : undefined;
  if (json === undefined) {
    throw new QedError(
      'server-failed',
      `the answer to ${path} is not JSON but ${printable(type) || 'untyped'}`,
      {
        hint: 'Is there a qed server at this address, or a proxy in between?',
      },
    );
  }
  return json;
}

function tryJson(bytes: Uint8Array): unknown {
  try {
    const json: unknown = JSON.parse(decodeUtf8(bytes) ?? '');
    return json;
  } catch {
    return undefined;
  }
}

// What Node's network errors say when nothing was sent yet.
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

function networkError(
  cause: unknown,
  endpoint: string,
  timedOut: boolean,
): { error: QedError; maybeDone: boolean } {
  const code = timedOut ? 'no answer in time' : (codeOf(cause) ?? codeOf(causeOf(cause)));
  const error = new QedError('unreachable', `${endpoint} could not be reached: ${code ?? String(cause)}`, {
    cause,
    hint: 'Is the server running there? Name others with --endpoint.',
  });
  return { error, maybeDone: code === undefined || !NEVER_SENT.has(code) };
}

function codeOf(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

function causeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'cause' in error ? error.cause : undefined;
}

function givenUp(error: QedError, request: ApiRequest, maybeDone: boolean): QedError {
  if (request.changes !== true || (!maybeDone && error.code !== 'outcome-unknown')) return error;
  const key = request.headers?.['idempotency-key'];
  return new QedError('outcome-unknown', `${error.message}; whether the events are in the log is not known`, {
    cause: error,
    hint: `Send the same again with the same idempotency key${key === undefined ? '' : `, ${key}`}: it is then logged once.`,
  });
}
