// A file with a line of JSON for each snapshot. It may be moved away and is then begun anew. A line that a crash has cut is cut off, and lines that were
// written before a crash, but not noted as delivered, are not written again.
import { open, type FileHandle } from 'node:fs/promises';
import { type Entry } from '../journal.ts';
import { sinkError, type Sink } from './sink.ts';

/** Longer than any batch: what a crash may have left behind the noted place. */
const TAIL_BYTES = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

export function openFileSink(path: string): Sink {
  const name = `file:${path}`;
  /** The lines at the end of the file as it was found; only the first batch can be among them. */
  let found: ReadonlySet<string> | undefined;

  async function write(file: FileHandle, entries: readonly Entry[]): Promise<void> {
    const tail = await readTail(file);
    found ??= new Set(tail.lines);
    const known = found;
    const fresh = entries.filter(({ line }) => !known.has(line));
    found = new Set();
    const bytes = Buffer.from(fresh.map(({ line }) => `${line}\n`).join(''));
    try {
      let at = 0;
      while (at < bytes.length) {
        const { bytesWritten } = await file.write(bytes, at, bytes.length - at, tail.end + at);
        at += bytesWritten;
      }
      await file.truncate(tail.end + bytes.length);
      await file.datasync();
    } catch (error) {
      // Half a batch is none. Where even that fails, the next attempt finds the lines and cuts what is no line.
      found = undefined;
      await file.truncate(tail.end).catch(() => undefined);
      throw error;
    }
  }

  return {
    name,
    async send(entries) {
      try {
        const file = await openOrCreate(path);
        await write(file, entries).finally(() => file.close());
      } catch (error) {
        throw sinkError(name, error);
      }
    },
    close: () => Promise.resolve(),
  };
}

async function openOrCreate(path: string): Promise<FileHandle> {
  await (await open(path, 'a', 0o644)).close();
  return open(path, 'r+');
}

/** The last whole lines, and where they end. */
async function readTail(file: FileHandle): Promise<{ lines: readonly string[]; end: number }> {
  const { size } = await file.stat();
  const from = Math.max(0, size - TAIL_BYTES);
  const bytes = Buffer.alloc(size - from);
  await file.read(bytes, 0, bytes.length, from);
  const end = bytes.lastIndexOf(NEWLINE) + 1;
  const lines = bytes.subarray(0, end).toString().split('\n');
  return { lines: from === 0 ? lines : lines.slice(1), end: from + end };
}
