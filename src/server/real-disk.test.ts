// The whole server on a real disk that is small, or that may not be written: clear answers, nothing acknowledged lost, and it goes on when the cause is gone.
import { randomBytes } from 'node:crypto';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { z } from 'zod';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { placesOfDigests } from '../../testutils/places.ts';
import { NATIVE } from '../../testutils/signed-log.ts';
import { whyNoTmpfs, withTmpfs, type Tmpfs } from '../../testutils/tmpfs.ts';
import { createClient, type Client } from '../client/client.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { startServer, type Server } from './server.ts';

const MIB = 1024 * 1024;
const BULK = 2_000;

const running = new Set<Server>();

/** What runs is stopped before the disk goes. */
function withDisk(work: (disk: Tmpfs) => Promise<void>): Promise<void> {
  return withTmpfs('10m', async (disk) => {
    try {
      await work(disk);
    } finally {
      for (const server of running) await stop(server);
    }
  });
}

async function start(path: string): Promise<Server> {
  const anyPort = { address: { host: '127.0.0.1', port: 0 }, flag: 'test', isPortFree: true };
  const server = await startServer({
    path,
    now: Date.now,
    http: anyPort,
    management: anyPort,
    metrics: anyPort,
    access: () => ({ keys: [], readsNeedKey: false }),
    logger: pino({ level: 'silent' }),
    software: 'qed test',
  });
  running.add(server);
  return server;
}

async function stop(server: Server): Promise<void> {
  running.delete(server);
  await server.close();
}

const urlOf = ({ addresses }: Server): string => `http://${addresses.httpAddr!}`;

function clientOf(server: Server): Client {
  const { vkey } = server.node.identity.signer;
  return createClient({ endpoints: [urlOf(server)], trust: vkey, primitives: NATIVE });
}

interface Bulk {
  readonly key: Uint8Array;
  readonly digests: readonly Uint8Array[];
}

const makeBulk = (): Bulk => ({
  key: randomBytes(16),
  digests: Array.from({ length: BULK }, () => randomBytes(32)),
});

/** Adds until something goes wrong. What was acknowledged goes into the map with its first version; the code and the bulk without an answer come back. */
async function fill(server: Server, acknowledged: Map<Bulk, number>): Promise<{ code: string; last: Bulk }> {
  for (;;) {
    const last = makeBulk();
    // Sent once, unlike a client does: the refusal is what is wanted.
    const { status, json } = await answered(
      fetch(`${urlOf(server)}/events/bulk/digests`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', 'idempotency-key': encodeHex(last.key) },
        body: Buffer.concat(last.digests),
      }),
    );
    if (status !== 201) return { code: z.object({ code: z.string() }).parse(json).code, last };
    acknowledged.set(last, z.object({ versions: z.array(z.int()) }).parse(json).versions[0]!);
  }
}

async function checkAcknowledged(server: Server, acknowledged: ReadonlyMap<Bulk, number>): Promise<void> {
  const places = await placesOfDigests(urlOf(server), (server.node.version ?? -1) + 1);
  const client = clientOf(server);
  for (const [{ digests }, versionFirst] of acknowledged) {
    const found = digests.map((digest) => places.get(encodeHex(digest)));
    expect(found).toEqual(digests.map((_digest, at) => [versionFirst + at]));
    const proven = await client.membership({ eventDigest: digests[7]! });
    expect(proven).toMatchObject({ exists: true, verified: true, version: versionFirst + 7 });
  }
}

async function answered(asking: Promise<Response>) {
  const answer = await asking;
  return {
    status: answer.status,
    retryAfter: answer.headers.get('retry-after'),
    json: await answer.json(),
  };
}

const reason = whyNoTmpfs();
(reason === undefined ? describe : describe.skip)(
  `on a disk of its own${reason ? ` (skipped: ${reason})` : ''}`,
  () => {
    it('says that the disk is full, still answers questions, and has everything when there is room again', () =>
      withDisk(async (disk) => {
        const path = join(disk.path, 'data');
        const ballast = join(disk.path, 'ballast');
        writeFileSync(ballast, new Uint8Array(6 * MIB));
        const acknowledged = new Map<Bulk, number>();

        const server = await start(path);
        const { code, last } = await fill(server, acknowledged);
        expect(['store-full', 'outcome-unknown']).toContain(code);
        expect(acknowledged.size).toBeGreaterThan(3);
        const body = JSON.stringify({ event: 'one more' });
        const headers = { 'content-type': 'application/json' };
        const full = { code: 'store-full' };
        expect(
          await answered(fetch(`${urlOf(server)}/events`, { method: 'POST', headers, body })),
        ).toMatchObject({ status: 503, retryAfter: '1', json: full });
        expect(await answered(fetch(`${urlOf(server)}/healthcheck`))).toMatchObject({
          status: 503,
          json: full,
        });
        await checkAcknowledged(server, acknowledged);
        await stop(server);

        // A start without room says so, or serves what it has; either way nothing is damaged by it.
        expect(statfsSync(disk.path).bavail * statfsSync(disk.path).bsize).toBeLessThan(MIB);
        expect(['accepted', 'store-full']).toContain(await codeOfPromise(start(path).then(stop)));

        rmSync(ballast);
        const again = await start(path);
        expect(again.node.health().isReady).toBe(true);
        const client = clientOf(again);
        // What had no answer is sent again under its key, and is there once.
        const { versionFirst } = await client.addDigests(last.digests, { idempotencyKey: last.key });
        acknowledged.set(last, versionFirst);
        await client.add('one more');
        await checkAcknowledged(again, acknowledged);
        expect(again.node.version).toBe(acknowledged.size * BULK);
      }));

    it('says that the disk may not be written, and goes on once it may', () =>
      withDisk(async (disk) => {
        const path = join(disk.path, 'data');
        const server = await start(path);
        const { version } = await clientOf(server).add('before');
        await stop(server);
        disk.setReadOnly(true);
        for (const directory of [path, join(disk.path, 'new')]) {
          expect(await codeOfPromise(start(directory).then(stop))).toBe('store-failed');
        }
        disk.setReadOnly(false);
        const again = await start(path);
        expect(await clientOf(again).membership({ event: 'before' })).toMatchObject({
          exists: true,
          version,
        });
        expect(await clientOf(again).add('after')).toMatchObject({ version: version + 1 });
      }));
  },
);
