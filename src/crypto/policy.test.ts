// The policy file: what is taken and what is refused, line by line; and the quorum, against a slow twin that tries every set of cosigners.
import { codeOf } from '../../testutils/code-of.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { keyOfSeed, witness } from '../../testutils/signed-log.ts';
import { type Cosignature } from './checkpoint.ts';
import { nativeVerify } from './ed25519-node.ts';
import { addSignatures } from './note.ts';
import { checkPolicy, parsePolicy, quorumTime, thresholdPolicy, type Quorum } from './policy.ts';
import { createLogSigner } from './signer.ts';

const log = createLogSigner('example.org/log', keyOfSeed(1));
const [x1, x2, x3, y1, y2] = [11, 12, 13, 21, 22].map((seed) => witness(seed)) as [
  ReturnType<typeof witness>,
  ReturnType<typeof witness>,
  ReturnType<typeof witness>,
  ReturnType<typeof witness>,
  ReturnType<typeof witness>,
];
const checkpoint = { origin: log.verifier.name, size: 7, root: new Uint8Array(32).fill(7) };
const note = log.signCheckpoint(checkpoint);

const EXAMPLE = `# two organisations
log ${log.vkey} https://log.example.org/

witness X1 ${x1.vkey} https://x1.example.net
witness X2 ${x2.vkey}
\twitness   X3\t${x3.vkey}  
group X-witnesses 2 X1 X2 X3
  # the others
witness Y1 ${y1.vkey}
witness Y2 ${y2.vkey}
group Y-witnesses any Y1 Y2

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`;

const cosignedBy = (...who: readonly (readonly [ReturnType<typeof witness>, number])[]): string =>
  who.reduce((grown, [one, time]) => addSignatures(grown, one.cosign(checkpoint, time)), note);
const check = (text: string, of: string) => codeOf(() => checkPolicy(of, parsePolicy(text), nativeVerify));

