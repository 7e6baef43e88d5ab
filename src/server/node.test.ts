// A node across restarts, crashes and failures of its disks. After each of them a stranger's check of everything that was acknowledged.
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatIncremental, formatMembership, formatSignedSnapshot } from '../balloon/proof.ts';
import { verifyIncremental, verifyMembership, verifySignedSnapshot } from '../balloon/verify.ts';
import { parseVkey } from '../crypto/vkey.ts';
import { createKeyFiles } from '../crypto/keys.ts';
import { LOG_KEY } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { crashDisk } from '../storage/memory.ts';
import { encodeComparison } from '../balloon/record.ts';
import { codeOf, codeOfPromise } from '../../testutils/code-of.ts';
import { until } from '../../testutils/until.ts';
import { seededRandom } from '../../testutils/random.ts';
import { NATIVE } from '../../testutils/signed-log.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { openTestNode, testDisks, type TestDisks } from '../../testutils/test-node.ts';
import { digestOf } from './bodies.ts';
import { reserve } from './listen.ts';
import { createMetrics } from './metrics.ts';
import { type Node } from './node.ts';
import { openNode, type OpenNodeOptions } from './open-node.ts';

const trustIn = (node: Node) => ({ log: parseVkey(node.identity.signer.vkey) });

function add(node: Node, ...events: string[]) {
  const eventDigests = Buffer.concat(events.map((event) => digestOf(event)));
  return node.add({ key: undefined, eventDigests, events: events.map((event) => Buffer.from(event)) });
}

/** What a client keeps of an event that was acknowledged. */
interface Receipt {
  readonly event: string;
  readonly version: number;
  readonly signed: unknown;
}

async function addWithReceipt(node: Node, event: string): Promise<Receipt> {
  const { versionFirst, snapshotVersion } = await add(node, event);
  const { signedSnapshot } = node.signed(snapshotVersion);
  return { event, version: versionFirst, signed: formatSignedSnapshot(signedSnapshot) };
}

/** Every event is provable at the version it got, and every snapshot ever seen is consistent with the present. */
function checkReceipts(node: Node, receipts: readonly Receipt[]): void {
  const trust = trustIn(node);
  const present = verifySignedSnapshot(
    formatSignedSnapshot(node.latest().signedSnapshot),
    trust,
    NATIVE,
  ).snapshot;
  for (const { event, version, signed } of receipts) {
    const eventDigest = digestOf(event);
    const { proof, signed: now } = node.membership(eventDigest);
    const json = formatMembership({ proof, signedSnapshot: now.signedSnapshot });
    expect(verifyMembership(json, { eventDigest }, trust, NATIVE)).toMatchObject({ exists: true, version });
    const { snapshot } = verifySignedSnapshot(signed, trust, NATIVE);
    const growth = formatIncremental(node.incremental(snapshot.version, present.version));
    verifyIncremental(growth, { start: snapshot, end: present }, NATIVE);
  }
}

it('is after a restart what it was before', async () => {
  const disks = testDisks();
  const { node } = await openTestNode({ disks, storeEvents: true });
  const receipts = [await addWithReceipt(node, 'a'), await addWithReceipt(node, 'b')];
  const latest = node.latest().json;
  await node.close();
  const { node: again } = await openTestNode({ disks, storeEvents: true });
  expect(again.latest().json).toBe(latest);
  expect(Buffer.from((await again.event(1)).event!).toString()).toBe('b');
  checkReceipts(again, receipts);
  receipts.push(await addWithReceipt(again, 'c'));
  checkReceipts(again, receipts);
  await again.close();
});

