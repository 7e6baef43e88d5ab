// The outbox over a log in memory and a disk that can crash: cadence, repetition, and that nothing is skipped.
import { parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { crashDisk, memoryDisk, openMemoryStore, type MemoryDisk } from '../storage/memory.ts';
import { openOutbox, type Outbox, type OutboxOptions } from './outbox.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import { signedLog, type SignedLog, witness } from '../../testutils/signed-log.ts';
import { until } from '../../testutils/until.ts';

const random = seededRandom(7);
const log = signedLog(Array.from({ length: 40 }, () => [random.bytes(32)]));
const otherLog = signedLog(Array.from({ length: 40 }, () => [random.bytes(32)]));

interface World {
  readonly disk: MemoryDisk;
  readonly sent: number[];
  /** The last version. */
  version: number | undefined;
  isLeader: boolean;
}

function world(): World {
  return { disk: memoryDisk(), sent: [], version: undefined, isLeader: true };
}

const opened: Outbox[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((outbox) => outbox.close()));
});

async function open(at: World, options: Partial<OutboxOptions> = {}, of: SignedLog = log): Promise<Outbox> {
  const outbox = await openOutbox({
    store: openMemoryStore(at.disk),
    version: () => at.version,
    signed: (version) => parseSignedSnapshot(of.signedSnapshot(version)),
    isLeader: () => at.isLeader,
    cosign: () => Promise.resolve({ lines: '', isComplete: true }),
    publish: ({ snapshot }: SignedSnapshot) => Promise.resolve(at.sent.push(snapshot.version)),
    onFailure: (error) => {
      throw error;
    },
    now: () => performance.now(),
    ...options,
  });
  opened.push(outbox);
  return outbox;
}

const versionsOf = async (outbox: Outbox, from: number, limit: number): Promise<number[]> =>
  (await outbox.published(from, limit)).map(({ version }) => version);

async function grow(at: World, outbox: Outbox, version: number): Promise<void> {
  at.version = version;
  outbox.notify();
  await until(`version ${version} is published`, () => at.sent.includes(version));
}

it('publishes at once when idle', async () => {
  const at = world();
  const outbox = await open(at, { cadenceMs: 1 });
  const from = performance.now();
  const versions = Array.from({ length: 30 }, (_, version) => version);
  for (const version of versions) await grow(at, outbox, version);
  // If each waited for a second, or for the next repetition, it would be more.
  expect(performance.now() - from).toBeLessThan(20_000);
  expect(at.sent).toEqual(versions);
});

it('publishes only the newest, and not more often than its cadence, when busy', async () => {
  const at = world();
  const times: number[] = [];
  const outbox = await open(at, {
    cadenceMs: 50,
    publish({ snapshot }) {
      times.push(performance.now());
      at.sent.push(snapshot.version);
      return Promise.resolve();
    },
  });
  for (let version = 0; version < 40; version++) {
    at.version = version;
    outbox.notify();
    if (version === 0) await until('the first', () => at.sent.length === 1);
  }
  await until('the newest', () => at.sent.includes(39));
  expect(at.sent).toEqual([0, 39]);
  expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(45);
  expect(outbox.figures()).toEqual({ published: 2, repeated: 0, version: 39 });
});

it('repeats the last one when nothing happens', async () => {
  const at = world();
  const outbox = await open(at, { cadenceMs: 1, repeatMs: 20 });
  await grow(at, outbox, 5);
  await until('repetitions', () => at.sent.length >= 4);
  expect(new Set(at.sent)).toEqual(new Set([5]));
  expect(await versionsOf(outbox, 0, 100)).toEqual([5]);
});

it('lists what was published, from a version on', async () => {
  const at = world();
  const outbox = await open(at, { cadenceMs: 1 });
  for (const version of [0, 3, 4, 9]) await grow(at, outbox, version);
  expect(await versionsOf(outbox, 0, 100)).toEqual([0, 3, 4, 9]);
  expect(await versionsOf(outbox, 4, 1)).toEqual([4]);
  expect(await versionsOf(outbox, 10, 100)).toEqual([]);
});

it.each([false, true])(
  'repeats after a crash what it had written down (it had left: %s), and goes on',
  async (hadLeft) => {
    const at = world();
    const publish = hadLeft ? {} : { publish: () => new Promise<never>(() => undefined) };
    const outbox = await open(at, { cadenceMs: 1, onFailure: () => undefined, ...publish });
    at.version = 3;
    outbox.notify();
    await until('it is written down', async () => (await outbox.published(0, 9)).length === 1);
    crashDisk(at.disk);
    await opened.pop()!.close();
    at.version = 7;
    at.sent.length = 0;
    const again = await open(at, { cadenceMs: 1 });
    await until('both', () => at.sent.length === 2);
    expect(at.sent).toEqual([3, 7]);
    expect(await versionsOf(again, 0, 9)).toEqual([3, 7]);
  },
);

