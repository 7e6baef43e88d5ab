// The log of a cluster of one in processes and on disks of its own: killed, locked out, out of space.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openAlone } from '../../testutils/cluster.ts';
import { childPayload } from '../../testutils/log-child.ts';
import { programPath } from '../../testutils/programs.ts';
import { seededRandom } from '../../testutils/random.ts';

const CHILD = programPath('log-child');

let directory = '';
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'qed-log-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Starts a writer, and kills it after so many answers. Returns the highest index that it acknowledged. */
async function writeAndKill(
  answers: number,
  whileRunning: (child: ChildProcess) => Promise<void>,
): Promise<number> {
  const child = spawn(process.execPath, [CHILD, 'write', directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let highest = 0;
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    highest = Math.max(highest, Number(line));
    count += 1;
    if (count === 1) await whileRunning(child);
    if (count === answers) child.kill('SIGKILL');
  }
  await exited;
  return highest;
}

async function checkLog(acknowledged: number): Promise<void> {
  const log = await openAlone(directory);
  const { firstIndex, committedIndex } = log.status();
  expect(committedIndex).toBeGreaterThanOrEqual(acknowledged);
  let before = firstIndex - 1;
  for await (const group of log.committed(before)) {
    for (const { index, payload } of group) {
      // Each life begins with an entry of the log's own, the very first one with the founder's as well; every other life is one that only looked.
      expect(index - before).toBeLessThanOrEqual(3);
      expect(Buffer.compare(payload, childPayload(index))).toBe(0);
      before = index;
    }
    if (before === committedIndex) break;
  }
  await log.close();
}

it('loses nothing acknowledged to kill -9, and is locked while it runs and free at once afterwards', async () => {
  const random = seededRandom(3);
  for (let round = 1; round <= 10; round++) {
    const answers = 1 + random.below(600);
    const acknowledged = await writeAndKill(answers, async () => {
      const second = openAlone(directory);
      await expect(second).rejects.toThrow(`${directory} is in use`);
    });
    expect(acknowledged).not.toBeNaN();
    await checkLog(acknowledged);
  }
});

it('is locked for a second opening in the same process', async () => {
  const log = await openAlone(directory);
  await expect(openAlone(directory)).rejects.toMatchObject({ code: 'store-locked' });
  await log.close();
  await (await openAlone(directory)).close();
});

it('names a path that cannot be a directory', async () => {
  const path = join(directory, 'file');
  writeFileSync(path, '');
  const log = openAlone(path);
  await expect(log).rejects.toThrow(`cannot open the log in ${path}`);
});

// A file system of its own needs a mount, and a mount needs a namespace that not every machine allows.
const isMountAllowed = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', tmpdir()]).status === 0;
(isMountAllowed ? it : it.skip)(
  'survives a full disk (skipped where unshare and mount are not allowed)',
  () => {
    const script = `mount -t tmpfs -o size=2m none '${directory}' && exec "$0" '${CHILD}' fill '${directory}'`;
    const { stdout } = spawnSync('unshare', ['-rm', 'sh', '-c', script, process.execPath], {
      encoding: 'utf8',
    });
    const { acknowledged, again, kept, after } = JSON.parse(stdout) as {
      [name in 'acknowledged' | 'again']: { count: number; code: string };
    } & { [name in 'kept' | 'after']: number };
    expect(acknowledged.count).toBeGreaterThan(10);
    // Whoever was on the way cannot know; everybody after that is told the reason.
    expect(acknowledged.code).toBe('outcome-unknown');
    expect(again).toEqual({ count: 0, code: 'store-full' });
    expect(kept).toBe(acknowledged.count);
    expect(after).toBe(kept + 1);
  },
);
