// A log that answers what agents ask (`/info`, `/snapshots?from=`) and is otherwise not there: for tests that need many published snapshots at once,
// which a true server would publish ten a second.
import { createServer, type ServerResponse } from 'node:http';
import { signedLog, type SignedLog } from './signed-log.ts';
import { seededRandom } from './random.ts';
import { formatVkey } from '../src/crypto/vkey.ts';

export interface StubLog {
  readonly url: string;
  readonly vkey: string;
  readonly log: SignedLog;
  /** Versions that are listed as published; tests change it. */
  readonly published: number[];
  /** Requests for the list so far. */
  readonly asked: () => number;
  /** While true, nothing is answered but errors. */
  readonly setBroken: (isBroken: boolean) => void;
  readonly close: () => Promise<void>;
}

/** A log of so many batches of one event, all published. */
export function logOf(count: number, seed = 1): SignedLog {
  const random = seededRandom(seed);
  return signedLog(Array.from({ length: count }, () => [random.bytes(32)]));
}

export async function serveStubLog(log: SignedLog): Promise<StubLog> {
  const published = log.snapshots.map(({ version }) => version);
  const lines = new Map<number, string>();
  const vkey = formatVkey(log.trust.log);
  let asked = 0;
  let isBroken = false;

  function line(version: number): string {
    const made = lines.get(version) ?? JSON.stringify(log.signedSnapshot(version));
    lines.set(version, made);
    return made;
  }

  function list(url: URL, response: ServerResponse): void {
    asked += 1;
    const [from, limit] = ['from', 'limit'].map((name) => Number(url.searchParams.get(name)));
    const versions = published.filter((version) => version >= from!).slice(0, limit);
    response.end(`{"snapshots":[${versions.map(line).join(',')}]}`);
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://stub');
    response.setHeader('content-type', 'application/json');
    if (isBroken) response.writeHead(500).end('{}');
    else if (url.pathname === '/info')
      response.end(JSON.stringify({ vkey, gossipAddr: null, version: published.at(-1) ?? null }));
    else if (url.pathname === '/snapshots') list(url, response);
    else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    vkey,
    log,
    published,
    asked: () => asked,
    setBroken: (broken) => void (isBroken = broken),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
