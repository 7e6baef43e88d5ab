// A whole server on true sockets: addresses, TLS, slow and many clients, stopping, metrics.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import Fastify from 'fastify';
import { codeOf } from '../../testutils/code-of.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { singleKey } from './auth.ts';
import { makeCertificates } from './certificates.ts';
import { formatAddress, isLoopback, parseAddress } from './listen.ts';
import { startServer, type Server, type ServerOptions } from './server.ts';

const anyPort = { address: { host: '127.0.0.1', port: 0 }, flag: '--an-addr', isPortFree: false };

function optionsFor(path: string): ServerOptions {
  return {
    path,
    now: Date.now,
    http: anyPort,
    management: anyPort,
    metrics: anyPort,
    access: () => ({ keys: [], readsNeedKey: false }),
    logger: Fastify().log,
    software: 'qed test',
  };
}

function withServer(more: Partial<ServerOptions>, work: (server: Server) => Promise<void>): Promise<void> {
  return withTempDir(async (path) => {
    const server = await startServer({ ...optionsFor(path), ...more });
    try {
      await work(server);
    } finally {
      await server.close();
    }
  });
}

const urlOf = (address: string | null): string => `http://${address ?? ''}`;
const portOf = (address: string | null): number => Number(address?.split(':').at(-1));

describe('addresses', () => {
  const good = [
    ['127.0.0.1:8800', '127.0.0.1', 8800, true],
    [':8800', undefined, 8800, false],
    ['localhost:0', 'localhost', 0, true],
    ['[::1]:80', '::1', 80, true],
    ['[fe80::1]:65535', 'fe80::1', 65_535, false],
    ['example.org:1', 'example.org', 1, false],
    ['0.0.0.0:1', '0.0.0.0', 1, false],
    ['127.8.9.10:1', '127.8.9.10', 1, true],
  ] as const;
  for (const [text, host, port, loopback] of good) {
    it(`reads ${text}`, () => {
      expect(parseAddress(text, '--x')).toEqual({ host, port });
      expect(formatAddress({ host, port })).toBe(text);
      expect(isLoopback({ host, port })).toBe(loopback);
    });
  }
  for (const text of [
    '',
    '8800',
    ':',
    ':x',
    'a:b:1',
    '::1:80',
    '[::1]',
    ':65536',
    ':-1',
    ' :1',
    'http://a:1',
    'a:1/',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () =>
      expect(codeOf(() => parseAddress(text, '--x'))).toBe('option-malformed'));
  }

  it('are replaced only where nobody asked for that very port', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = { host: '127.0.0.1', port: (taken.address() as net.AddressInfo).port };
    const wanted = { address, flag: '--metrics-addr', isPortFree: true };
    await withServer({ metrics: wanted }, ({ addresses }) => {
      expect(portOf(addresses.metricsAddr)).not.toBe(address.port);
      return Promise.resolve();
    });
    const refused = withServer({ http: { ...wanted, flag: '--http-addr', isPortFree: false } }, () =>
      Promise.resolve(),
    );
    await expect(refused).rejects.toMatchObject({
      code: 'address-taken',
      message: `--http-addr: 127.0.0.1:${address.port} is taken by another process`,
    });
    taken.close();
  });

  it('are all interfaces where no host is named', async () => {
    const everywhere = { ...anyPort, address: { host: undefined, port: 0 } };
    await withServer({ http: everywhere }, async ({ addresses }) => {
      expect(addresses.httpAddr).toMatch(/^:\d+$/);
      const answer = await fetch(`http://127.0.0.1${addresses.httpAddr ?? ''}/healthcheck`);
      expect(await answer.json()).toEqual({ status: 'ready' });
    });
  });
});

it('answers on three ports, each what belongs there', () =>
  withServer(
    { access: () => ({ keys: [singleKey('k')], readsNeedKey: false }) },
    async ({ addresses, node }) => {
      const { httpAddr, mgmtAddr, metricsAddr } = addresses;
      for (const address of [httpAddr, mgmtAddr, metricsAddr]) {
        expect((await fetch(`${urlOf(address)}/healthcheck`)).status).toBe(200);
      }
      for (const address of [httpAddr, mgmtAddr]) {
        const info: unknown = await (await fetch(`${urlOf(address)}/info`)).json();
        expect(info).toMatchObject({ ...addresses, nodeId: node.identity.nodeId, software: 'qed test' });
      }
      expect((await fetch(`${urlOf(mgmtAddr)}/events/0`)).status).toBe(404);
      expect((await fetch(`${urlOf(httpAddr)}/metrics`)).status).toBe(404);
    },
  ));

it('counts what it does', () =>
  withServer({}, async ({ addresses }) => {
    const api = urlOf(addresses.httpAddr);
    const post = (path: string, body: unknown) =>
      fetch(api + path, {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      });
    await post('/events/bulk', { events: ['a', 'b', 'a'] });
    await post('/proofs/membership', { event: 'a' });
    await post('/proofs/membership', { event: 'c' });
    await post('/proofs/incremental', { start: 0, end: 2 });
    await post('/events', { event: 1 });
    const answer = await fetch(`${urlOf(addresses.metricsAddr)}/metrics`);
    expect(answer.headers.get('content-type')).toContain('text/plain');
    const lines = (await answer.text()).split('\n');
    for (const line of [
      'qed_events_added_total 3',
      'qed_log_events 3',
      'qed_distinct_events 2',
      'qed_ready 1',
      'qed_waiting_events 0',
      'qed_batch_events_sum 3',
      'qed_commit_seconds_count 1',
      'qed_proofs_total{kind="presence"} 1',
      'qed_proofs_total{kind="absence"} 1',
      'qed_proofs_total{kind="incremental"} 1',
      'qed_request_seconds_count{route="/events",method="POST",status="400"} 1',
    ]) {
      expect(lines).toContain(line);
    }
    expect(lines.find((line) => line.startsWith('qed_applied_index'))).toMatch(/ [1-9]\d*$/);
    expect(lines.find((line) => line.startsWith('qed_storage_bytes{part="log"}'))).toMatch(/ [1-9]\d*$/);
    const documented = Array.from(
      readFileSync('docs/metrics.md', 'utf8')
        .split('\n## Gossip\n')[0]!
        .matchAll(/^\| `(\w+)`/gm),
      ([, name]) => name,
    );
    const names = lines.filter((line) => line.startsWith('# TYPE qed_')).map((line) => line.split(' ')[2]);
    expect(documented.sort()).toEqual(names.sort());
  }));

