// How fast the history tree grows and proves, in memory:  npx tsx testutils/bench/history.ts [entries]
// Next to each figure its bare floor: what SHA-256 alone would allow.
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { appendEntries, emptyHistory, type History } from '../../src/history/append.ts';
import { checkConsistency, checkInclusion } from '../../src/history/check.ts';
import { ENTRY_BYTES } from '../../src/history/entry.ts';
import { leafHash } from '../../src/history/merkle.ts';
import { openHistory } from '../../src/history/open.ts';
import { consistencyProof, entryAt, inclusionProof, rootAt } from '../../src/history/view.ts';
import { memoryValues } from '../history-log.ts';
import { seededRandom } from '../random.ts';

const BATCH = 1_000;
const size = Number(process.argv[2] ?? 1_000_000);
const hash = nativeHash;
const reader = memoryValues();
const random = seededRandom(1);

/** Runs `work` on 0 … count - 1 and prints how many it does in a second. */
function rate(name: string, count: number, work: (i: number) => void): number {
  const start = performance.now();
  for (let i = 0; i < count; i++) work(i);
  const perSecond = (count / (performance.now() - start)) * 1_000;
  console.log(`${name.padEnd(44)} ${Math.round(perSecond).toLocaleString('en').padStart(10)}/s`);
  return perSecond;
}

const digests = rate('SHA-256 of 65 bytes', 300_000, () => hash.digest(new Uint8Array(65)));
console.log(`${'floor of append, two hashes an entry'.padEnd(44)} ${Math.round(digests / 2)}/s`);

let history: History = emptyHistory(hash);
let appendMs = 0;
const batch = random.bytes(BATCH * ENTRY_BYTES);
while (history.size < size) {
  new DataView(batch.buffer).setFloat64(0, history.size);
  const start = performance.now();
  const appended = appendEntries(hash, history, batch);
  appendMs += performance.now() - start;
  reader.write(appended.writes);
  history = appended.history;
}
console.log(`append, batches of ${BATCH}: ${Math.round((size / appendMs) * 1_000)} entries/s`);

const stored = [...reader.values.values()].reduce((sum, value) => sum + value.length, 0);
console.log(`stored: ${(stored / size).toFixed(1)} bytes an entry`);

rate('append, batches of 1', 20_000, () => appendEntries(hash, history, batch.subarray(0, ENTRY_BYTES)));
rate('open', 100, () => openHistory(hash, reader, size));

const view = { hash, history, reader };
const pairs = Array.from({ length: 20_000 }, () => {
  const end = 1 + random.below(size);
  return { end, start: 1 + random.below(end) } as const;
});
rate('inclusion proof, any version, present size', 20_000, (i) =>
  inclusionProof(view, pairs[i]!.start - 1, size),
);
rate('inclusion proof, any version, any size', 20_000, (i) => {
  inclusionProof(view, pairs[i]!.start - 1, pairs[i]!.end);
});
rate('consistency proof, any sizes', 20_000, (i) => consistencyProof(view, pairs[i]!.start, pairs[i]!.end));

const claims = pairs.slice(0, 5_000).map(({ start, end }) => {
  const roots = { startRoot: rootAt(view, start), endRoot: rootAt(view, end) };
  const leaf = leafHash(hash, entryAt(view, start - 1));
  const proofs = { path: inclusionProof(view, start - 1, end), growth: consistencyProof(view, start, end) };
  return { start, end, leaf, ...roots, ...proofs };
});
let refused = 0;
rate('check of inclusion', claims.length, (i) => {
  const { leaf, start, end, path, endRoot } = claims[i]!;
  if (!checkInclusion(hash, leaf, start - 1, end, path, endRoot)) refused++;
});
rate('check of consistency', claims.length, (i) => {
  const { start, startRoot, end, endRoot, growth } = claims[i]!;
  if (!checkConsistency(hash, start, startRoot, end, endRoot, growth)) refused++;
});
if (refused > 0) throw new Error(`${refused} proofs were refused`);
