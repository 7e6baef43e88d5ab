// The HTTP API, asked by `inject`: every route, every refusal, and answers that a stranger would believe.
import { createHash } from 'node:crypto';
import http from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { type InjectOptions } from 'fastify';
import { type z } from 'zod';
import {
  checkSignedSnapshot,
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
} from '../balloon/verify.ts';
import { parseSignedSnapshot } from '../balloon/proof.ts';
import { openCheckpoint } from '../crypto/checkpoint.ts';
import { decodeHex, encodeBase64, encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { parseVkey } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { formatTilePath } from '../history/served.ts';
import { historyTwin, twinLeaf } from '../../testutils/history-twin.ts';
import { openTestApi, type TestApi, type TestNodeOptions } from '../../testutils/test-node.ts';
import * as schemas from './schemas.ts';

let api: TestApi;
const opened: TestApi[] = [];

async function open(options: Parameters<typeof openTestApi>[0] = {}): Promise<TestApi> {
  const made = await openTestApi(options);
  opened.push(made);
  return made;
}

beforeEach(async () => (api = await open()));
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';
const OCTETS = 'application/octet-stream';

function post(
  url: string,
  body: unknown,
  type = JSON_TYPE,
  headers: Record<string, string> = {},
): InjectOptions {
  const payload =
    body instanceof Uint8Array ? Buffer.from(body) : typeof body === 'string' ? body : JSON.stringify(body);
  return { method: 'POST', url, payload, headers: { 'content-type': type, ...headers } };
}

/** The answer, once it has the status and the documented form. */
async function ask<Schema extends z.ZodType>(
  request: InjectOptions,
  schema: Schema,
  status = 200,
  { app } = api,
): Promise<z.output<Schema>> {
  const answer = await app.inject(request);
  expect({ status: answer.statusCode, body: answer.body }).toMatchObject({ status });
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(answer.headers['cache-control']).toBe('no-store');
  expect(answer.headers['x-content-type-options']).toBe('nosniff');
  return schema.parse(JSON.parse(answer.body));
}

const refusal = (request: InjectOptions, status: number, on = api) =>
  ask(request, schemas.errorAnswer, status, on);

const add = (event: string, on = api) => ask(post('/events', { event }), schemas.addedAnswer, 201, on);
const addBulk = (events: unknown[], on = api) =>
  ask(post('/events/bulk', { events }), schemas.addedBulkAnswer, 201, on);

const sha256 = (event: string | Uint8Array): string => createHash('sha256').update(event).digest('hex');
const digestOf = (event: string): Uint8Array => decodeHex(sha256(event))!;
const trust = (on = api) => ({ log: parseVkey(on.node.identity.signer.vkey) });

describe('adding', () => {
  it('takes an event as text, as base64 and as bytes, and answers with its digest, version and a receipt that verifies', async () => {
    const bytes = Uint8Array.of(0, 255, 1, 254);
    const answers = [
      await add('héllo 🌍'),
      await ask(post('/events', { eventBase64: encodeBase64(bytes) }), schemas.addedAnswer, 201),
      await ask(post('/events', bytes, OCTETS), schemas.addedAnswer, 201),
      await add(''),
    ];
    expect(answers.map(({ version }) => version)).toEqual([0, 1, 2, 3]);
    const digests = [sha256('héllo 🌍'), sha256(bytes), sha256(bytes), sha256('')];
    expect(answers.map(({ eventDigest }) => eventDigest)).toEqual(digests);
    for (const { signedSnapshot, version } of answers) {
      expect(verifySignedSnapshot(signedSnapshot, trust()).snapshot.version).toBe(version);
    }
  });

  it('takes many at once, as JSON, NDJSON and digests, in their order', async () => {
    const events = Array.from({ length: 300 }, (_, at) => `event ${at}`);
    const json = await addBulk(events);
    expect(json.versions).toEqual([0, 299]);
    expect(json.eventDigests).toEqual(events.map(sha256));
    expect(json.signedSnapshot.snapshot.version).toBe(299);
    const base64 = await addBulk(['text', { eventBase64: encodeBase64(Uint8Array.of(1, 2)) }]);
    expect(base64.eventDigests).toEqual([sha256('text'), sha256(Uint8Array.of(1, 2))]);
    const lines = '{"event":"first line"}\n{"eventBase64":"AQI="}\n';
    const ndjson = await ask(post('/events/bulk', lines, NDJSON), schemas.addedBulkAnswer, 201);
    expect(ndjson.eventDigests).toEqual([sha256('first line'), sha256(Uint8Array.of(1, 2))]);
    const digests = Uint8Array.from([...digestOf('a'), ...digestOf('b')]);
    const raw = await ask(post('/events/bulk/digests', digests, OCTETS), schemas.addedBulkAnswer, 201);
    expect(raw).toMatchObject({ versions: [304, 305], eventDigests: [sha256('a'), sha256('b')] });
    expect(await ask({ url: '/events/305' }, schemas.loggedEventAnswer)).toMatchObject({
      eventDigest: sha256('b'),
    });
  });

  it('takes 10,000 events and events of a whole MiB, and not one more', async () => {
    const most = Array.from({ length: 10_000 }, (_, at) => `${at}`);
    expect((await addBulk(most)).versions).toEqual([0, 9_999]);
    expect(await refusal(post('/events/bulk', { events: [...most, 'more'] }), 413)).toMatchObject({
      code: 'batch-too-large',
    });
    const large = new Uint8Array(1024 * 1024);
    expect((await ask(post('/events', large, OCTETS), schemas.addedAnswer, 201)).version).toBe(10_000);
    const larger = new Uint8Array(1024 * 1024 + 1);
    expect(await refusal(post('/events', larger, OCTETS), 413)).toMatchObject({ code: 'body-too-large' });
    // Two bytes of UTF-8 for each of its UTF-16 units.
    const text = 'é'.repeat(1024 * 512 + 1);
    expect(await refusal(post('/events', { event: text }), 413)).toMatchObject({ code: 'body-too-large' });
    expect(await refusal(post('/events/bulk', { events: ['x', text] }), 413)).toMatchObject({
      code: 'body-too-large',
    });
    expect(api.node.version).toBe(10_000);
  });

  it('logs a repeated request once, and refuses its key for other events', async () => {
    const headers = { 'idempotency-key': '00112233445566778899aabbccddeeff' };
    const request = post('/events/bulk', { events: ['a', 'b'] }, JSON_TYPE, headers);
    const first = await ask(request, schemas.addedBulkAnswer, 201);
    await add('between');
    const again = await ask(request, schemas.addedBulkAnswer, 201);
    expect(again.versions).toEqual(first.versions);
    expect(again.signedSnapshot.snapshot.version).toBe(2);
    const other = await refusal(post('/events', { event: 'a' }, JSON_TYPE, headers), 409);
    expect(other.code).toBe('key-reused');
    expect(api.node.version).toBe(2);
  });

  it('takes anything at POST /add and answers with the index alone', async () => {
    for (const [at, type] of [
      'text/plain',
      'application/x-www-form-urlencoded',
      JSON_TYPE,
      'a/b; c=d',
    ].entries()) {
      const answer = await api.app.inject(post('/add', `{event ${at}`, type));
      expect([answer.statusCode, answer.body]).toEqual([200, `${at}`]);
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
    }
    const bare = await api.app.inject({ method: 'POST', url: '/add', payload: Buffer.from('no type') });
    expect(bare.body).toBe('4');
    expect(await refusal({ method: 'POST', url: '/add' }, 400)).toMatchObject({ code: 'bad-request' });
  });
});

describe('asking', () => {
  beforeEach(async () => {
    await add('a');
    await addBulk(['b', 'c', 'a']);
    await add('d');
  });

  it('proves what is there, since when, and what is not, for the present and the past', async () => {
    const rows = [
      { body: { event: 'a' }, expected: { exists: true, version: 0 } },
      { body: { eventDigest: sha256('c') }, expected: { exists: true, version: 2 } },
      { body: { eventBase64: encodeBase64(encodeUtf8('d')) }, expected: { exists: true, version: 4 } },
      { body: { event: 'd', version: 3 }, expected: { exists: false, version: 4 }, version: 3 },
      { body: { event: 'nothing' }, expected: { exists: false, version: null } },
    ];
    for (const { body, expected, version } of rows) {
      const answer = await ask(post('/proofs/membership', body), schemas.membershipAnswer);
      const question = {
        eventDigest: decodeHex(answer.eventDigest)!,
        ...(version === undefined ? {} : { version }),
      };
      expect(verifyMembership(answer, question, trust())).toMatchObject(expected);
    }
  });

  it('proves growth between any two versions that were snapshots', async () => {
    const ends = [0, 3, 4];
    for (const start of ends) {
      for (const end of ends.filter((version) => version >= start)) {
        const [from, to] = await Promise.all(
          [start, end].map((version) => ask({ url: `/snapshots/${version}` }, schemas.signedSnapshotAnswer)),
        );
        const proof = await ask(post('/proofs/incremental', { start, end }), schemas.incrementalAnswer);
        const question = {
          start: verifySignedSnapshot(from, trust()).snapshot,
          end: verifySignedSnapshot(to, trust()).snapshot,
        };
        verifyIncremental(proof, question);
      }
    }
  });

  it('gives the first snapshot that covers a version, and the latest', async () => {
    const covering = await Promise.all(
      [0, 1, 2, 3, 4].map((version) => ask({ url: `/snapshots/${version}` }, schemas.signedSnapshotAnswer)),
    );
    expect(covering.map(({ snapshot }) => snapshot.version)).toEqual([0, 3, 3, 3, 4]);
    for (const one of covering) checkSignedSnapshot(parseSignedSnapshot(one), trust());
    expect(await ask({ url: '/snapshots/latest' }, schemas.signedSnapshotAnswer)).toEqual(covering[4]);
  });

  it('says who it is and how it is', async () => {
    const info = await ask({ url: '/info' }, schemas.infoAnswer);
    expect(info).toMatchObject({
      nodeId: 'node0',
      role: 'leader',
      leaderId: 'node0',
      version: 4,
      httpAddr: '127.0.0.1:8800',
    });
    expect(await ask({ url: '/info/shards' }, schemas.shardsAnswer)).toEqual({
      nodeId: 'node0',
      leaderId: 'node0',
      uriScheme: 'http',
      shards: { node0: { nodeId: 'node0', httpAddr: '127.0.0.1:1' } },
    });
    expect(await ask({ url: '/healthcheck' }, schemas.healthAnswer)).toEqual({ status: 'ready' });
    expect((await api.app.inject({ method: 'HEAD', url: '/healthcheck' })).statusCode).toBe(200);
  });

  it('gives what is logged at a version, without events that it does not keep', async () => {
    const { time } = (await ask({ url: '/snapshots/2' }, schemas.signedSnapshotAnswer)).snapshot;
    const logged = await ask({ url: '/events/2' }, schemas.loggedEventAnswer);
    expect(logged).toEqual({
      version: 2,
      eventDigest: sha256('c'),
      hyperDigest: expect.any(String) as string,
      time,
    });
  });
});

describe('a question that wants the latest', () => {
  const questions = (suffix: string) => [
    post(`/proofs/membership${suffix}`, { event: 'a' }),
    post(`/proofs/incremental${suffix}`, { start: 0, end: 0 }),
    { url: `/snapshots/latest${suffix}` },
    { url: `/snapshots/0${suffix}` },
    { url: `/events/0${suffix}` },
  ];

  it('waits until the node has seen what the others did, and answers from then', async () => {
    const patient = await open({
      async linearize() {
        await add('what the others did', patient);
      },
    });
    await add('a', patient);
    for (const [at, question] of questions('?linearizable=true').entries()) {
      expect((await patient.app.inject(question)).statusCode).toBe(200);
      expect(patient.node.version).toBe(at + 1);
    }
    const latest = { url: '/snapshots/latest?linearizable=true' };
    const { snapshot } = await ask(latest, schemas.signedSnapshotAnswer, 200, patient);
    expect(snapshot.version).toBe(6);
  });

  it('is not answered when that cannot be known, and others are', async () => {
    const lost = await open({
      linearize: () => Promise.reject(new QedError('no-leader', 'the cluster has no leader')),
    });
    await add('a', lost);
    for (const question of questions('?linearizable=true')) {
      expect(await refusal(question, 503, lost)).toMatchObject({ code: 'no-leader' });
    }
    for (const suffix of ['', '?linearizable=false', '?other=x']) {
      for (const question of questions(suffix))
        expect((await lost.app.inject(question)).statusCode).toBe(200);
    }
  });

  it('says so with true, and in no other way', async () => {
    await add('a');
    for (const value of ['', 'yes', 'TRUE', '1', 'true&linearizable=true']) {
      for (const question of questions(`?linearizable=${value}`)) {
        const { code, message } = await refusal(question, 400);
        expect({ code, message }).toMatchObject({
          code: 'bad-request',
          message: expect.stringMatching(/^"linearizable": expected true or false, got /) as string,
        });
      }
    }
  });
});

describe('keeping events', () => {
  it('gives them back as they came, as text where they are text', async () => {
    const keeping = await open({ storeEvents: true });
    await add('text', keeping);
    await addBulk(['more', { eventBase64: '/w==' }], keeping);
    await ask(post('/events/bulk', '{"event":"line"}', NDJSON), schemas.addedBulkAnswer, 201, keeping);
    await keeping.app.inject(post('/add', 'raw', 'text/plain'));
    await ask(
      post('/events/bulk/digests', digestOf('unseen'), OCTETS),
      schemas.addedBulkAnswer,
      201,
      keeping,
    );
    const contents = await Promise.all(
      [0, 1, 2, 3, 4, 5].map(async (version) => {
        const { event, eventBase64 } = await ask(
          { url: `/events/${version}` },
          schemas.loggedEventAnswer,
          200,
          keeping,
        );
        return event ?? eventBase64;
      }),
    );
    expect(contents).toEqual(['text', 'more', '/w==', 'line', 'raw', undefined]);
  });
});

const ODD_PATHS = [
  ...[
    '',
    '0',
    'entries',
    '0/0',
    '0/00',
    '0/0000',
    '00/000',
    '64/000',
    '-1/000',
    '0/x000/000',
    '0/0x0',
    '0/1e2',
    '0\\000',
  ],
  ...[
    '0/000.p/0',
    '0/000.p/256',
    '0/000.p/01',
    '0/000.p/-1',
    '0/000.p',
    '0/000.p/',
    '0/000.P/1',
    '0/000/',
    '0//000',
    '/0/000',
  ],
  ...[
    '0/../0/000',
    '../tile/0/000',
    './0/000',
    'entries/../0/000',
    '../../../../etc/passwd',
    '%2e%2e/info',
    '..%2finfo',
  ],
  ...[
    '0/%30%30%30',
    '0/000%00',
    '%',
    '0/%zz0',
    'Entries/000',
    '0/x001/x000/x000/x000/x000/x000/000',
    `0/${'x001/'.repeat(20)}000`,
  ],
];

/** Sends the path as it stands, which `inject` and `fetch` do not. */
function statusOf(address: string, path: string): Promise<number | undefined> {
  const { hostname, port } = new URL(address);
  return new Promise((resolve, reject) => {
    http
      .get({ hostname, port, path, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
      .on('error', reject);
  });
}

describe('the log as C2SP tlog-tiles', () => {
  const get = (url: string, headers = {}) => api.app.inject({ url, headers });

  it('serves checkpoint, tiles and entries from which a stranger rebuilds the signed root', async () => {
    await addBulk(Array.from({ length: 700 }, (_, at) => `event ${at}`));
    const answer = await get('/checkpoint');
    expect(answer.headers).toMatchObject({
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'no-cache',
    });
    const { size, root } = openCheckpoint(answer.body, trust().log);
    expect(size).toBe(700);
    const entries: Uint8Array[] = [];
    for (const [index, width] of [
      [0, 256],
      [1, 256],
      [2, 188],
    ] as const) {
      const bundle = await get(`/${formatTilePath({ level: 'entries', index, width })}`);
      expect(bundle.headers).toMatchObject({ 'content-type': OCTETS, vary: 'accept-encoding' });
      expect(bundle.headers['cache-control']).toBe('public, max-age=31536000, immutable');
      const bytes = new Uint8Array(bundle.rawPayload);
      expect(bytes.length).toBe(width * 74);
      for (let at = 0; at < bytes.length; at += 74) {
        expect(bytes.slice(at, at + 2)).toEqual(Uint8Array.of(0, 72));
        entries.push(bytes.slice(at + 2, at + 74));
      }
      const tile = await get(`/${formatTilePath({ level: 0, index, width })}`);
      const leaves = entries.slice(-width).map((entry) => encodeHex(twinLeaf(entry)));
      expect(encodeHex(new Uint8Array(tile.rawPayload))).toBe(leaves.join(''));
    }
    const twin = historyTwin((version) => entries[Number(version)]!);
    expect(encodeHex(twin.mth(0n, 700n))).toBe(encodeHex(root));
    const level1 = await get('/tile/1/000.p/2');
    expect(encodeHex(new Uint8Array(level1.rawPayload))).toBe(
      encodeHex(twin.mth(0n, 256n)) + encodeHex(twin.mth(256n, 512n)),
    );
    expect(encodeHex(entries[3]!.slice(0, 32))).toBe(sha256('event 3'));
  });

  it('packs entries for those who can unpack them', async () => {
    await addBulk(Array.from({ length: 256 }, (_, at) => `event ${at}`));
    const plain = await get('/tile/entries/000');
    for (const accepted of ['gzip', 'br, gzip;q=0.5', 'gzip , identity']) {
      const packed = await get('/tile/entries/000', { 'accept-encoding': accepted });
      expect(packed.headers['content-encoding']).toBe('gzip');
      expect(packed.rawPayload.length).toBeLessThan(plain.rawPayload.length);
      expect(gunzipSync(packed.rawPayload).equals(plain.rawPayload)).toBe(true);
    }
    for (const accepted of ['', 'identity', 'gzip;q=0', 'gzipped']) {
      expect(
        (await get('/tile/entries/000', { 'accept-encoding': accepted })).headers['content-encoding'],
      ).toBeUndefined();
    }
  });

  it('has nothing at any other path', async () => {
    await addBulk(Array.from({ length: 300 }, (_, at) => `event ${at}`));
    const unknown = [
      '0/002',
      '0/001',
      '0/001.p/45',
      '1/001',
      '1/000',
      '2/000.p/1',
      'entries/001',
      'entries/x001/000',
    ];
    for (const path of unknown)
      expect(await refusal({ url: `/tile/${path}` }, 404)).toMatchObject({ code: 'version-unknown' });
    const address = await api.app.listen({ host: '127.0.0.1', port: 0 });
    for (const path of ODD_PATHS) {
      expect({ path, status: await statusOf(address, `/tile/${path}`) }).toMatchObject({
        status: /%(?![0-9a-f]{2})/i.test(path) ? 400 : 404,
      });
    }
    expect(await statusOf(address, '/tile/0/000')).toBe(200);
  });

  it('is private where reading needs a key', async () => {
    const keyed = await open({ api: { access: () => ({ keys: [], readsNeedKey: true }) } });
    await add('a', keyed);
    const tile = await keyed.app.inject({ url: '/tile/0/000.p/1' });
    expect(tile.headers['cache-control']).toBe('private, max-age=31536000, immutable');
  });
});

it('answers clearly while the log is empty', async () => {
  const rows: { request: InjectOptions; code: string }[] = [
    { request: { url: '/snapshots/latest' }, code: 'log-empty' },
    { request: { url: '/snapshots/0' }, code: 'log-empty' },
    { request: { url: '/events/0' }, code: 'log-empty' },
    { request: { url: '/checkpoint' }, code: 'log-empty' },
    { request: post('/proofs/membership', { event: 'a' }), code: 'log-empty' },
    { request: post('/proofs/membership', { event: 'a', version: 0 }), code: 'log-empty' },
    { request: post('/proofs/incremental', { start: 0, end: 0 }), code: 'log-empty' },
    { request: { url: '/tile/0/000' }, code: 'version-unknown' },
    { request: { url: '/tile/entries/000.p/1' }, code: 'version-unknown' },
  ];
  for (const { request, code } of rows) expect(await refusal(request, 404)).toMatchObject({ code });
  expect(await ask({ url: '/info' }, schemas.infoAnswer)).toMatchObject({ version: null });
  expect(await ask({ url: '/healthcheck' }, schemas.healthAnswer)).toEqual({ status: 'ready' });
});

describe('refusing', () => {
  const MAX = Number.MAX_SAFE_INTEGER;
  const key = (value: string) => post('/events', { event: 'x' }, JSON_TYPE, { 'idempotency-key': value });
  const rows: { name: string; request: InjectOptions; status: number; code: string }[] = [
    // Forms
    {
      name: 'no body',
      request: { method: 'POST', url: '/events', headers: { 'content-type': JSON_TYPE } },
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'no body and no type',
      request: { method: 'POST', url: '/events' },
      status: 415,
      code: 'media-unsupported',
    },
    { name: 'no JSON', request: post('/events', '{"event":'), status: 400, code: 'bad-request' },
    {
      name: 'a byte order mark',
      request: post('/events', '\ufeff{"event":"x"}'),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'another type',
      request: post('/events', 'x', 'text/plain'),
      status: 415,
      code: 'media-unsupported',
    },
    {
      name: 'a form',
      request: post('/events', 'event=x', 'application/x-www-form-urlencoded'),
      status: 415,
      code: 'media-unsupported',
    },
    {
      name: 'a type that is none',
      request: post('/events', '{}', '///'),
      status: 415,
      code: 'media-unsupported',
    },
    {
      name: 'lines for one event',
      request: post('/events', '{"event":"x"}', NDJSON),
      status: 415,
      code: 'media-unsupported',
    },
    {
      name: 'bytes for many events',
      request: post('/events/bulk', 'x', OCTETS),
      status: 415,
      code: 'media-unsupported',
    },
    {
      name: 'JSON for digests',
      request: post('/events/bulk/digests', []),
      status: 415,
      code: 'media-unsupported',
    },
    { name: 'an empty raw event', request: post('/events', '', OCTETS), status: 400, code: 'bad-request' },
    ...[
      null,
      1,
      'x',
      [],
      {},
      { event: 1 },
      { event: null },
      { event: ['x'] },
      { event: { a: 1 } },
      { event: 'x', more: 1 },
    ].map((body) => ({
      name: `the event ${JSON.stringify(body)}`,
      request: post('/events', JSON.stringify(body)),
      status: 400,
      code: 'bad-request',
    })),
    {
      name: 'two events in one',
      request: post('/events', { event: 'x', eventBase64: 'eA==' }),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'a lone surrogate',
      request: post('/events', '{"event":"\\ud800"}'),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'a lone surrogate among many',
      request: post('/events/bulk', '{"events":["x","\\udc00x"]}'),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'no UTF-8',
      request: post('/events', Uint8Array.from([...encodeUtf8('{"event":"'), 0xff, ...encodeUtf8('"}')])),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'no UTF-8 in lines',
      request: post('/events/bulk', Uint8Array.of(0xc0, 0x80), NDJSON),
      status: 400,
      code: 'bad-request',
    },
    ...['=', 'eA', 'eA=', 'eB==', 'eA== ', 'e A=', 'eA==\n', '-_8=', 'eA==eA==', 'é'].map((text) => ({
      name: `the base64 ${JSON.stringify(text)}`,
      request: post('/events', { eventBase64: text }),
      status: 400,
      code: 'bad-request',
    })),
    { name: 'deep JSON', request: post('/events', '['.repeat(100_000)), status: 400, code: 'bad-request' },
    {
      name: 'deep JSON that is whole',
      request: post('/events/bulk', `{"events":${'['.repeat(9)}${']'.repeat(9)}}`),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'a prototype',
      request: post('/events', '{"__proto__":{"event":"x"}}'),
      status: 400,
      code: 'bad-request',
    },
    // Many
    {
      name: 'an empty bulk',
      request: post('/events/bulk', { events: [] }),
      status: 400,
      code: 'batch-empty',
    },
    {
      name: 'an empty bulk of lines',
      request: post('/events/bulk', '\n', NDJSON),
      status: 400,
      code: 'bad-request',
    },
    { name: 'no lines', request: post('/events/bulk', '', NDJSON), status: 400, code: 'batch-empty' },
    {
      name: 'no digests',
      request: post('/events/bulk/digests', '', OCTETS),
      status: 400,
      code: 'batch-empty',
    },
    {
      name: 'a part of a digest',
      request: post('/events/bulk/digests', new Uint8Array(33), OCTETS),
      status: 400,
      code: 'digest-malformed',
    },
    {
      name: 'too many digests',
      request: post('/events/bulk/digests', new Uint8Array(320_032), OCTETS),
      status: 413,
      code: 'batch-too-large',
    },
    {
      name: 'too many lines',
      request: post('/events/bulk', '1\n'.repeat(10_001), NDJSON),
      status: 413,
      code: 'batch-too-large',
    },
    ...[
      {},
      { events: 'x' },
      { events: {} },
      { events: null },
      { events: [1] },
      { events: [null] },
      { events: ['x', {}] },
      { events: [['x']] },
      { events: ['x'], more: 1 },
      { events: [{ eventBase64: 1 }] },
      { events: [{ eventBase64: 'eA==', event: 'x' }] },
      ['x'],
      null,
      'x',
    ].map((body) => ({
      name: `the bulk ${JSON.stringify(body)}`,
      request: post('/events/bulk', JSON.stringify(body)),
      status: 400,
      code: 'bad-request',
    })),
    {
      name: 'a bad line',
      request: post('/events/bulk', '{"event":"x"}\n{"event":1}\n', NDJSON),
      status: 400,
      code: 'bad-request',
    },
    {
      name: 'a body of 10 MB',
      request: post('/events/bulk', 'x'.repeat(10_000_000)),
      status: 413,
      code: 'body-too-large',
    },
    {
      name: 'a raw event of 10 MB',
      request: post('/add', 'x'.repeat(10_000_000), OCTETS),
      status: 413,
      code: 'body-too-large',
    },
    // Idempotency keys
    ...['', 'x', '0'.repeat(32), 'A'.repeat(32), 'a'.repeat(31), 'a'.repeat(34)].map((value) => ({
      name: `the idempotency key ${JSON.stringify(value)}`,
      request: key(value),
      status: 400,
      code: 'bad-request',
    })),
    // Questions
    ...[
      {},
      { event: 'x', eventDigest: 'a'.repeat(64) },
      { eventDigest: 'A'.repeat(64) },
      { eventDigest: 'a'.repeat(63) },
      { event: 'x', version: -1 },
      { event: 'x', version: 1.5 },
      { event: 'x', version: '0' },
      { event: 'x', version: null },
      { event: 'x', version: 2 ** 53 },
      { event: 'x', more: 1 },
    ].map((body) => ({
      name: `the membership ${JSON.stringify(body)}`,
      request: post('/proofs/membership', JSON.stringify(body)),
      status: 400,
      code: 'bad-request',
    })),
    {
      name: 'a membership not there yet',
      request: post('/proofs/membership', { event: 'x', version: 1 }),
      status: 404,
      code: 'version-unknown',
    },
    {
      name: 'a membership far ahead',
      request: post('/proofs/membership', { event: 'x', version: MAX }),
      status: 404,
      code: 'version-unknown',
    },
    ...[
      { start: 0 },
      { start: -1, end: 0 },
      { start: 0, end: '0' },
      { start: 0, end: 1e300 },
      { start: 0, end: 0, x: 1 },
    ].map((body) => ({
      name: `the range ${JSON.stringify(body)}`,
      request: post('/proofs/incremental', JSON.stringify(body)),
      status: 400,
      code: 'bad-request',
    })),
    {
      name: 'a range backwards',
      request: post('/proofs/incremental', { start: 1, end: 0 }),
      status: 404,
      code: 'version-unknown',
    },
    {
      name: 'a range not there yet',
      request: post('/proofs/incremental', { start: 0, end: MAX }),
      status: 404,
      code: 'version-unknown',
    },
    ...[
      '-1',
      '1.0',
      '1e0',
      '00',
      '0x0',
      '+0',
      '%200',
      'NaN',
      'x',
      '9007199254740992',
      '99999999999999999999',
    ].flatMap((version) =>
      ['snapshots', 'events'].map((what) => ({
        name: `${what} ${version}`,
        request: { url: `/${what}/${version}` },
        status: 400,
        code: 'version-malformed',
      })),
    ),
    {
      name: 'a snapshot not there yet',
      request: { url: '/snapshots/1' },
      status: 404,
      code: 'version-unknown',
    },
    {
      name: 'an event not there yet',
      request: { url: `/events/${MAX}` },
      status: 404,
      code: 'version-unknown',
    },
    // Paths
    { name: 'an unknown path', request: { url: '/nothing' }, status: 404, code: 'not-found' },
    {
      name: 'another method',
      request: { method: 'DELETE', url: '/events/0' },
      status: 404,
      code: 'not-found',
    },
    { name: 'a path that cannot be read', request: { url: '/events/%' }, status: 400, code: 'bad-request' },
    {
      name: 'a very long parameter',
      request: { url: `/events/${'1'.repeat(500)}` },
      status: 400,
      code: 'bad-request',
    },
  ];
  for (const { name, request, status, code } of rows) {
    it(name, async () => {
      await add('the one event');
      const { message, ...error } = await refusal(request, status);
      expect(error).toMatchObject({ code });
      expect(message).not.toMatch(/invalid input/i);
      expect(api.node.version).toBe(0);
    });
  }

  it('names the line and the item of the first mistake', async () => {
    const line = await refusal(post('/events/bulk', '{"event":"x"}\n\n', NDJSON), 400);
    expect(line.message).toMatch(/^line 2: /);
    const item = await refusal(post('/events/bulk', { events: ['x', 'y', 3] }), 400);
    expect(item.message).toMatch(/^"events\.2": /);
    const field = await refusal(post('/proofs/incremental', { start: 'x', end: 0 }), 400);
    expect(field.message).toMatch(/^"start": /);
  });
});

it('gives proof and snapshot of one state while events are added', async () => {
  const events = Array.from({ length: 40 }, (_, at) => `event ${at}`);
  await add(events[0]!);
  let isDone = false;
  const asker = async (): Promise<number> => {
    let asked = 0;
    while (!isDone) {
      const event = events[asked % events.length]!;
      const answer = await ask(post('/proofs/membership', { event }), schemas.membershipAnswer);
      verifyMembership(answer, { eventDigest: digestOf(event) }, trust());
      asked += 1;
      // `inject` never leaves this turn of the event loop by itself.
      await turn();
    }
    return asked;
  };
  const askers = [asker(), asker()];
  const added = await Promise.all(events.map((event) => add(event)));
  for (const event of events) await addBulk([event, `${event} again`]);
  isDone = true;
  expect(Math.min(...(await Promise.all(askers)))).toBeGreaterThan(0);
  expect(new Set(added.map(({ version }) => version)).size).toBe(events.length);
  // Whoever was in one record got one snapshot, and every snapshot is of a record that ends there.
  for (const { version, signedSnapshot } of added) {
    expect(signedSnapshot.snapshot.version).toBeGreaterThanOrEqual(version);
    const covering = await ask({ url: `/snapshots/${version}` }, schemas.signedSnapshotAnswer);
    expect(covering).toEqual(signedSnapshot);
  }
});

describe('the documents', () => {
  it('describe every route, and every name that they use', async () => {
    const document = (await api.app.inject({ url: '/openapi.json' })).json<{
      openapi: string;
      paths: Record<string, Record<string, object>>;
      components: { schemas: Record<string, object> };
    }>();
    expect(document.openapi).toBe('3.1.0');
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.sort()).toEqual([
      'GET /checkpoint',
      'GET /events/{version}',
      'GET /healthcheck',
      'GET /info',
      'GET /info/shards',
      'GET /snapshots/latest',
      'GET /snapshots/{version}',
      'GET /tile/{*}',
      'POST /add',
      'POST /events',
      'POST /events/bulk',
      'POST /events/bulk/digests',
      'POST /proofs/incremental',
      'POST /proofs/membership',
    ]);
    const used = new Set(
      Array.from(JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g), ([, name]) => name),
    );
    expect(Object.keys(document.components.schemas).sort()).toEqual([...used].sort());
  });

  it('are a page without anything from elsewhere, whose policy allows its style', async () => {
    const page = await api.app.inject({ url: '/docs' });
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.body).not.toMatch(/<script|src=|url\(|https?:\/\//);
    const style = /<style>(.*)<\/style>/s.exec(page.body)?.[1] ?? '';
    const styleHash = createHash('sha256').update(style).digest('base64');
    expect(page.headers['content-security-policy']).toContain(`style-src 'sha256-${styleHash}'`);
    expect(page.body).toContain('<code>POST /events/bulk</code>');
    expect(page.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'SAMEORIGIN',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
    });
    expect(page.headers['strict-transport-security']).toBeUndefined();
  });
});

describe('a node that cannot do its work', () => {
  /** A store of which every value is damaged from some moment on; `written` resolves when there are some. */
  function damageable(): { options: TestNodeOptions; written: Promise<void>; damage: () => void } {
    let isDamaged = false;
    let wrote = (): void => undefined;
    const written = new Promise<void>((resolve) => (wrote = resolve));
    return {
      written,
      damage: () => (isDamaged = true),
      options: {
        wrapStore: (store) => ({
          ...store,
          get(key) {
            const value = store.get(key);
            if (isDamaged && value) value[0]! ^= 1;
            return value;
          },
          write: (writes, options) => store.write(writes, options).then(wrote),
        }),
      },
    };
  }

  it('stops answering once it has read damaged bytes, and says so', async () => {
    const { options, written, damage } = damageable();
    const broken = await open(options);
    await addBulk(
      Array.from({ length: 600 }, (_, at) => `event ${at}`),
      broken,
    );
    await written;
    damage();
    // The newest entries are in memory, so the damage has not shown yet.
    await ask({ url: '/snapshots/latest' }, schemas.signedSnapshotAnswer, 200, broken);
    expect(await refusal(post('/proofs/membership', { event: 'event 3' }), 500, broken)).toMatchObject({
      code: 'store-corrupt',
    });
    for (const request of [
      { url: '/snapshots/latest' },
      { url: '/checkpoint' },
      { url: '/snapshots/3' },
      post('/events', { event: 'x' }),
    ]) {
      expect(await refusal(request, 500, broken)).toMatchObject({ code: 'store-corrupt' });
    }
    expect(await ask({ url: '/healthcheck' }, schemas.healthAnswer, 503, broken)).toMatchObject({
      status: 'not ready',
      code: 'store-corrupt',
    });
    await ask({ url: '/info' }, schemas.infoAnswer, 200, broken);
    expect(broken.events.filter(({ kind }) => kind === 'failed')).toMatchObject([
      { kind: 'failed', error: { code: 'store-corrupt' } },
    ]);
  });
});