describe('TLS', () => {
  const certificate = async (days: number) => {
    const { authority, server } = await makeCertificates({
      hosts: ['localhost', '127.0.0.1'],
      days,
      now: Date.now(),
    });
    return { ca: authority.certificate, pem: { cert: server.certificate, key: server.key } };
  };

  /** The end of the certificate that is shown, once it was found good for 127.0.0.1. */
  const shown = async (port: number, ca: string): Promise<string> => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
    await once(socket, 'secureConnect');
    const { valid_to: end } = socket.getPeerCertificate();
    socket.destroy();
    return end;
  };

  it('is spoken with a certificate that can be renewed while the server runs', async () => {
    const [first, second] = [await certificate(10), await certificate(20)];
    await withServer({ tls: first.pem }, async ({ addresses, renewTls }) => {
      const port = portOf(addresses.httpAddr);
      const before = await shown(port, first.ca);
      await expect(shown(port, second.ca)).rejects.toThrow();
      renewTls(second.pem);
      expect(Date.parse(await shown(port, second.ca)) - Date.parse(before)).toBeGreaterThan(
        9 * 24 * 3600 * 1000,
      );
      expect(await shown(portOf(addresses.mgmtAddr), second.ca)).toBeTruthy();
    });
  });
});

describe('difficult clients', () => {
  it('may not take all day to send a request', () =>
    withServer({ httpLimits: { headersMs: 100, requestMs: 200 } }, async ({ addresses }) => {
      const socket = net.connect(portOf(addresses.httpAddr), '127.0.0.1');
      socket.write(
        'POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
      );
      const answer = (await once(socket, 'data'))[0] as Buffer;
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 408 .*"code":"bad-request"/s);
      socket.destroy();
    }));

  it('may not send endless headers, nor something else than HTTP', () =>
    withServer({}, async ({ addresses }) => {
      const rows = [
        [`GET / HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
        ['hello there\r\n\r\n', 400],
        ['GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n', 400],
        ['POST /add HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 400],
      ] as const;
      for (const [request, status] of rows) {
        const socket = net.connect(portOf(addresses.httpAddr), '127.0.0.1');
        socket.write(request);
        const answer = (await once(socket, 'data'))[0] as Buffer;
        expect(answer.toString()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} .*"code":"bad-request"`, 's'));
        socket.destroy();
      }
    }));

  it('may be a thousand at once', () =>
    withServer({}, async ({ addresses, node }) => {
      const agent = new http.Agent({ maxSockets: 1000 });
      const send = (at: number) =>
        new Promise<number | undefined>((resolve, reject) => {
          const headers = { 'content-type': 'application/json' };
          const request = http.request(
            `${urlOf(addresses.httpAddr)}/events`,
            { method: 'POST', headers, agent },
            (answer) => {
              answer.resume().on('end', () => resolve(answer.statusCode));
            },
          );
          request.on('error', reject).end(`{"event":"${at}"}`);
        });
      const statuses = await Promise.all(Array.from({ length: 1000 }, (_, at) => send(at)));
      expect(new Set(statuses)).toEqual(new Set([201]));
      expect(node.version).toBe(999);
      agent.destroy();
    }));

  it('get at most so many answers a second from one address', () =>
    withServer({ httpLimits: { rateMax: 5 } }, async ({ addresses }) => {
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => fetch(`${urlOf(addresses.httpAddr)}/info`)),
      );
      const refused = answers.filter(({ status }) => status === 429);
      expect(refused.length).toBeGreaterThanOrEqual(2);
      expect(await refused[0]!.json()).toMatchObject({ code: 'rate-limited' });
      expect(Number(refused[0]!.headers.get('retry-after'))).toBeGreaterThan(0);
    }));
});

it('finishes the answers in flight before it stops, and waits for no idle connection', () =>
  withTempDir(async (path) => {
    const server = await startServer(optionsFor(path));
    const { httpAddr } = server.addresses;
    await fetch(`${urlOf(httpAddr)}/healthcheck`);
    const socket = net.connect(portOf(httpAddr), '127.0.0.1');
    socket.write('POST /add HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n');
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 100 /);
    const closed = server.close();
    socket.write('events');
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\n0$/s);
    await closed;
    await expect(fetch(`${urlOf(httpAddr)}/healthcheck`)).rejects.toThrow();
    const again = await startServer(optionsFor(path));
    expect(again.node.version).toBe(0);
    await again.close();
  }));

it('stops in the end even when a client does not', () =>
  withTempDir(async (path) => {
    const server = await startServer(optionsFor(path));
    const socket = net.connect(portOf(server.addresses.httpAddr), '127.0.0.1');
    socket.write('POST /add HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n');
    await once(socket, 'data');
    const [closedByServer] = await Promise.all([once(socket, 'close'), server.close(50)]);
    expect(closedByServer).toBeDefined();
  }));
