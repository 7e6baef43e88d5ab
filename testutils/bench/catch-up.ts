// `node --import tsx testutils/bench/catch-up.ts --events 1000000 --batch 1000`: how long a node takes that missed so many events, in records of so many,
// fetched from another process over its connection, verified, and written to a database on disk. --load makes the other one go on meanwhile,
// with so many records of one event a second. --by log leaves the records in the other's log, so that they come by Raft.
import { fork } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { decodeLogItem, encodeRecord } from '../../src/balloon/record.ts';
import { signSnapshot } from '../../src/balloon/sign.ts';
import { nativeVerify, privateKeyFromSeed, publicKeyOf } from '../../src/crypto/ed25519-node.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { createLogSigner } from '../../src/crypto/signer.ts';
import { catchUp, createCatchUpAnswers } from '../../src/replication/catch-up.ts';
import { type ClusterLog } from '../../src/replication/cluster-log.ts';
import { openClusterLog } from '../../src/replication/cluster.ts';
import { checkJoined, formatJson, type Joined } from '../../src/replication/members.ts';
import { openDurableBalloon, type DurableBalloon } from '../../src/storage/durable-balloon.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { freePort } from '../temp.ts';
import { until } from '../until.ts';
import { describeMachine } from './machine.ts';

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    batch: { type: 'string', default: '1000' },
    load: { type: 'string', default: '0' },
    by: { type: 'string', default: 'entries' },
    directory: { type: 'string' },
    joiner: { type: 'string' },
  },
});
const [events, batch, load] = [Number(values.events), Number(values.batch), Number(values.load)];
const signer = createLogSigner('bench.example/log', privateKeyFromSeed(new Uint8Array(32).fill(1)));

interface Bench {
  readonly durable: DurableBalloon;
  readonly log: ClusterLog;
}

async function open(
  directory: string,
  nodeKey: KeyObject,
  port: number,
  start: 'found' | Joined,
): Promise<Bench> {
  const store = await openLevelStore(join(directory, 'db'));
  const imagePath = join(directory, 'hyper.image');
  const durable = await openDurableBalloon({ store, hash: nativeHash, imagePath, durable: false });
  const { balloon } = durable;
  const log = await openClusterLog({
    directory: join(directory, 'raft'),
    self: selfOf(port),
    nodeKey,
    listen: `127.0.0.1:${port}`,
    start,
    appliedIndex: balloon.appliedIndex,
    // So small that the records are gone when the newcomer needs them, or so large that they are all there.
    tail: { records: values.by === 'log' ? 1e9 : 10, bytes: 1e9 },
    segmentBytes: 256 * 1024,
    serve: createCatchUpAnswers({
      durable,
      sign: (version) => signSnapshot(balloon, version, signer),
      reach: async (index) => {
        const record = await log.recordBy(index);
        await until(`record ${record}`, () => balloon.appliedIndex >= record);
      },
    }),
    onSnapshot: ({ index }, peers, signal) =>
      catchUp({
        durable,
        peers,
        index,
        log: signer.verifier,
        hash: nativeHash,
        verify: nativeVerify,
        signal,
      }),
  });
  void apply({ durable, log });
  return { durable, log };
}

const selfOf = (port: number) => ({
  nodeId: `n${port}`,
  raftAddr: `127.0.0.1:${port}`,
  httpAddr: '127.0.0.1:1',
  mgmtAddr: '127.0.0.1:2',
});

async function apply({ durable, log }: Bench): Promise<void> {
  for await (const group of log.committed(durable.balloon.appliedIndex))
    for (let at = 0; at < group.length;) {
      const records = group
        .slice(at, at + 500)
        .map(({ index, payload }) => ({ index, record: decodeLogItem(payload) }));
      at += (await durable.applyAll(records)).length;
    }
}

async function add({ log }: Bench, count: number): Promise<void> {
  const requests = [{ key: undefined, eventDigests: new Uint8Array(randomBytes(32 * count)) }];
  await log.append(encodeRecord({ time: Date.now(), requests }));
}

/** The other process: has everything, lets the newcomer in, and goes on under load. */
async function serve(directory: string, joiner: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const bench = await open(directory, privateKey, await freePort(), 'found');
  for (let at = 0; at < events; at += 16 * batch)
    await Promise.all(Array.from({ length: 16 }, () => add(bench, batch)));
  const { durable, log } = bench;
  await until('everything', () => durable.balloon.size >= events, 600_000);
  await log.compact(durable.balloon.appliedIndex);
  const { nodeKey, port } = JSON.parse(joiner) as { nodeKey: string; port: number };
  const joined = await log.join({ ...selfOf(port), nodeKey: Buffer.from(nodeKey, 'hex'), isFresh: true });
  process.send?.(formatJson(joined));
  if (load > 0) setInterval(() => void add(bench, 1).catch(() => undefined), 1000 / load);
}

async function comeBack(directory: string): Promise<void> {
  const nodeKey = generateKeyPairSync('ed25519').privateKey;
  const key = createPrivateKey(nodeKey.export({ type: 'pkcs8', format: 'pem' }));
  const port = await freePort();
  const joiner = JSON.stringify({ nodeKey: encodeHex(publicKeyOf(key)), port });
  const child = fork(process.argv[1]!, [
    ...['--events', String(events), '--batch', String(batch), '--load', String(load), '--by', values.by],
    ...['--directory', join(directory, 'a'), '--joiner', joiner],
  ]);
  try {
    const [joined] = (await once(child, 'message')) as [string];
    const [start, cpu] = [performance.now(), process.cpuUsage()];
    const { durable, log } = await open(join(directory, 'b'), key, port, checkJoined(JSON.parse(joined)));
    const isBack = (): boolean =>
      durable.balloon.size >= events && log.members().every(({ isVoter }) => isVoter);
    await until('the way back', isBack, 600_000);
    const seconds = (performance.now() - start) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    console.log(
      `${events.toLocaleString('en')} events in records of ${batch}, by ${values.by}: back after ${seconds.toFixed(1)} s ` +
        `(${Math.round(events / seconds).toLocaleString('en')} events/s, ${((user + system) / 1e6).toFixed(1)} s of processor time)`,
    );
  } finally {
    child.kill();
  }
}

if (values.joiner !== undefined) await serve(values.directory ?? '', values.joiner);
else {
  console.log(describeMachine());
  const directory = mkdtempSync(join(tmpdir(), 'qed-bench-'));
  await comeBack(directory).finally(() => rmSync(directory, { recursive: true, force: true }));
  process.exit();
}
