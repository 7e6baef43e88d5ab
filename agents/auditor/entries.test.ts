// Entries out of bundles.
import { type TileName } from '../../src/history/served.ts';
import { fetchEntries } from './entries.ts';
import { createPace } from './pace.ts';

it('cuts what it wants out of bundles, and takes nothing else for one', async () => {
  const bundle = (index: number, width: number): Uint8Array => {
    const bytes = new Uint8Array(width * 74);
    for (let slot = 0; slot < width; slot++) {
      bytes[slot * 74 + 1] = 72;
      new DataView(bytes.buffer).setUint32(slot * 74 + 2, index * 256 + slot);
    }
    return bytes;
  };
  const sleep = (): Promise<void> => Promise.resolve();
  const pace = createPace({ widthMax: 2, slowMs: 1e9, now: () => 0, sleep });
  const serving = (tile: (name: TileName) => Uint8Array) => ({
    tile: (name: TileName) => Promise.resolve(tile(name)),
  });
  const ask = serving(({ index, width }) => bundle(index, width));
  const entries = await fetchEntries(ask, pace, 200, 600);
  const view = new DataView(entries.buffer);
  const versions = Array.from({ length: 400 }, (_, at) => view.getUint32(at * 72));
  expect(versions).toEqual(Array.from({ length: 400 }, (_, at) => 200 + at));
  const short = serving(() => bundle(0, 10).subarray(1));
  await expect(fetchEntries(short, pace, 0, 10)).rejects.toMatchObject({ code: 'server-failed' });
  const other = bundle(0, 10);
  other[74 * 5 + 1] = 71;
  await expect(
    fetchEntries(
      serving(() => other),
      pace,
      0,
      10,
    ),
  ).rejects.toMatchObject({
    code: 'server-failed',
  });
});
