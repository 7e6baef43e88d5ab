// What becomes of a proposal, commit by commit.
import { QedError } from '../errors.ts';
import { type Entry } from '../raft/message.ts';
import { Proposals } from './proposals.ts';

const entry = (index: number, term: number, data = new Uint8Array(0)): Entry => ({
  type: 'EntryNormal',
  index,
  term,
  data,
});

/** Places a record there and says, when asked, what became of it. */
function place(proposals: Proposals, index: number, term: number): () => Promise<string | number> {
  const data = new Uint8Array(1);
  let outcome: string | number = 'open';
  proposals
    .add(data, () => proposals.placed([entry(index, term, data)]))
    .then(
      (at) => (outcome = at),
      (error: unknown) => (outcome = error instanceof QedError ? error.code : String(error)),
    );
  // A turn of the event loop later all answers are in.
  return () => new Promise((resolve) => setImmediate(() => resolve(outcome)));
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
    const proposals = new Proposals();
    const outcome = place(proposals, 7, 2);
    for (const [index, term] of commits) proposals.committed(entry(index, term));
    expect(await outcome()).toBe(expected);
  });

  it('of an earlier office shares its place with one of the present office', async () => {
    for (const [term, expected] of [
      [2, [7, 'no-leader']],
      [4, ['no-leader', 7]],
    ] as const) {
      const proposals = new Proposals();
      const outcomes = [place(proposals, 7, 2), place(proposals, 7, 4)];
      proposals.committed(entry(7, term));
      expect(await Promise.all(outcomes.map((outcome) => outcome()))).toEqual(expected);
    }
  });

  it('is unknown where its place cannot be seen, and at the end', async () => {
    const proposals = new Proposals();
    const outcomes = [place(proposals, 7, 2), place(proposals, 8, 2), place(proposals, 9, 3)];
    proposals.skipped(7);
    expect(await Promise.all(outcomes.map((outcome) => outcome()))).toEqual([
      'outcome-unknown',
      'open',
      'open',
    ]);
    proposals.end('closed');
    expect(await Promise.all(outcomes.map((outcome) => outcome()))).toEqual(Array(3).fill('outcome-unknown'));
  });

  it('that is refused, or gets no place, has an answer', async () => {
    const proposals = new Proposals();
    const refuse = (): never => {
      throw new RangeError('no');
    };
    await expect(proposals.add(new Uint8Array(1), refuse)).rejects.toMatchObject({ code: 'bug' });
    await expect(proposals.add(new Uint8Array(1), () => undefined)).rejects.toMatchObject({
      code: 'outcome-unknown',
    });
  });
});