it('loses nothing acknowledged to power failures, whatever else its disks lose', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = seededRandom(seed);
    let disks: TestDisks = testDisks();
    const receipts: Receipt[] = [];
    for (let round = 0; round < 4; round++) {
      const { node } = await openTestNode({ disks });
      if (receipts.length > 0) checkReceipts(node, receipts);
      disks.log.faults = { powerOffAt: disks.log.steps + 200 + random.below(3000) };
      for (let at = 0; at < 20; at++) {
        const burst = Array.from(
          { length: 1 + random.below(4) },
          (_, one) => `${seed} ${round} ${at} ${one}`,
        );
        const answers = await Promise.allSettled(burst.map((event) => addWithReceipt(node, event)));
        for (const answer of answers) if (answer.status === 'fulfilled') receipts.push(answer.value);
      }
      // The process is gone: nothing is closed, and both disks keep only what they must.
      crashDisk(disks.store, random.below(3));
      disks = { ...disks, log: disks.log.restart(random.chance(0.5) ? 'synced' : 'any', random) };
      await node.close().catch(() => undefined);
    }
    const { node } = await openTestNode({ disks });
    try {
      checkReceipts(node, receipts);
      expect(new Set(receipts.map(({ version }) => version)).size).toBe(receipts.length);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    await node.close();
  }
});

it('takes a clock that is set back for one that stands still', async () => {
  const times = [1000, 2000, 500, 1500, 2500];
  let at = 0;
  const { node } = await openTestNode({ now: () => times[at++]! });
  for (const event of ['a', 'b', 'c', 'd', 'e']) await add(node, event);
  const logged = await Promise.all([0, 1, 2, 3, 4].map((version) => node.event(version)));
  expect(logged.map(({ entry }) => entry.time)).toEqual([1000, 2000, 2000, 2000, 2500]);
  await node.close();
});

it('takes no more after the disk of its log is full, answers what it knows, and goes on after a start with room', async () => {
  const disks = testDisks();
  const { node, events } = await openTestNode({ disks });
  const receipts = [await addWithReceipt(node, 'before')];
  disks.log.faults = { capacity: 2000 };
  let code: string = 'accepted';
  const many = Array.from({ length: 500 }, (_, at) => `one of many ${at}`);
  for (let at = 0; code === 'accepted' && at < 20; at++) {
    const adding = addWithReceipt(node, `event ${at}`).then(async (receipt) => {
      receipts.push(receipt);
      await add(node, ...many);
    });
    code = await codeOfPromise(adding);
  }
  // Whether that record is in the log shows at the next start.
  expect(code).toBe('outcome-unknown');
  expect(node.health()).toMatchObject({ isReady: false, error: { code: 'store-full' } });
  expect(await codeOfPromise(add(node, 'more'))).toBe('store-full');
  expect(events.filter(({ kind }) => kind === 'failed')).toHaveLength(1);
  checkReceipts(node, receipts);
  await node.close();
  disks.log.faults = {};
  const { node: again } = await openTestNode({ disks });
  expect(again.health().isReady).toBe(true);
  checkReceipts(again, receipts);
  receipts.push(await addWithReceipt(again, 'after'));
  checkReceipts(again, receipts);
  await again.close();
});

it('takes no more when the database cannot be written, and has what it took after the next start', async () => {
  const disks = testDisks();
  let isFull = false;
  const { node } = await openTestNode({
    disks,
    wrapStore: (store) => ({
      ...store,
      write: (writes, options) =>
        isFull ? Promise.reject(new QedError('store-full', 'no space')) : store.write(writes, options),
    }),
  });
  const receipts = [await addWithReceipt(node, 'before')];
  isFull = true;
  // It is in the log, and so it is answered.
  receipts.push(await addWithReceipt(node, 'not written'));
  await until('the node has noticed', () => !node.health().isReady);
  expect(node.health()).toMatchObject({ isReady: false, error: { code: 'store-full' } });
  expect(await codeOfPromise(add(node, 'more'))).toBe('store-full');
  checkReceipts(node, receipts);
  await node.close();
  isFull = false;
  const { node: again } = await openTestNode({ disks });
  expect(again.membership(digestOf('not written')).proof.version).toBe(1);
  expect(again.membership(digestOf('more')).proof.exists).toBe(false);
  checkReceipts(again, receipts);
  await again.close();
});

