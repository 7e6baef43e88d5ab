// A process that writes to the log of a cluster of one, for tests that kill it or fill its disk.
//   write DIRECTORY   appends for ever, 16 records on their way at once; a line for each answer: the index
//   fill DIRECTORY    appends until the disk is full, makes room, and opens again; prints what it saw as JSON
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { QedError } from '../src/errors.ts';
import { type ReplicatedLog } from '../src/replication/replicated-log.ts';
import { openAlone } from './cluster.ts';

/** What the record of an index holds, so that anybody can check it. */
export function childPayload(index: number, bytes = 40 + ((index * 7919) % 3000)): Uint8Array {
  return new Uint8Array(bytes).map((_, at) => (index * 31 + at) & 0xff);
}

async function write(directory: string): Promise<void> {
  const log = await openAlone(directory, { segmentBytes: 256 * 1024 });
  let next = log.status().lastIndex + 1;
  const writer = async (): Promise<never> => {
    for (;;) {
      const expected = next++;
      const index = await log.append(childPayload(expected));
      // A line that is out is an answer that was given. On a pipe this waits until it is; writeSync fails instead when the reader is slow.
      process.stdout.write(`${index === expected ? index : 'wrong index'}\n`);
      if (index % 100 === 0) await log.compact(index - 50);
    }
  };
  await Promise.all(Array.from({ length: 16 }, writer));
}

async function fill(directory: string): Promise<void> {
  const ballast = join(directory, 'ballast');
  const path = join(directory, 'log');
  let log = await openAlone(path);
  writeFileSync(ballast, new Uint8Array(256 * 1024));
  const acknowledged = await appendUntilRefused(log);
  const again = await appendUntilRefused(log);
  await log.close();
  rmSync(ballast);
  log = await openAlone(path);
  const kept = await countRecords(log);
  await log.append(childPayload(1));
  const after = await countRecords(log);
  await log.close();
  process.stdout.write(JSON.stringify({ acknowledged, again, kept, after }));
}

async function countRecords(log: ReplicatedLog): Promise<number> {
  const { committedIndex } = log.status();
  let count = 0;
  for await (const group of log.committed(0)) {
    count += group.length;
    if (group.at(-1)?.index === committedIndex) break;
  }
  return count;
}

async function appendUntilRefused(log: ReplicatedLog): Promise<{ count: number; code: string }> {
  for (let count = 0; ; count++) {
    try {
      await log.append(childPayload(count + 1, 32 * 1024));
    } catch (error) {
      return { count, code: error instanceof QedError ? error.code : String(error) };
    }
  }
}

const [command, directory] = process.argv.slice(2);
if (command === 'write' && directory !== undefined) await write(directory);
if (command === 'fill' && directory !== undefined) await fill(directory);
