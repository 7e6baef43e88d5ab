// Who the members are: the part of the replicated state that ties Raft's numbers to node ids, keys and addresses. Every change of it travels
// as the context of a membership change, so all nodes hold the same table. Pure.
//
// A number is given once and never again: a node that lost its log comes back under another one, because the old one may have promised a
// vote that is forgotten. Node id and raft address belong to one key at a time.
import { z } from 'zod';
import { decodeHex, decodeUtf8, encodeHex, encodeUtf8, equalBytes } from '../crypto/encoding.ts';
import { PUBLIC_KEY_BYTES } from '../crypto/ed25519.ts';
import { QedError } from '../errors.ts';
import { type ConfChange, type Membership } from '../raft/membership.ts';

/** What a node says about itself. */
export interface NodeRecord {
  readonly nodeId: string;
  /** Its public key. */
  readonly nodeKey: Uint8Array;
  /** host:port, as the other nodes and the clients reach it. */
  readonly raftAddr: string;
  readonly httpAddr: string;
  readonly mgmtAddr: string;
}

export interface MemberRecord extends NodeRecord {
  /** Its number in Raft. */
  readonly id: number;
}

export interface MemberTable {
  readonly members: readonly MemberRecord[];
  /** The next number to give. */
  readonly nextId: number;
  /** The last ones that were removed, so that they can be told. */
  readonly removed: readonly { readonly id: number; readonly nodeKey: Uint8Array }[];
}

export const MEMBERS_MAX = 31;
const REMOVED_MAX = 31;

export const emptyTable: MemberTable = { members: [], nextId: 1, removed: [] };

/** The table after a committed change. A change of members without a record, such as a promotion, leaves it as it is. */
export function changeTable(table: MemberTable, { changes, context }: ConfChange): MemberTable {
  let { members, removed } = table;
  for (const { type, id } of changes) {
    if (type !== 'remove') continue;
    const gone = members.filter((member) => member.id === id);
    removed = [...removed, ...gone.map(({ nodeKey }) => ({ id, nodeKey }))].slice(-REMOVED_MAX);
    members = members.filter((member) => member.id !== id);
  }
  const record = context.length > 0 ? parseMember(context) : undefined;
  if (record === undefined || !changes.some(({ id, type }) => id === record.id && type !== 'remove'))
    return { ...table, members, removed };
  members = [...members.filter(({ id }) => id !== record.id), record].sort((a, b) => a.id - b.id);
  return { members, removed, nextId: Math.max(table.nextId, record.id + 1) };
}

/** Throws when the record contradicts a member under another key. */
export function checkNewcomer({ members }: MemberTable, record: NodeRecord): void {
  for (const member of members) {
    if (equalBytes(member.nodeKey, record.nodeKey)) {
      if (member.nodeId === record.nodeId) continue;
      throw refused(`this key is a member's already, under the node id ${member.nodeId}`);
    }
    if (member.nodeId === record.nodeId)
      throw refused(`the node id ${record.nodeId} belongs to a member with another key`);
    if (member.raftAddr === record.raftAddr)
      throw refused(`the address ${record.raftAddr} belongs to ${member.nodeId}, which has another key`);
  }
}

export function memberByKey(
  { members }: Pick<MemberTable, 'members'>,
  nodeKey: Uint8Array,
): MemberRecord | undefined {
  return members.find((member) => equalBytes(member.nodeKey, nodeKey));
}

export function sameRecord(a: NodeRecord, b: NodeRecord): boolean {
  const addresses = a.raftAddr === b.raftAddr && a.httpAddr === b.httpAddr && a.mgmtAddr === b.mgmtAddr;
  return addresses && a.nodeId === b.nodeId && equalBytes(a.nodeKey, b.nodeKey);
}

function refused(why: string): QedError {
  return new QedError('node-mismatch', `the node cannot join: ${why}`, {
    hint: 'Use another node id and address, or remove the old member first.',
  });
}

// --- bytes

/** host:port. An IPv6 host stands in brackets. */
const ADDRESS = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9]\d{0,4})$/;
const address = z.string().refine((text) => Number(ADDRESS.exec(text)?.[1] ?? Infinity) <= 65535, {
  message: 'not of the form host:port',
});
const index = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const number = index.min(1);
const key = z
  .string()
  .length(2 * PUBLIC_KEY_BYTES)
  .transform((text, context) => {
    const bytes = decodeHex(text, PUBLIC_KEY_BYTES);
    if (bytes !== undefined) return bytes;
    context.addIssue({ code: 'custom', message: 'not a public key in hex' });
    return z.NEVER;
  });

