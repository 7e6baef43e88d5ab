// A real file system of a size of our own, for tests of full and read-only disks. It takes an administrator on Linux to mount one.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Tmpfs {
  readonly path: string;
  readonly setReadOnly: (isReadOnly: boolean) => void;
}

/** Why there can be none here; undefined when there can. */
export function whyNoTmpfs(): string | undefined {
  if (process.getuid?.() !== 0) return 'only an administrator may mount a file system';
  const path = makeDirectory();
  try {
    mount(['-t', 'tmpfs', '-o', 'size=1m', 'qed-test', path]);
    unmount(path);
    return undefined;
  } catch (error) {
    return String(error);
  } finally {
    rmSync(path, { recursive: true });
  }
}

export async function withTmpfs<T>(size: string, work: (disk: Tmpfs) => Promise<T>): Promise<T> {
  const path = makeDirectory();
  mount(['-t', 'tmpfs', '-o', `size=${size}`, 'qed-test', path]);
  try {
    return await work({
      path,
      setReadOnly: (isReadOnly) => mount(['-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, path]),
    });
  } finally {
    unmount(path);
    rmSync(path, { recursive: true });
  }
}

function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'qed-tmpfs-'));
}

function mount(args: readonly string[]): void {
  run('mount', args);
}

/** Also when somebody still has a file open: a test that failed must show why it failed. */
function unmount(path: string): void {
  run('umount', ['--lazy', path]);
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr.trim()}`);
}
