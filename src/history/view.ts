// Reading the history tree at any size up to the present one: roots, RFC 9162 proofs, entries. A view joins a state with the store that
// holds what the state has let go of. Full tiles and bundles never change, so a view stays right while newer batches are written.
import { type Hash } from '../crypto/hash.ts';
import { assert, QedError } from '../errors.ts';
import { growingEntries, type History } from './append.ts';
import { ENTRY_BYTES } from './entry.ts';
import { BUNDLE_BYTES, bundleKey, type HistoryReader, readStored, tileKey } from './layout.ts';
import { emptyRoot, nodeHash } from './merkle.ts';
import {
  checkPosition,
  consistencySpans,
  edgeTile,
  inclusionSpans,
  type Span,
  type Subtree,
  subtreesOf,
  TILE_WIDTH,
  tilePlace,
} from './position.ts';
import { openStoredTile, STORED_TILE_BYTES, storedNode, type Tile, tileNode } from './tile.ts';

export interface HistoryView {
  readonly hash: Hash;
  readonly history: History;
  readonly reader: HistoryReader;
  /** Full tiles above level 0, kept by those who ask again and again. There is one for 65,536 entries, and none ever changes. */
  readonly upper?: Map<string, Tile>;
}

/** With 16 KB each, they take 8 MB at most; enough to have all of them up to 33 million entries. */
const UPPER_TILES_MAX = 512;

/** A run of entries, 72 bytes each, that begins with version `first`. */
export interface EntryRun {
  readonly first: number;
  readonly entries: Uint8Array;
}

/** The history digest when the log had `size` entries. */
export function rootAt(view: HistoryView, size: number): Uint8Array {
  checkSize(view, size);
  if (size === 0) return emptyRoot(view.hash);
  if (size === view.history.size) return view.history.root;
  return spanHash(view.hash, nodesOf(view), { from: 0, to: size });
}

/** Proves entry `version` in the tree of `size` entries: sibling hashes from the leaf up. */
export function inclusionProof(view: HistoryView, version: number, size: number): Uint8Array[] {
  checkProvable(view, size);
  checkVersion(view, version);
  if (version >= size) {
    throw new QedError('range-reversed', `Version ${version} is not in the tree of ${size} entries.`);
  }
  return spanHashes(view, inclusionSpans(version, size));
}

/** Proves that the tree of `endSize` entries grew out of the tree of `startSize` entries. */
export function consistencyProof(view: HistoryView, startSize: number, endSize: number): Uint8Array[] {
  checkProvable(view, startSize);
  checkProvable(view, endSize);
  if (startSize > endSize) {
    throw new QedError(
      'range-reversed',
      `The range from size ${startSize} to size ${endSize} runs backwards.`,
    );
  }
  return spanHashes(view, consistencySpans(startSize, endSize));
}

/** The 72 bytes of one entry. */
export function entryAt(view: HistoryView, version: number): Uint8Array {
  checkVersion(view, version);
  const { first, entries } = runAt(view, version);
  const at = (version - first) * ENTRY_BYTES;
  return new Uint8Array(entries.subarray(at, at + ENTRY_BYTES));
}

/** The entries from version `from` up to, not including, `to`, in runs of 256 at most, each read when it is asked for. */
export function entryRuns(view: HistoryView, from: number, to: number): Iterable<EntryRun> {
  checkPosition('version', from);
  checkSize(view, to);
  if (from > to) throw new QedError('range-reversed', `The range from ${from} to ${to} runs backwards.`);
  return runs(view, from, to);
}

function* runs(view: HistoryView, from: number, to: number): Generator<EntryRun> {
  for (let at = from; at < to;) {
    const { first, entries } = runAt(view, at);
    const run = entries.subarray((at - first) * ENTRY_BYTES, (to - first) * ENTRY_BYTES);
    yield { first: at, entries: run };
    at += run.length / ENTRY_BYTES;
  }
}

/** The bundle that holds a version, or what there is of it. */
function runAt(view: HistoryView, version: number): EntryRun {
  const bundle = Math.floor(version / TILE_WIDTH);
  return { first: bundle * TILE_WIDTH, entries: bundleEntries(view, bundle) };
}

/** The entries of a bundle, all that there are in this view, not to be written to. The bundle must have begun. */
export function bundleEntries({ history, reader }: HistoryView, bundle: number): Uint8Array {
  if (bundle === edgeTile(history.size, 0)) return growingEntries(history);
  return readStored(reader, bundleKey(bundle), BUNDLE_BYTES);
}

type Nodes = (subtree: Subtree) => Uint8Array;

/** Finds nodes of the tree. Remembers the last tile of each level, so that one question reads a tile once. */
function nodesOf(view: HistoryView): Nodes {
  const { hash, history, reader } = view;
  const last: ({ readonly tile: number; readonly stored: Uint8Array } | undefined)[] = [];
  return (subtree) => {
    const { level, tile, row, position } = tilePlace(subtree);
    const growing = history.edge[level];
    assert(growing !== undefined, `a node of level ${level} in a log of ${history.size} entries`);
    if (tile === edgeTile(history.size, level)) return tileNode(growing, row, position);
    if (level > 0 && view.upper) return tileNode(upperTile(view, view.upper, level, tile), row, position);
    let known = last[level];
    if (known?.tile !== tile) {
      known = { tile, stored: readStored(reader, tileKey(level, tile), STORED_TILE_BYTES) };
      last[level] = known;
    }
    return storedNode(hash, known.stored, row, position);
  };
}

function upperTile(
  { hash, reader }: HistoryView,
  kept: Map<string, Tile>,
  level: number,
  tile: number,
): Tile {
  const name = `${level}/${tile}`;
  const known = kept.get(name);
  if (known) return known;
  const read = openStoredTile(hash, readStored(reader, tileKey(level, tile), STORED_TILE_BYTES));
  for (const oldest of kept.keys()) {
    if (kept.size < UPPER_TILES_MAX) break;
    kept.delete(oldest);
  }
  kept.set(name, read);
  return read;
}

function spanHashes(view: HistoryView, spans: readonly Span[]): Uint8Array[] {
  const nodes = nodesOf(view);
  return spans.map((span) => spanHash(view.hash, nodes, span));
}

/** A span is a perfect subtree or several, folded from the right. */
function spanHash(hash: Hash, nodes: Nodes, span: Span): Uint8Array {
  return subtreesOf(span)
    .map(nodes)
    .reduceRight((right, left) => nodeHash(hash, left, right));
}

function checkSize({ history }: HistoryView, size: number): void {
  checkPosition('size', size);
  if (size <= history.size) return;
  throw new QedError('version-unknown', `The log has ${history.size} entries, not ${size} yet.`);
}

function checkProvable(view: HistoryView, size: number): void {
  checkPosition('size', size);
  if (view.history.size === 0 || size === 0) {
    throw new QedError('log-empty', 'There is nothing to prove about a log without entries.');
  }
  checkSize(view, size);
}

function checkVersion({ history }: HistoryView, version: number): void {
  checkPosition('version', version);
  if (version < history.size) return;
  throw new QedError('version-unknown', `The log has ${history.size} entries, so no version ${version} yet.`);
}
