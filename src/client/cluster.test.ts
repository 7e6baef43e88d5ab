// The client against a log of three nodes that fail in every way. The log behind them is one, in memory; the clock moves only when the client sleeps.
import { fakeClock } from '../../testutils/fake-clock.ts';
import { digestOf, jsonAnswer, logTransport, type LogTransport } from '../../testutils/log-transport.ts';
import { seededRandom, type Random } from '../../testutils/random.ts';
import { NATIVE } from '../../testutils/signed-log.ts';
import { encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { createClient, type Client, type ClientOptions } from './client.ts';
import { type Transport, type TransportAnswer } from './transport.ts';

const networkError = (code: string): Error => Object.assign(new Error(code), { code });
const refusal = (status: number, code: string): TransportAnswer =>
  jsonAnswer(status, { code, message: 'so' }, status === 503 ? { 'retry-after': '1' } : {});
const silence = (): Promise<never> => new Promise(() => undefined);

type Ask = () => Promise<TransportAnswer>;
type Fate = (ask: Ask) => Promise<TransportAnswer>;

const after =
  (fate: Fate): Fate =>
  async (ask) => {
    await ask();
    return fate(ask);
  };
const answering =
  (answer: TransportAnswer): Fate =>
  () =>
    Promise.resolve(answer);

/** What may become of a request, before or after it took effect. */
const fates = {
  well: (ask) => ask(),
  refused: () => Promise.reject(networkError('ECONNREFUSED')),
  diedBefore: () => Promise.reject(networkError('ECONNRESET')),
  diedAfter: after(() => Promise.reject(networkError('ECONNRESET'))),
  silentBefore: silence,
  silentAfter: after(silence),
  busy: answering(refusal(503, 'busy')),
  leaderless: answering(refusal(503, 'no-leader')),
  full: answering(refusal(503, 'store-full')),
  unknownBefore: answering(refusal(503, 'outcome-unknown')),
  unknownAfter: after(answering(refusal(503, 'outcome-unknown'))),
  brokenBefore: answering(refusal(500, 'bug')),
  brokenAfter: after(answering(refusal(500, 'bug'))),
  proxyAfter: after(answering({ status: 502, headers: {}, bytes: encodeUtf8('<p>') })),
  pageAfter: after(answering({ status: 200, headers: {}, bytes: encodeUtf8('<p>') })),
} as const satisfies Record<string, Fate>;

interface StubCluster {
  readonly transport: Transport;
  readonly log: LogTransport;
  leader: string;
  /** Hosts and where they say that clients reach them. */
  readonly members: Map<string, string>;
  /** What becomes of a request to a host. */
  fate: (host: string, path: string) => Fate;
  /** `host METHOD path`, but for questions about the cluster. */
  readonly requests: string[];
}

const HOSTS = ['a', 'b', 'c'].map((name) => `${name}.example:8800`);
const [A, B, C] = HOSTS.map((host) => `http://${host}`) as [string, string, string];

function stubCluster(): StubCluster {
  const log = logTransport();
  const cluster: StubCluster = {
    log,
    leader: HOSTS[0]!,
    members: new Map(HOSTS.map((host) => [host, host])),
    fate: () => fates.well,
    requests: [],
    transport(method, url, headers, body, signal) {
      const { host, pathname, search } = new URL(url);
      const isMap = pathname === '/info/shards';
      if (!isMap) cluster.requests.push(`${host[0]!} ${method} ${pathname}${search}`);
      const ask: Ask = () =>
        isMap ? Promise.resolve(shardsOf(cluster, host)) : log.transport(method, url, headers, body, signal);
      return cluster.fate(host, pathname)(ask);
    },
  };
  return cluster;
}

function shardsOf({ members, leader }: StubCluster, host: string): TransportAnswer {
  const shards = Object.fromEntries([...members].map(([nodeId, httpAddr]) => [nodeId, { nodeId, httpAddr }]));
  return jsonAnswer(200, { nodeId: host, leaderId: leader, uriScheme: 'http', shards });
}

let drawn = 0;

function clientOf(cluster: StubCluster, options: Partial<ClientOptions> = {}): Client {
  // No two clients draw the same idempotency keys.
  const random = seededRandom(++drawn);
  return createClient({
    endpoints: [A, B, C],
    trust: cluster.log.trust,
    primitives: NATIVE,
    transport: cluster.transport,
    ...fakeClock(),
    random: (length) => random.bytes(length),
    ...options,
  });
}

/** Lets what goes on beside the requests come to its end. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

const codeOf = (action: Promise<unknown>): Promise<unknown> =>
  action.then(
    () => 'accepted',
    (error: unknown) => (error instanceof QedError ? error.code : error),
  );

/** A client that knows the map already. */
async function knowing(cluster: StubCluster, options: Partial<ClientOptions> = {}): Promise<Client> {
  cluster.log.log('before');
  const client = clientOf(cluster, options);
  for (let i = 0; i < 2; i++) await client.info();
  await settled();
  cluster.requests.length = 0;
  return client;
}

const hostsOf = ({ requests }: StubCluster, path: string): string =>
  requests.flatMap((line) => (line.includes(path) ? [line[0]!] : [])).join('');

describe('every acknowledged add is logged once', () => {
  /** At which versions each event is. */
  async function placesIn({ log }: StubCluster): Promise<Map<string, number[]>> {
    const places = new Map<string, number[]>();
    for (let version = 0; version < log.size(); version++) {
      const url = `${A}/events/${version}`;
      const { bytes } = await log.transport('GET', url, {}, undefined, new AbortController().signal);
      const { eventDigest } = JSON.parse(new TextDecoder().decode(bytes)) as { eventDigest: string };
      places.set(eventDigest, [...(places.get(eventDigest) ?? []), version]);
    }
    return places;
  }

  interface Outcome {
    readonly event: string;
    /** Undefined when it was not acknowledged. */
    readonly version: number | undefined;
    readonly error: unknown;
  }

  const outcomes = (events: readonly string[], adding: Promise<number>): Promise<Outcome[]> =>
    adding.then(
      (first) => events.map((event, at) => ({ event, version: first + at, error: undefined })),
      (error: unknown) => events.map((event) => ({ event, version: undefined, error })),
    );

  function addSome(client: Client, random: Random): Promise<Outcome[][]> {
    const adds = Array.from({ length: 10 }, (_, at) => {
      if (random.chance(0.6)) {
        const event = `event ${at}`;
        return outcomes(
          [event],
          client.add(event).then(({ version }) => version),
        );
      }
      const events = [`first of ${at}`, `second of ${at}`];
      return outcomes(
        events,
        client.addBulk(events).then(({ versionFirst }) => versionFirst),
      );
    });
    return Promise.all(adds);
  }

  function check({ event, version, error }: Outcome, places: ReadonlyMap<string, number[]>): void {
    const found = places.get(encodeHex(digestOf(event))) ?? [];
    if (version !== undefined) {
      expect([event, found]).toEqual([event, [version]]);
      return;
    }
    if (!(error instanceof QedError)) throw error;
    expect(error.kind).toBe('world');
    const isHonest = error.code === 'outcome-unknown' || /took the events/.test(error.message);
    expect([event, error.code, found.length]).toEqual([event, error.code, isHonest ? found.length : 0]);
    expect(found.length).toBeLessThanOrEqual(1);
  }

  it.each(Array.from({ length: 40 }, (_, at) => at + 1))('whatever fails, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const cluster = stubCluster();
    const share = 0.1 + 0.8 * (random.below(100) / 100);
    const all = Object.values(fates);
    cluster.fate = () => (random.chance(share) ? all[random.below(all.length)]! : fates.well);
    const client = clientOf(cluster, {
      endpoints: [A, B, C].slice(0, 1 + random.below(3)),
      deadlineMs: random.chance(0.5) ? 30_000 : 3_000,
    });
    const results = (await addSome(client, random)).flat();
    const places = await placesIn(cluster);
    for (const outcome of results) check(outcome, places);
  });

  it('and what is lost once is found again as soon as any node is well', async () => {
    for (const name of Object.keys(fates) as (keyof typeof fates)[]) {
      const cluster = stubCluster();
      let count = 0;
      cluster.fate = () => (count++ < 4 ? fates[name] : fates.well);
      expect([name, await codeOf(clientOf(cluster).add('one'))]).toEqual([name, 'accepted']);
      expect([name, cluster.log.size()]).toEqual([name, 1]);
    }
  });

  it('and a lost answer is not forgotten when all nodes refuse afterwards', async () => {
    const cluster = stubCluster();
    let count = 0;
    cluster.fate = () => (count++ === 0 ? fates.diedAfter : fates.busy);
    expect(await codeOf(clientOf(cluster).add('perhaps'))).toBe('outcome-unknown');
    cluster.fate = () => fates.busy;
    expect(await codeOf(clientOf(cluster).add('never sent'))).toBe('busy');
  });
});

