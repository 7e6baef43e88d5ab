// A node that was away gets the same state as if it had applied every record, whatever its peers try.
import { seededRandom, type Random } from '../../testutils/random.ts';
import { encodeComparison, decodeLogItem, type Record } from '../balloon/record.ts';
import { signSnapshot } from '../balloon/sign.ts';
import { nativeVerify, privateKeyFromSeed } from '../crypto/ed25519-node.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { createLogSigner } from '../crypto/signer.ts';
import { QedError } from '../errors.ts';
import { openDurableBalloon, type DurableBalloon } from '../storage/durable-balloon.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../storage/memory.ts';
import { catchUp, createCatchUpAnswers } from './catch-up.ts';
import { compareDigests } from './compare.ts';
import { type Peer } from './transport.ts';

const signer = createLogSigner('example.org/log', privateKeyFromSeed(new Uint8Array(32).fill(1)));
const stranger = createLogSigner('example.org/log', privateKeyFromSeed(new Uint8Array(32).fill(2)));

const blankMember = {
  id: 1,
  nodeKey: new Uint8Array(32),
  ...{ raftAddr: '', httpAddr: '', mgmtAddr: '' },
  ...{ isLeader: false, roundTripMs: undefined, matchIndex: undefined },
};

function open(disk: MemoryDisk = memoryDisk()): Promise<DurableBalloon> {
  return openDurableBalloon({ store: openMemoryStore(disk), hash: nativeHash, durable: false });
}

/** Records with keys, some of them repeated, some events logged before. */
function randomRecords(
  random: Random,
  count: number,
  eventsMax: number,
): { index: number; record: Record }[] {
  const requests: { key: Uint8Array | undefined; eventDigests: Uint8Array }[] = [];
  let index = 1;
  return Array.from({ length: count }, (_, at) => {
    index += 1 + random.below(3);
    const repeated = requests.length > 0 && random.chance(0.2) ? random.pick(requests) : undefined;
    const fresh = {
      key: random.chance(0.7) ? random.bytes(16) : undefined,
      eventDigests: random.bytes(32 * (1 + random.below(eventsMax))),
    };
    requests.push(fresh);
    return {
      index,
      record: { time: 1000 + at * random.below(3), requests: repeated ? [repeated, fresh] : [fresh] },
    };
  });
}

async function apply(
  durable: DurableBalloon,
  records: readonly { index: number; record: Record }[],
): Promise<void> {
  for (const { index, record } of records) await durable.apply(index, record);
}

/** How a peer answers; `change` may alter it. */
function peerOf(
  durable: DurableBalloon,
  {
    nodeId = 'peer',
    change = (_path: string, bytes: Uint8Array): Uint8Array | undefined => bytes,
    log = signer,
  } = {},
): Peer & { readonly asked: string[] } {
  const answer = createCatchUpAnswers({
    durable,
    sign: (version) => signSnapshot(durable.balloon, version, log),
    reach: () => Promise.resolve(),
  });
  const asked: string[] = [];
  return {
    nodeId,
    asked,
    async fetch(path) {
      asked.push(path);
      const bytes = await answer(path, new AbortController().signal);
      const changed = bytes && change(path, bytes);
      if (!changed) throw new QedError('not-found', path);
      return changed;
    },
  };
}

function run(
  durable: DurableBalloon,
  peers: readonly Peer[],
  signal = new AbortController().signal,
): Promise<number> {
  return catchUp({
    durable,
    peers,
    index: 1,
    log: signer.verifier,
    hash: nativeHash,
    verify: nativeVerify,
    signal,
  });
}

function stateOf({ balloon, requestRows }: DurableBalloon): unknown {
  const { snapshot, size, appliedIndex } = balloon;
  const digests = snapshot && [snapshot.historyDigest, snapshot.hyperDigest].map(encodeHex);
  return { digests, size, appliedIndex, rows: encodeHex(requestRows()) };
}

