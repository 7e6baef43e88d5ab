// What becomes of a proposal, commit by commit.
import { QedError } from '../errors.ts';
import { type Entry } from '../raft/message.ts';
import { Proposals } from './proposals.ts';

const noData = new Uint8Array(0);
const entry = (index: number, term: number): Entry => ({ type: 'EntryNormal', index, term, data: noData });

/** Where the first two bytes of a record say is its place: index and term. */
function openProposals(): Proposals {
  const proposals = new Proposals((group) =>
    proposals.placed(group.map((data) => ({ type: 'EntryNormal', index: data[0]!, term: data[1]!, data }))),
  );
  return proposals;
}

/** A turn of the event loop later everything is placed, and all answers are in. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Proposes records and says, when asked, what became of them. */
async function place(
  proposals: Proposals,
  ...places: readonly (readonly [index: number, term: number])[]
): Promise<() => Promise<unknown[]>> {
  const outcomes: unknown[] = places.map(() => 'open');
  for (const [at, bytes] of places.entries())
    proposals.add(Uint8Array.from(bytes)).then(
      (index) => (outcomes[at] = index),
      (error: unknown) => (outcomes[at] = error instanceof QedError ? error.code : error),
    );
  await turn();
  return () => turn().then(() => outcomes);
}

describe('a proposal', () => {
  it.each<[string, [number, number][], string | number]>([
    [
      'committed at its place',
      [
        [6, 2],
        [7, 2],
      ],
      7,
    ],
    [
      'open while its term goes on',
      [
        [5, 2],
        [6, 2],
      ],
      'open',
    ],
    ['open while only older records are committed', [[5, 1]], 'open'],
    [
      'found under the next leader',
      [
        [6, 2],
        [7, 2],
        [8, 3],
      ],
      7,
    ],
    [
      'lost to a later term at its place',
      [
        [6, 2],
        [7, 3],
      ],
      'no-leader',
    ],
    [
      'lost to an earlier term at its place',
      [
        [6, 1],
        [7, 1],
      ],
      'no-leader',
    ],
    ['lost when a later term begins before its place', [[6, 3]], 'no-leader'],
  ])('is %s', async (_, commits, expected) => {
    const proposals = openProposals();
    const outcomes = await place(proposals, [7, 2]);
    for (const [index, term] of commits) proposals.committed(entry(index, term));
    expect(await outcomes()).toEqual([expected]);
  });

  it('of an earlier office shares its place with one of the present office', async () => {
    for (const [term, expected] of [
      [2, [7, 'no-leader']],
      [4, ['no-leader', 7]],
    ] as const) {
      const proposals = openProposals();
      const outcomes = await place(proposals, [7, 2], [7, 4]);
      proposals.committed(entry(7, term));
      expect(await outcomes()).toEqual(expected);
    }
  });

  it('is unknown where its place cannot be seen, and at the end', async () => {
    const proposals = openProposals();
    const outcomes = await place(proposals, [7, 2], [8, 2], [9, 3]);
    proposals.skipped(7);
    expect(await outcomes()).toEqual(['outcome-unknown', 'open', 'open']);
    proposals.end('closed');
    expect(await outcomes()).toEqual(Array(3).fill('outcome-unknown'));
  });

  it('that is refused, or gets no place, has an answer', async () => {
    const refused = new Proposals(() => {
      throw new QedError('busy', 'no');
    });
    expect(await (await place(refused, [1, 1], [2, 1]))()).toEqual(['busy', 'busy']);
    const broken = new Proposals(() => {
      throw new RangeError('no');
    });
    expect(await (await place(broken, [1, 1]))()).toEqual(['bug']);
    const forgotten = new Proposals(() => undefined);
    expect(await (await place(forgotten, [1, 1]))()).toEqual(['outcome-unknown']);
  });

  it('goes with all others of its turn, as far as they fit together', async () => {
    const groups: number[][] = [];
    const proposals = new Proposals((group) => void groups.push(group.map(({ length }) => length)));
    const sizes = [10, 20, 1_000_000, 600_000, 600_000, 2_000_000, 5];
    const same = new Uint8Array(7);
    const adds = [...sizes.map((size) => new Uint8Array(size)), same, same].map((data) =>
      proposals.add(data),
    );
    await Promise.allSettled(adds);
    expect(groups).toEqual([[10, 20, 1_000_000], [600_000], [600_000], [2_000_000], [5, 7, 7]]);
  });
});
