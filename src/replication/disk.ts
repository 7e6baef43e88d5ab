// What the log asks of a file system, small enough for a second implementation (testutils/fake-disk.ts) that loses, tears and refuses
// writes on purpose; and the true one, on node:fs.
//
// Promises: `write` writes all or rejects; what was written before a `sync` that resolved survives a crash of the machine; a new, renamed
// or removed name survives it after `syncDirectory`. A rejected `sync` says nothing about the disk: never try it again on the same bytes.
import fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { ClassicLevel } from 'classic-level';
import { QedError } from '../errors.ts';
import { storeError } from '../storage/level-errors.ts';

export interface DiskFile {
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Up to `length` bytes from `position`; fewer only at the end of the file. Reads at once: the bytes were written a moment ago. */
  readSync(position: number, length: number): Uint8Array;
  truncate(size: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** With its parents; a no-op when it is there. The names are durable when it resolves. */
  makeDirectory(path: string): Promise<void>;
  list(directory: string): Promise<readonly string[]>;
  read(path: string): Promise<Uint8Array>;
  /** For reading and writing; made empty when it is not there. */
  open(path: string): Promise<DiskFile>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Held by this process alone until it is released or the process ends, however it ends. Otherwise `store-locked`. */
  lock(path: string): Promise<() => Promise<void>>;
}

const files = {
  close: promisify(fs.close),
  fdatasync: promisify(fs.fdatasync),
  fsync: promisify(fs.fsync),
  ftruncate: promisify(fs.ftruncate),
  open: promisify(fs.open),
  write: promisify(fs.write),
};

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

export const nodeDisk: Disk = {
  async makeDirectory(path) {
    const first = await fs.promises.mkdir(path, { recursive: true, mode: DIRECTORY_MODE });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made))
      await nodeDisk.syncDirectory(dirname(made));
  },
  list: (directory) => fs.promises.readdir(directory),
  read: (path) => fs.promises.readFile(path),
  async open(path) {
    return nodeFile(await files.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, FILE_MODE));
  },
  rename: (from, to) => fs.promises.rename(from, to),
  remove: (path) => fs.promises.unlink(path),
  async syncDirectory(path) {
    const directory = await files.open(path, fs.constants.O_RDONLY);
    try {
      await files.fsync(directory);
    } finally {
      await files.close(directory);
    }
  },
  lock,
};

/** A write this short only goes to the system's cache, and is done sooner than another thread can be asked to do it. */
const SHORT_WRITE_BYTES = 32 * 1024;

function nodeFile(fd: number): DiskFile {
  return {
    async write(bytes, position) {
      const isShort = bytes.length <= SHORT_WRITE_BYTES;
      for (let done = 0; done < bytes.length;) {
        const left = bytes.length - done;
        if (isShort) done += fs.writeSync(fd, bytes, done, left, position + done);
        else done += (await files.write(fd, bytes, done, left, position + done)).bytesWritten;
      }
    },
    readSync(position, length) {
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const count = fs.readSync(fd, bytes, done, length - done, position + done);
        if (count === 0) break;
        done += count;
      }
      return bytes.subarray(0, done);
    },
    truncate: (size) => files.ftruncate(fd, size),
    sync: () => files.fdatasync(fd),
    close: () => files.close(fd),
  };
}

// Node offers no file lock. LevelDB, which every node runs on anyway, takes one from the kernel: it ends with its process, even after kill -9,
// and holds between containers that share a volume, where process ids, start times and abstract sockets would deceive. So the lock is an
// empty database.
async function lock(path: string): Promise<() => Promise<void>> {
  const level = new ClassicLevel(path);
  try {
    await level.open();
  } catch (error) {
    const { code } = storeError(path, error);
    if (code === 'store-locked')
      throw new QedError(code, `${dirname(path)} is in use, here or by another process`, {
        hint: 'Stop that process, or name another path.',
        cause: error,
      });
    if (code !== 'store-corrupt') throw diskError(`lock ${path}`, error);
    throw new QedError('store-failed', `cannot lock ${path}: the files there are damaged`, {
      hint: 'Remove them: they hold nothing but the lock.',
      cause: error,
    });
  }
  return () => level.close();
}

/** The file system's refusal under one of our codes. An error of ours passes unchanged. */
export function diskError(doing: string, cause: unknown): QedError {
  if (cause instanceof QedError) return cause;
  const { code, hint } = storeError(doing, cause);
  return new QedError(code, `cannot ${doing}: ${String(cause)}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}