describe('catching up', () => {
  it.each([
    [1, 0, 40, 5],
    [2, 25, 40, 5],
    [3, 1, 30, 900],
    [4, 300, 300, 3],
    [5, 0, 6, 10_000],
  ])('ends where the others are (seed %i, %i of %i records there)', async (seed, known, count, eventsMax) => {
    const random = seededRandom(seed);
    const records = randomRecords(random, count, eventsMax);
    const [whole, disk] = [await open(), memoryDisk()];
    await apply(whole, records);
    let behind = await open(disk);
    await apply(behind, records.slice(0, known));
    const index = await run(behind, [peerOf(whole)]);
    expect(index).toBe(whole.balloon.appliedIndex);
    expect(stateOf(behind)).toEqual(stateOf(whole));
    await behind.close();
    behind = await open(disk);
    expect(behind.isAdopting).toBe(false);
    // From here on both decide alike, repetitions of old requests included.
    const next = {
      index: index + 1,
      record: { time: 5000, requests: records.flatMap(({ record }) => record.requests).slice(0, 50) },
    };
    const fresh = { key: undefined, eventDigests: random.bytes(32) };
    const both = {
      ...next,
      record: { ...next.record, requests: [...next.record.requests.filter(({ key }) => key), fresh] },
    };
    expect((await behind.apply(both.index, both.record)).outcomes).toEqual(
      (await whole.apply(both.index, both.record)).outcomes,
    );
    expect(stateOf(behind)).toEqual(stateOf(whole));
  });

  it('takes nothing from a lying peer, and goes on with an honest one', async () => {
    const random = seededRandom(7);
    const records = randomRecords(random, 60, 600);
    const [whole, other] = [await open(), await open()];
    await apply(whole, records);
    await apply(other, randomRecords(seededRandom(8), 60, 600));
    const flip = (at: number) => (bytes: Uint8Array) =>
      bytes.map((byte, place) => (place === at % bytes.length ? byte ^ 1 : byte));
    const only =
      (what: string, alter: (bytes: Uint8Array) => Uint8Array) => (path: string, bytes: Uint8Array) =>
        path.startsWith(what) ? alter(bytes) : bytes;
    const liars: Peer[] = [
      peerOf(whole, { log: stranger }),
      peerOf(whole, { change: only('entries', flip(40)) }),
      peerOf(whole, { change: only('entries', flip(66)) }),
      peerOf(whole, { change: only('entries', (bytes) => bytes.slice(72)) }),
      peerOf(whole, { change: only('proof', flip(3)) }),
      peerOf(whole, { change: only('proof', (bytes) => bytes.slice(1)) }),
      peerOf(whole, { change: only('ends', flip(7)) }),
      peerOf(whole, { change: only('ends', (bytes) => bytes.slice(8)) }),
      peerOf(whole, { change: only('ends', () => new Uint8Array(0)) }),
      // Two batches for one: the entries lie under the signed head, but their hyper digests do not come out.
      peerOf(whole, { change: only('ends', (bytes) => bytes.slice(16)) }),
      peerOf(whole, { change: only('head', flip(100)) }),
      peerOf(whole, { change: only('head', (bytes) => bytes.slice(0, 3)) }),
      peerOf(whole, { change: only('head', (bytes) => bytes.slice(0, -1)) }),
      peerOf(whole, { change: () => undefined }),
    ];
    for (const liar of liars) {
      const behind = await open();
      await expect(run(behind, [liar])).rejects.toThrow(QedError);
      await run(behind, [peerOf(whole)]);
      expect(stateOf(behind)).toEqual(stateOf(whole));
    }
    const behind = await open();
    expect(await run(behind, [...liars, peerOf(whole)])).toBe(whole.balloon.appliedIndex);
    expect(stateOf(behind)).toEqual(stateOf(whole));
    // A node with another history is told so.
    await expect(run(other, [peerOf(whole)])).rejects.toMatchObject({ code: 'consistency-mismatch' });
  });

  it('goes on where it was interrupted, and applies no record before it is done', async () => {
    const records = randomRecords(seededRandom(9), 120, 1000);
    const [whole, disk] = [await open(), memoryDisk()];
    await apply(whole, records);
    const stop = new AbortController();
    let pieces = 0;
    const weary = peerOf(whole, {
      change(path, bytes) {
        if (path.startsWith('entries') && ++pieces === 3) stop.abort();
        return bytes;
      },
    });
    let behind = await open(disk);
    await expect(run(behind, [weary], stop.signal)).rejects.toThrow();
    const { size } = behind.balloon;
    expect(size).toBeGreaterThan(10_000);
    expect(size).toBeLessThan(whole.balloon.size);
    await behind.close();
    behind = await open(disk);
    expect(behind.isAdopting).toBe(true);
    expect(behind.balloon.size).toBe(size);
    await expect(behind.apply(10_000, records[0]!.record)).rejects.toMatchObject({ code: 'bug' });
    await expect(peerOf(behind).fetch('head/1')).rejects.toMatchObject({ code: 'busy' });
    const peer = peerOf(whole);
    await run(behind, [peer]);
    expect(stateOf(behind)).toEqual(stateOf(whole));
    const froms = peer.asked
      .filter((path) => path.startsWith('entries'))
      .map((path) => Number(path.split('/')[1]));
    expect(Math.min(...froms)).toBe(size);
  });

  it('answers nothing but what it is asked for in the one form', async () => {
    const whole = await open();
    await apply(whole, randomRecords(seededRandom(3), 5, 4));
    const { size } = whole.balloon;
    const peer = peerOf(whole);
    const odd = [
      '',
      'head',
      'head/x',
      'head/1/2',
      `entries/0/${size + 1}`,
      'entries/3/1',
      'entries/0',
      'ends/-1/2',
      'entries/0/01',
      'entries/0/1/2',
      'proof/0/1',
      '../key',
    ];
    for (const path of odd) await expect(peer.fetch(path)).rejects.toMatchObject({ code: 'not-found' });
    expect((await peer.fetch(`entries/0/${size}`)).length).toBe(72 * size);
  });
});

