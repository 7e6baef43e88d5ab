// From the bytes of the segments back to the state of the log. Pure: wal.ts reads the files and mends the tail as it is told here.
//
// A group is written only after the one before was fsynced, and a segment is made only after the one before was sealed with a fsynced mark.
// So whatever follows a group, a head, a mark or a segment, proves that this group was durable. Damage before such proof is refused: an
// acknowledged record is gone. Damage without any proof behind it can only concern the last group: it is cut, as a write that the crash
// interrupted. Zeros at the end of the last segment are room that was made ahead, and nothing to cut.
//
// What cannot be told apart: while the log rests, a mark is written behind the last group, though not fsynced at once. If the machine loses
// power before the mark reaches the disk AND the last group is damaged later, it looks as if it had never been finished. The same holds for
// a log whose end somebody cut off. A database that has applied more than the log holds still notices (standing.ts).
import { join } from 'node:path';
import { equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { LogState } from './log-state.ts';
import {
  findHead,
  formatHeader,
  HEAD_BYTES,
  HEADER_BYTES,
  parseHead,
  parseHeader,
  parseItems,
  seedOf,
  type Stamp,
} from './segment.ts';

/** Bytes at the end of the log that were cut off, because no record in them was ever acknowledged. */
export interface Cut {
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Where the next group goes, and what is known about the one before. */
export interface Tail extends Stamp {
  readonly logId: Uint8Array;
  readonly segment: number;
  readonly end: number;
  /** Whether a mark stands at the end. The next group takes its place. */
  readonly marked: boolean;
  /** The last group of this segment, when nothing behind it proves yet that it is durable. */
  readonly unproven: Uint8Array | undefined;
}

export interface Recovered {
  readonly state: LogState;
  readonly tail: Tail;
  readonly cut: Cut | undefined;
}

const NAME = /^(\d{16})\.wal$/;

export function segmentName(number: number): string {
  return `${number.toString().padStart(16, '0')}.wal`;
}

/** The numbers of the segments among the names, in order. */
export function segmentNumbers(directory: string, names: readonly string[]): number[] {
  const numbers = names
    .map((name) => NAME.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
  numbers.forEach((number, at) => {
    const expected = numbers[0]! + at;
    if (number !== expected) throw damaged(join(directory, segmentName(expected)), 0, 'the file is missing');
  });
  return numbers;
}

/** Reads one segment after what was recovered from those before it, if any. */
export function recoverSegment(
  before: Recovered | undefined,
  path: string,
  number: number,
  bytes: Uint8Array,
  isLast: boolean,
): Recovered {
  const header = parseHeader(bytes);
  if (header?.number !== number) throw damaged(path, 0, 'the header of the segment does not verify');
  const { logId, sequence, chain } = header;
  if (before && !follows(before, bytes)) throw damaged(path, 0, 'the segment does not follow the one before');
  const state = before?.state ?? new LogState(header);
  const start = { logId, segment: number, end: HEADER_BYTES, marked: false, unproven: undefined };
  const tail = readGroups(state, { ...start, seed: seedOf(logId), sequence, chain }, path, bytes);
  const wholeTo = tail.end + (tail.marked ? HEAD_BYTES : 0);
  let end = bytes.length;
  while (isLast && end > wholeTo && bytes[end - 1] === 0) end -= 1;
  const rest = end - wholeTo;
  if (!isLast && (!tail.marked || rest > 0)) throw damaged(path, wholeTo, 'the segment is not whole');
  return { state, tail, cut: rest > 0 ? { path, offset: wholeTo, bytes: rest } : undefined };
}

/** Whether the header is the one that the log would have written here. */
function follows({ state, tail }: Recovered, bytes: Uint8Array): boolean {
  const { base, last, hardState } = state;
  const expected = { ...tail, number: tail.segment + 1, base, last, hardState };
  return equalBytes(formatHeader(expected), bytes.subarray(0, HEADER_BYTES));
}

/** Applies group after group up to the mark, the end, or the first bytes that are no whole group and have no proof of one behind them. */
function readGroups(state: LogState, start: Tail, path: string, bytes: Uint8Array): Tail {
  for (let tail = start; ;) {
    const head = parseHead(bytes, tail.end, tail.seed);
    if (head && (head.sequence !== tail.sequence || head.chain !== tail.chain))
      throw damaged(path, tail.end, `group ${head.sequence} stands where group ${tail.sequence} belongs`);
    const isMark = head?.itemBytes === 0;
    const next = head && !isMark ? readGroup(state, tail, head.itemBytes, path, bytes) : undefined;
    if (next) {
      tail = next;
      continue;
    }
    const proof = findHead(bytes, tail.end + 1, tail.seed);
    if (proof !== undefined)
      throw damaged(path, tail.end, `a group does not verify, and byte ${proof} proves that it was durable`);
    return isMark ? { ...tail, marked: true, unproven: undefined } : tail;
  }
}

function readGroup(
  state: LogState,
  tail: Tail,
  itemBytes: number,
  path: string,
  bytes: Uint8Array,
): Tail | undefined {
  const end = tail.end + HEAD_BYTES + itemBytes;
  const items = parseItems(bytes, tail.end + HEAD_BYTES, end, tail.chain);
  if (!items) return;
  for (const item of items) {
    const { at, bytes: length, chain } = item;
    const reason = state.apply(item, { segment: tail.segment, at, bytes: length, chain });
    if (reason !== undefined) throw damaged(path, at, reason);
  }
  const chain = items.at(-1)?.chainAfter ?? tail.chain;
  return { ...tail, sequence: tail.sequence + 1, chain, end, unproven: bytes.subarray(tail.end, end) };
}

/** To be called behind the last segment: records that were there when the first one was begun must be there, compacted or replaced. */
export function checkWhole({ missingTo, base }: LogState, firstPath: string): void {
  if (missingTo === undefined) return;
  throw damaged(
    firstPath,
    0,
    `records ${base.index + 1} to ${missingTo} lay in segments before it that are missing`,
  );
}

export function damaged(path: string, offset: number, what: string): QedError {
  return new QedError('store-corrupt', `${path} is damaged at byte ${offset}: ${what}`, {
    hint: 'Do not edit or remove files of the log. Put back an unchanged copy of the directory, or rebuild this node from its peers or a backup.',
  });
}