it('proposes nothing when the events themselves cannot be kept', async () => {
  const disks = testDisks();
  const { node } = await openTestNode({ disks, storeEvents: true });
  await add(node, 'a');
  crashDisk(disks.events);
  expect(await codeOfPromise(add(node, 'b'))).toBe('store-closed');
  expect(node.version).toBe(0);
  expect(node.health().isReady).toBe(false);
  await node.close();
});

it('stops serving when an event that it kept has another digest', async () => {
  const disks = testDisks();
  const { node } = await openTestNode({ disks, storeEvents: true });
  await add(node, 'a');
  for (const [key] of disks.events.values) disks.events.values.set(key, Buffer.from('another'));
  await expect(node.event(0)).rejects.toThrow('has another digest');
  expect(() => node.latest()).toThrow('has another digest');
  expect(node.health()).toMatchObject({ isReady: false, error: { code: 'store-corrupt' } });
  await node.close();
});

it('stops answering for good when its digests are not those that the log compares, and says so', async () => {
  const disks = testDisks();
  const { node, log, events } = await openTestNode({ disks });
  const receipts = [await addWithReceipt(node, 'a')];
  const { snapshot } = node.latest().signedSnapshot;
  await log.append(encodeComparison(snapshot));
  receipts.push(await addWithReceipt(node, 'b'));
  checkReceipts(node, receipts);
  await log.append(encodeComparison({ ...snapshot, hyperDigest: new Uint8Array(32) }));
  await until('it has noticed', () => !node.health().isReady);
  expect(node.health().error?.code).toBe('diverged');
  expect(codeOf(() => node.latest())).toBe('diverged');
  expect(await codeOfPromise(add(node, 'c'))).toBe('diverged');
  expect(events.filter(({ kind }) => kind === 'failed')).toHaveLength(1);
  await node.close();
  // It runs for its operator to look, but a start changes nothing.
  const { node: again } = await openTestNode({ disks });
  expect(again.health().error?.code).toBe('diverged');
  expect(codeOf(() => again.membership(digestOf('a')))).toBe('diverged');
  await again.close();
});

it('finishes what it took before it closes', async () => {
  const disks = testDisks();
  const { node } = await openTestNode({ disks });
  const adds = Array.from({ length: 50 }, (_, at) => addWithReceipt(node, `event ${at}`));
  const closed = node.close();
  const receipts = await Promise.all(adds);
  await closed;
  const { node: again } = await openTestNode({ disks });
  checkReceipts(again, receipts);
  await again.close();
});

