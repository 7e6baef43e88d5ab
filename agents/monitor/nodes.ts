// The nodes of the log, each for itself: whether it answers, which key it shows, what it shows as the newest state, and whether that is behind the others or behind
// itself. More nodes are found where the known ones say that they are.
//
// A node may be behind: it is a follower, or it was just started. It may even be behind what it has shown before, for it may have been rebuilt from its peers. So one
// node that shows an old state is an alert about that node, `stale`, and proves nothing. When all nodes that answer show less than the log has signed, the log
// itself is rolled back or hides what it has: that is an alert about the log. Neither is tampering: an old state was true once. If the log goes on
// from it with other events, the heads contradict each other, and that is.
import { z } from 'zod';
import { checkSignedSnapshot, type Primitives } from '../../src/balloon/verify.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { QedError } from '../../src/errors.ts';
import { type Transport } from '../../src/client/transport.ts';
import { createAskLog, troubleOf, type AskLog } from '../ask.ts';
import { createProve, type Prove } from '../prove.ts';
import { type KnownLog } from '../known-log.ts';
import { createSource, type Source } from '../source.ts';
import { type Conditions } from './conditions.ts';
import { type Marks } from './marks.ts';

/** As far as it is needed. */
const shardsAnswer = z.object({
  uriScheme: z.enum(['http', 'https']),
  shards: z.record(z.string(), z.object({ httpAddr: z.string().max(300) })),
});

export interface NodesOptions {
  readonly log: KnownLog;
  /** Nodes that were named by people: they have to answer. Those that are only heard of have to once they have answered. */
  readonly named: readonly string[];
  /** Its URLs are the nodes. What is found goes in there. */
  readonly source: Pick<Source, 'urls' | 'learn'>;
  readonly apiKey?: string | undefined;
  readonly transport: Transport;
  readonly primitives: Primitives;
  readonly conditions: Conditions;
  /** How large the log was known to be. */
  readonly marks: Marks;
  readonly maxLagMs: number;
  readonly maxOutageMs: number;
  /** A state that the log has signed; resolves when it was judged. */
  readonly onSigned: (signed: SignedSnapshot, url: string) => Promise<void>;
  readonly now: () => number;
  readonly jitter: () => number;
}

export interface Node {
  readonly url: string;
  readonly ask: AskLog;
  readonly prove: Prove;
  /** Events that it shows now; undefined while it does not answer. */
  size: number | undefined;
  /** The most that it ever showed; undefined before its first answer. */
  sizeMax: number | undefined;
  /** It says that it publishes over gossip. */
  gossips: boolean;
}

export interface Nodes {
  /** Those that answer come first. */
  readonly list: () => readonly Node[];
  /** Asks all of them once. */
  readonly look: () => Promise<void>;
}

interface Watched extends Node {
  readonly source: Source;
}

