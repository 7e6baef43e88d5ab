// The witness against its protocol: every answer with its exact bytes, two requests at once, and a crash between the store and the answer.
import pino from 'pino';
import { sign } from '../../src/crypto/ed25519-node.ts';
import { addSignatures, formatNote } from '../../src/crypto/note.ts';
import { openCosignatures } from '../../src/crypto/checkpoint.ts';
import { encodeBase64, encodeUtf8 } from '../../src/crypto/encoding.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { verifyEvidence } from '../../src/balloon/evidence-check.ts';
import { splitView } from '../../src/balloon/evidence.ts';
import { parseIncremental, parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { parsePolicy } from '../../src/crypto/policy.ts';
import { createWitnesses, type Post } from '../../src/server/witnesses.ts';
import { crashDisk, memoryDisk, openMemoryStore, type MemoryDisk } from '../../src/storage/memory.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import {
  keyOfSeed,
  NATIVE,
  signedLog,
  witness as cosignerOf,
  type SignedLog,
} from '../../testutils/signed-log.ts';
import { logOf } from '../../testutils/stub-log.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { buildWitness } from './serve.ts';
import { openWitness, type SignedCheckpoint, type Vouch, type Witness } from './witness.ts';

const log = logOf(20);
/** The same key, another history. */
const forked = signedLog(Array.from({ length: 20 }, (_, i) => [new Uint8Array(32).fill(i + 1)]));
const stranger = signedLog([[new Uint8Array(32)]], { seed: 2 });
const elsewhere = signedLog([[new Uint8Array(32)]], { origin: 'example.org/other' });
const cosigner = cosignerOf(9);
const silent = { logger: pino({ level: 'silent' }) };

interface World {
  readonly conflicts: [SignedCheckpoint, SignedCheckpoint][];
  readonly disk: MemoryDisk;
  now: number;
  vouch: Vouch | undefined;
}

const world = (): World => ({ conflicts: [], disk: memoryDisk(), now: 1_700_000_123_456, vouch: undefined });

function open(at: World, store = openMemoryStore(at.disk)): Witness {
  return openWitness({
    log: () => log.trust.log,
    cosigner,
    store,
    primitives: NATIVE,
    now: () => at.now,
    vouch: at.vouch && ((checkpoint) => at.vouch!(checkpoint)),
    onConflict: (known, other) => at.conflicts.push([known, other]),
  });
}

const note = (size: number, of: SignedLog = log): string => of.signedSnapshot(size - 1).checkpoint;
const emptyNote = (root: string): string =>
  log.signer.signCheckpoint({ size: 0, root: Uint8Array.from(Buffer.from(root, 'hex')) });
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const proof = (from: number, to: number, of: SignedLog = log): readonly string[] =>
  from === 0 ? [] : parseIncremental(of.incremental(from - 1, to - 1)).hashes.map(encodeBase64);

const body = (old: number | string, lines: readonly string[], checkpoint: string): Uint8Array =>
  encodeUtf8(`old ${old}\n${lines.map((line) => `${line}\n`).join('')}\n${checkpoint}`);

const grow = (from: number, to: number, of: SignedLog = log): Uint8Array =>
  body(from, proof(from, to, of), note(to, of));

/** A witness that has cosigned size 5. */
async function opened(at = world()): Promise<Witness> {
  const witness = open(at);
  expect((await witness.addCheckpoint(grow(0, 5))).status).toBe(200);
  return witness;
}

