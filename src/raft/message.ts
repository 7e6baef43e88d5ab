// What travels between nodes and between a node and its own disk: entries, messages, and the state a node must not forget.
// Plain data, no behaviour. Numbers are safe integers; an id is a positive one, and 0 means "nobody".
import type { Membership } from './membership.ts';

export const nobody = 0;
/** Targets of the messages that a node sends to its own disk and state machine when `asyncStorageWrites` is on. */
export const appendThread = -1;
export const applyThread = -2;

export const noBytes = new Uint8Array(0);

/** The two kinds of membership entry differ in what they can say: the first holds exactly one change and no transition. */
export type EntryType = 'EntryNormal' | 'EntryConfChange' | 'EntryConfChangeV2';

export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** What must be on disk before anything that depends on it is said to others. */
export interface HardState {
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
}

/** The state machine after the entry at `index`, as far as Raft needs to know it. What `data` holds is the application's. */
export interface RaftSnapshot {
  readonly index: number;
  readonly term: number;
  readonly membership: Membership;
  readonly data: Uint8Array;
}

export type MessageType =
  | 'MsgHup'
  | 'MsgBeat'
  | 'MsgProp'
  | 'MsgApp'
  | 'MsgAppResp'
  | 'MsgVote'
  | 'MsgVoteResp'
  | 'MsgSnap'
  | 'MsgHeartbeat'
  | 'MsgHeartbeatResp'
  | 'MsgUnreachable'
  | 'MsgSnapStatus'
  | 'MsgCheckQuorum'
  | 'MsgTransferLeader'
  | 'MsgTimeoutNow'
  | 'MsgReadIndex'
  | 'MsgReadIndexResp'
  | 'MsgPreVote'
  | 'MsgPreVoteResp'
  | 'MsgStorageAppend'
  | 'MsgStorageAppendResp'
  | 'MsgStorageApply'
  | 'MsgStorageApplyResp'
  | 'MsgForgetLeader';

/** One shape for all types, so that a transport needs one codec. A field that a type does not use holds its zero. */
export interface Message {
  readonly type: MessageType;
  readonly to: number;
  readonly from: number;
  /** 0 for a message that is not bound to a term: a proposal, or one from this node to itself. */
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly vote: number;
  readonly snapshot: RaftSnapshot | undefined;
  readonly reject: boolean;
  readonly rejectHint: number;
  readonly context: Uint8Array;
  /** What to deliver once the write that this message orders is done. Only in messages to the local threads. */
  readonly responses: readonly Message[];
}

export type MessageFields = Partial<Message> & Pick<Message, 'type'>;

const noEntries: readonly Entry[] = [];
const noMessages: readonly Message[] = [];

/** Field by field: messages are made by the thousand, and one fixed shape keeps that cheap. */
export function message(fields: MessageFields): Message {
  return {
    type: fields.type,
    to: fields.to ?? nobody,
    from: fields.from ?? nobody,
    term: fields.term ?? 0,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    entries: fields.entries ?? noEntries,
    commit: fields.commit ?? 0,
    vote: fields.vote ?? nobody,
    snapshot: fields.snapshot,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    context: fields.context ?? noBytes,
    responses: fields.responses ?? noMessages,
  };
}

export const isLocalTarget = (id: number): boolean => id === appendThread || id === applyThread;

const local: ReadonlySet<MessageType> = new Set<MessageType>([
  'MsgHup',
  'MsgBeat',
  'MsgUnreachable',
  'MsgSnapStatus',
  'MsgCheckQuorum',
  'MsgStorageAppend',
  'MsgStorageAppendResp',
  'MsgStorageApply',
  'MsgStorageApplyResp',
]);

/** Types that a node only says to itself. One that arrives from a peer must not be stepped. */
export const isLocal = (type: MessageType): boolean => local.has(type);

const responses: ReadonlySet<MessageType> = new Set<MessageType>([
  'MsgAppResp',
  'MsgVoteResp',
  'MsgHeartbeatResp',
  'MsgUnreachable',
  'MsgReadIndexResp',
  'MsgPreVoteResp',
  'MsgStorageAppendResp',
  'MsgStorageApplyResp',
]);

export const isResponse = (type: MessageType): boolean => responses.has(type);

/** Bytes of the entries' own data: what the limit on uncommitted entries counts. */
export function payloadSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entry.data.length;
  return size;
}

/** Bytes that an entry takes in a message: tags and variable-length numbers around the data. What the size limits count. */
export function entrySize(entry: Entry): number {
  const data = entry.data.length;
  return 4 + varintSize(entry.term) + varintSize(entry.index) + (data > 0 ? 1 + varintSize(data) + data : 0);
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

/** The longest prefix within `maxSize`, but never less than one entry: an entry above the limit still has to travel. */
export function limitSize(entries: readonly Entry[], maxSize: number): readonly Entry[] {
  if (maxSize === Infinity) return entries;
  let size = 0;
  for (let at = 0; at < entries.length; at += 1) {
    size += entrySize(entries[at]!);
    if (size > maxSize && at > 0) return entries.slice(0, at);
  }
  return entries;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size += 1;
  return size;
}
