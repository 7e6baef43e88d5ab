// The monitor against lying logs, nodes and stores, all in memory: what each attack is called, with which code, and that its evidence convicts; and what must never be called
// tampering: what is slow, behind, down or started again.
import pino from 'pino';
import { Registry } from 'prom-client';
import { verifyEvidence } from '../../src/balloon/evidence-check.ts';
import {
  parseSignedSnapshot,
  type SignedSnapshot,
  type SignedSnapshotJson,
} from '../../src/balloon/proof.ts';
import { type Transport } from '../../src/client/transport.ts';
import { decodeUtf8, encodeHex } from '../../src/crypto/encoding.ts';
import { addSignatures } from '../../src/crypto/note.ts';
import { parsePolicy, type Policy } from '../../src/crypto/policy.ts';
import { formatVkey } from '../../src/crypto/vkey.ts';
import { errorTable, type ErrorCode } from '../../src/errors.ts';
import { formatLine, type Received } from '../../src/gossip/snapshots.ts';
import { parseTilePath, tileBytes } from '../../src/history/served.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../../src/storage/memory.ts';
import { type Agent } from '../agent.ts';
import { type AlertInput } from '../alerts.ts';
import { openAgentIdentity } from '../identity.ts';
import { openKnowledge } from '../known-log.ts';
import { createSource } from '../source.ts';
import { startMonitor, type Monitor } from './monitor.ts';
import { jsonAnswer } from '../../testutils/log-transport.ts';
import { seededRandom } from '../../testutils/random.ts';
import { NATIVE, signedLog, witness, type SignedLog } from '../../testutils/signed-log.ts';
import { logOf } from '../../testutils/stub-log.ts';
import { until } from '../../testutils/until.ts';

const log = logOf(40);
/** The same key, another history; and one whose batches end elsewhere. */
const forked = logOf(40, 7);
const lumped = signedLog(lumps(9, [3, 9, 9, 14, 5]));
const stranger = signedLog([[new Uint8Array(32)]], { seed: 2 });

function lumps(seed: number, counts: readonly number[]): Uint8Array[][] {
  const random = seededRandom(seed);
  return counts.map((count) => Array.from({ length: count }, () => random.bytes(32)));
}

interface NodeModel {
  log: SignedLog;
  size: number;
  /** What it refuses, or all. */
  refuses?: { readonly code: ErrorCode; readonly path?: RegExp } | undefined;
  /** Instead of the truth. */
  lies?: ((path: string, truth: unknown) => unknown) | undefined;
  gossips: boolean;
  shards?: readonly string[];
  looks: number;
}

interface StoreModel {
  snapshots: SignedSnapshotJson[];
  conflicts: { version: number; stored: unknown; refused: unknown }[];
  isDown?: boolean;
}

interface World {
  now: number;
  readonly nodes: Map<string, NodeModel>;
  readonly stores: Map<string, StoreModel>;
  /** What the log lists as published. */
  readonly published: SignedSnapshotJson[];
  readonly alerts: AlertInput[];
  readonly cleared: string[];
  disk: MemoryDisk;
  hear: (received: Received) => void;
  policy?: Policy;
  keep?: number;
  isUnknown?: boolean;
}

