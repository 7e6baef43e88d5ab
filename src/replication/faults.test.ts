// Faults do what they say, and nothing to what they are not put on.
import { generateKeyPairSync } from 'node:crypto';
import { seededRandom } from '../../testutils/random.ts';
import { freePort } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { QedError } from '../errors.ts';
import { createFaults, openLine } from './faults.ts';
import { createCredentials } from './identity-tls.ts';
import { type MemberRecord } from './members.ts';
import { openTransport, type Transport } from './transport.ts';

describe('a line', () => {
  it('lets nothing overtake, however the delay changes, and nothing through that is cut', async () => {
    const random = seededRandom(3);
    const line = openLine(() => performance.now());
    const passed: number[] = [];
    const sent: number[] = [];
    for (let at = 0; at < 200; at++) {
      const isCut = random.chance(0.2);
      if (!isCut) sent.push(at);
      line.pass({ isCut, delayMs: random.pick([0, 0, 1.3, 2.9, 0.4]) }, () => passed.push(at));
      if (random.chance(0.1)) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until('all of it', () => passed.length === sent.length);
    expect(passed).toEqual(sent);
    line.pass({ isCut: false, delayMs: 0 }, () => passed.push(-1));
    expect(passed.at(-1)).toBe(-1);
    line.pass({ isCut: false, delayMs: 1 }, () => passed.push(-2));
    line.close();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(passed).not.toContain(-2);
  });

  it('is late by the delay and up to the jitter, one way or the other', () => {
    const faults = createFaults(() => 0.5);
    expect(faults.to(1)).toEqual({ isCut: false, delayMs: 0 });
    faults.set(1, { delayMs: 10, jitterMs: 4, cutFrom: true });
    expect([faults.to(1), faults.from(1)]).toEqual([
      { isCut: false, delayMs: 12 },
      { isCut: true, delayMs: 0 },
    ]);
    faults.set(1, { delayFromMs: 7 });
    expect([faults.to(1), faults.from(1)]).toEqual([
      { isCut: false, delayMs: 0 },
      { isCut: false, delayMs: 7 },
    ]);
  });
});

describe('two nodes', () => {
  const seen: string[] = [];
  let transports: [Transport, Transport];
  let records: [MemberRecord, MemberRecord];

  async function openBoth(): Promise<void> {
    const keys = [1, 2].map(() => generateKeyPairSync('ed25519').privateKey);
    const members = await Promise.all(
      keys.map(async (key, at) => ({
        id: at + 1,
        nodeId: `n${at + 1}`,
        nodeKey: publicKeyOf(key),
        raftAddr: `127.0.0.1:${await freePort()}`,
        httpAddr: '127.0.0.1:1',
        mgmtAddr: '127.0.0.1:2',
      })),
    );
    const opened = await Promise.all(
      members.map(async ({ id, raftAddr }, at) =>
        openTransport({
          credentials: await createCredentials(keys[at]!),
          address: raftAddr,
          ownId: id,
          now: () => performance.now(),
          random: () => 0,
          tickMs: 8,
          callersOf: (key) =>
            members
              .filter(({ nodeKey }) => Buffer.from(nodeKey).equals(key))
              .map(({ id: caller }) => ({ id: caller, isRemoved: false })),
          onMessage: (from) => Boolean(seen.push(`message ${from} to ${id}`)),
          onRecord: () => Promise.resolve(7),
          onOrder: () => Promise.resolve('done'),
          onFetch: () => Promise.resolve(new Uint8Array(1)),
          onRefused: () => undefined,
          onUnreachable: () => undefined,
          onAnswer: (from) => Boolean(seen.push(`answer ${from} to ${id}`)),
          onEnd: () => undefined,
          onRemoved: () => undefined,
        }),
      ),
    );
    const [a, b] = opened;
    transports = [a!, b!];
    records = [members[0]!, members[1]!];
    for (const transport of opened) transport.setPeers(members);
    await until('both streams', () => {
      for (const transport of opened) transport.ping();
      return a!.isConnected(2) && b!.isConnected(1);
    });
  }

  beforeAll(openBoth);
  afterAll(() => Promise.all(transports.map((transport) => transport.close())));

  async function roundTrip(): Promise<readonly [number, number]> {
    const [a, b] = transports;
    const before = [a.roundTripMs(2), b.roundTripMs(1)];
    await until('new round trips', () => {
      a.ping();
      b.ping();
      return a.roundTripMs(2) !== before[0] && b.roundTripMs(1) !== before[1];
    });
    // Pings from before a change may still be on their way.
    await until('the last of them', async () => {
      const last = [a.roundTripMs(2), b.roundTripMs(1)];
      await new Promise((resolve) => setTimeout(resolve, 60));
      return last[0] === a.roundTripMs(2) && last[1] === b.roundTripMs(1);
    });
    return [a.roundTripMs(2)!, b.roundTripMs(1)!];
  }

  it('measure the delay, whoever puts it on and whichever way', async () => {
    const [a, b] = transports;
    for (const [faultA, faultB, leastMs] of [
      [{ delayMs: 20 }, {}, 20],
      [{ delayFromMs: 20 }, {}, 20],
      [{ delayMs: 12 }, { delayMs: 12 }, 24],
      [{ delayMs: 6, delayFromMs: 6 }, { delayMs: 6, delayFromMs: 6 }, 24],
    ] as const) {
      a.setFault(2, faultA);
      b.setFault(1, faultB);
      for (const ms of await roundTrip()) {
        // Each timer may go off a little more than a millisecond early, and there are four at most.
        expect(ms).toBeGreaterThan(leastMs - 5);
        expect(ms).toBeLessThan(leastMs + 500);
      }
    }
    a.setFault(2, {});
    b.setFault(1, {});
  });

  it('lose what is cut, one way or both', async () => {
    const [a, b] = transports;
    const both = (): void => {
      a.send(2, new Uint8Array(1));
      b.send(1, new Uint8Array(1));
      a.sendRecord(2, new Uint8Array(9));
    };
    seen.length = 0;
    both();
    await until('all three', () => seen.length === 3);
    a.setFault(2, { cutTo: true });
    seen.length = 0;
    both();
    await until('the one way', () => seen.length === 1);
    expect(seen).toEqual(['message 2 to 1']);
    await expect(a.peer(records[1]).fetch('x')).rejects.toMatchObject({ code: 'unreachable' });
    a.setFault(2, { cutFrom: true });
    seen.length = 0;
    both();
    await until('the other way', () => seen.length === 1);
    expect(seen).toEqual(['message 1 to 2']);
    await expect(b.peer(records[0]).fetch('x')).rejects.toThrow(QedError);
    a.setFault(2, {});
    expect(await b.peer(records[0]).fetch('x')).toHaveLength(1);
  });
});
