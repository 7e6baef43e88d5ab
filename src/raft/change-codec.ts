// The bytes of a membership change inside an entry:
//   transition u8 ‖ number of changes u16 ‖ (type u8 ‖ id u64) each ‖ context
// No bytes at all stand for leaving a joint membership, so that no size limit can ever hold that entry up.
import { assert } from '../errors.ts';
import type { Change, ConfChange, Transition } from './membership.ts';
import { noBytes } from './message.ts';

const transitions: readonly Transition[] = ['auto', 'implicit', 'explicit'];
const types: readonly Change['type'][] = ['voter', 'remove', 'update', 'learner'];

const HEAD_BYTES = 3;
const CHANGE_BYTES = 9;
const MAX_CHANGES = 1_000;

export function encodeChange(change: ConfChange): Uint8Array {
  const { transition, changes, context } = change;
  if (transition === 'auto' && changes.length === 0 && context.length === 0) return noBytes;
  assert(changes.length <= MAX_CHANGES, `a membership change of ${changes.length} members`);
  const bytes = new Uint8Array(HEAD_BYTES + CHANGE_BYTES * changes.length + context.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, transitions.indexOf(transition));
  view.setUint16(1, changes.length);
  for (const [at, { type, id }] of changes.entries()) {
    view.setUint8(HEAD_BYTES + CHANGE_BYTES * at, types.indexOf(type));
    view.setBigUint64(HEAD_BYTES + CHANGE_BYTES * at + 1, BigInt(id));
  }
  bytes.set(context, HEAD_BYTES + CHANGE_BYTES * changes.length);
  return bytes;
}

/** Undefined for bytes that are no membership change: they may come from a peer. */
export function decodeChange(bytes: Uint8Array): ConfChange | undefined {
  if (bytes.length === 0) return { transition: 'auto', changes: [], context: noBytes };
  if (bytes.length < HEAD_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const transition = transitions[view.getUint8(0)];
  const count = view.getUint16(1);
  const end = HEAD_BYTES + CHANGE_BYTES * count;
  if (transition === undefined || count > MAX_CHANGES || bytes.length < end) return undefined;
  const changes: Change[] = [];
  for (let at = HEAD_BYTES; at < end; at += CHANGE_BYTES) {
    const type = types[view.getUint8(at)];
    const id = Number(view.getBigUint64(at + 1));
    if (type === undefined || !Number.isSafeInteger(id)) return undefined;
    changes.push({ type, id });
  }
  return { transition, changes, context: bytes.slice(end) };
}