const open: Monitor[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

function world(
  nodes: Record<string, Partial<NodeModel>>,
  stores: Record<string, Partial<StoreModel>> = {},
): World {
  return {
    now: 1_800_000_000_000,
    nodes: new Map(
      Object.entries(nodes).map(([name, node]) => [
        `http://${name}`,
        { log, size: 10, gossips: false, looks: 0, ...node },
      ]),
    ),
    stores: new Map(
      Object.entries(stores).map(([name, store]) => [
        `http://${name}`,
        { snapshots: [], conflicts: [], ...store },
      ]),
    ),
    published: [],
    alerts: [],
    cleared: [],
    disk: memoryDisk(),
    hear: () => undefined,
  };
}

const snapshot = (version: number, of = log): SignedSnapshotJson => of.signedSnapshot(version);
const range = (from: number, to: number, of = log): SignedSnapshotJson[] =>
  Array.from({ length: to - from }, (_, i) => snapshot(from + i, of));

function covering({ log: { snapshots }, size }: NodeModel, version: number): number | undefined {
  return snapshots.find((one) => one.version >= version && one.version < size)?.version;
}

function refusal(code: ErrorCode) {
  return jsonAnswer(errorTable[code].status, { code, message: `no: ${code}` });
}

function answerOfNode(
  at: World,
  node: NodeModel,
  path: string,
  search: URLSearchParams,
  body: Uint8Array | undefined,
) {
  if (path === '/snapshots/latest') node.looks += 1;
  if (node.refuses && (node.refuses.path ?? /./).test(path)) return refusal(node.refuses.code);
  const tell = (truth: unknown) => jsonAnswer(200, node.lies ? node.lies(path, truth) : truth);
  if (path === '/info')
    return tell({
      vkey: formatVkey(log.trust.log),
      gossipAddr: node.gossips ? ':8400' : null,
      version: node.size - 1,
    });
  if (path === '/info/shards' && node.shards) {
    const shards = Object.fromEntries(
      node.shards.map((httpAddr, i) => [`node${i}`, { nodeId: `node${i}`, httpAddr }]),
    );
    return tell({ nodeId: 'node0', leaderId: 'node0', uriScheme: 'http', shards });
  }
  if (path === '/snapshots') return listOf(at.published, search);
  if (path === '/snapshots/latest') return tell(snapshot(node.size - 1, node.log));
  if (path.startsWith('/snapshots/')) {
    const version = covering(node, Number(path.split('/')[2]));
    return version === undefined ? refusal('version-unknown') : tell(snapshot(version, node.log));
  }
  if (path === '/proofs/incremental') {
    const { start, end } = JSON.parse(decodeUtf8(body ?? new Uint8Array(0)) ?? '') as {
      start: number;
      end: number;
    };
    return end >= node.size ? refusal('version-unknown') : tell(node.log.incremental(start, end));
  }
  const tile = parseTilePath(path.slice(1));
  if (tile) return { status: 200, headers: {}, bytes: tileBytes(node.log.balloon.view, tile) };
  return refusal('not-found');
}

function listOf(list: readonly SignedSnapshotJson[], search: URLSearchParams) {
  const [from, limit] = [Number(search.get('from') ?? 0), Number(search.get('limit') ?? 256)];
  return jsonAnswer(200, { snapshots: list.filter((one) => one.snapshot.version >= from).slice(0, limit) });
}

function transportOf(at: World): Transport {
  return async (_method, url, _headers, body) => {
    await Promise.resolve();
    const { origin, pathname, searchParams } = new URL(url);
    const node = at.nodes.get(origin);
    if (node) return answerOfNode(at, node, pathname, searchParams, body);
    const store = at.stores.get(origin);
    if (store === undefined || store.isDown === true) return refusal('bug');
    if (pathname === '/snapshots') return listOf(store.snapshots, searchParams);
    if (pathname === '/conflicts') return jsonAnswer(200, { conflicts: store.conflicts });
    return refusal('not-found');
  };
}

async function agentOf(at: World): Promise<Agent> {
  const clock = { now: () => at.now, jitter: () => 0 };
  const transport = transportOf(at);
  const state = openMemoryStore(at.disk);
  const urls = [...at.nodes.keys()].filter((url) => !url.includes('hidden'));
  return {
    name: 'monitor0',
    identity: openAgentIdentity(undefined, 'monitor0'),
    knowledge: await openKnowledge({
      store: state,
      given: at.isUnknown === true ? undefined : log.trust.log,
      onLearned: () => undefined,
    }),
    source: createSource({ ...clock, urls, transport }),
    transport,
    state,
    registry: new Registry(),
    logger: pino({ level: 'silent' }),
    primitives: NATIVE,
    metricsAddr: '',
    gossipAddr: '',
    alert: (input) => void at.alerts.push(input),
    clearAlert: (kind, subject) => void at.cleared.push(`${kind} ${subject}`),
    listen(_log, receive) {
      at.hear = receive;
      return { publish: () => Promise.resolve(0), close: () => undefined };
    },
    onUrls: () => undefined,
    setStatus: () => undefined,
    close: () => state.close(),
  };
}

async function start(at: World, looks = 3): Promise<Monitor> {
  const monitor = await startMonitor(await agentOf(at), {
    endpoints: [...at.nodes.keys()],
    stores: [...at.stores.keys()],
    policy: at.policy,
    keep: at.keep ?? 1_000,
    timing: { everyMs: 1 },
    now: () => at.now,
    jitter: () => 0,
  });
  open.push(monitor);
  await rounds(at, looks);
  return monitor;
}

/** So long that all that is shown now was looked at. */
async function rounds(at: World, count = 3): Promise<void> {
  const [node] = at.nodes.values();
  const from = node!.looks;
  await until('a look at everything', () => node!.looks >= from + count);
}

/** Time passes, in steps in which the monitor looks around. */
async function pass(at: World, seconds: number): Promise<void> {
  for (let step = 0; step < 4; step++) {
    at.now += (seconds * 1000) / 4;
    await rounds(at, 2);
  }
}

function received(
  json: SignedSnapshotJson,
  kind: Received['kind'] = 'new',
  other?: SignedSnapshot,
): Received {
  const signedSnapshot = parseSignedSnapshot(json);
  return { kind, signedSnapshot, line: formatLine(signedSnapshot), other, author: 'x' };
}

const said = (at: World): string[] => [
  ...new Set(
    at.alerts.map(({ kind, subject, code }) => `${kind} ${subject}${code === undefined ? '' : ` ${code}`}`),
  ),
];
const isSaid = (at: World, what: string) =>
  until(`${what} among ${said(at).join('; ')}`, () => said(at).includes(what));

/** What a stranger finds in the evidence file. */
function checked(at: World, kind = 'tampering') {
  const alert = at.alerts.find((one) => one.kind === kind);
  return verifyEvidence(JSON.parse(JSON.stringify(alert?.evidence ?? null)), log.trust, NATIVE);
}

const TAMPERING = 'tampering history consistency-mismatch';

describe('an honest log', () => {
  it('raises nothing, whoever shows it, and follows it', async () => {
    const at = world({ a: { gossips: true }, b: {}, c: {} }, { store: { snapshots: range(0, 10) } });
    at.published.push(...range(0, 10));
    const monitor = await start(at);
    for (let size = 11; size <= 20; size++) {
      for (const node of at.nodes.values()) node.size = size;
      at.published.push(snapshot(size - 1));
      at.stores.get('http://store')!.snapshots.push(snapshot(size - 1));
      at.hear(received(snapshot(size - 1)));
      await pass(at, 8);
    }
    await until('the newest', () => monitor.head()?.snapshot.version === 19);
    expect(said(at)).toEqual([]);
    expect(monitor.status()).toMatchObject({ verified: { version: 19 }, wrong: [], behind: { unproven: 0 } });
  });

  it('is found at the other members of its cluster, and each of them is watched', async () => {
    const at = world({ a: { shards: ['a:80', 'hidden:80', ''] }, hidden: { log: forked } });
    await start(at);
    await isSaid(at, TAMPERING);
    expect(checked(at)).toMatchObject({ kind: 'split-view', conclusive: true });
  });

  it('may be empty', async () => {
    const at = world({ a: { refuses: { code: 'log-empty', path: /latest/ }, gossips: true } });
    await start(at);
    await pass(at, 200);
    expect(said(at)).toEqual([]);
  });
});

describe('two histories', () => {
  it('are seen when gossip brings the other one', async () => {
    const at = world({ a: {} });
    await start(at);
    at.hear(received(snapshot(9, forked)));
    await isSaid(at, TAMPERING);
    expect(checked(at)).toMatchObject({ kind: 'split-view', conclusive: true });
  });

  it('are seen when gossip hears both before anybody else', async () => {
    const at = world({ a: {} });
    await start(at);
    at.hear(received(snapshot(12, forked), 'conflict', parseSignedSnapshot(snapshot(12))));
    expect(said(at)).toEqual([TAMPERING]);
    expect(checked(at)).toMatchObject({ kind: 'split-view', conclusive: true });
  });

  it('are seen when one node shows another one than the rest', async () => {
    const at = world({ a: {}, b: {}, c: { log: forked, size: 12 } });
    await start(at);
    await isSaid(at, TAMPERING);
    expect(checked(at).conclusive).toBe(true);
  });

  it('are seen when all nodes show us one, and the store was given the other', async () => {
    const at = world({ a: { log: forked, size: 20 } }, { store: { snapshots: range(0, 10) } });
    await start(at);
    await isSaid(at, TAMPERING);
    expect(checked(at).conclusive).toBe(true);
  });

  it('are seen when somebody brings the witness a note', async () => {
    const at = world({ a: {} });
    const monitor = await start(at);
    const { checkpoint: note, snapshot: shown } = parseSignedSnapshot(snapshot(9, forked));
    const origin = log.trust.log.name;
    monitor.meet({ origin, size: 10, root: shown.historyDigest, note });
    expect(said(at)).toEqual([TAMPERING]);
    expect(checked(at)).toMatchObject({ kind: 'split-view', conclusive: true });
  });
});

describe('a rewritten history', () => {
  const rows = [
    { name: 'batch by batch', to: { log: forked, size: 20 }, evidence: 'inconsistent' },
    { name: 'with batches that end elsewhere', to: { log: lumped, size: 35 }, evidence: 'inconsistent' },
    { name: 'from a perfect tree on', from: 8, to: { log: lumped, size: 35 }, evidence: 'inconsistent' },
    { name: 'to a smaller size', from: 30, to: { log: forked, size: 20 }, evidence: 'split-view' },
    {
      name: 'to a smaller size, with other batches',
      from: 30,
      to: { log: lumped, size: 21 },
      evidence: 'split-view',
    },
  ];
  it.each(rows)('$name is seen across a restart', async ({ from = 10, to, evidence }) => {
    const at = world({ a: { size: from } });
    at.published.push(...range(0, from));
    const before = await start(at);
    await until('the head', () => before.head()?.snapshot.version === from - 1);
    await until('all of them', () => JSON.stringify(before.status()).includes('"snapshots":0'));
    await before.close();
    open.pop();
    at.disk.holder = undefined;
    Object.assign(at.nodes.get('http://a')!, to);
    const monitor = await start(at);
    await isSaid(at, TAMPERING);
    expect(checked(at)).toMatchObject({ kind: evidence, conclusive: true });
    // The verified head stays, and a log that goes on does not make it forget.
    expect(encodeHex(monitor.head()!.snapshot.historyDigest)).toBe(snapshot(from - 1).snapshot.historyDigest);
  });

  it('is seen from what was published before, when nodes show less than the head and go on from there', async () => {
    const at = world({ a: { size: 30 } });
    at.published.push(...range(0, 10), ...range(25, 30));
    const monitor = await start(at);
    await until('the head', () => monitor.head()?.snapshot.version === 29);
    await until('all of them', () => JSON.stringify(monitor.status()).includes('"snapshots":0'));
    // Nobody shows this state but gossip, and its version was never published before.
    Object.assign(at.nodes.get('http://a')!, {
      log: forked,
      size: 20,
      refuses: { code: 'bug', path: /latest/ },
    });
    at.hear(received(snapshot(14, forked)));
    await isSaid(at, TAMPERING);
    expect(checked(at)).toMatchObject({ kind: 'inconsistent', conclusive: true });
  });

  it('is inconsistent, not proven, when the nodes answer with proofs that lead nowhere', async () => {
    const lies = (path: string, truth: unknown): unknown =>
      path === '/proofs/incremental' ? { ...(truth as object), hashes: ['00'.repeat(32)] } : truth;
    const at = world({ a: { size: 10 } });
    await start(at);
    Object.assign(at.nodes.get('http://a')!, { log: lumped, size: 35, lies });
    await isSaid(at, 'inconsistent history consistency-mismatch');
    await pass(at, 100);
    expect(at.alerts.some(({ kind }) => kind === 'tampering')).toBe(false);
    expect(checked(at, 'inconsistent')).toMatchObject({ kind: 'inconsistent', conclusive: false });
  });

  it('is no matter of the log when one node gives false proofs and another good ones', async () => {
    const lies = (path: string, truth: unknown): unknown =>
      path === '/proofs/incremental' ? { ...(truth as object), hashes: ['00'.repeat(32)] } : truth;
    const at = world({ a: { lies, size: 20 }, b: { size: 20 } });
    await start(at);
    at.hear(received(snapshot(11)));
    await isSaid(at, 'inconsistent proofs of http://a consistency-mismatch');
    expect(at.alerts.some(({ subject }) => subject === 'history')).toBe(false);
  });
});

describe('an old state', () => {
  it('shown by one node is about that node, and over when it has caught up', async () => {
    const at = world({ a: { size: 20 }, b: { size: 20 } });
    await start(at);
    const b = at.nodes.get('http://b')!;
    b.size = 5;
    await pass(at, 8);
    expect(said(at)).toEqual([]);
    await pass(at, 20);
    expect(said(at)).toEqual(['stale node http://b head-rollback']);
    b.size = 20;
    await rounds(at);
    expect(at.cleared).toEqual(['stale node http://b']);
  });

  it('shown by all of them is about the log, also after a restart of the monitor', async () => {
    const at = world({ a: { size: 20 }, b: { size: 20 } });
    await (await start(at)).close();
    open.pop();
    at.disk.holder = undefined;
    for (const node of at.nodes.values()) node.size = 15;
    await start(at);
    await pass(at, 30);
    expect(said(at)).toContain('stale log head-rollback');
    expect(at.alerts.some(({ kind }) => kind === 'tampering' || kind === 'inconsistent')).toBe(false);
  });

  it('that is all one hears of is a log that stands still; old heads that are replayed do not help', async () => {
    const at = world({ a: { gossips: true, size: 20 } });
    await start(at);
    at.hear(received(snapshot(19)));
    await pass(at, 50);
    expect(said(at)).toEqual([]);
    at.hear(received(snapshot(15), 'repeated'));
    await pass(at, 30);
    expect(said(at)).toEqual(['stale heads head-stale']);
    at.hear(received(snapshot(19), 'repeated'));
    await rounds(at);
    expect(at.cleared).toEqual(['stale heads']);
  });

  it('can be told from a replayed head where a quorum cosigns', async () => {
    const at = world({ a: { gossips: true, size: 20 } });
    const cosigner = witness(5);
    at.policy = parsePolicy(`witness w ${cosigner.vkey}\nquorum w\n`);
    const cosigned = (seconds: number): SignedSnapshotJson => {
      const { snapshot: shown, checkpoint } = parseSignedSnapshot(snapshot(19));
      const head = { origin: log.trust.log.name, size: 20, root: shown.historyDigest };
      return { ...snapshot(19), checkpoint: addSignatures(checkpoint, cosigner.cosign(head, seconds)) };
    };
    await start(at);
    const old = cosigned(at.now / 1000);
    for (let turn = 0; turn < 5; turn++) {
      await pass(at, 10);
      at.hear(received(cosigned(at.now / 1000), 'repeated'));
    }
    expect(said(at)).toEqual([]);
    for (let turn = 0; turn < 7; turn++) {
      at.hear(received(turn % 2 === 0 ? old : snapshot(19), 'repeated'));
      await pass(at, 10);
    }
    expect(said(at)).toEqual(['stale heads head-stale']);
    at.nodes.get('http://a')!.lies = (path, truth) =>
      path === '/snapshots/latest' ? cosigned(at.now / 1000) : truth;
    await until('the end', () => at.cleared.includes('stale heads'));
  });

  it('is what gossip has when it is behind', async () => {
    const at = world({ a: { gossips: true, size: 20 } });
    await start(at);
    at.hear(received(snapshot(9)));
    await pass(at, 30);
    expect(said(at)).toEqual(['lag gossip']);
    at.hear(received(snapshot(19)));
    await rounds(at);
    expect(at.cleared).toEqual(['lag gossip']);
  });
});

describe('a store', () => {
  const published = range(0, 10);

  async function watch(store: Partial<StoreModel>): Promise<World> {
    const at = world({ a: {} }, { store });
    at.published.push(...published);
    await start(at);
    await pass(at, 50);
    return at;
  }

  it('that shows another state which the log has signed convicts it', async () => {
    const at = await watch({ snapshots: [...range(0, 5), snapshot(5, forked), ...range(6, 10)] });
    await isSaid(at, TAMPERING);
    expect(checked(at).conclusive).toBe(true);
  });

  it('that does so for a version which is long forgotten, too', async () => {
    const at = world({ a: {} }, { store: {} });
    at.published.push(...published);
    at.keep = 2;
    const monitor = await start(at);
    await until('the head', () => monitor.head()?.snapshot.version === 9);
    await until('all of them', () => JSON.stringify(monitor.status()).includes('"snapshots":0'));
    await open.pop()!.close();
    at.disk.holder = undefined;
    at.stores.get('http://store')!.snapshots.push(...range(0, 3), snapshot(3, forked), ...range(4, 10));
    await start(at);
    await isSaid(at, TAMPERING);
    expect(checked(at)).toMatchObject({ conclusive: true });
  });

  it('that has refused such a state convicts it as well', async () => {
    const conflict = { version: 5, stored: snapshot(5), refused: snapshot(5, forked) };
    const at = await watch({ snapshots: published, conflicts: [conflict] });
    expect(said(at)).toEqual([TAMPERING]);
    expect(checked(at).conclusive).toBe(true);
  });

  it('that shows both states of one version convicts it as well', async () => {
    const at = await watch({ snapshots: [...range(0, 6), snapshot(5, forked), ...range(6, 10)] });
    await isSaid(at, TAMPERING);
    await isSaid(at, 'inconsistent store http://store duplicate snapshot-conflict');
  });

  it('that shows what the log has not signed is inconsistent, and convicts nobody', async () => {
    const foreign = { ...snapshot(5), checkpoint: stranger.signedSnapshot(0).checkpoint };
    const conflicts = [{ version: 5, stored: foreign, refused: snapshot(5, forked) }];
    const at = await watch({ snapshots: [...range(0, 5), foreign, ...range(6, 10)], conflicts });
    expect(said(at)).toContain('inconsistent store http://store version 5 note-unsigned');
    expect(at.alerts.some(({ kind }) => kind === 'tampering')).toBe(false);
  });

  it('that drops a snapshot is inconsistent', async () => {
    const at = await watch({ snapshots: [...range(0, 5), ...range(6, 10)] });
    await isSaid(at, 'inconsistent store http://store snapshot-mismatch');
    expect(said(at)).toHaveLength(1);
  });

  it('that is late lags, until it is not', async () => {
    const at = await watch({ snapshots: range(0, 4) });
    expect(said(at)).toEqual(['lag store http://store']);
    at.stores.get('http://store')!.snapshots = published;
    await until('the end of the lag', () => at.cleared.includes('lag store http://store'));
  });

  it('that does not answer is an outage, and nothing else', async () => {
    const at = await watch({ snapshots: published, isDown: true });
    expect(said(at)).toEqual(['outage store http://store server-failed']);
  });
});

describe('no answer', () => {
  it('of any node is an outage of the log, and over when one answers', async () => {
    const refuses = { code: 'forbidden' } as const;
    const at = world({ a: { refuses }, b: { refuses } });
    await start(at);
    await pass(at, 10);
    expect(said(at)).toEqual([]);
    await pass(at, 10);
    expect(said(at)).toEqual(['outage log forbidden']);
    at.nodes.get('http://b')!.refuses = undefined;
    await rounds(at);
    expect(at.cleared).toEqual(['outage log']);
  });

  it('of one node is an outage of that node', async () => {
    const at = world({ a: {}, b: { refuses: { code: 'unauthorized' } } });
    await start(at);
    await pass(at, 20);
    expect(said(at)).toEqual(['outage node http://b unauthorized']);
  });

  it('from anybody who could say which log it is counts as well', async () => {
    const at = world({ a: { refuses: { code: 'forbidden' } } });
    at.isUnknown = true;
    await start(at, 0);
    at.now += 20_000;
    await isSaid(at, 'outage log vkey-unknown');
  });

  it('to the question how it got there is an outage of proofs, and stays one across a restart', async () => {
    const refuses = { code: 'not-found', path: /incremental/ } as const;
    const at = world({ a: { size: 10 } });
    await start(at);
    Object.assign(at.nodes.get('http://a')!, { size: 20, refuses });
    at.hear(received(snapshot(19)));
    await pass(at, 20);
    await isSaid(at, 'outage proofs version-unknown');
    await open.pop()!.close();
    at.disk.holder = undefined;
    at.alerts.splice(0);
    // Now only the journal knows of it.
    at.nodes.get('http://a')!.size = 10;
    const monitor = await start(at);
    await pass(at, 20);
    expect(said(at)).toEqual(['stale log head-rollback', 'outage proofs version-unknown']);
    Object.assign(at.nodes.get('http://a')!, { size: 20, refuses: undefined });
    await until('the proof', () => monitor.head()?.snapshot.version === 19);
    await until('the end', () => at.cleared.includes('outage proofs'));
  });

  it('with another vkey is another log', async () => {
    const lies = (path: string, truth: unknown): unknown =>
      path === '/info' ? { ...(truth as object), vkey: formatVkey(stranger.trust.log) } : truth;
    const at = world({ a: {}, b: { lies } });
    await start(at);
    expect(said(at)).toEqual(['inconsistent vkey of http://b']);
  });

  it('that is signed by another key is inconsistent', async () => {
    const lies = (path: string, truth: unknown): unknown =>
      path === '/snapshots/latest'
        ? { ...(truth as object), checkpoint: stranger.signedSnapshot(0).checkpoint }
        : truth;
    const at = world({ a: {}, b: { lies } });
    await start(at);
    expect(said(at)).toEqual(['inconsistent node http://b note-unsigned']);
  });
});

describe('never tampering', () => {
  it('a follower that lags', async () => {
    const at = world({ a: { size: 20 }, b: { size: 12 } });
    await start(at);
    await pass(at, 30);
    expect(said(at)).toEqual(['lag node http://b']);
  });

  it('a log that is started again, and gossip that comes twice and in any order', async () => {
    const at = world({ a: { gossips: true, size: 20 } });
    at.published.push(...range(0, 20));
    const monitor = await start(at);
    const random = seededRandom(3);
    for (let turn = 0; turn < 60; turn++)
      at.hear(received(snapshot(random.below(20)), random.chance(0.5) ? 'new' : 'repeated'));
    at.nodes.get('http://a')!.refuses = { code: 'bug' };
    await rounds(at, 1);
    at.nodes.get('http://a')!.refuses = undefined;
    at.nodes.get('http://a')!.size = 25;
    at.published.push(...range(20, 25));
    at.hear(received(snapshot(24)));
    at.hear(received(snapshot(24)));
    await until('the newest', () => monitor.head()?.snapshot.version === 24);
    await pass(at, 40);
    expect(said(at)).toEqual([]);
  });

  it('a monitor that is killed at any point', async () => {
    const at = world({ a: {} });
    for (let size = 10; size < 20; size++) {
      at.nodes.get('http://a')!.size = size;
      at.published.push(snapshot(size - 1));
      await start(at);
      void open.pop()!.close();
      // What was not durable may be gone.
      at.disk = { ...at.disk, holder: undefined, undo: [] };
    }
    await start(at);
    await rounds(at);
    expect(said(at)).toEqual([]);
  });
});
