// What the nodes of a cluster say about themselves and each other, put together with what the system knows of their processes.
import { z } from 'zod';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { verifySignedSnapshot } from '../../src/balloon/verify.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { urlOf, type Cluster, type ClusterNode, type Part } from './layout.ts';
import { lookAt, pause, type ProcessState } from './processes.ts';

const infoSchema = z.looseObject({
  role: z.string(),
  leaderId: z.string().nullable(),
  term: z.number(),
  version: z.number().nullable(),
});
const healthSchema = z.looseObject({ status: z.string(), reason: z.string().optional() });
const membersSchema = z.looseObject({
  members: z.array(
    z.looseObject({
      nodeId: z.string(),
      isVoter: z.boolean(),
      roundTripMs: z.number().nullable().optional(),
    }),
  ),
});

export interface NodeView {
  readonly nodeId: string;
  readonly process: ProcessState;
  readonly pid: number | undefined;
  /** The file for its process names one that is gone, or another one. */
  readonly isStale: boolean;
  /** Undefined when it does not answer; so are the rest. */
  readonly role: string | undefined;
  readonly leaderId: string | undefined;
  readonly term: number | undefined;
  readonly version: number | undefined;
  readonly isReady: boolean;
  /** Why it is not ready, in its own words. */
  readonly reason: string | undefined;
  readonly isVoter: boolean | undefined;
  /** Round trips from this node, in milliseconds. */
  readonly roundTrips: ReadonlyMap<string, number>;
}

const ANSWER_MS = 2_000;

/** What the node answers, in the form of the schema. */
export async function ask<Schema extends z.ZodType>(
  cluster: Cluster,
  node: ClusterNode,
  part: Part,
  path: string,
  schema: Schema,
  timeoutMs = ANSWER_MS,
): Promise<z.output<Schema>> {
  const headers = { 'api-key': cluster.apiKey };
  const answer = await fetch(urlOf(node, part) + path, { headers, signal: AbortSignal.timeout(timeoutMs) });
  return schema.parse(await answer.json());
}

