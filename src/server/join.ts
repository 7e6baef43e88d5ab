// How a node with nothing of its own becomes a member: it asks the management addresses that it was given, one after the other and for ever, first whose
// log they serve, then to be let in. What is wrong with the network is tried again; what a member refuses is not.
//
// Both sides show that they hold the log key (join-seal.ts): nobody is let in, and nobody is joined, who does not.
import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { encodeHex } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { checkJoined, type Joined, type NodeRecord } from '../replication/members.ts';
import { checkLogKey, type ClusterLogName, type Identity } from './identity.ts';
import { isSeal } from './join-seal.ts';
import { leadsTo, urlOf, type Address } from './listen.ts';
import { askManagement } from './ask.ts';

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

const PAUSE_MS = 500;
const PAUSE_MS_MAX = 10_000;

const info = z.object({ origin: z.string(), vkey: z.string() });
const joinAnswer = z.looseObject({ vkey: z.string(), seal: z.string() });
const NONCE_BYTES = 16;

export function findCluster(options: JoinOptions, help: JoinHelp): Promise<FoundCluster> {
  const { signal } = help;
  return untilAnswered(options, help, async (url) => {
    const { json, localHost } = await askManagement(`${url}/info`, undefined, { ...options, signal });
    const parsed = info.safeParse(json);
    if (!parsed.success) throw new QedError('server-failed', 'what answers is no node of this version');
    return { url, localHost, ...parsed.data };
  });
}

/** Asks to be let in, with the key of the log that this node serves. */
export function joinCluster(
  options: JoinOptions,
  node: NodeRecord,
  { signer, seal }: Pick<Identity, 'signer' | 'seal'>,
  help: JoinHelp,
): Promise<Joined> {
  const { signal } = help;
  const nonce = randomBytes(NONCE_BYTES).toString('hex');
  const proof = { vkey: signer.vkey, nonce, seal: seal.ofRequest(nonce, node) };
  const body = { ...node, nodeKey: encodeHex(node.nodeKey), ...proof };
  return untilAnswered(options, help, async (url) => {
    const { json } = await askManagement(`${url}/join`, body, { ...options, signal });
    const parsed = joinAnswer.safeParse(json);
    if (!parsed.success)
      throw new QedError('server-failed', 'the answer to the join is not to be understood');
    const { vkey, seal: found, ...rest } = parsed.data;
    checkLogKey(vkey, signer.vkey, url);
    const joined = checkJoined(rest);
    if (isSeal(found, seal.ofAnswer(nonce, joined))) return joined;
    throw new QedError('node-mismatch', `whoever answers at ${url} does not hold the key of the log`, {
      hint: 'It is no node of this cluster: look at what --join-addr leads to.',
    });
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
