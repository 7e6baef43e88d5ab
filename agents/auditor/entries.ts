// Fetches entries as C2SP tlog-tiles serves them: bundles of 256, each entry behind its length, several bundles at a time. That they are the
// log's is for the caller to check: bundles are not signed.
import { QedError } from '../../src/errors.ts';
import { ENTRY_BYTES } from '../../src/history/entry.ts';
import { formatTilePath, type TileName } from '../../src/history/served.ts';
import { TILE_WIDTH } from '../../src/history/position.ts';
import { type AskLog } from '../ask.ts';
import { type Pace } from './pace.ts';

const LENGTH_BYTES = 2;
const BUNDLE_ENTRY_BYTES = LENGTH_BYTES + ENTRY_BYTES;

/** The entries of versions `from` to `to` - 1, 72 bytes each, one after the other. */
export async function fetchEntries(
  log: Pick<AskLog, 'tile'>,
  pace: Pace,
  from: number,
  to: number,
): Promise<Uint8Array> {
  const entries = new Uint8Array((to - from) * ENTRY_BYTES);
  const firstBundle = Math.floor(from / TILE_WIDTH);
  const bundles = Math.floor((to - 1) / TILE_WIDTH) - firstBundle + 1;
  const fetched = Array.from({ length: bundles }, async (_, at) => {
    const index = firstBundle + at;
    const width = Math.min(TILE_WIDTH, to - index * TILE_WIDTH);
    const name: TileName = { level: 'entries', index, width };
    const bundle = await pace.run(() => log.tile(name));
    copyBundle(bundle, name, entries, from);
  });
  await allSettledOrThrow(fetched);
  return entries;
}

/** Nothing is left under way when it throws. */
async function allSettledOrThrow(list: readonly Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(list)) if (one.status === 'rejected') throw one.reason;
}

function copyBundle(bundle: Uint8Array, name: TileName, entries: Uint8Array, from: number): void {
  if (bundle.length !== name.width * BUNDLE_ENTRY_BYTES) throw noBundle(name, `${bundle.length} bytes`);
  const first = name.index * TILE_WIDTH;
  for (let slot = 0; slot < name.width; slot++) {
    const at = slot * BUNDLE_ENTRY_BYTES;
    if (bundle[at] !== 0 || bundle[at + 1] !== ENTRY_BYTES) throw noBundle(name, 'entries of another length');
    if (first + slot < from) continue;
    entries.set(
      bundle.subarray(at + LENGTH_BYTES, at + BUNDLE_ENTRY_BYTES),
      (first + slot - from) * ENTRY_BYTES,
    );
  }
}

function noBundle(name: TileName, what: string): QedError {
  return new QedError('server-failed', `${formatTilePath(name)} came as ${what}`);
}
