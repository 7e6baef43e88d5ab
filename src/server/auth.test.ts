// Who may do what: every kind of route against every kind of key.
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type InjectOptions } from 'fastify';
import { codeOf } from '../../testutils/code-of.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { openTestApi } from '../../testutils/test-node.ts';
import { isGuessable, readApiKeys, singleKey, type Access } from './auth.ts';
import { createApp } from './http.ts';

const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');

const keys = {
  append: 'an append key that is long',
  read: 'a read key that is long too',
  both: 'a key for both of these two',
  admin: 'the key of the administrator',
};
const file = [
  '# the keys of this test',
  `appender append ${sha256(keys.append)}`,
  `  reader   read   ${sha256(keys.read)}  `,
  '',
  `both append,read ${sha256(keys.both)}`,
  `admin admin ${sha256(keys.admin)}`,
].join('\n');

const readFile = (text: string) =>
  withTempDir((path) => {
    writeFileSync(join(path, 'keys'), text);
    return Promise.resolve(readApiKeys(join(path, 'keys')));
  });

describe('what a key may do', () => {
  const requests: Record<'append' | 'read' | 'anyone', InjectOptions[]> = {
    append: ['/events', '/events/bulk', '/events/bulk/digests', '/add'].map((url) => ({
      method: 'POST',
      url,
    })),
    read: [
      { method: 'POST', url: '/proofs/membership' },
      { method: 'POST', url: '/proofs/incremental' },
      ...['/snapshots/latest', '/snapshots/0', '/events/0', '/checkpoint', '/tile/0/000.p/1'].map((url) => ({
        url,
      })),
    ],
    anyone: ['/info', '/info/shards', '/healthcheck', '/openapi.json', '/docs', '/nothing'].map((url) => ({
      url,
    })),
  };
  const all = ['append', 'read', 'both', 'admin'] as const;
  const rows: {
    needs: keyof typeof requests;
    readsNeedKey: boolean;
    none: number;
    wrong: number;
    allowed: readonly string[];
  }[] = [
    { needs: 'append', readsNeedKey: false, none: 401, wrong: 401, allowed: ['append', 'both', 'admin'] },
    { needs: 'append', readsNeedKey: true, none: 401, wrong: 401, allowed: ['append', 'both', 'admin'] },
    { needs: 'read', readsNeedKey: false, none: 0, wrong: 0, allowed: all },
    { needs: 'read', readsNeedKey: true, none: 401, wrong: 401, allowed: ['read', 'both', 'admin'] },
    { needs: 'anyone', readsNeedKey: true, none: 0, wrong: 0, allowed: all },
  ];
  for (const { needs, readsNeedKey, none, wrong, allowed } of rows) {
    it(`${needs}, ${readsNeedKey ? 'reads need a key' : 'reads are open'}`, async () => {
      const access: Access = { keys: await readFile(file), readsNeedKey };
      const api = await openTestApi({ api: { access: () => access } });
      /** The status where access is refused, else 0: what the route says of the rest does not matter here. */
      const refused = async (request: InjectOptions, headers: Record<string, string>): Promise<number> => {
        const { statusCode } = await api.app.inject({ ...request, headers });
        return statusCode === 401 || statusCode === 403 ? statusCode : 0;
      };
      for (const request of requests[needs]) {
        expect([request, await refused(request, {})]).toEqual([request, none]);
        expect(await refused(request, { 'api-key': 'wrong' })).toBe(wrong);
        expect(await refused(request, { authorization: `Basic ${keys.admin}` })).toBe(none);
        for (const name of all) {
          const expected = allowed.includes(name) ? 0 : 403;
          expect([request, name, await refused(request, { 'api-key': keys[name] })]).toEqual([
            request,
            name,
            expected,
          ]);
        }
      }
      await api.close();
    });
  }

  it('takes a bearer token for a key, and says which header it wants', async () => {
    const key = 'abcdefghijklmnopqrstuvwxyz';
    const api = await openTestApi({
      api: { access: () => ({ keys: [singleKey(key)], readsNeedKey: false }) },
    });
    const request: InjectOptions = { method: 'POST', url: '/events', payload: { event: 'x' } };
    const bearer = await api.app.inject({ ...request, headers: { authorization: `bearer ${key}` } });
    expect(bearer.statusCode).toBe(201);
    const none = await api.app.inject(request);
    expect(none.headers['www-authenticate']).toBe('Bearer');
    expect(none.json()).toMatchObject({ code: 'unauthorized' });
    await api.close();
  });

  it('is everything for an administrator and nothing for others where a route names no scope', async () => {
    const { app, metrics, close } = await openTestApi();
    const bare = await createApp({
      access: () => ({ keys: [singleKey('k')], readsNeedKey: false }),
      metrics,
      logger: app.log,
    });
    bare.get('/forgotten', () => 'x');
    expect((await bare.inject({ url: '/forgotten' })).statusCode).toBe(401);
    expect((await bare.inject({ url: '/forgotten', headers: { 'api-key': 'k' } })).statusCode).toBe(200);
    await bare.close();
    await close();
  });
});

it('refuses before it reads the body', async () => {
  const api = await openTestApi({ api: { access: () => ({ keys: [singleKey('k')], readsNeedKey: false }) } });
  const answer = await api.app.inject({
    method: 'POST',
    url: '/events/bulk',
    payload: 'x'.repeat(9_000_000),
  });
  expect(answer.statusCode).toBe(401);
  await api.close();
});

describe('a file of keys', () => {
  it('gives names, scopes and digests', async () => {
    const read = await readFile(file);
    expect(read.map(({ name, scopes }) => [name, scopes])).toEqual([
      ['appender', ['append']],
      ['reader', ['read']],
      ['both', ['append', 'read']],
      ['admin', ['admin']],
    ]);
  });

  const digest = sha256('x');
  const bad = [
    '',
    '# nothing',
    'name',
    'name append',
    `name ${digest}`,
    `name append ${digest} more`,
    `name write ${digest}`,
    `name append, ${digest}`,
    `name append ${digest.toUpperCase().replace(/\d/g, 'A')}`,
    `name append ${digest.slice(1)}`,
    `a read ${digest}\na append ${digest}`,
  ];
  for (const text of bad) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () =>
      expect(readFile(text)).rejects.toMatchObject({ code: 'option-malformed' }));
  }

  it('must be there', () => {
    expect(codeOf(() => readApiKeys('/nowhere/keys'))).toBe('key-file-failed');
  });
});

it('knows keys that can be guessed', () => {
  for (const key of ['my-key', 'a'.repeat(40), 'short but varied 12']) expect(isGuessable(key)).toBe(true);
  for (const key of [sha256('x'), '0123456789abcdef0123456789ABCDEF']) expect(isGuessable(key)).toBe(false);
});
