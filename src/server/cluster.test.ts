// Three whole servers in one process: how they become a cluster, and what they promise together.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Fastify from 'fastify';
import { digestOf } from './bodies.ts';
import { singleKey } from './auth.ts';
import { makeCertificates } from './certificates.ts';
import { startServer, type Server, type ServerOptions } from './server.ts';
import { createKeyFiles } from '../crypto/keys.ts';
import { LOG_KEY } from '../crypto/vkey.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';

const KEY = 'key-of-the-operator';
const anyPort = { address: { host: '127.0.0.1', port: 0 }, flag: '--an-addr', isPortFree: false };

interface World {
  readonly path: string;
  readonly servers: Server[];
  readonly start: (name: string, more?: Partial<ServerOptions>) => Promise<Server>;
  readonly stop: (server: Server) => Promise<void>;
}

function withWorld(work: (world: World) => Promise<void>): Promise<void> {
  return withTempDir(async (path) => {
    const logKeyPath = join(path, 'log_key.pem');
    createKeyFiles(logKeyPath, { name: 'log', type: LOG_KEY });
    const servers: Server[] = [];
    async function start(name: string, more: Partial<ServerOptions> = {}): Promise<Server> {
      const server = await startServer({
        path: join(path, name),
        logKeyPath,
        nodeId: name,
        now: Date.now,
        http: anyPort,
        management: anyPort,
        metrics: anyPort,
        access: () => ({ keys: [singleKey(KEY)], readsNeedKey: false }),
        logger: Fastify().log,
        software: 'qed test',
        compareMs: 200,
        ...more,
      });
      servers.push(server);
      return server;
    }
    async function stop(server: Server): Promise<void> {
      servers.splice(servers.indexOf(server), 1);
      await server.close(1000);
    }
    try {
      await work({ path, servers, start, stop });
    } finally {
      await Promise.all(servers.map((server) => server.close(0)));
    }
  });
}

function joining(...members: Server[]): Partial<ServerOptions> {
  const addresses = members.map(({ addresses: { mgmtAddr } }) => mgmtAddr ?? '');
  return { join: { addresses, apiKey: KEY, isTls: false } };
}

async function startThree(
  { start }: World,
  more: Partial<ServerOptions> = {},
): Promise<[Server, Server, Server]> {
  const a = await start('a', more);
  const b = await start('b', { ...more, ...joining(a) });
  const c = await start('c', { ...more, ...joining(b, a) });
  await until('all are voters and in step', () =>
    [a, b, c].every(
      ({ node }) =>
        node.members().length === 3 &&
        node.members().every(({ isVoter }) => isVoter) &&
        node.health().isReady,
    ),
  );
  return [a, b, c];
}