describe('which node', () => {
  it('gets the adds: the leader, also after it has changed', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = await knowing(cluster, clock);
    for (let i = 0; i < 3; i++) await client.add(`event ${i}`);
    expect(hostsOf(cluster, '/events')).toBe('aaa');
    await clock.sleep(1_000);
    // The old one dies; who answers next knows the new one.
    cluster.leader = HOSTS[2]!;
    cluster.fate = (host) => (host === HOSTS[0] ? fates.refused : fates.well);
    await client.add('event 4');
    await settled();
    cluster.requests.length = 0;
    for (let i = 5; i < 8; i++) await client.add(`event ${i}`);
    expect(hostsOf(cluster, '/events')).toBe('ccc');
  });

  it.each([
    ['any', /^(abc|bca|cab){2}$/],
    ['leader', /^b{6}$/],
    ['followers', /^([ac])\1{5}$/],
    ['stay', /^([abc])\1{5}$/],
  ] as const)('gets the questions: %s', async (readFrom, hosts) => {
    const cluster = stubCluster();
    cluster.leader = HOSTS[1]!;
    const client = await knowing(cluster, { readFrom });
    for (let i = 0; i < 6; i++) await client.snapshot();
    expect(hostsOf(cluster, '/snapshots/latest')).toMatch(hosts);
  });

  it('is left alone while it is silent, after one short wait', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = await knowing(cluster, clock);
    cluster.fate = (host) => (host === HOSTS[0] ? fates.silentAfter : fates.well);
    const before = clock.now();
    await client.add('event');
    expect(clock.now() - before).toBe(3_000);
    cluster.requests.length = 0;
    for (let i = 0; i < 9; i++) await client.add(`event ${i}`);
    expect(hostsOf(cluster, '/events')).not.toMatch('a');
    expect(clock.now() - before).toBe(3_000);
    expect(cluster.log.size()).toBe(11);
  });

  it('is asked again after a while, and used again when it is well', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = await knowing(cluster, clock);
    cluster.fate = (host) => (host === HOSTS[0] ? fates.refused : fates.well);
    for (let i = 0; i < 4; i++) await client.snapshot();
    cluster.fate = () => fates.well;
    await clock.sleep(20_000);
    cluster.requests.length = 0;
    for (let i = 0; i < 3; i++) await client.snapshot();
    expect(hostsOf(cluster, '/snapshots').split('').sort().join('')).toBe('abc');
  });

  it('makes no difference to a mistake of the caller, which is sent once', async () => {
    for (const [status, code] of [
      [400, 'bad-request'],
      [401, 'unauthorized'],
      [403, 'forbidden'],
      [409, 'key-reused'],
      [413, 'body-too-large'],
    ] as const) {
      const cluster = stubCluster();
      cluster.fate = () => answering(refusal(status, code));
      expect(await codeOf(clientOf(cluster).add('event'))).toBe(code);
      expect(cluster.requests).toHaveLength(1);
    }
  });

  it('may be as patient as it asks, and all of them together no longer than the deadline', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = clientOf(cluster, { ...clock, deadlineMs: 5_000 });
    cluster.fate = () => fates.busy;
    const before = clock.now();
    expect(await codeOf(client.add('event'))).toBe('busy');
    expect(clock.now() - before).toBeLessThanOrEqual(5_000);
    // Three nodes a second, in no more than five seconds.
    expect(cluster.requests.length).toBeLessThanOrEqual(15);
  });
});

