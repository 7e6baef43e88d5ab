// The bytes of Raft messages between nodes, version 1. Numbers are big-endian; all are safe integers.
//
//   message   version (1) ‖ u8 type ‖ u8 flags ‖ from, to, term, logTerm, index, commit, vote, rejectHint: u64 each
//             ‖ u32 length ‖ context ‖ u32 count ‖ entries ‖ Raft snapshot if flagged
//   entry     u8 type ‖ u64 term ‖ u64 index ‖ u32 length ‖ data
//   snapshot  u64 index ‖ u64 term ‖ u8 auto leave ‖ four times: u16 count ‖ u64 id each ‖ u32 length ‖ data
//
// A message has one form. What cannot be read, is no message between nodes, or breaks a rule that holds for every message is undefined: the
// caller closes the connection that it came by.
import { readU64, U64_BYTES, writeU64 } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { checkMembership, type Membership } from '../raft/membership.ts';
import {
  isLocal,
  message,
  noBytes,
  type Entry,
  type EntryType,
  type Message,
  type MessageType,
  type RaftSnapshot,
} from '../raft/message.ts';
import { MEMBERS_MAX } from './members.ts';

/** Entries of one message, and the largest one alone, with room for the rest. */
export const MESSAGE_BYTES_MAX = 6 * 1024 * 1024;

const VERSION = 1;
const REJECT = 1;
const SNAPSHOT = 2;
const CONTEXT_BYTES_MAX = 64;
const ENTRIES_MAX = 65_536;

// Their places are the format: new ones go to the end.
const MESSAGE_TYPES: readonly MessageType[] = [
  'MsgApp',
  'MsgAppResp',
  'MsgVote',
  'MsgVoteResp',
  'MsgPreVote',
  'MsgPreVoteResp',
  'MsgHeartbeat',
  'MsgHeartbeatResp',
  'MsgSnap',
  'MsgTimeoutNow',
  'MsgReadIndex',
  'MsgReadIndexResp',
  'MsgTransferLeader',
];
const ENTRY_TYPES: readonly EntryType[] = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'];
const HEAD_BYTES = 3 + 8 * U64_BYTES;
const ENTRY_HEAD_BYTES = 1 + 2 * U64_BYTES + 4;

/** Undefined for messages that never travel, such as a forwarded proposal: records are forwarded above. */
export function encodeMessage(m: Message): Uint8Array | undefined {
  const type = MESSAGE_TYPES.indexOf(m.type);
  if (type < 0) return undefined;
  const out = createWriter(sizeOf(m));
  out.u8(VERSION);
  out.u8(type);
  out.u8((m.reject ? REJECT : 0) | (m.snapshot ? SNAPSHOT : 0));
  for (const value of [m.from, m.to, m.term, m.logTerm, m.index, m.commit, m.vote, m.rejectHint])
    out.u64(value);
  out.bytes(m.context);
  out.u32(m.entries.length);
  for (const entry of m.entries) {
    out.u8(ENTRY_TYPES.indexOf(entry.type));
    out.u64(entry.term);
    out.u64(entry.index);
    out.bytes(entry.data);
  }
  if (m.snapshot) writeSnapshot(out, m.snapshot);
  return out.done();
}

export function decodeMessage(bytes: Uint8Array): Message | undefined {
  const reader = createReader(bytes);
  try {
    return readMessage(reader);
  } catch (error) {
    // A membership that breaks its invariants is an assertion in the core.
    if (error === reader.malformed || error instanceof QedError) return undefined;
    throw error;
  }
}

function readMessage(reader: Reader): Message {
  if (reader.u8() !== VERSION) throw reader.malformed;
  const type = MESSAGE_TYPES[reader.u8()];
  const flags = reader.u8();
  if (type === undefined || isLocal(type) || flags > (REJECT | SNAPSHOT)) throw reader.malformed;
  const [from, to, term, logTerm] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const [index, commit, vote, rejectHint] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const context = reader.bytes();
  if (context.length > CONTEXT_BYTES_MAX) throw reader.malformed;
  const entries = readEntries(reader);
  const hasSnapshot = (flags & SNAPSHOT) !== 0;
  if (hasSnapshot !== (type === 'MsgSnap') || from === 0 || to === 0) throw reader.malformed;
  if (type === 'MsgApp' && !follow(entries, index, logTerm, term)) throw reader.malformed;
  const snapshot = hasSnapshot ? readSnapshot(reader) : undefined;
  reader.end();
  const places = { term, logTerm, index, commit, vote };
  const reject = (flags & REJECT) !== 0;
  return message({ type, from, to, ...places, context, entries, snapshot, reject, rejectHint });
}

