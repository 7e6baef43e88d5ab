// One request to the log, sent until it is answered: to the next node when one fails, in rounds with a growing wait between them, and one
// deadline over all of it.
//
// It promises: an answer is one that some node gave with a status of success; everything else is thrown, the caller's own mistakes at once. A
// request that may change the log and got no answer ends as `outcome-unknown`. Such a request carries an idempotency key, so that it may go to
// any node again, whatever became of it before.
import { QedError } from '../errors.ts';
import { createExplorer } from './explore.ts';
import { createNodes, type KnownNode, type ReadFrom } from './nodes.ts';
import { type Transport, type TransportAnswer } from './transport.ts';
import { judge, judgeFailure, readJson, type Answered, type Failure, type Verdict } from './verdict.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** With the leading slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Whether the log may have changed although no answer came. */
  readonly changes?: boolean;
  /** Answered from a state that holds all that any node acknowledged before; for questions about the log. */
  readonly fresh?: boolean;
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
  readonly readFrom?: ReadFrom | undefined;
  /** Asks the nodes for the others of their cluster. */
  readonly discover?: boolean | undefined;
}

export interface Caller {
  /** `until`: the time after which it gives up. */
  readonly call: (request: ApiRequest, until: number) => Promise<TransportAnswer>;
  /** As `call`, for answers in JSON. */
  readonly callJson: (request: ApiRequest, until: number) => Promise<unknown>;
  /** The next call goes to another node first. */
  readonly turn: () => void;
}

const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 5_000;
/** Where there are other nodes, a silent one is not waited for to the end at once: it may be paused. */
const FIRST_PATIENCE = 0.3;

export function createCaller(options: CallerOptions): Caller {
  const { now, sleep, attemptMs } = options;
  const nodes = createNodes(options.endpoints, options.readFrom ?? 'stay', now);
  const explore = options.discover === true ? createExplorer(nodes, askJson, now) : () => undefined;

  async function send(first: ApiRequest, until: number, isJson: boolean): Promise<Answered> {
    let request = first;
    let maybeDone = false;
    let queue: readonly KnownNode[] = [];
    let failures: readonly Failure[] = [];
    explore('when old');
    for (let round = 0; ;) {
      if (queue.length === 0) queue = nodes.round(isForLeader(request) ? 'write' : 'read');
      const [node, ...others] = queue;
      const patience = nodes.count > 1 ? attemptMs * FIRST_PATIENCE * 2 ** round : attemptMs;
      const verdict = await tryNode(node!, request, Math.min(patience, attemptMs, until - now()), isJson);
      if (verdict.kind === 'answered') return verdict;
      queue = others;
      if (verdict.kind === 'mistake' && mayLag(verdict.error, request)) {
        request = { ...request, fresh: true };
        queue = [];
        continue;
      }
      maybeDone ||= request.changes === true && verdict.maybeDone;
      const wait = queue.length > 0 ? 0 : waitMs([...failures, verdict], round, options.jitter());
      const isOver = verdict.kind === 'mistake' || request.once === true || now() + wait >= until;
      if (isOver || wait === Infinity)
        throw maybeDone ? outcomeUnknown(verdict.error, request) : verdict.error;
      explore('soon');
      failures = queue.length > 0 ? [...failures, verdict] : [];
      if (queue.length > 0) continue;
      await sleep(wait);
      round += 1;
    }
  }

  /** What a node does not know yet, it may learn, or another one may know. */
  function mayLag({ code }: QedError, { fresh, changes }: ApiRequest): boolean {
    const isBehind = code === 'version-unknown' || code === 'log-empty';
    return isBehind && fresh !== true && changes !== true;
  }

  async function tryNode(
    node: KnownNode,
    request: ApiRequest,
    timeoutMs: number,
    isJson: boolean,
  ): Promise<Verdict> {
    const verdict = await ask(node.url + pathOf(request), request, Math.max(timeoutMs, 0), isJson);
    if (verdict.kind === 'answered') nodes.succeeded(node);
    else if (verdict.kind !== 'mistake') nodes.failed(node, verdict.restMs);
    return verdict;
  }

  /** Beside the requests: which node answered last is not changed by it. */
  async function askJson(node: KnownNode, path: string, timeoutMs: number): Promise<unknown> {
    const verdict = await ask(node.url + path, { method: 'GET', path }, timeoutMs, true);
    if (verdict.kind === 'answered') return verdict.json;
    if (verdict.kind === 'lost') nodes.failed(node);
    return undefined;
  }

  async function ask(url: string, request: ApiRequest, timeoutMs: number, isJson: boolean): Promise<Verdict> {
    const timeout = new AbortController();
    const answered = new AbortController();
    void sleep(timeoutMs, answered.signal).then(() => timeout.abort());
    try {
      const headers = { ...request.headers, ...authorization(options.apiKey) };
      const sent = options.transport(request.method, url, headers, request.body, timeout.signal);
      const answer = await orAborted(sent, timeout.signal);
      return request.once === true
        ? { kind: 'answered', answer, json: isJson ? readJson(answer) : undefined }
        : judge(answer, url, isJson);
    } catch (error) {
      return judgeFailure(error, url, timeout.signal.aborted);
    } finally {
      answered.abort();
    }
  }

  return {
    call: async (request, until) => (await send(request, until, false)).answer,
    callJson: async (request, until) => (await send(request, until, true)).json,
    turn: nodes.turn,
  };
}

function isForLeader({ changes, fresh }: ApiRequest): boolean {
  return changes === true || fresh === true;
}

function pathOf({ path, fresh, changes }: ApiRequest): string {
  return fresh === true && changes !== true
    ? `${path}${path.includes('?') ? '&' : '?'}linearizable=true`
    : path;
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

/**
 * After a round in which nobody answered; Infinity where another one is of no use. Half of the wait is chance, so that many clients that failed
 * together do not come back together.
 */
function waitMs(failures: readonly Failure[], round: number, jitter: number): number {
  if (failures.every(({ kind }) => kind === 'broken')) return Infinity;
  const backoff = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(round, 20), BACKOFF_LAST_MS);
  const asked = Math.min(...failures.map(({ restMs = 0 }) => restMs));
  return Math.max(asked, backoff * (0.5 + jitter / 2));
}

function outcomeUnknown(error: QedError, request: ApiRequest): QedError {
  const key = request.headers?.['idempotency-key'];
  return new QedError('outcome-unknown', `${error.message}; whether the events are in the log is not known`, {
    cause: error,
    hint: `Send the same again with the same idempotency key${key === undefined ? '' : `, ${key}`}: it is then logged once.`,
  });
}