async function send(
  address: string | null,
  path: string,
  body?: unknown,
  key = KEY,
): Promise<{ status: number; json: unknown }> {
  const answer = await fetch(`http://${address ?? ''}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, json: await answer.json() };
}

const add = (server: Server, event: string) => send(server.addresses.httpAddr, '/events', { event });
const manage = (server: Server, path: string, body?: unknown, key = KEY) =>
  send(server.addresses.mgmtAddr, path, body, key);

/** Adds until it is acknowledged, as a client with retries does. */
async function addAnyhow(servers: readonly Server[], event: string): Promise<void> {
  await until(`${event} is added`, async () => {
    for (const server of servers) if ((await add(server, event)).status === 201) return true;
    return false;
  });
}

const leaderOf = (servers: readonly Server[]): Server | undefined =>
  servers.find(({ node }) => node.status().role === 'leader');

async function expectAgreement(servers: readonly Server[], events: readonly string[]): Promise<void> {
  await Promise.all(servers.map(({ node }) => node.linearize()));
  const digests = servers.map(({ node }) => node.latest().signedSnapshot.snapshot);
  for (const digest of digests) expect(digest).toEqual(digests[0]);
  for (const { node } of servers) {
    for (const event of events) expect(node.membership(digestOf(event)).proof.exists).toBe(true);
    expect(node.version).toBe(events.length - 1);
  }
}

it('becomes a cluster by joining, takes adds on every node and shows them on every node', () =>
  withWorld(async (world) => {
    const servers = await startThree(world);
    const events = ['one', 'two', 'three'];
    for (const [at, server] of servers.entries()) expect((await add(server, events[at]!)).status).toBe(201);
    await expectAgreement(servers, events);
    const [a, b] = servers;
    expect(b.node.leader()?.nodeId).toBe('a');
    expect(b.node.identity.origin).toBe(a.node.identity.origin);
    const { json } = await manage(b, '/members');
    expect(json).toMatchObject({
      nodeId: 'b',
      leaderId: 'a',
      members: [{ nodeId: 'a', isLeader: true }, {}, {}],
    });
  }));

it('finds an event itself wherever it is kept, and keeps it from then on', () =>
  withWorld(async (world) => {
    const [a, b, c] = await startThree(world, { storeEvents: true });
    expect((await add(b, 'kept by b')).status).toBe(201);
    await Promise.all([a, c].map(({ node }) => node.linearize()));
    const { httpAddr } = c.addresses;
    expect(await send(httpAddr, '/events/0')).toMatchObject({ status: 200, json: { event: 'kept by b' } });
    await world.stop(b);
    expect(await send(httpAddr, '/events/0')).toMatchObject({ json: { event: 'kept by b' } });
    expect(await send(a.addresses.httpAddr, '/events/0')).toMatchObject({ json: { event: 'kept by b' } });
  }));

it('is one gossip: every node knows what the leader published, and the next leader goes on from there', () =>
  withWorld(async (world) => {
    const gossip = { ...anyPort, join: [] };
    const a = await world.start('a', { gossip });
    const b = await world.start('b', { ...joining(a), gossip });
    await until('both are voters', () => a.node.members().filter(({ isVoter }) => isVoter).length === 2);
    const published = async ({ addresses: { httpAddr } }: Server): Promise<unknown[]> => {
      const { json } = await send(httpAddr, '/snapshots');
      const lists: unknown[] = Object.values(json ?? {});
      return lists.flat();
    };
    const hasPeer = async ({ addresses: { metricsAddr } }: Server): Promise<boolean> =>
      (await (await fetch(`http://${metricsAddr ?? ''}/metrics`)).text()).includes('\nqed_gossip_peers 1\n');
    await until('they are connected', async () => (await hasPeer(a)) && (await hasPeer(b)));
    await addAnyhow([b], 'one');
    await until('b knows of it', async () => (await published(b)).length === 1);
    expect((await published(b))[0]).toMatchObject({ snapshot: { version: 0 } });
    expect(await manage(a, '/transfer-leadership', { nodeId: 'b' })).toMatchObject({ status: 200 });
    await addAnyhow([a], 'two');
    await until('a knows of it', async () => (await published(a)).length === 2);
  }));

it('goes on without its leader, and takes it back without being told where the others are', () =>
  withWorld(async (world) => {
    const [a, b, c] = await startThree(world);
    const events = ['before'];
    await addAnyhow([a, b, c], 'before');
    await world.stop(a);
    await until('another one leads', () => leaderOf([b, c]) !== undefined);
    for (const event of ['one', 'two']) {
      await addAnyhow([b, c], event);
      events.push(event);
    }
    const again = await world.start('a');
    await until('it is in step', () => again.node.health().isReady);
    expect(again.node.status().role).toBe('follower');
    await addAnyhow([again], 'after');
    await expectAgreement([again, b, c], [...events, 'after']);
  }));