describe('a node that lags', () => {
  const laggard =
    (answer: TransportAnswer) =>
    (cluster: StubCluster): void => {
      cluster.fate = (_host, path) => (path === '/info/shards' ? fates.well : (ask) => ask());
      const { transport } = cluster;
      Object.assign(cluster, {
        transport: ((method, url, ...rest) => {
          const isStale = new URL(url).host === HOSTS[1] && !url.includes('linearizable=true');
          if (isStale && /snapshots|proofs/.test(url)) return Promise.resolve(answer);
          return transport(method, url, ...rest);
        }) satisfies Transport,
      });
    };

  it('is asked for the latest when it does not know a version, or shows an old state', async () => {
    const cluster = stubCluster();
    cluster.log.log('old');
    const old = await cluster.log.transport(
      'GET',
      `${A}/snapshots/latest`,
      {},
      undefined,
      new AbortController().signal,
    );
    cluster.log.log('new');
    const unknown = refusal(404, 'version-unknown');
    for (const answer of [old, unknown, refusal(404, 'log-empty')]) {
      laggard(answer)(cluster);
      const client = clientOf(cluster, { endpoints: [A], discover: false });
      await client.snapshot();
      const onlyB = clientOf(cluster, {
        endpoints: [B],
        discover: false,
        headStore: { load: () => client.head(), save: () => Promise.resolve() },
      });
      expect((await onlyB.snapshot()).snapshot.version).toBe(1);
      expect(cluster.requests.at(-1)).toMatch(/linearizable=true$/);
    }
  });

  it('is asked for the latest at once by who wants it', async () => {
    const cluster = stubCluster();
    const client = await knowing(cluster);
    const fresh = { linearizable: true };
    await client.snapshot(undefined, fresh);
    await client.snapshot(0, fresh);
    await client.membership({ event: 'before' }, fresh);
    await client.incremental(0, 0, fresh);
    await client.event(0, fresh);
    expect(cluster.requests.every((line) => /^a .*\?linearizable=true$/.test(line))).toBe(true);
  });
});