describe('on a real directory', () => {
  async function open(path: string, more: Partial<OpenNodeOptions> = {}): Promise<Node> {
    const http = { host: '127.0.0.1', port: 1 };
    const raft = await reserve({ address: { ...http, port: 0 }, flag: '--raft-addr', isPortFree: true });
    const listeners = { raft, http, management: http };
    try {
      return await openNode({ path, now: Date.now, metrics: createMetrics(), listeners, ...more });
    } finally {
      await raft.release();
    }
  }

  async function withNode<T>(
    path: string,
    more: Partial<OpenNodeOptions>,
    work: (node: Node) => T | Promise<T>,
  ): Promise<T> {
    const node = await open(path, more);
    try {
      return await work(node);
    } finally {
      await node.close();
    }
  }

  it('makes its keys and its name at the first start, keeps them, and is locked while it runs', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'new', 'data');
      const [vkey, receipt] = await withNode(path, {}, async (node) => {
        const { origin, nodeId, signer } = node.identity;
        expect(signer.vkey.startsWith(`${origin}+`)).toBe(true);
        expect(origin).toMatch(/^qed\.local\/[0-9a-f]{8}$/);
        expect(nodeId).toMatch(/^node-[0-9a-f]{8}$/);
        for (const key of ['log_key.pem', 'node_key.pem'])
          expect(statSync(join(path, key)).mode & 0o777).toBe(0o600);
        expect(readFileSync(join(path, 'log_key.pem.pub'), 'utf8')).toBe(`${signer.vkey}\n`);
        expect(await codeOfPromise(open(path))).toBe('store-locked');
        return [signer.vkey, await addWithReceipt(node, 'a')] as const;
      });
      await withNode(path, {}, (node) => {
        expect(node.identity.signer.vkey).toBe(vkey);
        checkReceipts(node, [receipt]);
      });
    }));

  it('refuses another origin, log key or node id than it began with', () =>
    withTempDir(async (path) => {
      const mine = join(path, 'mine.pem');
      const other = join(path, 'other.pem');
      for (const key of [mine, other]) createKeyFiles(key, { name: 'a', type: LOG_KEY });
      const data = join(path, 'data');
      const first = { logKeyPath: mine, origin: 'example.org/log', nodeId: 'one' };
      await withNode(data, first, () => undefined);
      const rows: [Partial<OpenNodeOptions>, string][] = [
        [first, 'accepted'],
        [{ logKeyPath: mine }, 'accepted'],
        [{ ...first, origin: 'example.org/other' }, 'node-mismatch'],
        [{ ...first, nodeId: 'two' }, 'node-mismatch'],
        [{ ...first, logKeyPath: other }, 'node-mismatch'],
        [{}, 'key-missing'],
        [{ logKeyPath: join(path, 'none.pem') }, 'key-missing'],
        [{ ...first, nodeId: 'no/slash' }, 'option-malformed'],
        [{ ...first, origin: 'no space' }, 'name-malformed'],
      ];
      for (const [options, code] of rows) {
        const outcome = codeOfPromise(open(data, options).then((node) => node.close()));
        expect([options, await outcome]).toEqual([options, code]);
      }
    }));

  it('leaves nothing open and nothing changed when it cannot start', () =>
    withTempDir(async (path) => {
      const receipt = await withNode(path, {}, (node) => addWithReceipt(node, 'a'));
      writeFileSync(join(path, 'blocked'), '');
      expect(await codeOfPromise(open(path, { raftPath: join(path, 'blocked') }))).toMatch(/^store-/);
      expect(await codeOfPromise(open(join(path, 'blocked', 'data')))).toBe('store-failed');
      // Another directory for the log: the database has applied what is not in it.
      expect(await codeOfPromise(open(path, { raftPath: join(path, 'empty') }))).toBe('store-corrupt');
      chmodSync(join(path, 'log_key.pem'), 0o644);
      expect(await codeOfPromise(open(path))).toBe('key-permissions');
      chmodSync(join(path, 'log_key.pem'), 0o600);
      await withNode(path, {}, (node) => checkReceipts(node, [receipt]));
    }));

  // The administrator may write everywhere.
  (process.getuid?.() === 0 ? it.skip : it)('says so when it may not write', () =>
    withTempDir(async (path) => {
      mkdirSync(join(path, 'data'), { mode: 0o500 });
      expect(await codeOfPromise(open(join(path, 'data')))).toBe('store-failed');
    }),
  );

  it('begins no second log where there was one, or where it was about to join one', () =>
    withTempDir(async (path) => {
      await withNode(path, {}, (node) => addWithReceipt(node, 'a'));
      for (const place of ['db', 'raft', 'hyper.image'])
        rmSync(join(path, place), { recursive: true, force: true });
      expect(await codeOfPromise(open(path))).toBe('store-corrupt');
      const fresh = join(path, 'fresh');
      mkdirSync(fresh, { mode: 0o700 });
      writeFileSync(join(fresh, 'joining'), '');
      expect(await codeOfPromise(open(fresh))).toBe('store-corrupt');
    }));

  it('builds its database anew from the log when the database is gone', () =>
    withTempDir(async (path) => {
      const receipt = await withNode(path, {}, (node) => addWithReceipt(node, 'a'));
      rmSync(join(path, 'db'), { recursive: true });
      await withNode(path, {}, (node) => checkReceipts(node, [receipt]));
    }));
});
