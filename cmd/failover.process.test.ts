// Three real nodes, one of which is killed while a program adds: nothing that the program was told is lost, and nothing is logged twice.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { createClient, type Client } from '../src/client/client.ts';
import { nodeTransport } from '../src/client/transport-node.ts';
import { createKeyFiles } from '../src/crypto/keys.ts';
import { LOG_KEY } from '../src/crypto/vkey.ts';
import { placesOfDigests } from '../testutils/places.ts';
import { qedProcesses, untilAnswers, type QedProcess } from '../testutils/qed-process.ts';
import { NATIVE } from '../testutils/signed-log.ts';
import { freePort, withTempDir } from '../testutils/temp.ts';
import { until } from '../testutils/until.ts';

const ADDS = 500;
const SEEN = 20;
const WORKERS = 16;

const processes = qedProcesses();
afterEach(() => processes.killAll());

interface StartedNode {
  readonly nodeId: string;
  readonly url: string;
  readonly process: QedProcess;
}

async function startNode(path: string, nodeId: string, more: string): Promise<StartedNode> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const addresses = `--http-addr ${url.slice('http://'.length)} --gossip-addr off ${more}`;
  const keys = `-y ${join(path, 'log.pem')} --origin example.org/log -k my-key`;
  const process = processes.start(
    `start -p ${join(path, nodeId)} --node-id ${nodeId} ${addresses} ${keys} -l warn`,
  );
  return { nodeId, url, process };
}

const hasThree = (json: unknown): boolean =>
  typeof json === 'object' &&
  json !== null &&
  'shards' in json &&
  Object.keys(json.shards ?? {}).length === 3;

const members = z.object({ members: z.array(z.looseObject({ isVoter: z.boolean() })) });

async function votersAt(management: string): Promise<number> {
  const answer = await fetch(`http://${management}/members`, { headers: { 'api-key': 'my-key' } });
  return members.parse(await answer.json()).members.filter(({ isVoter }) => isVoter).length;
}

async function startCluster(path: string): Promise<StartedNode[]> {
  createKeyFiles(join(path, 'log.pem'), { name: 'example.org/log', type: LOG_KEY });
  const management = `127.0.0.1:${await freePort()}`;
  const nodes = [
    await startNode(path, 'node0', `--mgmt-addr ${management}`),
    await startNode(path, 'node1', `--mgmt-addr 127.0.0.1:0 --join-addr ${management}`),
    await startNode(path, 'node2', `--mgmt-addr 127.0.0.1:0 --join-addr ${management}`),
  ];
  for (const { url } of nodes) {
    await untilAnswers(`${url}/info/shards`, hasThree);
    await untilAnswers(`${url}/healthcheck`);
  }
  await until('all have a vote', async () => (await votersAt(management)) === nodes.length);
  return nodes;
}

/** Adds from some workers at once, and calls `half` in the middle. Resolves with the version that each event was told. */
async function addAll(client: Client, half: () => Promise<void>): Promise<Map<string, number>> {
  const told = new Map<string, number>();
  let next = 0;
  async function work(): Promise<void> {
    for (let at = next++; at < ADDS; at = next++) {
      if (at === ADDS / 2) void half();
      told.set(`event ${at}`, (await client.add(`event ${at}`)).version);
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, work));
  return told;
}

it('loses and doubles nothing when the leader is killed in the middle of 500 adds', () =>
  withTempDir(async (path) => {
    const nodes = await startCluster(path);
    const road = nodeTransport();
    // It is given one node only, the one that will die.
    const client = createClient({
      endpoints: [nodes[0]!.url],
      apiKey: 'my-key',
      primitives: NATIVE,
      transport: road.transport,
      trust: (await createClient({ endpoints: [nodes[0]!.url] }).info()).vkey,
      deadlineMs: 60_000,
    });
    // What one node acknowledged is seen on all others at once, by who asks for the latest.
    for (let at = 0; at < SEEN; at++) {
      const { version } = await client.add(`seen ${at}`);
      for (const { url } of nodes) {
        const answer = await fetch(`${url}/events/${version}?linearizable=true`);
        expect([at, url, answer.status]).toEqual([at, url, 200]);
      }
    }
    const told = await addAll(client, () => nodes[0]!.process.kill('SIGKILL'));
    expect(told.size).toBe(ADDS);
    expect(nodes[0]!.process.isRunning()).toBe(false);

    for (const { url } of nodes.slice(1)) {
      const latest = await createClient({ endpoints: [url] }).snapshot(undefined, { linearizable: true });
      const places = await placesOfDigests(url, latest.snapshot.version + 1);
      expect(places.size).toBe(SEEN + ADDS);
      for (const [event, version] of told) {
        expect([event, places.get(createHash('sha256').update(event).digest('hex'))]).toEqual([
          event,
          [version],
        ]);
      }
    }
    for (const at of [0, ADDS / 2, ADDS - 1]) {
      const event = `event ${at}`;
      expect(await client.membership({ event })).toMatchObject({
        verified: true,
        version: told.get(event),
      });
    }
    await road.close();
  }));