const nodeShape = {
  nodeId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  nodeKey: key,
  raftAddr: address,
  httpAddr: address,
  mgmtAddr: address,
};
const nodeSchema = z.strictObject(nodeShape);
const memberSchema = z.strictObject({ ...nodeShape, id: number });
const membersSchema = z.array(memberSchema).max(2 * MEMBERS_MAX);
const tableSchema = z.strictObject({
  members: membersSchema,
  nextId: number,
  removed: z.array(z.strictObject({ id: number, nodeKey: key })).max(REMOVED_MAX),
});
const numbers = z.array(number).max(2 * MEMBERS_MAX);
const membershipSchema = z.strictObject({
  voters: numbers,
  votersOutgoing: numbers,
  learners: numbers,
  learnersNext: numbers,
  autoLeave: z.boolean(),
});
const standingSchema = z.strictObject({
  format: z.literal('qed members v1'),
  id: number,
  index,
  term: index,
  membership: membershipSchema,
  table: tableSchema,
  seeds: membersSchema,
  floor: z.strictObject({ database: index, log: index }),
  isCatchingUp: z.boolean(),
});
const joinedSchema = z.strictObject({ id: number, members: membersSchema });

/** What a node knows of its cluster as of one entry. Kept with the log on disk. */
export interface Standing {
  /** This node's own number. */
  readonly id: number;
  /** The entry that all of this takes account of. */
  readonly index: number;
  readonly term: number;
  readonly membership: Membership;
  readonly table: MemberTable;
  /** For a node that just joined and has nothing of the log yet: whom to let in. */
  readonly seeds: readonly MemberRecord[];
  /** Between these two there is nothing to apply: a database that reached the first may go on behind the second. */
  readonly floor: { readonly database: number; readonly log: number };
  /** The database is getting records from peers that its log does not have yet. */
  readonly isCatchingUp: boolean;
}

/** What a joining node is told. */
export interface Joined {
  readonly id: number;
  readonly members: readonly MemberRecord[];
}

/** JSON with all bytes as hex. */
export function formatJson(value: unknown): string {
  // A Buffer has turned itself into something else by the time that it is handed over here, so it is looked up where it came from.
  return JSON.stringify(value, function (this: unknown, name: string, part: unknown) {
    const before: unknown = typeof this === 'object' && this !== null ? Reflect.get(this, name) : undefined;
    return before instanceof Uint8Array ? encodeHex(before) : part;
  });
}

export function formatMember(record: MemberRecord): Uint8Array {
  return encodeUtf8(formatJson(record));
}

export function formatTable(table: MemberTable): Uint8Array {
  return encodeUtf8(formatJson(table));
}

export function formatStanding(standing: Standing): Uint8Array {
  return encodeUtf8(formatJson({ format: 'qed members v1', ...standing }));
}

/** Undefined for anything but what `formatMember` writes; likewise below. */
export const parseMember = (bytes: Uint8Array): MemberRecord | undefined => parse(memberSchema, bytes);
export const parseTable = (bytes: Uint8Array): MemberTable | undefined => parse(tableSchema, bytes);

export function parseStanding(bytes: Uint8Array): Standing | undefined {
  const parsed = parse(standingSchema, bytes);
  if (parsed === undefined) return undefined;
  const { format: _, ...standing } = parsed;
  return standing;
}

/** The record in a request of a stranger; `bad-request` names what is wrong with it. */
export function checkNode(record: unknown): NodeRecord {
  const parsed = nodeSchema.safeParse(record);
  if (parsed.success) return parsed.data;
  throw new QedError('bad-request', `not the record of a node: ${z.prettifyError(parsed.error)}`);
}

export function checkJoined(answer: unknown): Joined {
  const parsed = joinedSchema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new QedError('bad-request', `not the answer to a node that joins: ${z.prettifyError(parsed.error)}`);
}

function parse<Schema extends z.ZodType>(schema: Schema, bytes: Uint8Array): z.output<Schema> | undefined {
  const text = decodeUtf8(bytes);
  if (text === undefined) return undefined;
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
