// A log server that lies in a chosen way: the true HTTP API over a log in memory whose key it holds, so that every signature is genuine. What it shows can be
// changed while it runs: another log under the same key, fewer events, other answers, or none.
//
//   node --import tsx testutils/tamper/lab.ts serve rewritten 8800
//
// serves an honest log for twenty seconds, then the lie: to try what agents, clients and other tools make of it.
import Fastify from 'fastify';
import { parseIncremental, parseMembership, parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { formatVkey } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { tileBytes } from '../../src/history/served.ts';
import { buildApi } from '../../src/server/api.ts';
import { createMetrics } from '../../src/server/metrics.ts';
import { type Node } from '../../src/server/node.ts';
import { signedOf, type Signed } from '../../src/server/signed.ts';
import { createSeal } from '../../src/server/join-seal.ts';
import { seededRandom } from '../random.ts';
import { keyOfSeed, signedLog, witness, type SignedLog } from '../signed-log.ts';
import { lies as mapLies, LyingTree } from './lying-tree.ts';

/** What it shows. */
export interface Shown {
  log: SignedLog;
  /** Answers whose URL matches are changed before they are sent: the body, or another status. */
  twists: readonly Twist[];
}

export interface Twist {
  readonly url: RegExp;
  readonly body?: (json: Record<string, unknown>) => unknown;
  readonly bytes?: (bytes: Buffer) => Buffer;
  readonly status?: number;
}

export interface LyingServer {
  readonly url: string;
  readonly vkey: string;
  readonly shown: Shown;
  readonly close: () => Promise<void>;
}

const BATCHES = [3, 1, 5, 2, 300, 1, 4];
/** Two more than at first, for lies that need a log that went on. */
const GROWN = [...BATCHES, 2, 6];

/** Batches of digests; the first `shared` are the same for every seed. */
function batches(counts: readonly number[], shared: number, seed: number): Uint8Array[][] {
  const [common, own] = [seededRandom(1), seededRandom(seed)];
  return counts.map((count, at) =>
    Array.from({ length: count }, () => (at < shared ? common : own).bytes(32)),
  );
}

const honestLog = signedLog(batches(BATCHES, 99, 1));
const grownLog = signedLog(batches(GROWN, 99, 1));
const honest = (): Shown => ({ log: honestLog, twists: [] });

/** Each turns an honest server into one that lies. The names are those of docs/security.md. */
export const serverLies = {
  /** Another tree of the very size that was shown. */
  'split-view': (shown) => void (shown.log = signedLog(batches(BATCHES, 4, 7))),
  /** A longer log that does not begin with the one that was shown. */
  rewritten: (shown) => void (shown.log = signedLog(batches(GROWN, 3, 7))),
  rollback: (shown) => void (shown.log = signedLog(batches(BATCHES.slice(0, 4), 99, 1))),
  omission: (shown) => showMap(shown, 'omission'),
  'wrong-version': (shown) => showMap(shown, 'version'),
  'extra-key': (shown) => showMap(shown, 'extra'),
  'misplaced-leaf': (shown) => showMap(shown, 'ghost'),
  /** Another hyper digest beside a checkpoint that is right. */
  'other-digest': (shown) =>
    twist(shown, {
      url: /^\/snapshots\//,
      body: (json) => ({ ...json, snapshot: withDigest(json['snapshot']) }),
    }),
  'false-answers': (shown) =>
    twist(shown, {
      url: /^\/proofs\/membership/,
      body: (json) => ({ ...json, exists: json['exists'] !== true }),
    }),
  'damaged-entries': (shown) =>
    twist(shown, {
      url: /^\/tile\/entries\//,
      bytes: (bytes) => {
        bytes[bytes.length - 1]! ^= 1;
        return bytes;
      },
    }),
  'refuses-proofs': (shown) => twist(shown, { url: /^\/(proofs|tile)\//, status: 403 }),
  /** Too busy to prove anything, for ever, though it answers all else. */
  'busy-proofs': (shown) => twist(shown, { url: /^\/(proofs|tile)\//, status: 503 }),
  silence: (shown) => twist(shown, { url: /./, status: 503 }),
} as const satisfies Record<string, (shown: Shown) => void>;

export type ServerLie = keyof typeof serverLies;

function showMap(shown: Shown, lie: keyof typeof mapLies): void {
  const tree = new LyingTree(mapLies[lie](honestLog.balloon.size));
  shown.log = signedLog(batches(GROWN, 99, 1), { tree });
}

function twist(shown: Shown, one: Twist): void {
  shown.log = grownLog;
  shown.twists = [one];
}

function withDigest(snapshot: unknown): unknown {
  return typeof snapshot === 'object' ? { ...snapshot, hyperDigest: 'ab'.repeat(32) } : snapshot;
}

export async function serveLies(port = 0): Promise<LyingServer> {
  const shown = honest();
  const metrics = createMetrics();
  const app = await buildApi(nodeOf(shown), {
    access: () => ({ keys: [], readsNeedKey: false }),
    metrics,
    logger: Fastify().log,
    limits: {},
    addresses: () => ({
      httpAddr: null,
      mgmtAddr: null,
      raftAddr: null,
      metricsAddr: null,
      gossipAddr: null,
    }),
    isTls: false,
    software: 'a liar',
    keepEvents: false,
    outbox: {
      published: (from, limit) =>
        Promise.resolve(
          ends(shown)
            .filter((version) => version >= from)
            .slice(0, limit)
            .map((version) => ({ version, lines: '' })),
        ),
    },
  });
  app.addHook('onSend', async (request, reply, payload) => {
    const found = shown.twists.find(({ url }) => url.test(request.url));
    if (found?.status !== undefined) {
      reply.code(found.status);
      return JSON.stringify({ code: found.status === 403 ? 'forbidden' : 'busy', message: 'not for you' });
    }
    if (found?.body && typeof payload === 'string')
      return JSON.stringify(found.body(JSON.parse(payload) as Record<string, unknown>));
    return found?.bytes && payload instanceof Uint8Array ? found.bytes(Buffer.from(payload)) : payload;
  });
  const url = await app.listen({ port, host: '127.0.0.1' });
  return { url, vkey: formatVkey(honestLog.trust.log), shown, close: () => app.close() };
}

const ends = ({ log }: Shown): number[] => log.snapshots.map(({ version }) => version);

/** What the API needs of a node, from a log in memory. */
function nodeOf(shown: Shown): Node {
  function signed(version: number): Signed {
    return signedOf(parseSignedSnapshot(shown.log.signedSnapshot(version)));
  }
  const latest = (): Signed => signed(ends(shown).at(-1)!);
  const none = (): never => {
    throw new QedError('busy', 'this server only shows a log');
  };
  const status = {
    nodeId: 'liar',
    role: 'leader',
    leaderId: 'liar',
    term: 1,
    committedIndex: 1,
    firstIndex: 1,
    lastIndex: 1,
    members: [],
    failure: undefined,
  } as const;
  return {
    identity: {
      origin: 'example.org/log',
      nodeId: 'liar',
      signer: honestLog.signer,
      cosigner: witness(3, 'example.org/log/liar'),
      nodeKey: keyOfSeed(1),
      seal: createSeal(keyOfSeed(1)),
      host: undefined,
    },
    add: none,
    signed,
    latest,
    covering(version) {
      const end = ends(shown).find((one) => one >= version);
      if (end === undefined)
        throw new QedError('version-unknown', `the log has not reached version ${version}`);
      return Promise.resolve(signed(end));
    },
    membership(eventDigest) {
      const { proof, signedSnapshot } = parseMembership(shown.log.membership(eventDigest));
      return { proof, signed: signedOf(signedSnapshot) };
    },
    incremental: (start, end) => parseIncremental(shown.log.incremental(start, end)),
    event: (version) => Promise.resolve({ entry: shown.log.balloon.entry(version), event: undefined }),
    tile: (name) => tileBytes(shown.log.balloon.view, name),
    get version() {
      return latest().signedSnapshot.snapshot.version;
    },
    status: () => status,
    leader: () => undefined,
    members: () => [],
    onLeadership: () => () => undefined,
    orders: { join: none, remove: none, transferLeadership: none, setFault: none },
    linearize: () => Promise.resolve(),
    setGossipAddr: () => undefined,
    gossipOfPeers: () => Promise.resolve([]),
    cosigning: { collect: () => Promise.resolve({ lines: '', isComplete: true }), known: () => '' },
    showCosigned: () => undefined,
    distrust: () => undefined,
    health: () => ({ isReady: true, error: undefined }),
    close: () => Promise.resolve(),
  };
}
