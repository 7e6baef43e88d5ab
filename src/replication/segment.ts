// The bytes of the log on disk, version 1. Numbers are big-endian, checksums are CRC-32.
//
//   segment   a header of 128 bytes, then groups; one file, named by its number. The last one may end in zeros: room for further groups
//   group     what was written and fsynced together: a head of 24 bytes, then items
//   mark      a group without items
//   item      a record, or a note about the log: its hard state, its base, a reset, or what its user wants kept with it
//
//   header    magic[16] ‖ log id[16] ‖ u64 number ‖ u64 sequence ‖ u32 chain ‖ 0[4] ‖ base, last: u64 index ‖ u64 term ‖
//             hard state: u64 term ‖ u64 vote ‖ u64 commit ‖ 0[12] ‖ u32 checksum
//   head      magic[4] ‖ u32 bytes of the items ‖ u64 sequence ‖ u32 chain ‖ u32 checksum, begun with the log id
//   item      u32 checksum, begun with that of the item before ‖ u32 bytes of the payload ‖ u8 type ‖ 0[7] ‖ u64 index ‖ u64 term ‖ payload
//
// The chain is the checksum of the last item before; the sequence counts groups. So an item or a group that is dropped, swapped or repeated
// shows. The log id is random: no payload can pretend to be a head. Checksums find accidents; whoever edits the file can mend them, and then
// the digests of the trees must speak.
import { crc32 } from 'node:zlib';
import { concat, encodeU64, encodeUtf8, equalBytes, readU64, writeU64 } from '../crypto/encoding.ts';
import { assert } from '../errors.ts';

export const LOG_ID_BYTES = 16;
export const HEADER_BYTES = 128;
export const HEAD_BYTES = 24;
export const ITEM_BYTES = 32;
export const RECORD_BYTES_MAX = 4 * 1024 * 1024;

/** Where a log starts or ends: the index of a record and its term. Index 0 stands before the first record. */
export interface Position {
  readonly index: number;
  readonly term: number;
}

/** What a Raft node must never forget. Vote 0 is no vote. */
export interface HardState {
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
}

export interface Item {
  /** Up to 127 a record, whose meaning is decided above; then the notes below. */
  readonly type: number;
  readonly index: number;
  readonly term: number;
  readonly payload: Uint8Array;
}

export const RECORD_TYPE_MAX = 127;
const HARD_STATE = 240;
/** The records up to this one are applied elsewhere and may be gone. */
export const BASE = 241;
/** Everything before is void: the log goes on behind this position. */
export const RESET = 242;
/** The last one counts: bytes that outlive the records. */
export const NOTE = 243;

export interface SegmentHeader {
  readonly logId: Uint8Array;
  readonly number: number;
  readonly sequence: number;
  readonly chain: number;
  readonly base: Position;
  readonly last: Position;
  readonly hardState: HardState;
}

const HEADER_MAGIC = concat(encodeUtf8('qed log segment'), Uint8Array.of(1));
const NUMBERS_AT = 32;
const CHAIN_AT = 48;
const PLACES_AT = 56;
const HEADER_CHECKSUM_AT = HEADER_BYTES - 4;

export function formatHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(HEADER_MAGIC);
  bytes.set(header.logId, HEADER_MAGIC.length);
  writeU64(bytes, NUMBERS_AT, header.number);
  writeU64(bytes, NUMBERS_AT + 8, header.sequence);
  writeU32(bytes, CHAIN_AT, header.chain);
  const { base, last, hardState } = header;
  const places = [base.index, base.term, last.index, last.term];
  places.push(hardState.term, hardState.vote, hardState.commit);
  places.forEach((value, at) => writeU64(bytes, PLACES_AT + at * 8, value));
  writeU32(bytes, HEADER_CHECKSUM_AT, crc32(bytes.subarray(0, HEADER_CHECKSUM_AT)));
  return bytes;
}

export function parseHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < HEADER_BYTES || !equalBytes(bytes.subarray(0, HEADER_MAGIC.length), HEADER_MAGIC))
    return;
  if (crc32(bytes.subarray(0, HEADER_CHECKSUM_AT)) !== readU32(bytes, HEADER_CHECKSUM_AT)) return;
  const [number, sequence] = [readU64(bytes, NUMBERS_AT), readU64(bytes, NUMBERS_AT + 8)];
  const base = readPosition(bytes, PLACES_AT);
  const last = readPosition(bytes, PLACES_AT + 16);
  const term = readU64(bytes, PLACES_AT + 32);
  const vote = readU64(bytes, PLACES_AT + 40);
  const commit = readU64(bytes, PLACES_AT + 48);
  if (number === undefined || sequence === undefined || !base || !last) return;
  if (term === undefined || vote === undefined || commit === undefined) return;
  const logId = bytes.slice(HEADER_MAGIC.length, NUMBERS_AT);
  const chain = readU32(bytes, CHAIN_AT);
  return { logId, number, sequence, chain, base, last, hardState: { term, vote, commit } };
}

function readPosition(bytes: Uint8Array, at: number): Position | undefined {
  const [index, term] = [readU64(bytes, at), readU64(bytes, at + 8)];
  return index === undefined || term === undefined ? undefined : { index, term };
}

/** What ties a group to the log and to its place in it. */
export interface Stamp {
  /** The checksum of the log id. */
  readonly seed: number;
  readonly sequence: number;
  readonly chain: number;
}

export interface FormattedGroup {
  readonly bytes: Uint8Array;
  /** For each item, where it lies in the group, how long it is, and the checksum that its own begins with. */
  readonly places: readonly Pick<PlacedItem, 'at' | 'bytes' | 'chain'>[];
  /** The chain after the group. */
  readonly chain: number;
}

