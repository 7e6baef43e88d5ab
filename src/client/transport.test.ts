// The two transports against the same servers: fetch, as a browser has it, and undici. Whatever differs between them would be a bug that only half
// of the users see.
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo } from 'node:net';
import { freePort } from '../../testutils/temp.ts';
import { createClient } from './client.ts';
import { nodeTransport } from './transport-node.ts';
import { ANSWER_BYTES_MAX, fetchTransport, type Transport } from './transport.ts';

async function withServer<Result>(
  answer: RequestListener,
  work: (url: string) => Promise<Result>,
): Promise<Result> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const node = nodeTransport();
afterAll(() => node.close());

describe.each<[string, Transport]>([
  ['fetch', fetchTransport()],
  ['undici', node.transport],
])('%s', (_name, transport) => {
  const send = (url: string, body?: Uint8Array, signal = new AbortController().signal) =>
    transport(
      body === undefined ? 'GET' : 'POST',
      url,
      { 'content-type': 'application/octet-stream' },
      body,
      signal,
    );

  it('carries bytes as they are, both ways, with status and headers', async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7) & 0xff);
    const echo: RequestListener = (request, response) => {
      response.writeHead(418, { 'Retry-After': '7', 'X-Path': request.url, 'X-Method': request.method });
      request.pipe(response);
    };
    await withServer(echo, async (url) => {
      const answer = await send(`${url}/a/b?c=d`, bytes);
      expect(answer).toMatchObject({
        status: 418,
        headers: { 'retry-after': '7', 'x-path': '/a/b?c=d', 'x-method': 'POST' },
      });
      expect(answer.bytes).toEqual(bytes);
      expect((await send(url)).bytes).toEqual(new Uint8Array(0));
    });
  });

  it('follows no redirection', async () => {
    const paths: (string | undefined)[] = [];
    const redirect: RequestListener = (request, response) => {
      paths.push(request.url);
      response.writeHead(302, { location: '/elsewhere' }).end();
    };
    await withServer(redirect, async (url) => {
      expect((await send(`${url}/here`)).status).toBe(302);
      expect(paths).toEqual(['/here']);
    });
  });

  it('reads no more than it must', async () => {
    const flood: RequestListener = (_request, response) => {
      const part = Buffer.alloc(1024 * 1024);
      const more = (): void => {
        while (response.write(part));
      };
      response.on('drain', more);
      more();
    };
    await withServer(flood, async (url) => {
      await expect(send(url)).rejects.toMatchObject({
        code: 'server-failed',
        message: expect.stringContaining(String(ANSWER_BYTES_MAX)) as string,
      });
    });
  });

  it('gives up when it is told to', async () => {
    const silent: RequestListener = () => undefined;
    await withServer(silent, async (url) => {
      const stop = new AbortController();
      const sent = send(url, new Uint8Array(1), stop.signal);
      stop.abort();
      await expect(sent).rejects.toBeDefined();
    });
  });

  it('lets the client tell a node that is not there from one that went away', async () => {
    const dies: RequestListener = (request) => void request.socket.destroy();
    const add = (url: string) => createClient({ endpoints: [url], transport, deadlineMs: 100 }).add('event');
    await withServer(dies, async (url) => {
      await expect(add(url)).rejects.toMatchObject({ code: 'outcome-unknown' });
    });
    await expect(add(`http://127.0.0.1:${await freePort()}`)).rejects.toMatchObject({ code: 'unreachable' });
  });
});
