// What an answer, or the lack of one, means for whoever asked: it is the answer, or another try may help, or none will.
//
// What a server says about itself is never a refusal: only our own checks refuse.
import { decodeUtf8 } from '../crypto/encoding.ts';
import { errorTable, QedError, type ErrorCode } from '../errors.ts';
import { type TransportAnswer } from './transport.ts';

export type Verdict = Answered | Failure;

export interface Answered {
  readonly kind: 'answered';
  readonly answer: TransportAnswer;
  /** Where it was asked for. */
  readonly json: unknown;
}

export interface Failure {
  /**
   * `mistake`: of the caller, and everywhere. `lost`: no whole answer came. `later`: the node says that it may be of use later. `broken`: the node
   * is not well, and will hardly be soon.
   */
  readonly kind: 'mistake' | 'lost' | 'later' | 'broken';
  readonly error: QedError;
  /** Whether the node may have done what was asked. */
  readonly maybeDone: boolean;
  /** How long the node wants to be left alone. */
  readonly restMs?: number;
}

/** A server may ask for more patience than this; it does not get it. */
const RETRY_AFTER_MAX_MS = 30_000;

export function judge(answer: TransportAnswer, url: string, isJson: boolean): Verdict {
  const { status } = answer;
  if (status >= 200 && status < 300) {
    const json = isJson ? readJson(answer) : undefined;
    if (isJson && json === undefined) return { kind: 'broken', error: notJson(answer, url), maybeDone: true };
    return { kind: 'answered', answer, json };
  }
  const error = serverError(answer, url);
  if (status === 429 || status === 502 || status === 503 || status === 504) {
    // With any other code of ours nothing was done. A proxy in between promises nothing.
    const maybeDone = error.code === 'outcome-unknown' || error.code === 'server-failed';
    const restMs = retryAfterMs(answer.headers['retry-after']);
    // An election takes a second, but the next node may know already who has won.
    const wantsRest = restMs !== undefined && error.code !== 'no-leader';
    return { kind: 'later', error, maybeDone, ...(wantsRest ? { restMs } : {}) };
  }
  if (status >= 500) return { kind: 'broken', error, maybeDone: true };
  return { kind: 'mistake', error, maybeDone: false };
}

/** Only the form with seconds: a date would have to trust two clocks. */
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,6}$/.test(text)) return undefined;
  return Math.min(Number(text) * 1000, RETRY_AFTER_MAX_MS);
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

/** Undefined when the answer is not JSON. */
export function readJson({ headers, bytes }: TransportAnswer): unknown {
  return /^application\/json(?:;|$)/i.test((headers['content-type'] ?? '').trim())
    ? tryJson(bytes)
    : undefined;
}

function notJson({ headers }: TransportAnswer, url: string): QedError {
  const type = printable(headers['content-type'] ?? '') || 'untyped';
  return new QedError('server-failed', `the answer of ${url} is not JSON but ${type}`, {
    hint: 'Is there a qed server at this address, or a proxy in between?',
  });
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

/** What the transport throws: a QedError for an answer that nobody can use, anything else when none came. */
export function judgeFailure(cause: unknown, url: string, timedOut: boolean): Failure {
  if (cause instanceof QedError) return { kind: 'broken', error: cause, maybeDone: true };
  const code = timedOut ? 'no answer in time' : (codeOf(cause) ?? codeOf(causeOf(cause)));
  const error = new QedError(
    'unreachable',
    `${new URL(url).origin} could not be reached: ${code ?? String(cause)}`,
    {
      cause,
      hint: 'Is the server running there? Name others with --endpoint.',
    },
  );
  return { kind: 'lost', error, maybeDone: code === undefined || !NEVER_SENT.has(code) };
}

function codeOf(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

function causeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'cause' in error ? error.cause : undefined;
}
