// At which versions each digest is in a log, as anybody can read it: from the entry bundles.
import { formatTilePath } from '../src/history/served.ts';

/** A bundle holds for each entry its length, in two bytes, and the entry, which begins with the digest. */
const ROW_BYTES = 2 + 72;

/** By digest, in hex. `size` is the number of entries to read. */
export async function placesOfDigests(endpoint: string, size: number): Promise<Map<string, number[]>> {
  const places = new Map<string, number[]>();
  for (let first = 0; first < size; first += 256) {
    const width = Math.min(256, size - first);
    const path = formatTilePath({ level: 'entries', index: first / 256, width });
    const answer = await fetch(`${endpoint}/${path}`);
    const bundle = Buffer.from(await answer.arrayBuffer());
    if (!answer.ok || bundle.length !== width * ROW_BYTES)
      throw new Error(`${path}: status ${answer.status}, ${bundle.length} bytes`);
    for (let at = 0; at < width; at++) {
      const digest = bundle.toString('hex', at * ROW_BYTES + 2, at * ROW_BYTES + 34);
      places.set(digest, [...(places.get(digest) ?? []), first + at]);
    }
  }
  return places;
}
