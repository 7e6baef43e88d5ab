// `npm run bench:core`: what the core does in a second, how that changes as the log grows, and the bare floor beside it: hashing alone, the
// database alone. Every part runs in a process of its own, so that its peak memory is its own. --events sets the largest log (10,000,000).
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatMembership } from '../../src/balloon/proof.ts';
import { signSnapshot } from '../../src/balloon/sign.ts';
import { verifyMembership } from '../../src/balloon/verify.ts';
import { nativeVerify, privateKeyFromSeed } from '../../src/crypto/ed25519-node.ts';
import { hashtreeAvailable, nativeHash } from '../../src/crypto/hash-node.ts';
import { portableHash } from '../../src/crypto/hash.ts';
import { createLogSigner } from '../../src/crypto/signer.ts';
import { HyperTree } from '../../src/hyper/tree.ts';
import { openDurableBalloon, type DurableBalloon } from '../../src/storage/durable-balloon.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { openMemoryStore } from '../../src/storage/memory.ts';
import { describeMachine, describeMemory, megabytes, perSecond } from './machine.ts';

const BATCH = 1000;
/** What the trees wait for is memory, and much of that is the search for small pages. */
const hugePages = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };
const HUGE_PAGES = `GLIBC_TUNABLES=${hugePages.GLIBC_TUNABLES}`;
const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '10000000' },
    part: { type: 'string' },
    directory: { type: 'string' },
  },
});
const events = Number(values.events);

const parts: Record<string, (directory: string) => Promise<void> | void> = {
  floors: benchFloors,
  'hyper, without huge pages': benchHyper,
  hyper: benchHyper,
  memory: benchMemory,
  disk: benchDisk,
  'reopen with the image': (directory) => benchReopen(directory, true),
  'reopen by replay alone': (directory) => benchReopen(directory, false),
  proofs: benchProofs,
};

if (values.part !== undefined) {
  await parts[values.part]?.(values.directory ?? '');
  console.log(
    `    peak memory ${megabytes(process.resourceUsage().maxRSS * 1024)}, files of the database that the system maps included`,
  );
} else {
  console.log(`qed core, batches of ${BATCH}, up to ${events.toLocaleString('en')} events`);
  console.log(describeMachine());
  console.log(`with ${HUGE_PAGES}, as in deploy/, but for the part that says without`);
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  for (const part of Object.keys(parts)) {
    console.log(`\n${part}`);
    const args = [
      ...process.execArgv,
      process.argv[1]!,
      '--part',
      part,
      '--directory',
      directory,
      '--events',
      String(events),
    ];
    const env = part.endsWith('without huge pages') ? process.env : { ...process.env, ...hugePages };
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env });
    if (status !== 0) process.exitCode = 1;
  }
  rmSync(directory, { recursive: true, force: true });
}

/** The sizes at which a figure is taken: each the rate over the last tenth before it. */
function milestones(): number[] {
  return [10_000, 100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000].filter((size) => size <= events);
}

/** Runs `step` batch by batch up to `size`, and prints the rate near each milestone. */
async function grow(
  size: number,
  step: (digests: Uint8Array, version: number) => Promise<void> | void,
): Promise<void> {
  const digests = new Uint8Array(32 * BATCH);
  const marks = milestones().filter((mark) => mark <= size);
  const begin = performance.now();
  let windowAt = 0;
  let windowBegin = begin;
  for (let version = 0; version < size; version += BATCH) {
    if (marks.some((mark) => mark - Math.max(BATCH, mark / 10) === version)) {
      windowAt = version;
      windowBegin = performance.now();
    }
    randomFillSync(digests);
    await step(digests, version);
    const done = version + BATCH;
    if (marks.includes(done)) {
      const now = performance.now();
      const near = perSecond(done - windowAt, now - windowBegin);
      const average = perSecond(done, now - begin);
      const rss = megabytes(process.memoryUsage().rss);
      console.log(
        `    at ${done.toLocaleString('en').padStart(11)}: ${near.padStart(8)}, ${average} on average, ${rss}`,
      );
    }
  }
}

function rate(seconds: number, work: () => number): string {
  const begin = performance.now();
  let count = 0;
  while (performance.now() - begin < seconds * 1000) count += work();
  return perSecond(count, performance.now() - begin);
}