/** Has a node do something. */
export async function order(cluster: Cluster, node: ClusterNode, path: string, body: unknown): Promise<void> {
  const answer = await fetch(urlOf(node, 'mgmt') + path, {
    method: 'POST',
    headers: { 'api-key': cluster.apiKey, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const text = await answer.text();
  if (!answer.ok)
    throw new QedError('server-failed', `${node.nodeId} answered ${answer.status}: ${text.slice(0, 300)}`);
}

export async function viewOf(cluster: Cluster, node: ClusterNode, timeoutMs = ANSWER_MS): Promise<NodeView> {
  const { state, pid, isStale } = lookAt(cluster, node);
  const unknown = state !== 'running';
  const tried = async <Answer>(asking: () => Promise<Answer>): Promise<Answer | undefined> =>
    unknown ? undefined : asking().catch(() => undefined);
  const [info, health, members] = await Promise.all([
    tried(() => ask(cluster, node, 'http', '/info', infoSchema, timeoutMs)),
    tried(() => ask(cluster, node, 'http', '/healthcheck', healthSchema, timeoutMs)),
    tried(() => ask(cluster, node, 'mgmt', '/members', membersSchema, timeoutMs)),
  ]);
  const known = members?.members ?? [];
  return {
    nodeId: node.nodeId,
    process: state,
    pid,
    isStale,
    role: info?.role,
    leaderId: info?.leaderId ?? undefined,
    term: info?.term,
    version: info?.version ?? undefined,
    isReady: health?.status === 'ready',
    reason: health?.reason ?? (state === 'running' && info === undefined ? 'it does not answer' : undefined),
    isVoter: known.find(({ nodeId }) => nodeId === node.nodeId)?.isVoter,
    roundTrips: new Map(
      known.flatMap(({ nodeId, roundTripMs }) =>
        typeof roundTripMs === 'number' ? [[nodeId, roundTripMs]] : [],
      ),
    ),
  };
}

export function viewsOf(cluster: Cluster, timeoutMs?: number): Promise<NodeView[]> {
  return Promise.all(cluster.nodes.map((node) => viewOf(cluster, node, timeoutMs)));
}

// --- waiting

export interface Waiting {
  readonly what: string;
  readonly limitMs: number;
  readonly everyMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Looks again and again until there is something to return. */
export async function until<Found>(
  { what, limitMs, everyMs = 20, signal }: Waiting,
  look: () => Promise<Found | undefined>,
): Promise<Found> {
  const end = performance.now() + limitMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new QedError('unreachable', `${what}: not within ${limitMs / 1000} s`);
    await pause(everyMs);
  }
}

export interface Leading {
  readonly node: ClusterNode;
  readonly term: number;
}

/** The node that says that it leads, in the highest term. A deposed leader may still say so until it hears of the next one. */
export async function findLeader(
  cluster: Cluster,
  among: readonly ClusterNode[] = cluster.nodes,
): Promise<Leading | undefined> {
  const infos = await Promise.all(
    among.map((node) =>
      ask(cluster, node, 'http', '/info', infoSchema).then(
        ({ role, term }) => (role === 'leader' ? [{ node, term }] : []),
        () => [],
      ),
    ),
  );
  return infos.flat().sort((a, b) => b.term - a.term)[0];
}

/** Every node runs, follows the same leader in the same term, has a vote and is ready. */
export async function untilSettled(
  cluster: Cluster,
  limitMs: number,
  signal?: AbortSignal,
): Promise<Leading> {
  let why = '';
  try {
    return await until(
      { what: 'all nodes ready behind one leader', limitMs, everyMs: 50, signal },
      async () => {
        const views = await viewsOf(cluster);
        why = views.flatMap((view) => unsettled(view)).join('; ');
        const [first] = views;
        if (why !== '' || first?.term === undefined) return undefined;
        const isOne = views.every(({ term, leaderId }) => term === first.term && leaderId === first.leaderId);
        const node = cluster.nodes.find(({ nodeId }) => nodeId === first.leaderId);
        return isOne && node ? { node, term: first.term } : undefined;
      },
    );
  } catch (error) {
    if (!(error instanceof QedError) || why === '') throw error;
    throw new QedError(error.code, `${error.message} (${why})`, {
      hint: 'See qed cluster status, and the logs of the nodes.',
    });
  }
}

function unsettled({ nodeId, process, role, leaderId, isReady, isVoter, reason }: NodeView): string[] {
  if (process !== 'running') return [`${nodeId} is ${process}`];
  if (role === undefined) return [`${nodeId} does not answer`];
  if (leaderId === undefined) return [`${nodeId} knows no leader`];
  if (isVoter === false) return [`${nodeId} has no vote yet`];
  return isReady ? [] : [`${nodeId} is not ready: ${reason ?? 'it does not say why'}`];
}

// --- digests

export interface Digests {
  readonly version: number;
  readonly history: string;
  readonly hyper: string;
}

/** The snapshot that the node signs for `version`, or its latest; checked against the log's key. */
export async function signedOf(
  cluster: Cluster,
  node: ClusterNode,
  version: number | 'latest',
): Promise<SignedSnapshot['snapshot']> {
  const json = await ask(cluster, node, 'http', `/snapshots/${version}`, z.unknown(), 10_000);
  const trust = { log: parseVkey(cluster.vkey) };
  return verifySignedSnapshot(json, trust, { hash: nativeHash, verify: nativeVerify }).snapshot;
}

/** Resolves when all nodes have come to `version`, or to the same latest one, with the same digests. Refuses when they differ. */
export async function untilAgree(
  cluster: Cluster,
  version: number | 'latest',
  waiting: Omit<Waiting, 'what'>,
): Promise<Digests> {
  return until({ what: 'all nodes at the same digests', ...waiting }, async () => {
    const all = await Promise.all(
      cluster.nodes.map((node) => signedOf(cluster, node, version).then(digestsOf, ignoreUnreachable)),
    );
    const [first, ...others] = all;
    if (first === undefined || others.some((one) => one?.version !== first.version)) return undefined;
    for (const [at, one] of all.entries()) {
      if (one?.history === first.history && one.hyper === first.hyper) continue;
      const [a, b] = [cluster.nodes[0]!.nodeId, cluster.nodes[at]!.nodeId];
      throw new QedError('diverged', `${a} and ${b} have different digests at version ${first.version}`);
    }
    return first;
  });
}

function digestsOf({ version, historyDigest, hyperDigest }: SignedSnapshot['snapshot']): Digests {
  return { version, history: encodeHex(historyDigest), hyper: encodeHex(hyperDigest) };
}

/** Who lags or is down is asked again; who signs something false is not. */
function ignoreUnreachable(error: unknown): undefined {
  if (error instanceof QedError && error.kind === 'refused' && error.code !== 'proof-malformed') throw error;
  return undefined;
}
