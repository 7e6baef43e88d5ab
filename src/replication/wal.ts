// The log on disk: records, hard state, base, in segments that are only ever appended to. See segment.ts for the bytes.
//
// Promises:
// - What an `append` resolved for is there after any crash, in order; what the log shows (`last`, `read`, `termAt`, `hardState`) is durable.
// - Changes that wait while a fsync is under way go together with the next one: one write, one fsync, all or none of them.
// - After a write or fsync that failed nothing more is taken: what the disk holds is unknown until the log is opened again.
// - Opening mends nothing but a write that a crash interrupted, and says so in `cut`. Any other damage is refused (recover.ts).
//
// While groups are small, zeros are written ahead of them: a fsync that need not note a new end of the file took 0.10 ms where one of a growing
// file took 0.17 (ext4), and two thirds of the work. They are gone from a segment that is sealed, and a torn group shows in them as ever.
import { join } from 'node:path';
import { assert, QedError } from '../errors.ts';
import { diskError, type Disk, type DiskFile } from './disk.ts';
import { LogState, type Slot } from './log-state.ts';
import {
  checkWhole,
  damaged,
  recoverSegment,
  segmentName,
  segmentNumbers,
  type Cut,
  type Recovered,
  type Tail,
} from './recover.ts';
import {
  BASE,
  formatGroup,
  formatHeader,
  formatMark,
  hardStateItem,
  HEADER_BYTES,
  LOG_ID_BYTES,
  noteItem,
  parseItem,
  positionItem,
  RECORD_BYTES_MAX,
  RECORD_TYPE_MAX,
  RESET,
  seedOf,
  type FormattedGroup,
  type HardState,
  type Item,
  type Position,
  type SegmentHeader,
} from './segment.ts';

export type WalRecord = Item;

export interface WalOptions {
  readonly directory: string;
  readonly disk: Disk;
  /** For the id of a new log. */
  readonly random: (length: number) => Uint8Array;
  readonly segmentBytes?: number;
}

const SEGMENT_BYTES = 64 * 1024 * 1024;
/** A group takes waiting changes until it holds so many bytes. */
const GROUP_BYTES = 8 * 1024 * 1024;
/** So much room is made ahead, for groups of an eighth of it and less. */
const ROOM_BYTES = 64 * 1024;

interface Segment {
  readonly number: number;
  readonly path: string;
  readonly file: DiskFile;
}

interface Change {
  readonly items: readonly Item[];
  readonly resolve: () => void;
  readonly reject: (error: QedError) => void;
}

export async function openWal({
  directory,
  disk,
  random,
  segmentBytes = SEGMENT_BYTES,
}: WalOptions): Promise<Wal> {
  let unlock: (() => Promise<void>) | undefined;
  const segments: Segment[] = [];
  try {
    await disk.makeDirectory(directory);
    unlock = await disk.lock(join(directory, 'lock'));
    const recovered =
      (await recoverSegments(disk, directory, segments)) ??
      (await startLog(disk, directory, random, segments));
    const tail = await mendTail(recovered, segments.at(-1)!);
    return new Wal({ ...recovered, tail, disk, directory, segmentBytes, segments, unlock });
  } catch (error) {
    for (const { file } of segments) await file.close();
    await unlock?.();
    throw diskError(`open the log in ${directory}`, error);
  }
}

/** Opens what is there, oldest first, and leaves the open files in `segments`; undefined when there is no log yet. */
async function recoverSegments(
  disk: Disk,
  directory: string,
  segments: Segment[],
): Promise<Recovered | undefined> {
  const names = await disk.list(directory);
  for (const name of names.filter((name) => name.endsWith(`.wal${UNFINISHED}`)))
    await disk.remove(join(directory, name));
  const numbers = segmentNumbers(directory, names);
  let recovered: Recovered | undefined;
  for (const number of numbers) {
    const path = join(directory, segmentName(number));
    const bytes = await disk.read(path);
    recovered = recoverSegment(recovered, path, number, bytes, number === numbers.at(-1));
    segments.push({ number, path, file: await disk.open(path) });
  }
  if (recovered) checkWhole(recovered.state, segments[0]!.path);
  await disk.syncDirectory(directory);
  return recovered;
}

async function startLog(
  disk: Disk,
  directory: string,
  random: WalOptions['random'],
  segments: Segment[],
): Promise<Recovered> {
  const nothing = { index: 0, term: 0 };
  const header: SegmentHeader = {
    logId: random(LOG_ID_BYTES),
    number: 1,
    sequence: 1,
    chain: 0,
    base: nothing,
    last: nothing,
    hardState: { term: 0, vote: 0, commit: 0 },
  };
  segments.push(await createSegment(disk, directory, header));
  return { state: new LogState(header), tail: startOf(header), cut: undefined };
}