describe('answers', () => {
  const unsigned = note(7).replace(/\n\n[^]*$/, '\n\n');
  const rows: [name: string, body: Uint8Array, status: number, size?: number][] = [
    ['the next size', grow(5, 9), 200],
    ['the same size again', grow(5, 5), 200],
    [
      'signatures of others beside that of the log',
      body(
        5,
        proof(5, 9),
        `${note(9)}${cosignerOf(3).cosign({ origin: 'x', size: 1, root: new Uint8Array(32) }, 1)}`,
      ),
      200,
    ],
    ['a size that lies behind', grow(0, 3), 409, 5],
    ['an old size that is not the last one', grow(4, 9), 409, 5],
    ['an old size that is not known yet', grow(6, 9), 409, 5],
    ['who asks for the size', grow(0, 9), 409, 5],
    ['the same size, another tree', body(5, [], note(5, forked)), 409],
    ['an old size behind the new one', body(5, [], note(3)), 400],
    ['a proof of another tree', grow(5, 9, forked), 422],
    ['a proof that is too short', body(5, proof(5, 9).slice(1), note(9)), 422],
    ['a proof that is too long', body(5, [...proof(5, 9), proof(5, 9)[0]!], note(9)), 422],
    ['a proof beside the same size', body(5, [proof(5, 9)[0]!], note(5)), 422],
    ['no proof', body(5, [], note(9)), 422],
    ['another log', body(5, [], note(1, elsewhere)), 404],
    ['another key of the same name', body(5, [], note(1, stranger)), 403],
    [
      'a signature that does not verify',
      body(5, proof(5, 9), `${note(9).split('\n\n')[0]!}\n\n${note(8).split('\n\n')[1]!}`),
      403,
    ],
    [
      'only signatures of others',
      body(
        5,
        proof(5, 9),
        `${unsigned}${cosigner.cosign({ origin: 'x', size: 1, root: new Uint8Array(32) }, 1)}`,
      ),
      403,
    ],
    ['no signatures', body(5, proof(5, 9), unsigned), 400],
    ['an empty body', new Uint8Array(0), 400],
    ['no text', Uint8Array.of(0xff, 0xfe, 0x0a, 0x0a), 400],
    ['no checkpoint', encodeUtf8('old 5\n\n'), 400],
    ['no old size', encodeUtf8(`${proof(5, 9).join('\n')}\n\n${note(9)}`), 400],
    ['an old size with a zero before it', body('05', proof(5, 9), note(9)), 400],
    ['an old size beyond all', body('9007199254740992', proof(5, 9), note(9)), 400],
    ['a negative old size', body(-5, proof(5, 9), note(9)), 400],
    ['carriage returns', encodeUtf8(`old 5\r\n\r\n${note(9)}`), 400],
    ['a hash of 31 bytes', body(5, [encodeBase64(new Uint8Array(31))], note(9)), 400],
    ['base64 without its padding', body(5, [proof(5, 9)[0]!.slice(0, -1)], note(9)), 400],
    [
      '64 lines of proof',
      body(
        5,
        Array.from({ length: 64 }, () => proof(5, 9)[0]!),
        note(9),
      ),
      400,
    ],
    ['a checkpoint with a further line', body(5, proof(5, 9), extended()), 400],
  ];

  it.each(rows.map(([name, ...row]) => ({ name, row })))(
    '$name',
    async ({ row: [request, status, size] }) => {
      const answer = await (await opened()).addCheckpoint(request);
      expect(answer.status).toBe(status);
      expect('size' in answer ? answer.size : undefined).toBe(size);
    },
  );

  it('begins with size zero, and knows the one empty tree', async () => {
    const witness = open(world());
    expect((await witness.addCheckpoint(body(0, [], emptyNote(EMPTY.replace('e3', 'e4'))))).status).toBe(422);
    expect((await witness.addCheckpoint(body(0, [proof(5, 9)[0]!], note(9)))).status).toBe(422);
    expect((await witness.addCheckpoint(body(0, [], emptyNote(EMPTY)))).status).toBe(200);
    expect((await witness.addCheckpoint(body(0, [], note(9)))).status).toBe(200);
    expect(witness.size()).toBe(9);
  });

  it('gives a line that makes the note a cosigned one', async () => {
    const answer = await (await opened()).addCheckpoint(grow(5, 9));
    if (answer.status !== 200) throw new Error('not cosigned');
    expect(answer.lines).toMatch(/^— example\.net\/witness9 [A-Za-z0-9+/=]+\n$/);
    const cosigned = addSignatures(note(9), answer.lines);
    expect(openCosignatures(cosigned, [cosigner.verifier])).toMatchObject([
      { name: 'example.net/witness9', time: 1_700_000_123 },
    ]);
  });

  it('keeps both notes when the log signs two trees of one size, whatever the request says beside', async () => {
    const at = world();
    const witness = await opened(at);
    await witness.addCheckpoint(body(5, [], note(5, forked)));
    await witness.addCheckpoint(body(0, [], note(5, forked)));
    expect(at.conflicts).toHaveLength(2);
    const [known, other] = at.conflicts[0]!;
    const evidence = splitView(log.trust.log, known.note, other.note);
    expect(verifyEvidence(evidence, log.trust, NATIVE)).toMatchObject({ conclusive: true });
  });

  it('cosigns only what it may vouch for', async () => {
    const at = world();
    at.vouch = () => Promise.resolve('yes');
    const witness = await opened(at);
    at.vouch = () => Promise.resolve('later');
    expect((await witness.addCheckpoint(grow(5, 9))).status).toBe(503);
    at.vouch = () => Promise.resolve('never');
    expect((await witness.addCheckpoint(grow(5, 9))).status).toBe(422);
    expect(witness.size()).toBe(5);
  });

  it('knows no log before it is told which', async () => {
    const witness = openWitness({
      log: () => undefined,
      cosigner,
      store: openMemoryStore(),
      primitives: NATIVE,
      now: () => 0,
      onConflict: () => undefined,
    });
    expect((await witness.addCheckpoint(grow(0, 5))).status).toBe(404);
    expect(witness.size()).toBe(0);
  });
});

it('cosigns one of two sizes that are asked for at once, and never goes back', async () => {
  const at = world();
  const witness = await opened(at);
  const answers = await Promise.all(
    [grow(5, 9), grow(5, 20), grow(5, 7, forked), grow(5, 9)].map((one) => witness.addCheckpoint(one)),
  );
  expect(answers.map(({ status }) => status)).toEqual([200, 409, 409, 409]);
  expect(answers.map((answer) => ('size' in answer ? answer.size : null))).toEqual([null, 9, 9, 9]);
});