async function benchFloors(directory: string): Promise<void> {
  const blocks = new Uint8Array(64 * 1024);
  const out = new Uint8Array(32 * 1024);
  const blocksPerSecond = (hash: typeof nativeHash): string =>
    rate(1, () => {
      hash.blocks(blocks, out);
      return 1024;
    });
  console.log(
    `    64-byte blocks, ${hashtreeAvailable ? 'hashtree' : 'fallback'}: ${blocksPerSecond(nativeHash)}`,
  );
  console.log(`    64-byte blocks, portable: ${blocksPerSecond(portableHash)}`);
  const leaf = new Uint8Array(73);
  const single = rate(1, () => {
    for (let i = 0; i < 100; i++) nativeHash.digest(leaf);
    return 100;
  });
  console.log(
    `    73-byte leaves, one by one: ${single} (an event needs about two such hashes, and 14 to 25 blocks)`,
  );
  const store = await openLevelStore(join(directory, 'floor'));
  let batch = 0;
  const begin = performance.now();
  for (; batch < 500; batch++) {
    const put = (key: string, bytes: number) =>
      ({
        type: 'put',
        key: Buffer.from(`${key}${String(batch).padStart(12, '0')}`),
        value: randomFillSync(new Uint8Array(bytes)),
      }) as const;
    await store.write(
      ['a', 'b', 'c', 'd'].flatMap((name) => [put(`e${name}`, 18_432), put(`t${name}`, 9_472)]),
    );
  }
  const ms = performance.now() - begin;
  console.log(
    `    database alone, the bytes of a batch, fsynced: ${perSecond(batch * BATCH, ms)} (${(ms / batch).toFixed(2)} ms a batch)`,
  );
  await store.close();
}

async function benchHyper(): Promise<void> {
  const tree = new HyperTree(nativeHash);
  await grow(events, (digests, version) => {
    tree.stage(digests, version);
    tree.commit();
  });
}

async function benchMemory(): Promise<void> {
  const log = await openDurableBalloon({ store: openMemoryStore(), hash: nativeHash });
  await grow(Math.min(events, 1_000_000), add(log));
}

async function benchDisk(directory: string): Promise<void> {
  const log = await openOnDisk(directory);
  await grow(events, add(log));
  console.log(`    ${describeMemory()}`);
  await log.close();
  console.log(`    image ${megabytes(statSync(join(directory, 'hyper.image')).size)}`);
}

async function benchReopen(directory: string, withImage: boolean): Promise<void> {
  const image = join(directory, 'hyper.image');
  if (!withImage) renameSync(image, `${image}.kept`);
  const begin = performance.now();
  const log = await openOnDisk(directory);
  console.log(
    `    ${log.balloon.size.toLocaleString('en')} events in ${((performance.now() - begin) / 1000).toFixed(1)} s`,
  );
  console.log(`    ${describeMemory()}`);
  await log.close();
  if (!withImage) renameSync(`${image}.kept`, image);
}

async function benchProofs(directory: string): Promise<void> {
  const log = await openOnDisk(directory);
  const { balloon } = log;
  const signer = createLogSigner('bench.example/log', privateKeyFromSeed(new Uint8Array(32).fill(7)));
  const digestAt = (version: number): Uint8Array => balloon.entry(version).eventDigest.slice();
  const present = Array.from({ length: 20_000 }, () => digestAt(Math.floor(Math.random() * balloon.size)));
  const absent = present.map(() => randomFillSync(new Uint8Array(32)));
  const timed = (what: string, count: number, work: (i: number) => void): void => {
    const begin = performance.now();
    for (let i = 0; i < count; i++) work(i);
    console.log(`    ${what}: ${perSecond(count, performance.now() - begin)}`);
  };
  timed('membership, present, produced and checked', present.length, (i) => balloon.membership(present[i]!));
  timed('membership, absent, produced and checked', absent.length, (i) => balloon.membership(absent[i]!));
  const last = balloon.size - 1;
  timed('incremental, produced and checked', 5000, () =>
    balloon.incremental(Math.floor(Math.random() * last), last),
  );
  const signedSnapshot = signSnapshot(balloon, last, signer);
  const proofs = present
    .slice(0, 4000)
    .map((digest) => formatMembership({ ...balloon.membership(digest), signedSnapshot }));
  const trust = { log: signer.verifier };
  const native = { hash: nativeHash, verify: nativeVerify };
  timed('membership verified with its signature, native', proofs.length, (i) =>
    verifyMembership(proofs[i], { eventDigest: present[i]! }, trust, native),
  );
  timed('membership verified with its signature, portable', 1000, (i) =>
    verifyMembership(proofs[i], { eventDigest: present[i]! }, trust),
  );
  await log.close();
}

async function openOnDisk(directory: string): Promise<DurableBalloon> {
  const store = await openLevelStore(join(directory, 'db'));
  return openDurableBalloon({ store, hash: nativeHash, imagePath: join(directory, 'hyper.image') });
}

function add(log: DurableBalloon): (digests: Uint8Array) => Promise<void> {
  return async (digests) => {
    const requests = [{ key: undefined, eventDigests: digests.slice() }];
    await log.apply(log.balloon.appliedIndex + 1, { time: Date.now(), requests });
  };
}