it('lets in nobody with another log key, another key for a name, or without the API key', () =>
  withWorld(async (world) => {
    const a = await world.start('a');
    const b = await world.start('b', joining(a));
    const otherKey = join(world.path, 'other_key.pem');
    createKeyFiles(otherKey, { name: 'other', type: LOG_KEY });
    const rows: [string, Partial<ServerOptions>, string][] = [
      ['c', { logKeyPath: otherKey }, 'node-mismatch'],
      ['c', { logKeyPath: undefined }, 'key-missing'],
      ['d', { origin: 'example.org/other' }, 'node-mismatch'],
      ['e', { nodeId: 'b' }, 'node-mismatch'],
      ['f', { join: { ...joining(a).join!, apiKey: 'wrong' } }, 'unauthorized'],
      ['g', { join: { ...joining(a).join!, apiKey: undefined } }, 'unauthorized'],
    ];
    for (const [name, more, code] of rows)
      expect([name, more, await codeOfPromise(world.start(name, { ...joining(a), ...more }))]).toEqual([
        name,
        more,
        code,
      ]);
    // Data of another log.
    const alone = await world.start('h', { logKeyPath: otherKey });
    await add(alone, 'x');
    await world.stop(alone);
    expect(await codeOfPromise(world.start('h', { ...joining(a), raftPath: join(world.path, 'new') }))).toBe(
      'node-mismatch',
    );
    // What was refused left nothing behind that stands in the way.
    for (const name of ['c', 'f']) await world.start(name, joining(b));
    await world.start('e', { ...joining(b), nodeId: 'e' });
    expect(b.node.members().map(({ nodeId }) => nodeId)).toEqual(['a', 'b', 'c', 'f', 'e']);
  }));

it('gives leave, hands over, and refuses what makes no sense', () =>
  withWorld(async (world) => {
    const [a, b, c] = await startThree(world);
    const rows: [string, unknown, number, string][] = [
      ['/join', {}, 400, 'bad-request'],
      ['/join', 'no json', 400, 'bad-request'],
      ['/join', [], 400, 'bad-request'],
      ['/join', { vkey: a.node.identity.signer.vkey, nodeId: 'x' }, 400, 'bad-request'],
      ['/leave', { nodeId: 'nobody' }, 404, 'not-found'],
      ['/leave', { nodeId: 7 }, 400, 'bad-request'],
      ['/leave', { node: 'b' }, 400, 'bad-request'],
      ['/transfer-leadership', { nodeId: 'nobody' }, 404, 'not-found'],
      ['/transfer-leadership', { nodeId: '' }, 400, 'bad-request'],
      ['/drills/delay', { delayMs: 1 }, 404, 'not-found'],
    ];
    const nowhere = {
      nodeId: 'x',
      nodeKey: '00'.repeat(32),
      raftAddr: '0.0.0.0:1',
      httpAddr: 'x:1',
      mgmtAddr: 'x:1',
    };
    const { signer, seal } = a.node.identity;
    const sealed = (record: typeof nowhere) => {
      const nonce = '11'.repeat(16);
      const body = { ...record, vkey: signer.vkey, nonce };
      return { ...body, seal: seal.ofRequest(nonce, { ...record, nodeKey: new Uint8Array(32) }) };
    };
    const somewhere = { ...nowhere, raftAddr: 'x:1' };
    rows.push(
      ['/join', sealed(nowhere), 400, 'bad-request'],
      ['/join', { ...sealed(somewhere), seal: '00'.repeat(32) }, 409, 'node-mismatch'],
      ['/join', { ...sealed(somewhere), raftAddr: 'y:1' }, 409, 'node-mismatch'],
      ['/join', { ...sealed(somewhere), nonce: '12'.repeat(16) }, 409, 'node-mismatch'],
      ['/join', { ...sealed(somewhere), vkey: 'other+00000000+AAAA' }, 409, 'node-mismatch'],
    );
    for (const [path, body, status, code] of rows)
      expect([path, body, await manage(b, path, body)]).toMatchObject([
        path,
        body,
        { status, json: { code } },
      ]);
    for (const path of ['/join', '/leave', '/transfer-leadership'])
      expect(await manage(b, path, {}, 'another key')).toMatchObject({ status: 401 });
    expect((await fetch(`http://${b.addresses.mgmtAddr ?? ''}/members`)).status).toBe(401);

    expect(await manage(c, '/transfer-leadership', { nodeId: 'b' })).toEqual({
      status: 200,
      json: { leaderId: 'b' },
    });
    expect(await manage(c, '/leave', { nodeId: 'b' })).toEqual({ status: 200, json: { left: 'b' } });
    await until('b has noticed', () => b.node.health().error?.code === 'node-removed');
    expect(await add(b, 'x')).toMatchObject({ status: 503, json: { code: 'node-removed' } });
    await addAnyhow([a, c], 'x');
    await expectAgreement([a, c], ['x']);
    await world.stop(b);
    // Its own data stands in the way of another life, so it starts with none.
    const again = await world.start('b', { ...joining(a), isRebuilt: true });
    await until('b is back', () => again.node.health().isReady);
    await addAnyhow([again], 'y');
    await expectAgreement([a, again, c], ['x', 'y']);
  }));