function readEntries(reader: Reader): readonly Entry[] {
  const count = reader.u32();
  if (count > ENTRIES_MAX) throw reader.malformed;
  const entries: Entry[] = [];
  for (let at = 0; at < count; at++) {
    const type = ENTRY_TYPES[reader.u8()];
    if (type === undefined) throw reader.malformed;
    entries.push({ type, term: reader.u64(), index: reader.u64(), data: reader.bytes() });
  }
  return entries;
}

/** Indexes rise by one, terms never fall, and none is newer than its sender. */
function follow(entries: readonly Entry[], index: number, logTerm: number, term: number): boolean {
  let before = { index, term: logTerm };
  for (const entry of entries) {
    if (entry.index !== before.index + 1 || entry.term < before.term || entry.term > term) return false;
    before = entry;
  }
  return true;
}

function writeSnapshot(out: Writer, { index, term, membership, data }: RaftSnapshot): void {
  out.u64(index);
  out.u64(term);
  out.u8(membership.autoLeave ? 1 : 0);
  for (const ids of idLists(membership)) {
    out.u16(ids.length);
    for (const id of ids) out.u64(id);
  }
  out.bytes(data);
}

function readSnapshot(reader: Reader): RaftSnapshot {
  const [index, term, autoLeave] = [reader.u64(), reader.u64(), reader.u8()];
  const lists = [0, 1, 2, 3].map(() => {
    const count = reader.u16();
    if (count > 2 * MEMBERS_MAX) throw reader.malformed;
    return Array.from({ length: count }, () => reader.u64());
  });
  if (autoLeave > 1 || index === 0) throw reader.malformed;
  const [voters = [], votersOutgoing = [], learners = [], learnersNext = []] = lists;
  const membership = { voters, votersOutgoing, learners, learnersNext, autoLeave: autoLeave === 1 };
  const isAscending = idLists(membership).every((ids) =>
    ids.every((id, at) => at === 0 || id > ids[at - 1]!),
  );
  if (!isAscending || idLists(membership).some((ids) => ids[0] === 0)) throw reader.malformed;
  return { index, term, membership: checkMembership(membership), data: reader.bytes() };
}

function idLists({ voters, votersOutgoing, learners, learnersNext }: Membership): (readonly number[])[] {
  return [voters, votersOutgoing, learners, learnersNext];
}

function sizeOf({ context, entries, snapshot }: Message): number {
  let size = HEAD_BYTES + 4 + context.length + 4;
  for (const { data } of entries) size += ENTRY_HEAD_BYTES + data.length;
  if (!snapshot) return size;
  const ids = idLists(snapshot.membership).reduce((sum, list) => sum + 2 + list.length * U64_BYTES, 0);
  return size + 2 * U64_BYTES + 1 + ids + 4 + snapshot.data.length;
}

type Writer = ReturnType<typeof createWriter>;
type Reader = ReturnType<typeof createReader>;

function createWriter(size: number) {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const u32 = (value: number): void => {
    view.setUint32(at, value);
    at += 4;
  };
  return {
    u8(value: number) {
      view.setUint8(at, value);
      at += 1;
    },
    u16(value: number) {
      view.setUint16(at, value);
      at += 2;
    },
    u32,
    u64(value: number) {
      writeU64(bytes, at, value);
      at += U64_BYTES;
    },
    bytes(value: Uint8Array) {
      u32(value.length);
      bytes.set(value, at);
      at += value.length;
    },
    done: () => bytes,
  };
}

/** Reads front to back. What it hands out are parts of the message, not copies. */
function createReader(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const malformed = new Error('a malformed message');
  let at = 0;
  const take = (length: number): number => {
    if (length > bytes.length - at) throw malformed;
    at += length;
    return at - length;
  };
  const u32 = (): number => view.getUint32(take(4));
  return {
    malformed,
    u8: (): number => view.getUint8(take(1)),
    u16: (): number => view.getUint16(take(2)),
    u32,
    u64(): number {
      const value = readU64(bytes, take(U64_BYTES));
      if (value === undefined) throw malformed;
      return value;
    },
    bytes(): Uint8Array {
      const length = u32();
      const start = take(length);
      return length === 0 ? noBytes : bytes.subarray(start, start + length);
    },
    end(): void {
      if (at !== bytes.length) throw malformed;
    },
  };
}
