// The auditor against lying logs, all in memory: what each attack is called, with which code, and that its evidence convicts; and what must never be called
// tampering: what is slow, down, behind or broken.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifyEvidence } from '../../src/balloon/evidence-check.ts';
import { parseSignedSnapshot, type SignedSnapshot } from '../../src/balloon/proof.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { QedError, type ErrorCode } from '../../src/errors.ts';
import { tileBytes, type TileName } from '../../src/history/served.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../../src/storage/memory.ts';
import { type AlertInput } from '../alerts.ts';
import { type AskLog } from '../ask.ts';
import { startAudit, type Audit } from './audit.ts';
import { type Copy } from './copy.ts';
import { openFull } from './full.ts';
import { createPace } from './pace.ts';
import { createProve } from '../prove.ts';
import { startQuestions, type Questions } from './questions.ts';
import { openReplica } from './replica.ts';
import { openSample } from './sample.ts';
import { found, until } from '../../testutils/until.ts';
import { seededRandom } from '../../testutils/random.ts';
import { NATIVE, signedLog, type SignedLog } from '../../testutils/signed-log.ts';
import { lies, LyingTree } from '../../testutils/tamper/lying-tree.ts';
import { withTempDir } from '../../testutils/temp.ts';

/** Batches of these many events. The first `shared` batches are the same in all logs; some events come again. */
function batches(counts: readonly number[], { seed = 1, shared = 0 } = {}): Uint8Array[][] {
  const [common, own] = [seededRandom(1), seededRandom(seed)];
  const known: Uint8Array[] = [];
  return counts.map((count, at) =>
    Array.from({ length: count }, () => {
      const random = at < shared ? common : own;
      const digest = known.length > 0 && random.chance(0.1) ? random.pick(known) : random.bytes(32);
      known.push(digest);
      return digest;
    }),
  );
}

const COUNTS = [1, 1, 2, 4, 3, 5, 300, 1, 20, 7, 64, 1, 1, 600, 2];
const log = signedLog(batches(COUNTS, { shared: 99 }));
const ends = log.snapshots.map(({ version }) => version);
const last = ends.at(-1)!;
const snapshotOf = (version: number, of = log): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));
/** A log with the same key that begins with the same batches. */
const forkOf = (shared: number, counts: readonly number[] = COUNTS): SignedLog =>
  signedLog(batches(counts, { shared, seed: 77 }));

interface World {
  /** What the log serves. */
  log: SignedLog;
  /** It knows the batches that end before this. */
  size: number;
  published: number[];
  /** What it answers instead. */
  lies: Partial<AskLog>;
  /** What it does not answer. */
  refuses: (question: keyof AskLog) => ErrorCode | undefined;
  readonly tiles: string[];
  /** How often it was asked for its newest state. */
  looks: number;
  turns: number;
  readonly alerts: AlertInput[];
  readonly cleared: string[];
  broken: unknown;
  skewMs: number;
  readonly disk: MemoryDisk;
}

const world = (more: Partial<World> = {}): World => ({
  log,
  size: last + 1,
  published: [],
  lies: {},
  refuses: () => undefined,
  tiles: [],
  looks: 0,
  turns: 0,
  alerts: [],
  cleared: [],
  broken: undefined,
  skewMs: 0,
  disk: memoryDisk(),
  ...more,
});