describe('nodes that others name', () => {
  it('are used when the one that was given is gone', async () => {
    const cluster = stubCluster();
    const client = await knowing(cluster, { endpoints: [A] });
    cluster.fate = (host) => (host === HOSTS[0] ? fates.refused : fates.well);
    expect(await client.add('event')).toMatchObject({ version: 1, verified: true });
    expect(await client.membership({ event: 'event' })).toMatchObject({ exists: true, verified: true });
  });

  it('are not looked for by who asks once, or is told not to', async () => {
    const cluster = stubCluster();
    let maps = 0;
    cluster.fate = (_host, path) => {
      if (path === '/info/shards') maps += 1;
      return fates.well;
    };
    cluster.log.log('before');
    await clientOf(cluster).add('event');
    const quiet = clientOf(cluster, { discover: false });
    for (let i = 0; i < 5; i++) await quiet.add(`event ${i}`);
    const proxied = clientOf(cluster, { endpoints: [`${A}/behind/a/proxy`] });
    await codeOf(proxied.info());
    await codeOf(proxied.info());
    await settled();
    expect(maps).toBe(0);
  });

  it('are forgotten when they have left, unless they were given', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = await knowing(cluster, { ...clock, endpoints: [A] });
    cluster.members.delete(HOSTS[1]!);
    await clock.sleep(61_000);
    await client.snapshot();
    await settled();
    cluster.requests.length = 0;
    for (let i = 0; i < 6; i++) await client.snapshot();
    expect([...new Set(hostsOf(cluster, '/snapshots'))].sort().join('')).toBe('ac');
  });

  it('are followed when they move, and kept while a node knows of none', async () => {
    const cluster = stubCluster();
    const clock = fakeClock();
    const client = await knowing(cluster, { ...clock, endpoints: [A] });
    cluster.members.clear();
    await clock.sleep(61_000);
    await client.snapshot();
    await settled();
    cluster.requests.length = 0;
    for (let i = 0; i < 6; i++) await client.snapshot();
    expect([...new Set(hostsOf(cluster, '/snapshots'))].sort().join('')).toBe('abc');

    cluster.members.set(HOSTS[0]!, HOSTS[0]!).set(HOSTS[1]!, 'moved.example:8800');
    await clock.sleep(61_000);
    await client.snapshot();
    await settled();
    cluster.requests.length = 0;
    for (let i = 0; i < 6; i++) await client.snapshot();
    expect([...new Set(hostsOf(cluster, '/snapshots'))].sort().join('')).toBe('am');
  });

  it.each<[string, string, unknown]>([
    ['a node of this machine, named from elsewhere', 'http', { x: { nodeId: 'x', httpAddr: '127.0.0.1:1' } }],
    ['no address', 'http', { x: { nodeId: 'x', httpAddr: 'x.example' } }],
    ['a path', 'http', { x: { nodeId: 'x', httpAddr: 'x.example:1/path' } }],
    ['a user', 'http', { x: { nodeId: 'x', httpAddr: 'me@x.example:1' } }],
    ['a port that is none', 'http', { x: { nodeId: 'x', httpAddr: 'x.example:99999' } }],
    ['another scheme', 'ftp', { x: { nodeId: 'x', httpAddr: 'x.example:1' } }],
    ['a list', 'http', ['x.example:1']],
    ['nothing', 'http', null],
  ])('are not taken when they are %s', async (_what, uriScheme, shards) => {
    const cluster = stubCluster();
    cluster.log.log('before');
    const map = jsonAnswer(200, { nodeId: 'a', leaderId: 'x', uriScheme, shards });
    cluster.fate = (_host, path) => (path === '/info/shards' ? answering(map) : fates.well);
    const client = clientOf(cluster, { endpoints: [A] });
    for (let i = 0; i < 3; i++) await client.snapshot();
    await settled();
    for (let i = 0; i < 6; i++) await client.add(`event ${i}`);
    expect([...new Set(cluster.requests.map((line) => line[0]))]).toEqual(['a']);
  });

  it('are asked over TLS by who was given a node with TLS', async () => {
    const cluster = stubCluster();
    const urls: string[] = [];
    const client = clientOf(cluster, {
      endpoints: [`https://${HOSTS[0]!}`],
      transport: (method, url, ...rest) => {
        urls.push(url);
        return cluster.transport(method, url, ...rest);
      },
    });
    cluster.log.log('before');
    for (let i = 0; i < 9; i++) {
      await client.snapshot();
      await settled();
    }
    expect(new Set(urls.map((url) => new URL(url).host)).size).toBe(3);
    expect(urls.every((url) => url.startsWith('https:'))).toBe(true);
  });
});
