// Which snapshots travel, and which do not.
import { verifySignedSnapshot } from '../balloon/verify.ts';
import { encodeUtf8 } from '../crypto/encoding.ts';
import { formatLine, joinSnapshots, parseLine, snapshotTopic, type Received } from './snapshots.ts';
import { memoryNetwork, type MemoryGossip } from './memory.ts';
import { codeOf } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import { NATIVE, signedLog, type SignedLog } from '../../testutils/signed-log.ts';
import { parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';

const random = seededRandom(20);
const batches = Array.from({ length: 6 }, () => [random.bytes(32), random.bytes(32)]);
const log = signedLog(batches);
/** The same key, another history from version 4 on: a log that shows two faces. */
const twoFaced = signedLog([
  ...batches.slice(0, 2),
  ...batches.slice(2).map(() => [random.bytes(32), random.bytes(32)]),
]);
/** The same name, another key. */
const impostor = signedLog(batches, { seed: 9 });

const snapshotOf = (of: SignedLog, version: number): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));

interface Listener {
  readonly gossip: MemoryGossip;
  readonly received: Received[];
}

/** liar – middle – end, and a clock. */
async function chain() {
  const network = memoryNetwork();
  const clock = { now: 0 };
  const listeners: Listener[] = [];
  for (let i = 0; i < 2; i++) {
    const gossip = network.open();
    const received: Received[] = [];
    joinSnapshots(gossip, {
      trust: log.trust,
      primitives: NATIVE,
      now: () => clock.now,
      receive: (one) => received.push(one),
    });
    listeners.push({ gossip, received });
  }
  const [middle, end] = listeners as [Listener, Listener];
  const liar = network.open();
  await liar.dial(middle.gossip.addresses()[0]!);
  await end.gossip.dial(middle.gossip.addresses()[0]!);
  const topic = snapshotTopic(log.trust.log);
  const send = (line: string): Promise<number> => liar.publish(topic, encodeUtf8(line));
  return { middle, end, send, clock };
}

const kinds = ({ received }: Listener): string[] =>
  received.map(({ kind, signedSnapshot }) => `${kind} ${signedSnapshot.snapshot.version}`);

it('carries what the log has signed, in any order, once', async () => {
  const { middle, end, send } = await chain();
  for (const version of [1, 5, 3, 5, 1]) await send(formatLine(snapshotOf(log, version)));
  expect(kinds(middle)).toEqual(['new 1', 'new 5', 'new 3']);
  expect(kinds(end)).toEqual(kinds(middle));
  expect(verifySignedSnapshot(JSON.parse(end.received[2]!.line), log.trust).snapshot.version).toBe(3);
});

it('carries the newest one again after a while, and older ones never', async () => {
  const { end, send, clock } = await chain();
  for (const version of [3, 5]) await send(formatLine(snapshotOf(log, version)));
  clock.now += 2_000;
  for (const version of [3, 5, 5]) await send(formatLine(snapshotOf(log, version)));
  expect(kinds(end)).toEqual(['new 3', 'new 5', 'repeated 5']);
});

it('carries a second snapshot of one version, as evidence with both', async () => {
  const { end, send } = await chain();
  await send(formatLine(snapshotOf(log, 7)));
  await send(formatLine(snapshotOf(twoFaced, 7)));
  expect(kinds(end)).toEqual(['new 7', 'conflict 7']);
  expect(end.received[1]!.other).toEqual(snapshotOf(log, 7));
});

const honest = snapshotOf(log, 7);
const line = formatLine(honest);

it.each<[string, string]>([
  ['no JSON', 'hello'],
  ['no UTF-8 that means anything', '\u0000'],
  ['another spelling', ` ${line}`],
  ['another field', line.replace('{', '{"x":1,')],
  ['the key of somebody else', formatLine(snapshotOf(impostor, 7))],
  ['a snapshot of another state', formatLine({ ...honest, snapshot: snapshotOf(log, 5).snapshot })],
  ['another version', line.replace('"version":7', '"version":9')],
  [
    'another hyper digest',
    formatLine({ ...honest, snapshot: { ...honest.snapshot, hyperDigest: random.bytes(32) } }),
  ],
  ['another time', formatLine({ ...honest, snapshot: { ...honest.snapshot, time: 1 } })],
  [
    'a checkpoint without its signature',
    formatLine({ ...honest, checkpoint: honest.checkpoint.replace(/— .*\n$/, '') }),
  ],
])('rejects %s, and hands nothing on', async (_name, forged) => {
  const { middle, end, send } = await chain();
  await send(forged);
  await send(line);
  expect(kinds(end)).toEqual(['new 7']);
  expect(end.gossip.figures().rejected).toBe(0);
  expect(middle.gossip.figures()).toMatchObject({ rejected: 1, accepted: 1 });
});

it('names a topic after the name and the id of the key, so that other keys have other topics', () => {
  expect(snapshotTopic(log.trust.log)).toMatch(/^qed\/snapshots\/v1\/example\.org\/log\+[0-9a-f]{8}$/);
  expect(snapshotTopic(impostor.trust.log)).not.toBe(snapshotTopic(log.trust.log));
});

it('reads only what it would have written', () => {
  expect(parseLine(line)).toEqual(honest);
  for (const text of [`${line}\n`, line.replace(',', ', '), '{}', '']) {
    expect(codeOf(() => parseLine(text))).toBe('proof-malformed');
  }
});
