// A process that is made to be killed: applies seeded records to a log on disk and says so on standard output, a line each, only after the
// log has acknowledged them. Arguments: directory, seed, largest batch.
import { join } from 'node:path';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { encodeHex } from '../src/crypto/encoding.ts';
import { openDurableBalloon } from '../src/storage/durable-balloon.ts';
import { openLevelStore } from '../src/storage/level.ts';
import { seededRandom } from './random.ts';

const [directory, seed, eventsMax] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: crash-child DIRECTORY SEED EVENTS_MAX');

const store = await openLevelStore(join(directory, 'db'));
const log = await openDurableBalloon({ store, hash: nativeHash, imagePath: join(directory, 'hyper.image') });
const random = seededRandom(Number(seed));
process.stdout.write(`open ${log.balloon.size}\n`);
for (;;) {
  const requests = [
    { key: undefined, eventDigests: random.bytes(32 * (1 + random.below(Number(eventsMax)))) },
  ];
  const { snapshot } = await log.apply(log.balloon.appliedIndex + 1, { time: Date.now(), requests });
  process.stdout.write(`done ${snapshot.version} ${encodeHex(snapshot.historyDigest)}\n`);
}