it('joins nobody who only says that it serves the log', () =>
  withWorld(async (world) => {
    const a = await world.start('a');
    const { vkey } = a.node.identity.signer;
    const liar = Fastify();
    liar.get('/info', () => ({ vkey, origin: a.node.identity.origin }));
    liar.post('/join', () => ({ id: 2, members: [], vkey, seal: '00'.repeat(32) }));
    const address = await liar.listen({ host: '127.0.0.1', port: 0 });
    const joins = { addresses: [address], apiKey: KEY, isTls: false };
    expect(await codeOfPromise(world.start('b', { join: joins }))).toBe('node-mismatch');
    await liar.close();
  }));

describe('a node whose files were edited while it was down', () => {
  /** Turns bytes of the largest file in the directory around. */
  function edit(directory: string, ending: string): void {
    const files = readdirSync(directory)
      .filter((name) => name.endsWith(ending))
      .map((name) => join(directory, name));
    const [file] = files.sort((one, other) => statSync(other).size - statSync(one).size);
    const bytes = readFileSync(file!);
    for (let at = Math.floor(bytes.length / 3); at < bytes.length; at += Math.ceil(bytes.length / 5))
      bytes[at]! ^= 0x55;
    writeFileSync(file!, bytes);
  }

  const places: [string, string][] = [
    ['db', '.log'],
    ['raft', '.wal'],
  ];
  it.each(places)('serves nothing wrong: %s', (place, ending) =>
    withWorld(async (world) => {
      const [a, b, c] = await startThree(world);
      const events = Array.from({ length: 30 }, (_, at) => `event ${at}`);
      for (const event of events) await addAnyhow([a], event);
      await expectAgreement([a, b, c], events);
      await world.stop(c);
      edit(join(world.path, 'c', place), ending);
      const outcome = await codeOfPromise(world.start('c'));
      let [again] = world.servers.filter(({ node }) => node.identity.nodeId === 'c');
      if (outcome !== 'accepted') {
        expect(outcome).toBe('store-corrupt');
        again = await world.start('c', { ...joining(a, b), isRebuilt: true });
      }
      await until('c is in step', () => again!.node.health().isReady);
      await addAnyhow([again!], 'after');
      await expectAgreement([a, b, again!], [...events, 'after']);
    }),
  );
});

it('asks for its data only where it can get it, and only when nobody uses what is there', () =>
  withWorld(async (world) => {
    const a = await world.start('a');
    const b = await world.start('b', joining(a));
    expect(await codeOfPromise(world.start('a', { isRebuilt: true }))).toBe('option-malformed');
    expect(await codeOfPromise(world.start('b', { ...joining(a), isRebuilt: true }))).toBe('store-locked');
    await addAnyhow([b], 'x');
    await expectAgreement([a, b], ['x']);
  }));

it('joins by TLS when it trusts the certificate, and waits for ever when it does not', () =>
  withWorld(async (world) => {
    const { authority, server } = await makeCertificates({ hosts: ['127.0.0.1'], days: 1, now: Date.now() });
    const tls = { cert: server.certificate, key: server.key };
    const a = await world.start('a', { tls });
    const { join: joins } = joining(a);
    const b = await world.start('b', { tls, join: { ...joins!, isTls: true, ca: authority.certificate } });
    await until('b is a member', () => b.node.members().length === 2);
    const giveUp = new AbortController();
    const retries: string[] = [];
    const c = world.start('c', {
      tls,
      join: { ...joins!, isTls: true },
      signal: giveUp.signal,
      onEvent(event) {
        if (event.kind !== 'join-retried') return;
        retries.push(event.why);
        if (retries.length === 2) giveUp.abort();
      },
    });
    await expect(c).rejects.toThrow();
    expect(retries[0]).toMatch(/certificate/);
  }));