it('says again after a restart where the log stands, and no more', async () => {
  const at = world();
  const outbox = await open(at, { cadenceMs: 1 });
  await grow(at, outbox, 3);
  await outbox.close();
  at.sent.length = 0;
  await open(at, { cadenceMs: 1 });
  await until('the present', () => at.sent.length > 0);
  expect(at.sent).toEqual([3]);
});

it('does not start over data that ends before what was published, or tells another history', async () => {
  const at = world();
  const outbox = await open(at, { cadenceMs: 1 });
  await grow(at, outbox, 9);
  await outbox.close();
  at.version = 8;
  expect(await codeOfPromise(open(at))).toBe('head-rollback');
  at.version = 9;
  expect(await codeOfPromise(open(at, {}, otherLog))).toBe('consistency-mismatch');
  await open(at);
});

it('is silent on a follower, notes what the leader published, and repeats rather than skips when it leads', async () => {
  const at = world();
  at.isLeader = false;
  const outbox = await open(at, { cadenceMs: 1 });
  at.version = 5;
  outbox.notify();
  for (const version of [2, 5]) await outbox.note(parseSignedSnapshot(log.signedSnapshot(version)), '');
  expect(at.sent).toEqual([]);
  at.version = 6;
  at.isLeader = true;
  outbox.notify();
  await until('it leads', () => at.sent.length > 0);
  expect(at.sent).toEqual([6]);
  expect(await versionsOf(outbox, 0, 9)).toEqual([2, 5, 6]);
});

it('tries again when publishing fails', async () => {
  const at = world();
  const failures: unknown[] = [];
  let tries = 0;
  const outbox = await open(at, {
    cadenceMs: 1,
    repeatMs: 1,
    onFailure: (error) => failures.push(error),
    publish({ snapshot }) {
      tries += 1;
      if (tries === 1) return Promise.reject(new Error('no network'));
      return Promise.resolve(at.sent.push(snapshot.version));
    },
  });
  at.version = 1;
  outbox.notify();
  await until('it came through', () => at.sent.length > 0);
  expect(failures).toHaveLength(1);
});

it('publishes what others vouch for, and tells it again to whoever missed it', async () => {
  const at = world();
  const lines = ['one\n', 'one\ntwo\n', 'one\n'];
  const sent: string[] = [];
  const options = {
    cadenceMs: 1,
    repeatMs: 5,
    cosign: () => Promise.resolve({ lines: cosignatures(lines.shift() ?? ''), isComplete: true }),
    publish: ({ checkpoint, snapshot }: SignedSnapshot) => {
      sent.push(checkpoint.split('\n\n')[1]!.split('\n').slice(1, -1).join(' '));
      return Promise.resolve(at.sent.push(snapshot.version));
    },
  };
  const outbox = await open(at, options);
  await grow(at, outbox, 2);
  await until('it is repeated', () => sent.length >= 3);
  expect(sent.slice(0, 3).map((shown) => shown.split('— ').length - 1)).toEqual([1, 2, 1]);
  // Fewer cosignatures do not take the place of more.
  const [published] = await outbox.published(0, 9);
  expect(published?.lines).toBe(cosignatures('one\ntwo\n'));
});

it('says a state again soon that not all have cosigned who did before', async () => {
  const at = world();
  const complete = [false, true];
  const outbox = await open(at, {
    cadenceMs: 1,
    repeatMs: 600_000,
    cosign: () => Promise.resolve({ lines: '', isComplete: complete.shift() ?? true }),
  });
  await grow(at, outbox, 2);
  await until('it is repeated', () => at.sent.length === 2);
  expect(complete).toEqual([]);
});

it('publishes nothing that nobody vouches for, and goes on when somebody does', async () => {
  const at = world();
  const failures: unknown[] = [];
  let isUp = false;
  const outbox = await open(at, {
    cadenceMs: 1,
    cosign: () =>
      isUp ? Promise.resolve({ lines: '', isComplete: true }) : Promise.reject(new Error('no quorum')),
    onFailure: (error) => failures.push(error),
  });
  at.version = 2;
  outbox.notify();
  await until('it failed', () => failures.length > 0);
  expect(at.sent).toEqual([]);
  expect(await outbox.published(0, 9)).toEqual([]);
  isUp = true;
  await until('it goes on', () => at.sent.length > 0);
});

/** Lines as cosigners write them, one for each name. */
function cosignatures(names: string): string {
  return names
    .split('\n')
    .filter((name) => name !== '')
    .map((name) =>
      witness(name.length + 40, name).cosign(
        { origin: 'example.org/log', size: 3, root: new Uint8Array(32) },
        1,
      ),
    )
    .join('');
}
