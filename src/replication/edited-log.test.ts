// A node's log edited with a hex editor while the node is down: it refuses with advice, or heals from its peers, and never hands out another record
// than they have.
import {
  crashNode,
  leaderOf,
  startCluster,
  startNode,
  stopNode,
  until,
  type TestNode,
} from '../../testutils/cluster.ts';
import { createFakeDisk, type FakeDisk } from '../../testutils/fake-disk.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { QedError } from '../errors.ts';
import { HEADER_BYTES } from './segment.ts';

const more = { segmentBytes: 3_000, tail: { records: 1_000, bytes: 1e6 } };
const text = (at: number): string => `record ${at} ${'x'.repeat(at % 50)}`;

/** What is changed in the files, oldest first; undefined stands for a file that is gone. */
type Edit = (files: readonly Uint8Array[], random: Random) => readonly (Uint8Array | undefined)[];

const flipAt =
  (file: number, where: (bytes: Uint8Array, random: Random) => number): Edit =>
  (files, random) =>
    change(file, (bytes) =>
      bytes.with(where(bytes, random), bytes[where(bytes, random)]! ^ (1 << random.below(8))),
    )(files, random);
const change =
  (file: number, how: (bytes: Uint8Array, random: Random) => Uint8Array | undefined): Edit =>
  (files, random) =>
    files.map((bytes, at) => (at === (file + files.length) % files.length ? how(bytes, random) : bytes));

const edits: readonly (readonly [string, Edit])[] = [
  ['nothing', (files) => files],
  ...[0, 1, -1].flatMap((file): [string, Edit][] => [
    [`a bit of the header of file ${file}`, flipAt(file, (_, random) => random.below(HEADER_BYTES))],
    [
      `a bit in the first half of file ${file}`,
      flipAt(file, ({ length }) => HEADER_BYTES + ((length - HEADER_BYTES) >> 2)),
    ],
    [`a bit in the second half of file ${file}`, flipAt(file, ({ length }) => length - (length >> 2))],
    [`the last byte of file ${file}`, flipAt(file, ({ length }) => length - 1)],
    [`a byte near the end of file ${file}`, flipAt(file, ({ length }) => length - 40)],
    [`file ${file} cut in half`, change(file, (bytes) => bytes.slice(0, bytes.length >> 1))],
    [`file ${file} cut by a byte`, change(file, (bytes) => bytes.slice(0, -1))],
    [`file ${file} cut by a group or more`, change(file, (bytes) => bytes.slice(0, -300))],
    [`file ${file} emptied`, change(file, () => new Uint8Array(0))],
    [`file ${file} gone`, change(file, () => undefined)],
    [`file ${file} zeroed`, change(file, (bytes) => new Uint8Array(bytes.length))],
    [
      `rubbish behind file ${file}`,
      change(file, (bytes, random) => Uint8Array.from([...bytes, ...random.bytes(100)])),
    ],
    [
      `zeros behind file ${file}`,
      change(file, (bytes) => Uint8Array.from([...bytes, ...new Uint8Array(600)])),
    ],
    [
      `a part of file ${file} twice`,
      change(file, (bytes) => Uint8Array.from([...bytes.slice(0, 1500), ...bytes.slice(900)])),
    ],
  ]),
  ["two files in each other's place", ([first, second, ...rest]) => [second, first, ...rest]],
  ['one file in place of another', ([first, , ...rest]) => [first, first, ...rest]],
  [
    'the standing',
    (files) => files.map((bytes) => replaceText(bytes, '"voters":[1,2,3]', '"voters":[1,2,9]')),
  ],
  ['a record', (files) => files.map((bytes) => replaceText(bytes, text(77), text(77).replace('77', '78')))],
];

function replaceText(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const copy = Buffer.from(bytes);
  for (let at = copy.indexOf(from); at >= 0; at = copy.indexOf(from, at + 1)) copy.write(to, at);
  return new Uint8Array(copy);
}

async function editDisk(disk: FakeDisk, edit: Edit, random: Random): Promise<FakeDisk> {
  const names = (await disk.list('/raft')).filter((name) => name.endsWith('.wal')).sort();
  const before = names.map((name) => disk.contents(`/raft/${name}`));
  const after = edit(before, random);
  const start = names.flatMap((name, at) => {
    const bytes = after[at];
    return bytes === undefined ? [] : [[`/raft/${name}`, bytes] as const];
  });
  return createFakeDisk({}, new Map(start));
}

describe.each(['stopped', 'killed'] as const)('a node that was %s', (end) => {
  let nodes: TestNode[];
  let node: TestNode;
  let disk: FakeDisk;
  let [records, appliedIndex]: [string[], number] = [[], 0];
  const outcomes: string[] = [];

  /** What it has then is what is edited. */
  async function goDown(): Promise<void> {
    if (end === 'stopped') await stopNode(node);
    else await crashNode(node, seededRandom(1));
    disk = node.disk;
    [records, appliedIndex] = [[...node.records], node.appliedIndex];
  }

  beforeAll(async () => {
    nodes = await startCluster(['a', 'b', 'c'], more);
    const { log } = leaderOf(nodes)!;
    for (let at = 0; at < 120; at++) await log!.append(new Uint8Array(Buffer.from(text(at))));
    await until(() => nodes.every((each) => each.records.length === 120));
    node = nodes.find((each) => each !== leaderOf(nodes))!;
    await goDown();
    expect((await disk.list('/raft')).filter((name) => name.endsWith('.wal')).length).toBeGreaterThan(3);
  });
  afterAll(() => Promise.all(nodes.map(stopNode)));

  it.each(edits)('refuses or heals: %s', async (what, edit) => {
    node.disk = await editDisk(disk, edit, seededRandom(what.length));
    node.records.splice(0, node.records.length, ...records);
    node.appliedIndex = appliedIndex;
    try {
      await startNode(node, 'found', more);
    } catch (error) {
      expect(error).toBeInstanceOf(QedError);
      const { code, message, hint } = error as QedError;
      outcomes.push(code);
      expect([what, code]).toEqual([what, 'store-corrupt']);
      expect(message).toContain('/raft');
      expect(hint).toBeDefined();
      return;
    }
    const next = `after ${what}`;
    const other = nodes.find((each) => each !== node)!;
    await other.log!.append(new Uint8Array(Buffer.from(next)), { isRepeatable: true });
    const failure = (): QedError | undefined => node.log?.status().failure;
    const isInStep = (): boolean =>
      node.records.at(-1) === next && node.records.length === other.records.length;
    await until(() => isInStep() || failure() !== undefined, 'the node to be in step');
    outcomes.push(failure()?.code ?? 'healed');
    expect(failure()).toBeUndefined();
    expect(node.records).toEqual(other.records);
    // What it hands out anew, for a database that lost everything, is the same as well.
    const again: string[] = [];
    for await (const group of node.log!.committed(0)) {
      again.push(...group.map(({ payload }) => Buffer.from(payload).toString()));
      if (again.length >= node.records.length) break;
    }
    expect(again).toEqual(node.records);
    await goDown();
  });

  it('did both in its turn', () => {
    expect(new Set(outcomes)).toEqual(new Set(['healed', 'store-corrupt']));
  });
});