export function watchNodes(options: NodesOptions): Nodes {
  const { log, source, conditions, primitives, marks, maxLagMs, maxOutageMs } = options;
  const nodes = new Map<string, Watched>();

  function meetUrls(): void {
    for (const url of source.urls) {
      if (nodes.has(url)) continue;
      const own = createSource({ ...options, urls: [url] });
      const ask = createAskLog(own, options.now);
      const prove = createProve(log.verifier, ask, primitives);
      nodes.set(url, { url, source: own, ask, prove, size: undefined, sizeMax: undefined, gossips: false });
    }
  }

  async function lookAt(node: Watched): Promise<QedError | undefined> {
    const { url } = node;
    try {
      await learnFrom(node);
      const signed = await node.ask.latest();
      if (signed) checkSignedSnapshot(signed, { log: log.verifier }, primitives);
      conditions.set('inconsistent', `node ${url}`, undefined, 0);
      node.size = (signed?.snapshot.version ?? -1) + 1;
      node.sizeMax = Math.max(node.sizeMax ?? 0, node.size);
      if (signed) await options.onSigned(signed, url);
      return undefined;
    } catch (error) {
      const trouble = troubleOf(error);
      if (!(error instanceof QedError)) throw error;
      if (trouble === 'silent') {
        node.size = undefined;
        return error;
      }
      const message = `${url} shows as its newest state what ${log.verifier.name} has not signed: ${error.message}`;
      conditions.set('inconsistent', `node ${url}`, { message, code: error.code }, 0);
      return undefined;
    }
  }

  /** Who it is, and who else there is. Of both it may say nothing. */
  async function learnFrom(node: Watched): Promise<void> {
    const [info] = await node.source.infos();
    if (info === undefined) return;
    node.gossips = info.gossipAddr !== undefined;
    const isOther = info.vkey !== undefined && info.vkey !== log.vkey;
    const message = `${node.url} shows the vkey ${info.vkey ?? ''}, but this agent watches ${log.vkey}`;
    conditions.set('inconsistent', `vkey of ${node.url}`, isOther ? { message } : undefined, 0);
    if (isOther) return;
    source.learn(await shardsOf(node, options.now));
    meetUrls();
  }

  function watchOutage(failures: ReadonlyMap<string, QedError>): void {
    const areAllGone = failures.size === nodes.size;
    for (const { url, sizeMax } of nodes.values()) {
      const mustAnswer = !areAllGone && (sizeMax !== undefined || options.named.includes(url));
      const error = mustAnswer ? failures.get(url) : undefined;
      const message = `${url} gives no usable answer: ${error?.message ?? ''}`;
      conditions.set('outage', `node ${url}`, error && { message, code: error.code }, maxOutageMs);
    }
    const [error] = failures.values();
    const who = nodes.size === 0 ? 'no node of the log is known' : 'no node of the log gives a usable answer';
    const wrong = {
      message: `${who}, so nothing can be verified: ${error?.message ?? ''}`,
      code: error?.code,
    };
    conditions.set('outage', 'log', areAllGone ? wrong : undefined, maxOutageMs);
  }

  function watchSizes(): void {
    const expected = marks.sizeBefore(maxLagMs);
    const shown = [...nodes.values()].flatMap(({ size }) => (size === undefined ? [] : [size]));
    if (shown.length === 0) return;
    const shownMax = Math.max(...shown);
    const isRolledBack = shownMax < expected;
    const message = `all nodes that answer show at most ${shownMax} events, but ${log.verifier.name} has signed ${expected}`;
    conditions.set('stale', 'log', isRolledBack ? { message, code: 'head-rollback' } : undefined, 0);
    for (const node of nodes.values()) watchSize(node, isRolledBack ? 0 : expected);
  }

  function watchSize({ url, size, sizeMax }: Node, expected: number): void {
    if (size === undefined || sizeMax === undefined) return;
    const isBack = size < sizeMax;
    const back = `${url} shows ${size} events, but has shown ${sizeMax}; if it was not rebuilt from its peers, its data was replaced by an older copy`;
    conditions.set(
      'stale',
      `node ${url}`,
      isBack ? { message: back, code: 'head-rollback' } : undefined,
      maxLagMs,
    );
    const behind = `${url} is behind: it shows ${size} events, and the log had ${expected} already (${marks.describe(expected - size)})`;
    conditions.set('lag', `node ${url}`, !isBack && size < expected ? { message: behind } : undefined, 0);
  }

  return {
    list: () => [...nodes.values()].sort((a, b) => (b.size ?? -1) - (a.size ?? -1)),
    async look() {
      meetUrls();
      const failures = new Map<string, QedError>();
      await Promise.all(
        [...nodes.values()].map(async (node) => {
          const error = await lookAt(node);
          if (error) failures.set(node.url, error);
        }),
      );
      watchOutage(failures);
      watchSizes();
    },
  };
}

const SHARDS_MS = 3_000;

/** Where the node says that the members of its cluster answer, itself among them: `:8081` is a port of the host where it was asked. */
async function shardsOf({ url, source }: Watched, now: () => number): Promise<readonly string[]> {
  try {
    const request = { method: 'GET', path: '/info/shards' } as const;
    const json = await source.caller()?.callJson(request, now() + SHARDS_MS);
    const { uriScheme, shards } = shardsAnswer.parse(json);
    const { hostname } = new URL(url);
    return Object.values(shards).flatMap(({ httpAddr }) => {
      if (httpAddr === '') return [];
      return [`${uriScheme}://${httpAddr.startsWith(':') ? hostname : ''}${httpAddr}`];
    });
  } catch {
    return [];
  }
}