describe('comparing digests through the log', () => {
  it('goes by unnoticed where they agree, and stops a node for good where they differ', async () => {
    const records = randomRecords(seededRandom(5), 10, 4);
    const disk = memoryDisk();
    let durable = await open(disk);
    await apply(durable, records);
    const { version } = (await durable.apply(100, records[0]!.record)).snapshot;
    const { snapshot } = durable.balloon.snapshotAt(version);
    await durable.apply(101, {
      time: 9000,
      requests: [{ key: undefined, eventDigests: new Uint8Array(32).fill(9) }],
    });
    const good = await durable.apply(102, decodeLogItem(encodeComparison(snapshot)));
    expect(good.outcomes).toEqual([]);
    expect(durable.divergence).toBeUndefined();
    const wrong = { ...snapshot, hyperDigest: snapshot.historyDigest };
    await expect(durable.apply(103, decodeLogItem(encodeComparison(wrong)))).rejects.toMatchObject({
      code: 'diverged',
    });
    await expect(durable.apply(104, records[1]!.record)).rejects.toMatchObject({ code: 'diverged' });
    await durable.close();
    durable = await open(disk);
    expect(durable.divergence?.message).toContain(encodeHex(snapshot.hyperDigest));
    await expect(durable.apply(104, records[1]!.record)).rejects.toMatchObject({ code: 'diverged' });
    await expect(peerOf(durable).fetch('head/1')).rejects.toMatchObject({ code: 'diverged' });
  });

  it('finds the odd one out, also when it is the leader itself', async () => {
    const records = randomRecords(seededRandom(5), 10, 4);
    const replicas = await Promise.all([0, 1, 2].map(() => open()));
    const [odd, ...rest] = replicas as [DurableBalloon, DurableBalloon, DurableBalloon];
    for (const durable of rest) await apply(durable, records);
    const other = { time: 1000, requests: [{ key: undefined, eventDigests: new Uint8Array(32).fill(1) }] };
    await odd.apply(1, other);
    await apply(odd, records);
    // As much as the others have, but something else.
    for (const durable of rest) await durable.apply(1000, other);

    function logOf(others: readonly DurableBalloon[]) {
      const done: string[] = [];
      const members = ['self', 'b', 'c'].map((nodeId) => ({ nodeId, isVoter: true }));
      const log = {
        append: (payload: Uint8Array) => Promise.resolve(done.push(encodeHex(payload))),
        peers: () => others.map((durable, at) => peerOf(durable, { nodeId: members[at + 1]!.nodeId })),
        members: () => members.map((member) => ({ ...member, ...blankMember })),
        transferLeadership: () => Promise.resolve(void done.push('transfer')),
      };
      return { log, done };
    }

    const asHonest = logOf([odd, rest[1]]);
    await compareDigests({ log: asHonest.log, durable: rest[0] });
    expect(asHonest.done).toEqual([encodeHex(encodeComparison(rest[0].balloon.snapshot!))]);
    // One answer of two is no majority: who is alone with it cannot know, and asks through the log.
    const asAlone = logOf([rest[0]]);
    await compareDigests({ log: asAlone.log, durable: odd });
    expect(asAlone.done).toHaveLength(1);
    const asOdd = logOf(rest);
    await expect(compareDigests({ log: asOdd.log, durable: odd })).rejects.toMatchObject({
      code: 'diverged',
    });
    expect(asOdd.done).toEqual(['transfer']);
    expect(odd.divergence?.code).toBe('diverged');
  });
});