it('has stored what it answers, also when the machine dies before the answer', async () => {
  const at = world();
  await (await opened(at)).addCheckpoint(grow(5, 9));
  crashDisk(at.disk);
  const again = open(at);
  expect(again.size()).toBe(9);
  expect(await again.addCheckpoint(grow(5, 9))).toEqual({ status: 409, size: 9 });
  expect((await again.addCheckpoint(body(9, [], note(9)))).status).toBe(200);
  expect((await again.addCheckpoint(body(9, [], note(9, forked)))).status).toBe(409);
});

it('does not answer when it could not store', async () => {
  const at = world();
  const witness = await opened(at);
  crashDisk(at.disk);
  await expect(witness.addCheckpoint(grow(5, 9))).rejects.toMatchObject({ code: 'store-closed' });
  expect(open(at).size()).toBe(5);
});

it('keeps its size on a true disk, and refuses to work on one that was edited', () =>
  withTempDir(async (path) => {
    const settings = { cacheBytes: 1 << 20, writeBufferBytes: 1 << 20 };
    const store = await openLevelStore(`${path}/db`, settings);
    await open(world(), store).addCheckpoint(grow(0, 5));
    await store.close();
    const again = await openLevelStore(`${path}/db`, settings);
    expect(open(world(), again).size()).toBe(5);
    await again.write([
      { type: 'put', key: encodeUtf8(`w${log.trust.log.name}`), value: encodeUtf8(note(1, stranger)) },
    ]);
    await expect(open(world(), again).addCheckpoint(grow(0, 9))).rejects.toMatchObject({
      code: 'store-corrupt',
    });
    await again.close();
  }));

it('speaks HTTP as the protocol has it', async () => {
  const statuses: number[] = [];
  const at = world();
  const app = await buildWitness(silent, open(at), cosigner.vkey, (status) => statuses.push(status));
  const post = (payload: Uint8Array, headers = {}) =>
    app.inject({ method: 'POST', url: '/add-checkpoint', payload: Buffer.from(payload), headers });
  const cosigned = await post(grow(0, 5));
  expect([cosigned.statusCode, cosigned.body.startsWith('— ')]).toEqual([200, true]);
  const stale = await post(grow(0, 9), { 'content-type': 'text/plain' });
  expect([stale.statusCode, stale.headers['content-type'], stale.body]).toEqual([
    409,
    'text/x.tlog.size',
    '5\n',
  ]);
  const other = await post(body(5, [], note(5, forked)));
  expect([other.statusCode, other.headers['content-type']]).toEqual([409, 'text/plain; charset=utf-8']);
  expect((await post(new Uint8Array(64 * 1024))).statusCode).toBe(413);
  expect((await app.inject({ method: 'GET', url: '/add-checkpoint' })).statusCode).toBe(404);
  const vkey = (await app.inject({ method: 'GET', url: '/vkey' })).body;
  expect(parseVkey(vkey.trim())).toEqual(cosigner.verifier);
  expect(statuses).toEqual([200, 409, 409]);
  await app.close();
});

it('gives a log what it needs to publish: its own client gets a quorum, size by size and after a restart of either', async () => {
  const at = world();
  const outcomes: string[] = [];
  let app = await buildWitness(silent, open(at), cosigner.vkey, () => undefined);
  const post: Post = async (url, body) => {
    const sent = { method: 'POST', url: new URL(url).pathname, payload: Buffer.from(body) } as const;
    const { statusCode, rawPayload } = await app.inject(sent);
    return { status: statusCode, bytes: new Uint8Array(rawPayload) };
  };
  const client = () =>
    createWitnesses({
      policy: parsePolicy(`log ${log.signer.vkey}\nwitness w ${cosigner.vkey} http://witness\nquorum w\n`),
      post,
      incremental: (start, end) => parseIncremental(log.incremental(start, end)),
      isOpen: false,
      onAnswer: (_name, outcome) => outcomes.push(outcome),
      onQuorum: (outcome) => outcomes.push(outcome),
      onTrouble: () => undefined,
      now: () => 0,
      jitter: () => 0,
    });
  const signed = (size: number) => parseSignedSnapshot(log.signedSnapshot(size - 1));
  const first = client();
  for (const size of [1, 5, 5, 16])
    expect(await first.ask(signed(size), '')).toMatch(/^— example.net.witness9 /);
  at.disk.holder = undefined;
  await app.close();
  app = await buildWitness(silent, open(at), cosigner.vkey, () => undefined);
  expect(await client().ask(signed(20), '')).toMatch(/^— example.net.witness9 /);
  expect(new Set(outcomes)).toEqual(new Set(['cosigned', 'reached']));
  await app.close();
});

/** A checkpoint with a further line, which the standard allows and nobody vouches for. */
function extended(): string {
  const text = `${note(9).split('\n\n')[0]!}\nand more\n`;
  return formatNote(text, [{ ...log.trust.log, signature: sign(keyOfSeed(1), encodeUtf8(text)) }]);
}
