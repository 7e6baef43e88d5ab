// The log against its twin: random changes, and the power taken away at every step of the disk.
import { createFakeDisk, type FakeDisk, type Survival } from '../../testutils/fake-disk.ts';
import { seededRandom } from '../../testutils/random.ts';
import {
  applyChange,
  changeTwin,
  difference,
  emptyTwin,
  lastOf,
  nextChange,
  type WalChange,
  type WalTwin,
} from '../../testutils/wal-twin.ts';
import { openWal, type Wal } from './wal.ts';

const DIRECTORY = '/log';

function open(disk: FakeDisk): Promise<Wal> {
  return openWal({
    directory: DIRECTORY,
    disk,
    random: (length) => new Uint8Array(length).fill(7),
    segmentBytes: 500,
  });
}

/** The changes, and the states before and after each of them. */
interface Plan {
  readonly changes: readonly WalChange[];
  readonly twins: readonly WalTwin[];
}

function plan(seed: number, count: number): Plan {
  const random = seededRandom(seed);
  const twins = [emptyTwin];
  const changes = Array.from({ length: count }, () => {
    const change = nextChange(twins.at(-1)!, random);
    twins.push(changeTwin(twins.at(-1)!, change));
    return change;
  });
  return { changes, twins };
}

/** Proposes one change after another, several on their way at once, until the disk gives up. */
async function run(
  disk: FakeDisk,
  changes: readonly WalChange[],
): Promise<{ acknowledged: number; issued: number }> {
  const progress = { acknowledged: 0, issued: 0 };
  const wal = await open(disk).catch(() => undefined);
  if (!wal) return progress;
  const underWay: Promise<void>[] = [];
  for (const [at, change] of changes.entries()) {
    // A compaction is about what is durable, and a change right behind it may need its base.
    if (change.kind === 'compact') await Promise.all(underWay);
    if (wal.failure) break;
    progress.issued = at + 1;
    const answer = applyChange(wal, change).then(
      () => void (progress.acknowledged = Math.max(progress.acknowledged, at + 1)),
      () => undefined,
    );
    underWay.push(answer);
    if (change.kind === 'compact' || at % 3 === 0) await answer;
  }
  await Promise.all(underWay);
  await wal.close().catch(() => undefined);
  return progress;
}

/** What is there after a restart must be the state after some change between the last acknowledged and the last issued one. */
function findTwin(
  wal: Wal,
  twins: readonly WalTwin[],
  { acknowledged, issued }: { readonly acknowledged: number; readonly issued: number },
): WalTwin {
  const differences: string[] = [];
  for (let at = acknowledged; at <= issued; at++) {
    // What may be compacted is what had been said by then.
    const last = lastOf(twins[at]!).index;
    const twin = { ...twins[at]!, compacted: Math.min(last, twins[issued]!.compacted) };
    const found = difference(wal, twin);
    if (found === undefined) return twin;
    differences.push(`after change ${at}: ${found}`);
  }
  throw new Error(differences.join('\n'));
}

async function crashAt({ changes, twins }: Plan, step: number, survival: Survival): Promise<boolean> {
  const disk = createFakeDisk({ powerOffAt: step });
  const progress = await run(disk, changes);
  const random = seededRandom(step);
  const wal = await open(disk.restart(survival, random));
  let twin = findTwin(wal, twins, progress);
  const change = nextChange(twin, random);
  await applyChange(wal, change);
  twin = changeTwin(twin, change);
  if (difference(wal, twin) !== undefined) throw new Error(`after going on: ${difference(wal, twin)}`);
  await wal.close();
  return disk.steps < step;
}

describe('the log on disk', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    'equals its twin after random changes and reopenings, seed %i',
    async (seed) => {
      const { changes, twins } = plan(seed, 200);
      let disk = createFakeDisk();
      let wal = await open(disk);
      const random = seededRandom(seed);
      for (const [at, change] of changes.entries()) {
        await applyChange(wal, change);
        expect(difference(wal, twins[at + 1]!)).toBeUndefined();
        if (random.chance(0.9)) continue;
        await wal.close();
        disk = random.chance(0.5) ? disk : disk.restart('any', random);
        wal = await open(disk);
        expect(wal.cut).toBeUndefined();
        expect(difference(wal, twins[at + 1]!)).toBeUndefined();
      }
      await wal.close();
    },
  );

  it.each(['synced', 'written', 'any'] as const)(
    'keeps what it acknowledged and invents nothing, the power going off at every step (%s)',
    async (survival) => {
      const seed = { synced: 11, written: 12, any: 13 }[survival];
      const planned = plan(seed, 14);
      for (let step = 1; ; step++) {
        const isOver = await crashAt(planned, step, survival).catch((error: unknown) => {
          throw new Error(`seed ${seed}, step ${step}: ${String(error)}`, { cause: error });
        });
        if (isOver) break;
      }
    },
  );

  it('survives a crash during the recovery from a crash', async () => {
    const { changes, twins } = plan(21, 30);
    for (let step = 400; step < 430; step++) {
      const first = createFakeDisk({ powerOffAt: step });
      const progress = await run(first, changes);
      for (let second = 1; ; second++) {
        const random = seededRandom(step * 1000 + second);
        const disk = first.restart('any', random);
        disk.faults = { powerOffAt: second };
        const opened = await open(disk).catch(() => undefined);
        const wal = await open(disk.restart('any', random));
        expect(lastOf(findTwin(wal, twins, progress))).toEqual(wal.last);
        if (opened) break;
      }
    }
  });
});