const HEAD_MAGIC = encodeUtf8('qedG');
const HEAD_CHECKSUM_AT = HEAD_BYTES - 4;

export function seedOf(logId: Uint8Array): number {
  return crc32(logId);
}

export function formatGroup(stamp: Stamp, items: readonly Item[]): FormattedGroup {
  const itemBytes = items.reduce((sum, item) => sum + ITEM_BYTES + item.payload.length, 0);
  const bytes = Buffer.alloc(HEAD_BYTES + itemBytes);
  bytes.set(HEAD_MAGIC);
  bytes.writeUInt32BE(itemBytes, 4);
  writeU64(bytes, 8, stamp.sequence);
  bytes.writeUInt32BE(stamp.chain, 16);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, HEAD_CHECKSUM_AT), stamp.seed), HEAD_CHECKSUM_AT);
  let chain = stamp.chain;
  let at = HEAD_BYTES;
  const places = items.map((item) => {
    const place = { at, bytes: ITEM_BYTES + item.payload.length, chain };
    chain = writeItem(bytes, at, item, chain);
    at += place.bytes;
    return place;
  });
  return { bytes, places, chain };
}

/** A mark says: the group before was durable when this was written. */
export function formatMark(stamp: Stamp): Uint8Array {
  return formatGroup(stamp, []).bytes;
}

export interface Head {
  readonly itemBytes: number;
  readonly sequence: number;
  readonly chain: number;
}

export function parseHead(bytes: Uint8Array, at: number, seed: number): Head | undefined {
  if (at + HEAD_BYTES > bytes.length || !equalBytes(bytes.subarray(at, at + HEAD_MAGIC.length), HEAD_MAGIC))
    return;
  const checksum = crc32(bytes.subarray(at, at + HEAD_CHECKSUM_AT), seed);
  const sequence = readU64(bytes, at + 8);
  if (checksum !== readU32(bytes, at + HEAD_CHECKSUM_AT) || sequence === undefined) return;
  return { itemBytes: readU32(bytes, at + 4), sequence, chain: readU32(bytes, at + 16) };
}

/** The first true head at or behind `from`. */
export function findHead(bytes: Uint8Array, from: number, seed: number): number | undefined {
  const searchable = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = searchable.indexOf(HEAD_MAGIC, from); at >= 0; at = searchable.indexOf(HEAD_MAGIC, at + 1))
    if (parseHead(bytes, at, seed)) return at;
  return;
}

export interface PlacedItem extends Item {
  /** From the start of the bytes that were parsed, and its whole length. */
  readonly at: number;
  readonly bytes: number;
  /** The checksum that its own begins with, and its own. */
  readonly chain: number;
  readonly chainAfter: number;
}

/** All items from `at` to `end`, or undefined when they are not whole and unchanged. */
export function parseItems(
  bytes: Uint8Array,
  at: number,
  end: number,
  chain: number,
): PlacedItem[] | undefined {
  if (end > bytes.length) return;
  const items: PlacedItem[] = [];
  for (let next = at; next < end;) {
    const item = parseItem(bytes, next, end, items.at(-1)?.chainAfter ?? chain);
    if (!item) return;
    items.push(item);
    next += item.bytes;
  }
  return items;
}

export function parseItem(bytes: Uint8Array, at: number, end: number, chain: number): PlacedItem | undefined {
  if (at + ITEM_BYTES > end) return;
  const payloadAt = at + ITEM_BYTES;
  const payloadEnd = payloadAt + readU32(bytes, at + 4);
  if (payloadEnd > end) return;
  const chainAfter = crc32(bytes.subarray(at + 4, payloadEnd), chain);
  const index = readU64(bytes, at + 16);
  const term = readU64(bytes, at + 24);
  if (chainAfter !== readU32(bytes, at) || index === undefined || term === undefined) return;
  const payload = bytes.subarray(payloadAt, payloadEnd);
  return { type: bytes[at + 8]!, index, term, payload, at, bytes: payloadEnd - at, chain, chainAfter };
}

function writeItem(bytes: Buffer, at: number, item: Item, chain: number): number {
  const end = at + ITEM_BYTES + item.payload.length;
  bytes.writeUInt32BE(item.payload.length, at + 4);
  bytes[at + 8] = item.type;
  writeU64(bytes, at + 16, item.index);
  writeU64(bytes, at + 24, item.term);
  bytes.set(item.payload, at + ITEM_BYTES);
  const chainAfter = crc32(bytes.subarray(at + 4, end), chain);
  bytes.writeUInt32BE(chainAfter, at);
  return chainAfter;
}

export function hardStateItem({ term, vote, commit }: HardState): Item {
  return { type: HARD_STATE, index: commit, term, payload: encodeU64(vote) };
}

/** The hard state that the item carries, or undefined when it is another item. */
export function readHardState(item: Item): HardState | undefined {
  if (item.type !== HARD_STATE) return;
  return { term: item.term, vote: readU64(item.payload) ?? 0, commit: item.index };
}

export function positionItem(type: typeof BASE | typeof RESET, { index, term }: Position): Item {
  return { type, index, term, payload: new Uint8Array(0) };
}

export function noteItem(payload: Uint8Array): Item {
  return { type: NOTE, index: 0, term: 0, payload };
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  assert(Number.isInteger(value) && value >= 0 && value < 2 ** 32, `${value} does not fit into 32 bits`);
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value);
}

function readU32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
}
