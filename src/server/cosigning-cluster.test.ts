// Three whole servers in one process that publish together, and a client that believes two of them, not one.
import { join } from 'node:path';
import Fastify from 'fastify';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';
import { openCosignatures } from '../crypto/checkpoint.ts';
import { createKeyFiles } from '../crypto/keys.ts';
import { thresholdPolicy } from '../crypto/policy.ts';
import { LOG_KEY, parseVkey } from '../crypto/vkey.ts';
import { parseSignedSnapshot } from '../balloon/proof.ts';
import { checkSignedSnapshot } from '../balloon/verify.ts';
import { nativeVerify } from '../crypto/ed25519-node.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { singleKey } from './auth.ts';
import { startServer, type Server } from './server.ts';

const KEY = 'key-of-the-operator';
const anyPort = { address: { host: '127.0.0.1', port: 0 }, flag: '--an-addr', isPortFree: false };

async function withThree(work: (servers: Server[]) => Promise<void>): Promise<void> {
  await withTempDir(async (path) => {
    const logKeyPath = join(path, 'log_key.pem');
    createKeyFiles(logKeyPath, { name: 'log', type: LOG_KEY });
    const servers: Server[] = [];
    try {
      for (const nodeId of ['a', 'b', 'c']) {
        const addresses = servers.map(({ addresses: { mgmtAddr } }) => mgmtAddr ?? '');
        const server = await startServer({
          path: join(path, nodeId),
          logKeyPath,
          nodeId,
          now: Date.now,
          http: anyPort,
          management: anyPort,
          metrics: anyPort,
          access: () => ({ keys: [singleKey(KEY)], readsNeedKey: false }),
          logger: Fastify().log,
          software: 'qed test',
          ...(servers.length === 0 ? {} : { join: { addresses, apiKey: KEY, isTls: false } }),
        });
        servers.push(server);
      }
      await until('all are voters', () =>
        servers.every(
          ({ node }) => node.members().filter(({ isVoter }) => isVoter).length === 3 && node.health().isReady,
        ),
      );
      await work(servers);
    } finally {
      await Promise.all(servers.map((server) => server.close(0)));
    }
  });
}

async function add(server: Server, event: string): Promise<void> {
  const headers = { 'api-key': KEY, 'content-type': 'application/json' };
  const body = JSON.stringify({ event });
  const answer = await fetch(`http://${server.addresses.httpAddr}/events`, { method: 'POST', headers, body });
  expect(answer.status).toBe(201);
}

async function ask(server: Server, path: string): Promise<string> {
  return (await fetch(`http://${server.addresses.httpAddr}${path}`)).text();
}

it('publishes what all have cosigned, tells it again to others, and what two have when one is gone', () =>
  withThree(async (servers) => {
    const [a, b, c] = servers as [Server, Server, Server];
    const verifiers = servers.map(({ node }) => node.identity.cosigner.verifier);
    const log = parseVkey(a.node.identity.signer.vkey);
    const cosignersOf = (note: string): string[] =>
      openCosignatures(note, verifiers, nativeVerify)
        .map(({ name }) => name.slice(-1))
        .sort();
    const latestCheckpoint = async (server: Server): Promise<string> =>
      parseSignedSnapshot(JSON.parse(await ask(server, '/snapshots/latest'))).checkpoint;
    for (const event of ['one', 'two', 'three']) await add(a, event);

    await until(
      'the present state is cosigned by all',
      async () => cosignersOf(await latestCheckpoint(a)).length === 3,
    );
    expect(cosignersOf(await ask(a, '/checkpoint'))).toEqual(['a', 'b', 'c']);
    const list = async () => JSON.parse(await ask(a, '/snapshots?from=2')) as { snapshots: unknown[] };
    await until('it is listed', async () => (await list()).snapshots.length > 0);
    const published = parseSignedSnapshot((await list()).snapshots.at(-1));
    const primitives = { hash: nativeHash, verify: nativeVerify };
    const vouched = checkSignedSnapshot(
      published,
      { log, policy: thresholdPolicy(verifiers, 3) },
      primitives,
    );
    expect(vouched.quorumTime).toBeGreaterThan(Date.now() / 1000 - 60);

    servers.splice(servers.indexOf(c), 1);
    await c.close(0);
    await add(a, 'four');
    await until('it goes on with two', async () => cosignersOf(await latestCheckpoint(a)).length === 2);
    const now = parseSignedSnapshot(JSON.parse(await ask(a, '/snapshots/latest')));
    const check = (count: number) =>
      codeOfPromise(
        Promise.resolve().then(() =>
          checkSignedSnapshot(now, { log, policy: thresholdPolicy(verifiers, count) }, primitives),
        ),
      );
    expect(await check(2)).toBe('accepted');
    expect(await check(3)).toBe('cosignatures-missing');
    // Only what each has applied itself: the followers hold the same root.
    expect(b.node.signed(now.snapshot.version).signedSnapshot.snapshot).toEqual(now.snapshot);
  }));