function askOf(at: World): AskLog {
  const covering = (version: number): SignedSnapshot => {
    const end = at.log.snapshots.find((one) => one.version >= version && one.version < at.size)?.version;
    if (end === undefined) throw new QedError('version-unknown', `not yet: ${version}`);
    return snapshotOf(end, at.log);
  };
  const truth = {
    latest: () => (at.size === 0 ? undefined : covering(at.size - 1)),
    covering,
    published: (from: number, limit: number) =>
      at.published
        .filter((version) => version >= from)
        .slice(0, limit)
        .map((version) => covering(version)),
    incremental: (start: number, end: number) => at.log.incremental(start, end),
    membership: (eventDigest: Uint8Array) => at.log.membership(eventDigest),
    event: (version: number) => ({
      version,
      ...Object.fromEntries(
        Object.entries(at.log.balloon.entry(version)).map(([name, value]) => [
          name,
          typeof value === 'number' ? value : Buffer.from(value).toString('hex'),
        ]),
      ),
    }),
    tile(name: TileName) {
      at.tiles.push(`${name.level}/${name.index}`);
      const end = (name.index + 1) * 256 - 256 + name.width;
      if (name.level === 'entries' && end > at.size) throw new QedError('version-unknown', 'no such tile');
      return tileBytes(at.log.balloon.view, name);
    },
  };
  async function answer<Answer>(question: keyof AskLog, honest: () => Answer): Promise<Answer> {
    await new Promise((resolve) => setImmediate(resolve));
    if (question === 'latest') at.looks += 1;
    const code = at.refuses(question);
    if (code !== undefined) throw new QedError(code, `the log says ${code}`);
    return honest();
  }
  return {
    latest: () => answer('latest', truth.latest),
    covering: (version) => answer('covering', () => truth.covering(version)),
    published: (from, limit) => answer('published', () => truth.published(from, limit)),
    incremental: (start, end) => answer('incremental', () => truth.incremental(start, end)),
    membership: (digest) => answer('membership', () => truth.membership(digest)),
    event: (version) => answer('event', () => truth.event(version)),
    tile: (name) => answer('tile', () => truth.tile(name)),
    turn: () => void (at.turns += 1),
    ...at.lies,
  };
}

interface Started {
  readonly audit: Audit;
  readonly copy: Copy;
}

