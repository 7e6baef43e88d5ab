// Where a replica is kept: its store, the history tree in it, and the image of the hyper tree beside it. What is damaged here is the auditor's own trouble.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { rebuildHyper } from '../../src/balloon/rebuild.ts';
import { concat, encodeU64, equalBytes, readU64, U64_BYTES } from '../../src/crypto/encoding.ts';
import { type Hash } from '../../src/crypto/hash.ts';
import { QedError } from '../../src/errors.ts';
import { type History } from '../../src/history/append.ts';
import { HISTORY_PREFIX } from '../../src/history/layout.ts';
import { openHistory } from '../../src/history/open.ts';
import { TILE_LEVELS } from '../../src/history/position.ts';
import { type HistoryView } from '../../src/history/view.ts';
import { type HyperTree } from '../../src/hyper/tree.ts';
import { type BalloonEvent } from '../../src/storage/durable-balloon.ts';
import {
  openImageWriter,
  readImage,
  setImageAside,
  type ImageRead,
  type ImageWriter,
} from '../../src/storage/image.ts';
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

export interface OpenedHyper {
  readonly hyper: HyperTree;
  readonly image: ImageWriter | undefined;
}

/** The hyper tree from its image, as far as that goes; from the entries alone where there is none, or a damaged one. */
export function openHyper(
  view: HistoryView,
  path: string | undefined,
  onEvent: (event: BalloonEvent) => void,
): OpenedHyper {
  const { hash, history } = view;
  let found: ImageRead = { leaves: 0, end: 0, damage: undefined };
  const rebuild = (segments: Iterable<Uint8Array>): HyperTree =>
    rebuildHyper(view, segments, (versions) => onEvent({ kind: 'rebuilding', versions, of: history.size }));
  const withImage = (hyper: HyperTree, imagePath: string): OpenedHyper => {
    const onError = (error: unknown): void => onEvent({ kind: 'image-failed', error });
    return { hyper, image: openImageWriter(imagePath, hash, found, onError) };
  };
  function* segmentsOf(imagePath: string): Generator<Uint8Array> {
    found = yield* readImage(imagePath, hash, history.size);
    if (found.damage !== undefined) throw damaged(found.damage);
  }

  if (path === undefined) return { hyper: rebuild([]), image: undefined };
  try {
    return withImage(rebuild(segmentsOf(path)), path);
  } catch (error) {
    if (!existsSync(path)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    onEvent({ kind: 'image-damaged', why, aside: setImageAside(path) });
    found = { leaves: 0, end: 0, damage: undefined };
    return withImage(rebuild([]), path);
  }
}

export function damaged(why: string): QedError {
  return new QedError('store-corrupt', `the replica of the auditor is damaged: ${why}`, {
    hint: 'Remove the directory "replica" in --state: the log is replayed from its beginning.',
  });
}
