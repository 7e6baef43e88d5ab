// A real server in this process, for tests of those who talk to one: on a port of its own, with a known log key and a clock that stands still, so that
// every digest and signature comes out the same in every run.
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import pino from 'pino';
import { formatPrivateKey } from '../src/crypto/keys.ts';
import { singleKey } from '../src/server/auth.ts';
import { startServer } from '../src/server/server.ts';
import { keyOfSeed } from './signed-log.ts';
import { withTempDir } from './temp.ts';

export interface ServedLog {
  readonly url: string;
  readonly vkey: string;
  /** An empty directory for the test. */
  readonly directory: string;
}

export const API_KEY = 'my-key';
const NOW = 1_700_000_000_000;

/** Runs the work beside a server over a new log, and takes everything away again. */
export function withServedLog<Result>(
  work: (log: ServedLog) => Promise<Result>,
  { storeEvents = false } = {},
): Promise<Result> {
  return withTempDir((path) =>
    withTempDir(async (directory) => {
      const logKeyPath = join(path, 'key.pem');
      await writeFile(logKeyPath, formatPrivateKey(keyOfSeed(1)), { mode: 0o600 });
      const anyPort = { address: { host: '127.0.0.1', port: 0 }, flag: 'test', isPortFree: true };
      const server = await startServer({
        path: join(path, 'data'),
        logKeyPath,
        origin: 'example.org/log',
        nodeId: 'node0',
        storeEvents,
        now: () => NOW,
        http: anyPort,
        management: anyPort,
        metrics: anyPort,
        access: () => ({ keys: [singleKey(API_KEY)], readsNeedKey: false }),
        logger: pino({ level: 'silent' }),
        software: 'qed test',
      });
      try {
        const url = `http://${server.addresses.httpAddr ?? ''}`;
        return await work({ url, vkey: server.node.identity.signer.vkey, directory });
      } finally {
        await server.close();
      }
    }),
  );
}