const open: (Audit | Questions)[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

interface Options {
  readonly sample?: boolean;
  readonly path?: string;
  readonly keepsFiles?: boolean;
}

async function start(at: World, { sample = false, path, keepsFiles = true }: Options = {}): Promise<Started> {
  const ask: AskLog = askOf(at);
  const now = (): number => performance.now() + at.skewMs;
  const state = openMemoryStore(at.disk);
  const said = new Set<string>();
  const raise = (alert: AlertInput): void => {
    const key = `${alert.kind} ${alert.subject}`;
    if (!said.has(key)) at.alerts.push(alert);
    said.add(key);
  };
  const prove = createProve(log.trust.log, ask, NATIVE);
  const below = (limit: number): number => Math.floor(Math.random() * limit);
  const parts = { log: log.trust.log, ask, prove, state, primitives: NATIVE, raise, below };
  const pace = createPace({ widthMax: 4, slowMs: 1_000, now, sleep: () => Promise.resolve() });
  const copy = sample
    ? openSample({ ...parts, now, restMs: 5 })
    : openFull({
        ...parts,
        pace,
        replica: await openReplica({ path, hash: nativeHash, onEvent: () => undefined }),
        signal: new AbortController().signal,
        keepsFiles,
      });
  const audit = startAudit({
    ...parts,
    copy,
    clear(kind, subject) {
      if (said.delete(`${kind} ${subject}`)) at.cleared.push(`${kind} ${subject}`);
    },
    onCompared: () => undefined,
    onBroken: (error) => (at.broken = error),
    now,
    timing: { pollMs: 10, backoffFirstMs: 1, backoffLastMs: 5 },
  });
  open.push(audit);
  return { audit, copy };
}

/** Ends it as a kill would, but for the lock on what is not there. */
async function stop(at: World): Promise<void> {
  await Promise.all(open.splice(0).map((one) => one.close()));
  at.disk.holder = undefined;
}

/** A place for a replica. Whatever runs on it is stopped first. */
function withDisk(work: (path: string) => Promise<void>): Promise<void> {
  return withTempDir(async (directory) => {
    try {
      await work(join(directory, 'replica'));
    } finally {
      await Promise.all(open.splice(0).map((one) => one.close()));
    }
  });
}

const reaches = (copy: Copy, size: number): Promise<void> => until(`size ${size}`, () => copy.size === size);

function raised(at: World, kind: AlertInput['kind'], subject?: string): Promise<AlertInput> {
  return found(`${kind} ${subject ?? ''} among ${JSON.stringify(at.alerts)}`, () =>
    at.alerts.find((alert) => alert.kind === kind && (subject === undefined || alert.subject === subject)),
  );
}

/** What is said must stay said, and not be said again at each look. */
async function looksOn(at: World): Promise<void> {
  const before = at.looks;
  await until('more looks', () => at.looks >= before + 4);
}

const kinds = (at: World): string[] =>
  at.alerts.map(({ kind, subject, code }) => `${kind} ${subject} ${code}`);

/** What a stranger finds who has the file and the vkey. */
function verdict({ evidence }: AlertInput) {
  return verifyEvidence(JSON.parse(JSON.stringify(evidence)), log.trust, NATIVE);
}

function conclusive(alert: AlertInput): string {
  const checked = verdict(alert);
  expect(checked).toMatchObject({ conclusive: true });
  return checked.kind;
}

describe('an honest log', () => {
  it('is replayed to its end, and everything it shows agrees', async () => {
    const at = world({ published: ends });
    const { audit, copy } = await start(at);
    await reaches(copy, last + 1);
    await until('the list is compared', () => audit.figures().compared >= ends.length);
    expect(copy.figures()).toMatchObject({ events: last + 1, batches: COUNTS.length, stopped: null });
    expect(copy.figures()['distinct']).toBe(log.balloon.hyper.size);
    expect([at.alerts, at.broken, audit.figures().behindEvents]).toEqual([[], undefined, 0]);
  });

  it('is followed batch by batch, from what gossip brings in any order', async () => {
    const at = world({ size: 0 });
    const { audit, copy } = await start(at);
    for (const [i, version] of ends.entries()) {
      at.size = version + 1;
      audit.offer(snapshotOf(version), 'gossip');
      if (i % 3 === 2) await reaches(copy, version + 1);
    }
    for (const version of [...ends].reverse()) audit.offer(snapshotOf(version), 'gossip');
    await until('all are compared', () => audit.figures().compared >= ends.length);
    expect(kinds(at)).toEqual([]);
  });

  it('counts two batches of known events as one, which changes nothing', async () => {
    const digest = new Uint8Array(32).fill(9);
    const twice = signedLog([[digest, digest], [digest]], { seed: 1 });
    const at = world({ log: twice, size: 3 });
    const { copy } = await start(at);
    await reaches(copy, 3);
    expect(kinds(at)).toEqual([]);
  });

  it('goes on after a restart where it was, on disk', () =>
    withDisk(async (path) => {
      const at = world({ size: ends[6]! + 1 });
      const first = await start(at, { path });
      await reaches(first.copy, at.size);
      await stop(at);
      at.tiles.splice(0);
      at.size = last + 1;
      const second = await start(at, { path });
      expect(second.copy.size).toBe(ends[6]! + 1);
      await reaches(second.copy, last + 1);
      expect(at.tiles.filter((name) => name === 'entries/0')).toEqual([]);
      expect(kinds(at)).toEqual([]);
    }));

  it('is replayed from its own entries when the image of the hyper tree is damaged', () =>
    withDisk(async (path) => {
      const at = world({ size: ends[6]! + 1 });
      await reaches((await start(at, { path })).copy, at.size);
      await stop(at);
      writeFileSync(join(path, 'hyper.image'), 'no image at all, but as long as one may be');
      at.size = last + 1;
      const { copy } = await start(at, { path });
      expect(copy.size).toBe(ends[6]! + 1);
      await reaches(copy, last + 1);
      expect([kinds(at), existsSync(join(path, 'hyper.image.damaged'))]).toEqual([[], true]);
    }));
});

describe('two views (threats 1 and 2)', () => {
  it.each([
    ['of a size that is replayed, the newest', last, 'split-view'],
    ['of a size that is replayed, an old one', ends[8]!, 'inconsistent'],
  ])('convict the log by what is replayed: %s', async (_name, version, kind) => {
    const at = world();
    const { audit, copy } = await start(at);
    await reaches(copy, last + 1);
    audit.offer(snapshotOf(version, forkOf(3)), 'gossip');
    const alert = await raised(at, 'tampering');
    expect([alert.code, conclusive(alert)]).toEqual(['consistency-mismatch', kind]);
  });

  it('convict the log before anything is replayed', async () => {
    const at = world({ refuses: (question) => (question === 'tile' ? 'busy' : undefined) });
    const { audit } = await start(at);
    audit.offer(snapshotOf(ends[8]!), 'gossip');
    audit.offer(snapshotOf(ends[8]!, forkOf(3)), 'store');
    expect(conclusive(await raised(at, 'tampering'))).toBe('split-view');
  });

  // 8 and 16 events are perfect trees: a proof from there on holds no root of its own.
  it.each([
    ['size 11', 5],
    ['size 8', 4],
    ['size 16', 6],
    ['size 1', 1],
    ['size 2', 2],
  ])('convict a log that was rewritten behind %s', async (_name, count) => {
    const at = world({ size: ends[count - 1]! + 1 });
    const { copy } = await start(at);
    await reaches(copy, at.size);
    // Batches that end elsewhere, so that nothing is signed twice for one size.
    at.log = forkOf(0, [3, 30, 50]);
    at.size = 83;
    const alert = await raised(at, 'tampering');
    expect([alert.code, conclusive(alert)]).toEqual(['consistency-mismatch', 'inconsistent']);
    expect([copy.size, at.broken]).toEqual([ends[count - 1]! + 1, undefined]);
  });

  it('are not proven while the log answers with proofs that lead nowhere', async () => {
    const at = world({ size: 16 });
    at.lies = {
      incremental: (start, end) => Promise.resolve({ start, end, hashes: [] }),
    };
    const { copy } = await start(at);
    await reaches(copy, 16);
    at.log = forkOf(0, [3, 30, 50]);
    at.size = 83;
    const alert = await raised(at, 'inconsistent', 'history');
    expect([alert.code, verdict(alert)]).toMatchObject(['consistency-mismatch', { conclusive: false }]);
    expect(at.alerts.some(({ kind }) => kind === 'tampering')).toBe(false);
  });

  it('convict the log when gossip brings a state that is not of what it serves', async () => {
    const at = world({ size: ends[5]! + 1 });
    const { audit, copy } = await start(at);
    await reaches(copy, at.size);
    at.size = last + 1;
    audit.offer(snapshotOf(99, forkOf(6, [1, 1, 2, 4, 3, 5, 84])), 'gossip');
    expect(conclusive(await raised(at, 'tampering'))).toBe('inconsistent');
    await reaches(copy, last + 1);
    expect(kinds(at)).toEqual(['tampering history consistency-mismatch']);
  });

  it('are found after a restart, by the head that was kept', () =>
    withDisk(async (path) => {
      const at = world();
      const { copy } = await start(at, { path });
      await reaches(copy, last + 1);
      await stop(at);
      at.log = forkOf(3, [...COUNTS, 40]);
      at.size = last + 41;
      await start(at, { path });
      expect(conclusive(await raised(at, 'tampering'))).toMatch(/inconsistent|split-view/);
    }));

  it('are found although the replica is gone', async () => {
    const at = world();
    const { copy } = await start(at);
    await reaches(copy, last + 1);
    await stop(at);
    at.log = forkOf(3);
    await start(at);
    expect(conclusive(await raised(at, 'tampering'))).toMatch(/inconsistent|split-view/);
  });
});

describe('an old state (threat 3)', () => {
  it('is stale, not tampering, and it is over when the log goes on', async () => {
    const at = world();
    const { copy } = await start(at);
    await reaches(copy, last + 1);
    at.size = ends[8]! + 1;
    await until('the log is asked elsewhere', () => at.turns > 0);
    expect(kinds(at)).toEqual([]);
    at.skewMs += 10_000;
    expect((await raised(at, 'stale')).code).toBe('head-rollback');
    await looksOn(at);
    at.size = last + 1;
    await until('it is over', () => at.cleared.includes('stale head'));
    expect(kinds(at)).toEqual(['stale head head-rollback']);
  });

  it('is what an emptied log shows', async () => {
    const at = world();
    const { copy } = await start(at);
    await reaches(copy, last + 1);
    at.size = 0;
    await until('the log is asked elsewhere', () => at.turns > 0);
    at.skewMs += 10_000;
    expect((await raised(at, 'stale')).code).toBe('head-rollback');
  });

  it('is all that a log shows which stands still', async () => {
    const at = world();
    const { audit, copy } = await start(at);
    await reaches(copy, last + 1);
    at.skewMs += 120_000;
    await looksOn(at);
    expect(kinds(at)).toEqual([]); // Nobody ever heard it.
    audit.heard();
    at.skewMs += 60_000;
    expect((await raised(at, 'stale')).code).toBe('head-stale');
    await looksOn(at);
    expect(kinds(at)).toEqual(['stale head head-stale']);
  });
});

describe('a hyper tree that does not follow from the log (threat 6)', () => {
  const FROM = ends[5]! + 1;

  it.each(Object.keys(lies) as (keyof typeof lies)[])('convicts the log: %s', async (lie) => {
    const lying = signedLog(batches(COUNTS, { shared: 99 }), { tree: new LyingTree(lies[lie](FROM)) });
    const at = world({ log: lying });
    const { copy } = await start(at);
    const alert = await raised(at, 'tampering');
    expect([alert.subject, alert.code, conclusive(alert)]).toEqual([
      'hyper tree',
      'hyper-mismatch',
      'false-batch',
    ]);
    // Everything before is verified, and nothing behind.
    expect(copy.size).toBe(FROM);
    await looksOn(at);
    expect(kinds(at)).toEqual(['tampering hyper tree hyper-mismatch']);
  });

  it('is kept as what has to be replayed where the log hides the state of that batch', async () => {
    const lying = signedLog(batches(COUNTS, { shared: 99 }), { tree: new LyingTree(lies.omission(FROM)) });
    const at = world({ log: lying });
    at.lies = { covering: () => Promise.reject(new QedError('busy', 'later')) };
    await start(at);
    const alert = await raised(at, 'tampering');
    expect(verdict(alert)).toMatchObject({ kind: 'hyper-mismatch', conclusive: false });
  });

  it('is found in the first batch, and again after a restart', () =>
    withDisk(async (path) => {
      const lying = signedLog(batches([3, 5]), { tree: new LyingTree(lies.omission(0)) });
      const at = world({ log: lying, size: 8 });
      await start(at, { path });
      expect(conclusive(await raised(at, 'tampering'))).toBe('false-batch');
      await stop(at);
      at.alerts.splice(0);
      const { copy } = await start(at, { path });
      await raised(at, 'tampering');
      expect([copy.size, at.broken]).toEqual([0, undefined]);
    }));
});

describe('answers that do not hold (threats 7 and 22)', () => {
  it('another hyper digest beside a valid checkpoint is refused, and proves nothing', async () => {
    const at = world();
    const true_ = snapshotOf(last);
    const lie = { ...true_, snapshot: { ...true_.snapshot, hyperDigest: new Uint8Array(32) } };
    at.lies = { latest: () => Promise.resolve(lie) };
    const { copy } = await start(at);
    expect(await raised(at, 'inconsistent')).toMatchObject({
      subject: 'log: head',
      code: 'snapshot-mismatch',
    });
    expect([copy.size, kinds(at).length]).toEqual([0, 1]);
  });

  it('entries that are not under the signed root may be of a damaged node, and the log is asked elsewhere', async () => {
    const at = world();
    const honest = askOf(world()).tile;
    let isDamaged = true;
    at.lies = {
      async tile(name) {
        const bytes = await honest(name);
        if (isDamaged) bytes[100]! ^= 1;
        return bytes;
      },
    };
    const { copy } = await start(at);
    const alert = await raised(at, 'inconsistent');
    expect([alert.subject, alert.code, alert.evidence]).toEqual(['entries', 'history-mismatch', undefined]);
    expect([copy.size, at.turns > 0]).toEqual([0, true]);
    isDamaged = false;
    await reaches(copy, last + 1);
    expect(kinds(at)).toEqual(['inconsistent entries history-mismatch']);
  });

  it('bundles that are none are no answer', async () => {
    const at = world();
    at.lies = { tile: () => Promise.resolve(new Uint8Array(100)) };
    await start(at);
    await until('it is tried again', () => (at.skewMs += 500) > 16_000);
    expect(await raised(at, 'outage')).toMatchObject({ subject: 'log: entries', code: 'server-failed' });
  });

  it.each<[string, ErrorCode, readonly (keyof AskLog)[], string]>([
    ['everything', 'unreachable', ['latest', 'tile', 'covering', 'published'], 'log: head'],
    ['the entries', 'forbidden', ['tile'], 'log: entries'],
    ['the list of what it published', 'not-found', ['published'], 'log: list'],
  ])('a log that refuses %s is an outage', async (_name, code, questions, subject) => {
    const at = world({ published: ends });
    let isBroken = true;
    at.refuses = (question) => (isBroken && questions.includes(question) ? code : undefined);
    const { audit, copy } = await start(at);
    audit.offer(snapshotOf(last), 'gossip');
    await until('it has failed', () => copy.size > 0 || audit.figures().waiting > 0);
    expect(kinds(at)).toEqual([]);
    await until('it is tried again', () => (at.skewMs += 500) > 16_000);
    expect(await raised(at, 'outage', subject)).toMatchObject({ code });
    isBroken = false;
    await reaches(copy, last + 1);
    await until('it is over', () => at.cleared.includes(`outage ${subject}`));
    expect(at.alerts.every(({ kind }) => kind === 'outage')).toBe(true);
  });

  it('our own damaged head is no word about the log', async () => {
    const at = world();
    await reaches((await start(at)).copy, last + 1);
    await stop(at);
    for (const [key, line] of at.disk.values)
      if (line.length > 100)
        at.disk.values.set(
          key,
          line.map((byte, i) => (i === 60 ? byte ^ 1 : byte)),
        );
    await expect(start(at)).rejects.toMatchObject({ code: 'store-corrupt' });
  });

  it('our own broken copy is no word about the log', () =>
    withDisk(async (path) => {
      const at = world({ log: forkOf(3) });
      await reaches((await start(at, { path })).copy, last + 1);
      await stop(at);
      // The head of the true log beside a replica of another one.
      const other = world({ size: last + 1 });
      await reaches((await start(other)).copy, last + 1);
      await stop(other);
      at.disk.values.clear();
      for (const [key, value] of other.disk.values) at.disk.values.set(key, value);
      at.log = log;
      at.size = last + 1;
      await expect(start(at, { path })).rejects.toMatchObject({ code: 'store-corrupt' });
      expect(kinds(at)).toEqual([]);
    }));
});

it('a list that shows what is not signed is not taken, and said once', async () => {
  const at = world();
  const lie = { ...snapshotOf(ends[3]!), audit: [] };
  at.lies = { published: () => Promise.resolve([snapshotOf(ends[2]!), lie]) };
  await start(at);
  expect(await raised(at, 'inconsistent')).toMatchObject({ subject: 'log: list', code: 'snapshot-mismatch' });
  await looksOn(at);
  expect(kinds(at)).toEqual(['inconsistent log: list snapshot-mismatch']);
});

describe('--sample', () => {
  it('follows the heads without fetching an entry', async () => {
    const at = world({ size: 1 });
    const { audit, copy } = await start(at, { sample: true });
    for (const version of ends) {
      at.size = version + 1;
      audit.offer(snapshotOf(version), 'gossip');
      await until(
        'the head',
        () =>
          equalBytes(
            copy.head?.snapshot.historyDigest ?? new Uint8Array(1),
            snapshotOf(version).snapshot.historyDigest,
          ),
        20_000,
      );
    }
    expect([kinds(at), at.tiles]).toEqual([[], []]);
  });

  it('convicts a log that was rewritten, also after a restart', async () => {
    const at = world({ size: 11 });
    const { copy } = await start(at, { sample: true });
    await reaches(copy, 11);
    await stop(at);
    at.log = forkOf(0, [3, 30, 50]);
    at.size = 83;
    await start(at, { sample: true });
    expect(conclusive(await raised(at, 'tampering'))).toBe('inconsistent');
  });
});

describe('random questions', () => {
  async function ask(at: World, options: Options = {}): Promise<Map<string, number>> {
    const { audit, copy } = await start(at, options);
    await until('there is something to ask about', () => copy.size > 0);
    const ends = new Map<string, number>();
    const questions = startQuestions({
      log: log.trust.log,
      ask: askOf(at),
      copy,
      audit,
      primitives: NATIVE,
      raise: (alert) => at.alerts.push(alert),
      random: (length) => seededRandom(ends.size + length).bytes(length),
      everyMs: 1,
      onEnd: (kind, end) => ends.set(`${kind} ${end}`, (ends.get(`${kind} ${end}`) ?? 0) + 1),
    });
    open.push(questions);
    return ends;
  }

  it.each([false, true])('are answered by an honest log (sample: %s)', async (sample) => {
    const at = world();
    const ends = await ask(at, { sample });
    await until(
      'both kinds',
      () => (ends.get('presence verified') ?? 0) > 20 && (ends.get('absence verified') ?? 0) > 20,
    );
    expect([kinds(at), [...ends.keys()].sort()]).toEqual([[], ['absence verified', 'presence verified']]);
  });

  it('are answered wrongly: that is kept, and proves nothing by itself', async () => {
    const at = world();
    const other = new Uint8Array(32).fill(1);
    at.lies = { membership: () => Promise.resolve(log.membership(other)) };
    const ends = await ask(at);
    const alert = await raised(at, 'inconsistent');
    expect(alert.code).toBe('proof-question');
    expect(verdict(alert)).toMatchObject({ kind: 'refused-proof', conclusive: false });
    expect((ends.get('presence refused') ?? 0) + (ends.get('absence refused') ?? 0)).toBeGreaterThan(0);
  });
});
