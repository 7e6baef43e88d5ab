// What a page in a browser may do: nothing, unless its origin is named; then it may ask and not add.
import { type InjectOptions } from 'fastify';
import { openTestApi, type TestApi } from '../../testutils/test-node.ts';
import { singleKey } from './auth.ts';

const PAGE = 'https://example.org';
const STRANGER = 'https://example.com';
const MINE = ['https://example.org', 'http://localhost:3000'];

type Answer = Awaited<ReturnType<TestApi['app']['inject']>>;

async function withApi(
  api: NonNullable<Parameters<typeof openTestApi>[0]>['api'],
  work: (send: (request: InjectOptions, origin?: string) => Promise<Answer>) => Promise<void>,
): Promise<void> {
  const opened = await openTestApi({ api: api ?? {} });
  try {
    await work((request, origin) => {
      const headers = { ...request.headers, ...(origin === undefined ? {} : { origin }) };
      return opened.app.inject({ ...request, headers });
    });
  } finally {
    await opened.close();
  }
}

const post = (url: string, type = 'application/json') => ({
  method: 'POST' as const,
  url,
  headers: { 'content-type': type },
  payload: '{"event":"x"}',
});
const preflight = (method: string, url: string): InjectOptions => ({
  method: 'OPTIONS',
  url,
  headers: { 'access-control-request-method': method, 'access-control-request-headers': 'content-type' },
});
const allowed = ({ headers }: Answer): unknown => headers['access-control-allow-origin'];

const questions: (InjectOptions & { url: string })[] = [
  { url: '/info' },
  { url: '/snapshots/latest' },
  { url: '/tile/0/000' },
  { url: '/nothing' },
  post('/proofs/membership'),
  post('/proofs/incremental?linearizable=true'),
];
const additions = ['/events', '/events/bulk', '/events/bulk/digests', '/add'];

it('is nothing unless the operator says so', () =>
  withApi({}, async (send) => {
    for (const request of [
      ...questions,
      preflight('GET', '/info'),
      preflight('POST', '/proofs/membership'),
    ]) {
      const answer = await send(request, PAGE);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  }));

it('is asking, for the origins that are named, also where the answer is an error', () =>
  withApi({ corsOrigins: MINE }, async (send) => {
    for (const request of questions) {
      expect(allowed(await send(request, PAGE))).toBe(PAGE);
      expect(allowed(await send(request, STRANGER))).toBeUndefined();
      expect((await send(request)).headers).toMatchObject({ vary: 'origin' });
      const asked = await send(preflight(request.method ?? 'GET', request.url), MINE[1]);
      expect(asked.statusCode).toBe(204);
      expect(asked.headers).toMatchObject({
        'access-control-allow-origin': MINE[1],
        'access-control-allow-headers': expect.stringContaining('content-type') as string,
        'access-control-allow-methods': expect.stringContaining('POST') as string,
      });
    }
  }));

it('is asking with a key, where questions need one', () =>
  withApi(
    { corsOrigins: MINE, access: () => ({ keys: [singleKey('key')], readsNeedKey: true }) },
    async (send) => {
      const asked = await send(preflight('POST', '/proofs/membership'), PAGE);
      expect(asked.headers['access-control-allow-headers']).toMatch('api-key');
      const refused = await send(post('/proofs/membership'), PAGE);
      expect([refused.statusCode, allowed(refused)]).toEqual([401, PAGE]);
    },
  ));

it('is asking, for all', () =>
  withApi({ corsOrigins: ['*'] }, async (send) => {
    const answer = await send({ url: '/info' }, STRANGER);
    expect(allowed(answer)).toBe('*');
    expect(answer.headers.vary).toBeUndefined();
  }));

it.each([[undefined], [MINE], [['*']]])('is never adding, with origins %j', (corsOrigins) =>
  withApi({ corsOrigins }, async (send) => {
    for (const url of additions) {
      expect(allowed(await send(preflight('POST', url), PAGE))).toBeUndefined();
      // What a browser sends without asking first.
      const blind = await send(post(url, 'text/plain'), PAGE);
      expect([url, blind.statusCode, blind.json<{ code: string }>().code]).toEqual([url, 403, 'forbidden']);
    }
    expect((await send({ url: '/snapshots/latest' })).statusCode).toBe(404);
    // A page of the node itself, and programs, which say no origin.
    expect(
      (
        await send(
          { ...post('/events'), headers: { ...post('/events').headers, host: 'log:1' } },
          'http://log:1',
        )
      ).statusCode,
    ).toBe(201);
    expect((await send(post('/events'))).statusCode).toBe(201);
  }),
);