describe('a policy file', () => {
  it('names logs, witnesses and a quorum', () => {
    const { logs, witnesses, quorum } = parsePolicy(EXAMPLE);
    expect(logs).toEqual([{ verifier: log.verifier, url: 'https://log.example.org/' }]);
    expect(witnesses.map(({ verifier }) => verifier)).toEqual(
      [x1, x2, x3, y1, y2].map((one) => one.verifier),
    );
    expect(witnesses[0]!.url).toBe('https://x1.example.net');
    expect(quorum).toMatchObject({
      kind: 'group',
      threshold: 2,
      members: [
        { kind: 'group', threshold: 2 },
        { kind: 'group', threshold: 1 },
      ],
    });
  });

  it('may ask for nobody, name one witness, and name no log', () => {
    expect(parsePolicy('quorum none\n')).toEqual({ logs: [], witnesses: [], quorum: { kind: 'none' } });
    expect(parsePolicy(`witness a ${x1.vkey}\nquorum a\n`).quorum).toEqual({
      kind: 'witness',
      verifier: x1.verifier,
    });
    expect(parsePolicy(`quorum none\nwitness later ${x1.vkey}\n`).witnesses).toHaveLength(1);
  });

  it('keeps names apart byte by byte', () => {
    const text = `witness K ${x1.vkey}\nwitness \u212a ${x2.vkey}\ngroup all all K \u212a\nquorum all\n`;
    expect(parsePolicy(text).quorum).toMatchObject({
      members: [{ verifier: x1.verifier }, { verifier: x2.verifier }],
    });
  });

  const w = `witness a ${x1.vkey}\nwitness b ${x2.vkey}\n`;
  it.each([
    ['nothing', ''],
    ['no quorum', w],
    ['two quorums', 'quorum none\nquorum none\n'],
    ['a last line without its end', `${w}group g 2 a b\nquorum g`],
    ['an unknown keyword', 'threshold 1\nquorum none\n'],
    ['a keyword in capitals', `${w}QUORUM a\n`],
    ['a name that is not defined', 'quorum a\n'],
    ['a name that is defined later', `quorum a\n${w}`],
    ['a member that is defined later', `group g any a\n${w}quorum g\n`],
    ['a group that is its own member', 'group g any g\nquorum g\n'],
    ['a name twice', `${w}witness a ${x3.vkey}\nquorum a\n`],
    ['a group named like a witness', `${w}group a any b\nquorum a\n`],
    ['a witness named none', `witness none ${x1.vkey}\nquorum none\n`],
    ['none as a member', `${w}group g any a none\nquorum g\n`],
    ['a member of two groups', `${w}group g any a\ngroup h all a b\nquorum h\n`],
    ['a member twice', `${w}group g 2 a a\nquorum g\n`],
    ['a group without members', `${w}group g any\nquorum g\n`],
    ['a threshold of 0', `${w}group g 0 a b\nquorum g\n`],
    ['a threshold above the members', `${w}group g 3 a b\nquorum g\n`],
    ['a threshold with a zero in front', `${w}group g 02 a b\nquorum g\n`],
    ['a threshold that is no number', `${w}group g most a b\nquorum g\n`],
    [
      'a key twice, under two names',
      `witness a ${x1.vkey}\nwitness b ${witness(11, 'other.example/w').vkey}\nquorum a\n`,
    ],
    ['a log twice', `log ${log.vkey}\nlog ${log.vkey}\nquorum none\n`],
    ['a log as witness', `witness a ${log.vkey}\nquorum a\n`],
    ['a witness as log', `log ${x1.vkey}\nquorum none\n`],
    ['a vkey with another id', `log ${log.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')}\nquorum none\n`],
    ['no vkey', 'log\nquorum none\n'],
    ['a word too many', `log ${log.vkey} url more\nquorum none\n`],
    ['a carriage return', 'quorum none\r\n'],
    ['another control character', '# \x00\nquorum none\n'],
    ['half a character', '# \ud800\nquorum none\n'],
    ['too much', `${'# long\n'.repeat(40_000)}quorum none\n`],
  ])('is refused with %s', (_name, text) => {
    expect(codeOf(() => parsePolicy(text))).toBe('option-malformed');
  });

  it('names the line that is wrong', () => {
    expect(() => parsePolicy(`${w}\ngroup g 3 a b\nquorum g\n`)).toThrow(
      /line 4: a group of 2 cannot ask for "3"/,
    );
  });

  it('is refused with any line of it left out, but for those that define nothing', () => {
    const lines = EXAMPLE.split('\n').slice(0, -1);
    const spare = lines.filter((line) => /^\s*(#|$)|^log/.test(line));
    const taken = lines.filter(
      (_, at) => codeOf(() => parsePolicy(`${lines.toSpliced(at, 1).join('\n')}\n`)) === 'accepted',
    );
    expect(taken).toEqual(spare);
  });
});

describe('a checkpoint', () => {
  it.each([
    [
      'X1 X2 Y1',
      [
        [x1, 1],
        [x2, 1],
        [y1, 1],
      ],
      'accepted',
    ],
    [
      'X2 X3 Y2',
      [
        [x2, 1],
        [x3, 1],
        [y2, 1],
      ],
      'accepted',
    ],
    [
      'all',
      [
        [x1, 1],
        [x2, 1],
        [x3, 1],
        [y1, 1],
        [y2, 1],
      ],
      'accepted',
    ],
    [
      'X1 X2 X3',
      [
        [x1, 1],
        [x2, 1],
        [x3, 1],
      ],
      'cosignatures-missing',
    ],
    [
      'X1 Y1 Y2',
      [
        [x1, 1],
        [y1, 1],
        [y2, 1],
      ],
      'cosignatures-missing',
    ],
    ['nobody', [], 'cosignatures-missing'],
    [
      'a stranger, X1 and Y1',
      [
        [witness(99), 1],
        [x1, 1],
        [y1, 1],
      ],
      'cosignatures-missing',
    ],
  ] as const)('cosigned by %s', (_name, who, code) => {
    expect(check(EXAMPLE, cosignedBy(...who))).toBe(code);
  });

  it('is refused when a witness that is not even needed has signed something else', () => {
    const wrong = x3.cosign({ ...checkpoint, size: 8 }, 1);
    const enough = cosignedBy([x1, 1], [x2, 1], [y1, 1]);
    expect(check(EXAMPLE, addSignatures(enough, wrong))).toBe('signature-invalid');
  });

  it('needs nobody where the policy says so', () => {
    expect(checkPolicy(note, parsePolicy('quorum none\n'))).toEqual({ cosignatures: [], quorumTime: null });
    expect(checkPolicy(note, thresholdPolicy([x1.verifier], 0)).quorumTime).toBeNull();
  });

  it('is vouched for since the time of the last one that was needed', () => {
    const times = cosignedBy([x1, 100], [x2, 300], [x3, 200], [y1, 250], [y2, 50]);
    // X1, X2, X3: two since 200. Y1 or Y2: since 250. Both groups: since 200.
    expect(checkPolicy(times, parsePolicy(EXAMPLE), nativeVerify).quorumTime).toBe(200);
  });
});

it('agrees with a twin that tries every set of cosigners', () => {
  const random = seededRandom(5);
  const signers = Array.from({ length: 7 }, (_, at) => witness(40 + at).verifier);
  for (let round = 0; round < 300; round++) {
    const quorum = randomQuorum(random, [...signers]);
    const cosignatures = signers
      .filter(() => random.chance(0.6))
      .map(({ name, id }): Cosignature => ({ name, id, time: 1 + random.below(9) }));
    expect(quorumTime(quorum, cosignatures)).toBe(slowTime(quorum, cosignatures));
  }
});

/** Takes its witnesses from the list, so that none is there twice. */
function randomQuorum(random: Random, left: ReturnType<typeof witness>['verifier'][], depth = 0): Quorum {
  if (depth > 0 && (left.length < 2 || depth > 2 || random.chance(0.5)))
    return { kind: 'witness', verifier: left.pop()! };
  const members: Quorum[] = [];
  const wanted = 1 + random.below(3);
  while (left.length > 0 && members.length < wanted) members.push(randomQuorum(random, left, depth + 1));
  return { kind: 'group', threshold: 1 + random.below(members.length), members };
}

/** The latest time at which those who had cosigned by no earlier time are a quorum. */
function slowTime(quorum: Quorum, cosignatures: readonly Cosignature[]): number | undefined {
  for (let time = 10; time > 0; time--)
    if (
      counts(
        quorum,
        cosignatures.filter((one) => one.time >= time),
      )
    )
      return time;
  return undefined;
}

function counts(quorum: Quorum, cosignatures: readonly Cosignature[]): boolean {
  if (quorum.kind === 'none') return true;
  if (quorum.kind === 'witness') return cosignatures.some(({ id }) => id === quorum.verifier.id);
  return quorum.members.filter((member) => counts(member, cosignatures)).length >= quorum.threshold;
}
