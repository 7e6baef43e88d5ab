// The store on disk with other processes and other disks: killed with -9, locked, no permission, read-only, full.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { programPath } from '../../testutils/programs.ts';
import { seededRandom } from '../../testutils/random.ts';
import { lastNumbered, openSmall } from '../../testutils/store-child.ts';
import { withTempDir } from '../../testutils/temp.ts';

/** How the child describes an error. */
type Refused = Record<'code' | 'message' | 'hint', string>;

const CHILD = programPath('store-child');

/** Starts a writer and kills it once it has acknowledged so many writes. Gives the number of the last one. */
async function writeAndKill(
  path: string,
  answers: number,
  whileRunning = () => Promise.resolve(),
): Promise<number> {
  const child = spawn(process.execPath, [CHILD, 'write', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  let acknowledged = NaN;
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged = Number(line);
    count += 1;
    if (count === 1) await whileRunning();
    if (count === answers) child.kill('SIGKILL');
  }
  expect((await closed)[1]).toBe('SIGKILL');
  return acknowledged;
}

it('holds everything acknowledged, and whole batches only, after every kill -9', async () => {
  const seed = 11;
  const random = seededRandom(seed);
  await withTempDir(async (path) => {
    for (let round = 1; round <= 10; round++) {
      const acknowledged = await writeAndKill(path, 1 + random.below(60));
      const store = await openSmall(path);
      const last = await lastNumbered(store);
      await store.close();
      // The one under way when it was killed may be there or not.
      expect({ seed, round, beyond: [0, 1].includes(last - acknowledged) }).toEqual({
        seed,
        round,
        beyond: true,
      });
    }
  });
});

it('is locked while another process has it open, and says where', async () => {
  await withTempDir(async (path) => {
    await writeAndKill(path, 3, async () => {
      await expect(openSmall(path)).rejects.toMatchObject({
        code: 'store-locked',
        message: `the database at ${path} is already open, here or in another process`,
      });
    });
    await (await openSmall(path)).close();
  });
});

it('names a directory that it may not write to, and what to do', async () => {
  await withTempDir(async (path) => {
    await chmod(path, 0o755);
    const place = join(path, 'db');
    // Root may do everything, so its child becomes nobody.
    const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
    if (!('uid' in nobody)) await chmod(path, 0o555);
    const options = { encoding: 'utf8', ...nobody } as const;
    const { stdout } = spawnSync(process.execPath, [CHILD, 'open', place], options);
    const refused = JSON.parse(stdout) as Refused;
    expect(refused.code).toBe('store-failed');
    expect(refused.message).toContain(`no permission to write the database at ${place}`);
    expect(refused.hint).toContain('name another path');
    await chmod(path, 0o755);
  });
});

// A disk of its own needs a mount, and a mount needs a namespace, which not every machine allows.
const isMountAllowed = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', tmpdir()]).status === 0;
const itMounted = isMountAllowed ? it : it.skip;
if (!isMountAllowed)
  process.stderr.write('Skipped: a full and a read-only disk; `unshare -rm mount` is not allowed here.\n');

/** Runs a shell script with $dir, a small disk of its own, and $child, the command of the child. Gives the lines it prints, which are JSON. */
function onSmallDisk(script: string): Promise<unknown[]> {
  return withTempDir((dir) => {
    const mounted = `mount -t tmpfs -o size=3m none "$dir"; ${script}`;
    const env = { ...process.env, dir, child: [process.execPath, CHILD].join(' ') };
    const { stdout } = spawnSync('unshare', ['-rm', 'sh', '-e', '-c', mounted], { encoding: 'utf8', env });
    const lines = stdout.trim().split('\n');
    return Promise.resolve(lines.map((line): unknown => JSON.parse(line)));
  });
}

interface FullDisk extends Record<'failed' | 'then' | 'whileFull', Refused> {
  readonly acknowledged: number;
  readonly kept: number;
  readonly next: unknown;
}

itMounted('says that the disk is full, and goes on where it was when there is space again', async () => {
  const script = 'head -c 1000000 /dev/zero > $dir/ballast; $child fill $dir/db';
  const [report] = (await onSmallDisk(script)) as [FullDisk];
  expect(report.failed.code).toBe('store-full');
  expect(report.failed.message).toMatch(/^no space is left on the disk for the database at .*db$/);
  expect(report.then.code).toBe('store-closed');
  expect(report.acknowledged).toBeGreaterThan(50);
  expect(report.kept).toBeGreaterThanOrEqual(report.acknowledged);
  expect(report.next).toEqual({ last: report.kept + 1 });
  expect(report.whileFull.code).toBe('store-full');
});

itMounted('names a read-only disk, and opens there once it can be written', async () => {
  const script =
    '$child open $dir/db; mount -o remount,ro $dir; $child open $dir/db; $child open $dir/new; ' +
    'mount -o remount,rw $dir; $child open $dir/db';
  const [made, old, fresh, again] = await onSmallDisk(script);
  expect([made, again]).toEqual([{ last: 0 }, { last: 0 }]);
  for (const refused of [old, fresh] as Refused[]) {
    expect(refused.code).toBe('store-failed');
    expect(refused.message).toMatch(/^no permission to write the database at .*(db|new): .*read-only/i);
  }
});
