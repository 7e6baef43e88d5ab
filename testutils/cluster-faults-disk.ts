// A disk that is small enough to be filled: a file system in memory, mounted where one node keeps its data. Only root may mount.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface FullDisk {
  /** Why there is none; undefined when there is. */
  readonly missing: string | undefined;
  /** Leaves no room at all. */
  readonly fill: () => void;
  readonly free: () => void;
  readonly close: () => void;
}

const MEBIBYTES = 512;

export function openFullDisk(path: string): FullDisk {
  const filler = join(path, 'filler');
  const none = { fill: () => undefined, free: () => undefined, close: () => undefined };
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
    fill() {
      const { bavail, bsize } = statfsSync(path);
      tryWrite(filler, bavail * bsize);
      // What was given back meanwhile.
      tryWrite(`${filler}2`, MEBIBYTES * 1024 * 1024);
    },
    free() {
      for (const file of [filler, `${filler}2`]) rmSync(file, { force: true });
    },
    close() {
      mount('umount', '-l', path);
    },
  };
}

function tryWrite(path: string, bytes: number): void {
  try {
    writeFileSync(path, Buffer.alloc(bytes));
  } catch {
    // Full is what it shall be.
  }
}

function mount(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
