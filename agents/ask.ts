// What the auditor asks of the log, over HTTP, at any of its nodes. Nothing that comes from here is believed before it was verified.
//
// What went wrong is sorted by `troubleOf`: no answer is one thing, an answer that is false another, and neither is ever taken for the other.
import { parseSignedSnapshot, type SignedSnapshot } from '../src/balloon/proof.ts';
import { encodeHex, encodeUtf8 } from '../src/crypto/encoding.ts';
import { QedError } from '../src/errors.ts';
import { formatTilePath, type TileName } from '../src/history/served.ts';
import { type ApiRequest, type Caller } from '../src/client/call.ts';
import { type TransportAnswer } from '../src/client/transport.ts';
import { type Source } from './source.ts';

export interface AskLog {
  /** The newest state; undefined while the log is empty. */
  readonly latest: () => Promise<SignedSnapshot | undefined>;
  /** The first signed state that covers a version. */
  readonly covering: (version: number) => Promise<SignedSnapshot>;
  readonly published: Source['published'];
  /** Proofs, as they came. */
  readonly incremental: (start: number, end: number) => Promise<unknown>;
  readonly membership: (eventDigest: Uint8Array) => Promise<unknown>;
  /** What the log says is logged at a version, as it came. */
  readonly event: (version: number) => Promise<unknown>;
  readonly tile: (name: TileName) => Promise<Uint8Array>;
  /** The next question goes to another node first. */
  readonly turn: () => void;
}

/** For one question, repetitions at all nodes included. */
const QUESTION_MS = 5_000;

export function createAskLog(source: Pick<Source, 'caller' | 'published'>, now: () => number): AskLog {
  async function ask<Answer>(put: (caller: Caller, until: number) => Promise<Answer>): Promise<Answer> {
    const caller = source.caller();
    if (caller === undefined) throw new QedError('unreachable', 'no URL of the log is known');
    try {
      return await put(caller, now() + QUESTION_MS);
    } catch (error) {
      throw notOurs(error);
    }
  }

  const json = (request: ApiRequest): Promise<unknown> =>
    ask((caller, until) => caller.callJson(request, until));
  const bytes = (request: ApiRequest): Promise<TransportAnswer> =>
    ask((caller, until) => caller.call(request, until));
  const get = (path: string): ApiRequest => ({ method: 'GET', path });
  const post = (path: string, question: unknown): ApiRequest => ({
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: encodeUtf8(JSON.stringify(question)),
  });

  return {
    async latest() {
      try {
        return parseSignedSnapshot(await json(get('/snapshots/latest')));
      } catch (error) {
        if (error instanceof QedError && error.code === 'log-empty') return undefined;
        throw error;
      }
    },
    covering: async (version) => parseSignedSnapshot(await json(get(`/snapshots/${version}`))),
    published: (...question) =>
      source.published(...question).catch((error: unknown) => {
        throw notOurs(error);
      }),
    incremental: (start, end) => json(post('/proofs/incremental', { start, end })),
    membership: (eventDigest) => json(post('/proofs/membership', { eventDigest: encodeHex(eventDigest) })),
    event: (version) => json(get(`/events/${version}`)),
    tile: async (name) => (await bytes(get(`/${formatTilePath(name)}`))).bytes,
    turn: () => source.caller()?.turn(),
  };
}

/** A node may say that its database is broken. That must not be taken for ours. */
function notOurs(error: unknown): unknown {
  if (!(error instanceof QedError) || !error.code.startsWith('store-')) return error;
  return new QedError('server-failed', error.message, { cause: error });
}

/** Silent: there is no usable answer. False: there is one, and it does not hold. */
export type Trouble = 'silent' | 'false';

/** Throws on what is no trouble with the log: a broken disk of our own, or a bug. */
export function troubleOf(error: unknown): Trouble {
  const isOurs = !(error instanceof QedError) || error.kind === 'bug' || error.code.startsWith('store-');
  if (isOurs) throw error;
  return error.kind === 'refused' ? 'false' : 'silent';
}
