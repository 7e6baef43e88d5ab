// Where a replica is kept: its store, and the history tree in it. What is damaged here is the auditor's own trouble.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { concat, encodeU64, equalBytes, readU64, U64_BYTES } from '../../src/crypto/encoding.ts';
import { type Hash } from '../../src/crypto/hash.ts';
import { QedError } from '../../src/errors.ts';
import { type History } from '../../src/history/append.ts';
import { HISTORY_PREFIX } from '../../src/history/layout.ts';
import { openHistory } from '../../src/history/open.ts';
import { TILE_LEVELS } from '../../src/history/position.ts';
import { type HistoryView } from '../../src/history/view.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { openMemoryStore } from '../../src/storage/memory.ts';
import { type Store, type Write } from '../../src/storage/store.ts';

/** u64 size ‖ root. */
const STATE = Uint8Array.of(0x72);

export async function openReplicaStore(path: string | undefined): Promise<Store> {
  if (path === undefined) return withoutEntries(openMemoryStore());
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return openLevelStore(join(path, 'db'), {
    cacheBytes: 8 * 1024 * 1024,
    writeBufferBytes: 8 * 1024 * 1024,
  });
}

/** Keeps the tiles alone, of which roots and proofs are made. */
function withoutEntries(store: Store): Store {
  const isTile = ({ key }: Write): boolean => key[0] === HISTORY_PREFIX && key[1]! < TILE_LEVELS;
  return { ...store, write: (writes, options) => store.write(writes.filter(isTile), options) };
}

/** To be written together with what made the history so. */
export function stateWrite({ size, root }: History): Write {
  return { type: 'put', key: STATE, value: concat(encodeU64(size), root) };
}

export function openView(hash: Hash, store: Store): HistoryView {
  const state = store.get(STATE) ?? encodeU64(0);
  const size = readU64(state);
  if (size === undefined) throw damaged('its size cannot be read');
  const history = openHistory(hash, store, size);
  if (size > 0 && !equalBytes(state.subarray(U64_BYTES), history.root))
    throw damaged('its tiles do not lead to its root');
  return { hash, history, reader: store, upper: new Map() };
}

export function damaged(why: string): QedError {
  return new QedError('store-corrupt', `the replica of the auditor is damaged: ${why}`, {
    hint: 'Remove the directory "replica" in --state: the log is replayed from its beginning.',
  });
}