/**
 * Leaves nothing behind the last group but a mark, all of it fsynced. A group without proof is written once more, over itself: when a fsync
 * had failed, the system may hold its bytes for clean although the disk never got them.
 */
async function mendTail({ tail, cut }: Recovered, { file }: Segment): Promise<Tail> {
  if (tail.marked && !cut) return tail;
  await file.truncate(tail.end);
  if (tail.unproven) await file.write(tail.unproven, tail.end - tail.unproven.length);
  await file.write(formatMark(tail), tail.end);
  await file.sync();
  return { ...tail, marked: true, unproven: undefined };
}

const UNFINISHED = '.new';

/** Under its name only when its header is durable: so a header that does not verify is damage, never an interrupted write. */
async function createSegment(disk: Disk, directory: string, header: SegmentHeader): Promise<Segment> {
  const path = join(directory, segmentName(header.number));
  const file = await disk.open(path + UNFINISHED);
  try {
    await file.truncate(0);
    await file.write(formatHeader(header), 0);
    await file.sync();
    await disk.rename(path + UNFINISHED, path);
    await disk.syncDirectory(directory);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { number: header.number, path, file };
}

function startOf({ logId, number, sequence, chain }: SegmentHeader): Tail {
  const seed = seedOf(logId);
  return {
    logId,
    seed,
    segment: number,
    sequence,
    chain,
    end: HEADER_BYTES,
    marked: false,
    unproven: undefined,
  };
}

interface OpenLog extends Recovered {
  readonly disk: Disk;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly segments: Segment[];
  readonly unlock: () => Promise<void>;
}

export class Wal {
  /** What opening cut off the end, if anything. */
  readonly cut: Cut | undefined;
  readonly #open: OpenLog;
  readonly #state: LogState;
  #tail: Tail;
  /** Where the zeros of the last segment end, as far as this life of the log has written them. */
  #roomEnd = 0;
  /** The state that the log will have when everything that waits is durable. */
  #proposed: { base: number; last: Position; term: number; note: Uint8Array | undefined };
  #queue: Change[] = [];
  /** The changes of the group on its way. */
  #writing: readonly Change[] = [];
  #working: Promise<void> | undefined;
  #compacting: Promise<void> = Promise.resolve();
  #failure: QedError | undefined;
  #closing: Promise<void> | undefined;

  constructor(open: OpenLog) {
    this.cut = open.cut;
    this.#open = open;
    this.#state = open.state;
    this.#tail = open.tail;
    const { base, last, hardState, note } = open.state;
    this.#proposed = { base: base.index, last, term: hardState.term, note };
  }

  get firstIndex(): number {
    return this.#state.base.index + 1;
  }

  get last(): Position {
    return this.#state.last;
  }

  get hardState(): HardState {
    return this.#state.hardState;
  }

  /** What its user last wanted kept with the log: it outlives compactions and resets. */
  get note(): Uint8Array | undefined {
    return this.#state.note;
  }

  /** Why nothing more is taken, until the log is opened again. */
  get failure(): QedError | undefined {
    return this.#failure;
  }

  /** From the record before the first one on; undefined elsewhere. */
  termAt(index: number): number | undefined {
    return this.#state.termAt(index);
  }

  /**
   * Resolves when all of it is durable. The records follow each other; the first one follows the last record, or one before it and then
   * voids what stood behind. They belong to the log from now on: do not change the payloads.
   */
  append(records: readonly WalRecord[], hardState?: HardState, note?: Uint8Array): Promise<void> {
    let { last } = this.#proposed;
    for (const { index, term, type, payload } of records) {
      assert(
        index > this.#proposed.base && index <= last.index + 1,
        `record ${index} follows record ${last.index}`,
      );
      const before = index === last.index + 1 ? last.term : this.#proposedTermAt(index - 1);
      assert(term >= before, `the term falls from ${before} to ${term} at record ${index}`);
      assert(type <= RECORD_TYPE_MAX, `no record has type ${type}`);
      assert(payload.length <= RECORD_BYTES_MAX, `record ${index} holds ${payload.length} bytes`);
      last = { index, term };
    }
    const term = hardState?.term ?? this.#proposed.term;
    assert(term >= this.#proposed.term, `the term falls from ${this.#proposed.term} to ${term}`);
    assert((hardState?.commit ?? 0) <= last.index, 'a record is committed that is not in the log');
    this.#proposed = { ...this.#proposed, last, term, note: note ?? this.#proposed.note };
    return this.#propose([
      ...records,
      ...(hardState ? [hardStateItem(hardState)] : []),
      ...(note ? [noteItem(note)] : []),
    ]);
  }

  /** Voids the whole log; it goes on behind `position`. For a node that got everything up to there by another way. */
  reset(position: Position, note?: Uint8Array): Promise<void> {
    assert(position.index >= this.#proposed.base, `a reset to ${position.index}, before the base`);
    const kept = note ?? this.#proposed.note;
    this.#proposed = { ...this.#proposed, base: position.index, last: position, note: kept };
    return this.#propose([positionItem(RESET, position), ...(note ? [noteItem(note)] : [])]);
  }

  /** What a record takes on disk, head and all; 0 for one that is not there. */
  bytesOf(index: number): number {
    return this.#state.slot(index)?.bytes ?? 0;
  }

  /** Records from `from` up to `to`, as many as lie within `bytesMax` of each other on disk, at least one. */
  read(from: number, to: number, bytesMax: number): WalRecord[] {
    const first = this.#state.slot(from);
    assert(first !== undefined && to <= this.last.index, `records ${from} to ${to} are not all in the log`);
    const slots = [first];
    for (let index = from + 1; index <= to; index++) {
      const slot = this.#state.slot(index)!;
      if (slot.segment !== first.segment || slot.at + slot.bytes - first.at > bytesMax) break;
      slots.push(slot);
    }
    return this.#readSlots(slots);
  }

  /**
   * Says that the records up to `index` are applied and durable elsewhere. Those in segments that hold nothing else are dropped: first
   * the log states its new base, durably, then the files go, oldest first.
   */
  compact(index: number): Promise<void> {
    assert(index <= this.last.index, `record ${index} is not in the log and cannot be applied`);
    const compaction = this.#compacting.then(() => this.#compact(index));
    this.#compacting = compaction.catch(() => undefined);
    return compaction;
  }

  /** Writes what waits, then closes. Whoever still waits has an answer before it resolves. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Of a record that waits or is durable. What was proposed last counts. */
  #proposedTermAt(index: number): number {
    const waiting = [...this.#writing, ...this.#queue].flatMap((change) => change.items);
    const item = waiting.findLast((item) => item.type <= RECORD_TYPE_MAX && item.index === index);
    return item?.term ?? this.#state.termAt(index) ?? 0;
  }

  #propose(items: readonly Item[]): Promise<void> {
    if (this.#failure) return Promise.reject(refusal(this.#failure));
    if (this.#closing) return Promise.reject(new QedError('store-closed', 'the log is closed'));
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, resolve, reject });
      this.#working ??= this.#work(false);
    });
  }

  /** The only writer. Begins a step later, so that what is proposed in one go is written in one group. */
  async #work(mark: boolean): Promise<void> {
    await Promise.resolve();
    if (mark && this.#queue.length === 0) await this.#mark();
    while (this.#queue.length > 0) await this.#writeGroup(this.#takeChanges());
    this.#working = undefined;
    if (!this.#tail.marked)
      setImmediate(() => {
        if (!this.#failure && !this.#closing) this.#working ??= this.#work(true);
      });
  }

  #takeChanges(): Change[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length && bytes < GROUP_BYTES)
      bytes += this.#queue[count++]!.items.reduce((sum, item) => sum + item.payload.length, 0);
    return this.#queue.splice(0, count);
  }

  async #writeGroup(changes: readonly Change[]): Promise<void> {
    this.#writing = changes;
    const items = changes.flatMap((change) => change.items);
    const group = formatGroup(this.#tail, items);
    let reached: 'rotate' | 'write' | 'sync' = 'rotate';
    try {
      await this.#startSegment(group.bytes.length);
      await this.#makeRoom(group.bytes.length);
      const { file } = this.#open.segments.at(-1)!;
      reached = 'write';
      await file.write(group.bytes, this.#tail.end);
      reached = 'sync';
      await file.sync();
    } catch (error) {
      this.#fail(diskError(`write the log in ${this.#open.directory}`, error), changes, reached);
      return;
    }
    this.#advance(items, group);
    this.#writing = [];
    for (const { resolve } of changes) resolve();
  }

  #advance(items: readonly Item[], group: FormattedGroup): void {
    const { segment, end } = this.#tail;
    items.forEach((item, position) => {
      const { at, bytes, chain } = group.places[position]!;
      const reason = this.#state.apply(item, { segment, at: end + at, bytes, chain });
      assert(reason === undefined, reason ?? '');
    });
    this.#tail = {
      ...this.#tail,
      sequence: this.#tail.sequence + 1,
      chain: group.chain,
      end: end + group.bytes.length,
      marked: false,
    };
  }

  /** A group that a full disk cut short can never verify; of any other failed write nobody knows. */
  #fail(failure: QedError, changes: readonly Change[], reached: 'rotate' | 'write' | 'sync'): void {
    this.#failure = failure;
    const isUnknown = reached === 'sync' || (reached === 'write' && failure.code !== 'store-full');
    for (const { reject } of changes)
      reject(
        isUnknown
          ? new QedError('outcome-unknown', `the record may or may not be in the log: ${failure.message}`, {
              cause: failure,
            })
          : failure,
      );
    for (const { reject } of this.#queue.splice(0)) reject(refusal(failure));
  }

  /** Behind the place of the group, so that a write that fails for want of space leaves nothing of the group. */
  async #makeRoom(bytes: number): Promise<void> {
    const { segmentBytes, segments } = this.#open;
    const end = this.#tail.end + bytes;
    const roomEnd = Math.min(end + ROOM_BYTES, segmentBytes);
    if (end <= this.#roomEnd || roomEnd <= end || bytes > ROOM_BYTES / 8) return;
    await segments.at(-1)!.file.write(new Uint8Array(roomEnd - end), end);
    this.#roomEnd = roomEnd;
  }

  /** Where the last segment is full. */
  async #startSegment(bytes: number): Promise<void> {
    const { disk, directory, segmentBytes, segments } = this.#open;
    if (this.#tail.end + bytes <= segmentBytes || this.#tail.end === HEADER_BYTES) return;
    await this.#seal();
    const { base, last, hardState } = this.#state;
    const header = { ...this.#tail, number: this.#tail.segment + 1, base, last, hardState };
    segments.push(await createSegment(disk, directory, header));
    this.#tail = startOf(header);
    this.#roomEnd = 0;
  }

  /** With a durable mark at its end, and nothing behind, a segment shows every later damage. */
  async #seal(): Promise<void> {
    const { file } = this.#open.segments.at(-1)!;
    const mark = formatMark(this.#tail);
    await file.write(mark, this.#tail.end);
    await file.truncate(this.#tail.end + mark.length);
    await file.sync();
    this.#tail = { ...this.#tail, marked: true };
  }

  /** Not fsynced, and no harm when it fails: a mark that is missing only makes damage at the very end harder to tell from a torn write. */
  async #mark(): Promise<void> {
    const { file } = this.#open.segments.at(-1)!;
    await file.write(formatMark(this.#tail), this.#tail.end).catch(() => undefined);
    this.#tail = { ...this.#tail, marked: true };
  }

  #readSlots(slots: readonly Slot[]): WalRecord[] {
    const [from, to] = [slots[0]!, slots.at(-1)!];
    const { file, path } = this.#open.segments.find(({ number }) => number === from.segment)!;
    const bytes = readBytes(file, path, from.at, to.at + to.bytes - from.at);
    return slots.map((slot) => {
      const at = slot.at - from.at;
      const item = parseItem(bytes, at, at + slot.bytes, slot.chain);
      if (!item || at + slot.bytes > bytes.length)
        throw damaged(path, slot.at, 'a record changed after it was written');
      const { type, index, term, payload } = item;
      return { type, index, term, payload };
    });
  }

  async #compact(index: number): Promise<void> {
    const { segments, disk, directory } = this.#open;
    const term = this.#state.termAt(index);
    if (term === undefined || index <= this.#proposed.base) return;
    const needed = this.#state.slot(index + 1)?.segment ?? segments.at(-1)!.number;
    if (segments[0]!.number >= needed) return;
    this.#proposed = { ...this.#proposed, base: index };
    // The note may lie in a segment that goes.
    const { note } = this.#proposed;
    await this.#propose([positionItem(BASE, { index, term }), ...(note ? [noteItem(note)] : [])]);
    while (segments[0]!.number < needed) await dropSegment(disk, directory, segments.shift()!);
  }

  async #close(): Promise<void> {
    await this.#compacting;
    while (this.#working) await this.#working;
    if (!this.#failure) await this.#seal().catch(() => undefined);
    for (const { file } of this.#open.segments) await file.close();
    await this.#open.unlock();
  }
}

/** One after the other: a crash that undid only some of several removals could leave a gap between the files. */
async function dropSegment(disk: Disk, directory: string, { path, file }: Segment): Promise<void> {
  try {
    await file.close();
    await disk.remove(path);
    await disk.syncDirectory(directory);
  } catch (error) {
    throw diskError(`remove ${path}`, error);
  }
}

function readBytes(file: DiskFile, path: string, position: number, length: number): Uint8Array {
  try {
    return file.readSync(position, length);
  } catch (error) {
    throw diskError(`read ${path}`, error);
  }
}

function refusal(failure: QedError): QedError {
  const code = failure.code === 'store-full' ? failure.code : 'store-closed';
  return new QedError(code, `the log takes nothing since a write failed: ${failure.message}`, {
    cause: failure,
    hint: failure.hint ?? 'Start again.',
  });
}
