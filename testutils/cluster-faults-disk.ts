// A disk that is small enough to be filled: a file system in memory, mounted where one node keeps its data. Only root may mount.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface FullDisk {
  /** Why there is none; undefined when there is. */
  readonly missing: string | undefined;
  /** Leaves no room at all. */
  readonly fill: () => Promise<void>;
  readonly free: () => void;
  readonly close: () => void;
}

const MEBIBYTES = 256;

export function openFullDisk(path: string): FullDisk {
  const filler = join(path, 'filler');
  const none = { fill: () => Promise.resolve(), free: () => undefined, close: () => undefined };
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return { ...none, missing: 'a small disk can be mounted by root on Linux only' };
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    mount('mount', '-t', 'tmpfs', '-o', `size=${MEBIBYTES}m,mode=0700`, 'none', path);
  } catch (error) {
    return {
      ...none,
      missing: `a small disk cannot be mounted here (${String(error).split('\n')[0] ?? ''})`,
    };
  }
  return {
    missing: undefined,
    async fill() {
      const { bavail, bsize } = statfsSync(path);
      await tryWrite(filler, bavail * bsize);
      // What was given back meanwhile.
      await tryWrite(`${filler}2`, MEBIBYTES * 1024 * 1024);
    },
    free() {
      for (const file of [filler, `${filler}2`]) rmSync(file, { force: true });
    },
    close() {
      mount('umount', '-l', path);
    },
  };
}

/** Without holding up the load, which runs in this process. */
async function tryWrite(path: string, bytes: number): Promise<void> {
  try {
    await writeFile(path, Buffer.alloc(bytes));
  } catch {
    // Full is what it shall be.
  }
}

function mount(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
