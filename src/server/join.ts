// How a node with nothing of its own becomes a member: it asks the management addresses that it was given, one after the other and for ever, first whose
// log they serve, then to be let in. What is wrong with the network is tried again; what a member refuses is not.
//
// Both sides hold the log key, and neither lets in, or joins, who has another one.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { encodeHex } from '../crypto/encoding.ts';
import { errorTable, QedError, type ErrorCode } from '../errors.ts';
import { checkJoined, type Joined, type NodeRecord } from '../replication/members.ts';
import { checkLogKey, type ClusterLogName } from './identity.ts';
import { leadsTo, urlOf, type Address } from './listen.ts';

export interface JoinOptions {
  /** Management addresses of members: host:port, or a URL. */
  readonly addresses: readonly string[];
  readonly apiKey?: string | undefined;
  /** Whether addresses without a scheme are asked by HTTPS. */
  readonly isTls: boolean;
  /** Certificates that theirs must lead to, PEM, instead of those that Node knows. */
  readonly ca?: string | undefined;
}

/** What a member says before anything is asked of it. */
export interface FoundCluster extends ClusterLogName {
  /** The address of this machine that leads to that member. */
  readonly localHost: string;
}

export interface JoinHelp {
  /** Where this node itself is managed: it is no use to ask there. */
  readonly own: Address;
  readonly signal: AbortSignal;
  readonly onRetry: (why: string, tries: number) => void;
}

interface Answer {
  readonly status: number;
  readonly json: unknown;
  readonly localHost: string;
}

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 1024 * 1024;
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 10_000;

const info = z.object({ origin: z.string(), vkey: z.string() });
const joinAnswer = z.looseObject({ vkey: z.string() });
const errorAnswer = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });

export function findCluster(options: JoinOptions, help: JoinHelp): Promise<FoundCluster> {
  return untilAnswered(options, help, async (url) => {
    const { json, localHost } = await ask('GET', `${url}/info`, undefined, options, help.signal);
    const parsed = info.safeParse(json);
    if (!parsed.success) throw new QedError('server-failed', 'what answers is no node of this version');
    return { url, localHost, ...parsed.data };
  });
}

/** Asks to be let in, with the key of the log that this node serves. */
export function joinCluster(
  options: JoinOptions,
  node: NodeRecord & { readonly vkey: string },
  help: JoinHelp,
): Promise<Joined> {
  const body = JSON.stringify({ ...node, nodeKey: encodeHex(node.nodeKey) });
  return untilAnswered(options, help, async (url) => {
    const { json } = await ask('POST', `${url}/join`, body, options, help.signal);
    const parsed = joinAnswer.safeParse(json);
    if (!parsed.success)
      throw new QedError('server-failed', 'the answer to the join is not to be understood');
    const { vkey, ...joined } = parsed.data;
    checkLogKey(vkey, node.vkey, url);
    return checkJoined(joined);
  });
}

async function untilAnswered<Found>(
  { addresses, isTls }: JoinOptions,
  { own, signal, onRetry }: JoinHelp,
  attempt: (url: string) => Promise<Found>,
): Promise<Found> {
  const urls = addresses
    .map((address) => urlOf(address, { flag: '--join-addr', isTls }))
    .filter((url) => !leadsTo(url, own));
  if (urls.length === 0)
    throw new QedError(
      'option-malformed',
      '--join-addr: that is the management address of this node itself',
      {
        hint: 'Name that of a member; or start without it, and the others can join this one.',
      },
    );
  for (let tries = 1; ; tries++) {
    const url = urls[(tries - 1) % urls.length]!;
    try {
      return await attempt(url);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof QedError && error.kind !== 'world') throw error;
      const why = error instanceof Error ? error.message : String(error);
      onRetry(`${url}: ${why}`, tries);
    }
    const rounds = Math.floor((tries - 1) / urls.length);
    await wait(Math.min(PAUSE_MS * 2 ** Math.min(rounds, 10), PAUSE_MS_MAX), undefined, { signal });
  }
}

/** One request and its JSON; whatever the other side refused is thrown as it was said there. */
async function ask(
  method: 'GET' | 'POST',
  url: string,
  body: string | undefined,
  { apiKey, ca }: JoinOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const answer = await exchange(method, url, body, { apiKey, ca, signal });
  if (answer.status < 300) return answer;
  const parsed = errorAnswer.safeParse(answer.json);
  if (!parsed.success || !isCode(parsed.data.code))
    throw new QedError('unreachable', `the answer has status ${answer.status}`);
  const { code, message, hint } = parsed.data;
  throw new QedError(code, `${new URL(url).origin} says: ${message}`, hint === undefined ? {} : { hint });
}

function exchange(
  method: string,
  url: string,
  body: string | undefined,
  { apiKey, ca, signal }: { readonly signal: AbortSignal } & Pick<JoinOptions, 'apiKey' | 'ca'>,
): Promise<Answer> {
  const headers = {
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(apiKey === undefined ? {} : { 'api-key': apiKey }),
  };
  const stop = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const request = url.startsWith('https:') ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      method,
      headers,
      agent: false,
      signal: stop,
      ...(ca === undefined ? {} : { ca }),
    });
    asked.on('error', reject);
    asked.on('response', (response: IncomingMessage) => {
      const localHost = response.socket.localAddress ?? '127.0.0.1';
      collect(response).then(
        (json) => resolve({ status: response.statusCode ?? 0, json, localHost }),
        reject,
      );
    });
    asked.end(body);
  });
}

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
