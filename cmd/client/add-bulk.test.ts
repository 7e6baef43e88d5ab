// add-bulk between failures: answers that are lost, runs that are cut off. Whatever happens, each line is in the log once, in its place.
import { createServer, request as httpRequest } from 'node:http';
import { type AddressInfo } from 'node:net';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '../../src/client/client.ts';
import { nodeTransport } from '../../src/client/transport-node.ts';
import { digestOf } from '../../testutils/log-transport.ts';
import { runClient } from '../../testutils/run-client.ts';
import { API_KEY, withServedLog, type ServedLog } from '../../testutils/served-log.ts';

/** What becomes of the next request: passed on; passed on but its answer is lost; not passed on. */
type Fate = 'passed' | 'answer lost' | 'request lost';

/** A road to the server on which the first adds meet their fates; the ones after them meet the last. */
async function withRoad<Result>(
  url: string,
  fates: readonly Fate[],
  work: (url: string) => Promise<Result>,
): Promise<Result> {
  let adds = 0;
  const road = createServer((incoming, outgoing) => {
    const isAdd = incoming.url?.startsWith('/events') === true;
    const fate = isAdd ? fates[Math.min(adds++, fates.length - 1)]! : 'passed';
    if (fate === 'request lost') return void incoming.socket.destroy();
    const { method, headers } = incoming;
    const passed = httpRequest(url + (incoming.url ?? ''), { method, headers }, (answer) => {
      if (fate === 'answer lost') {
        answer.resume().on('end', () => incoming.socket.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => road.listen(0, '127.0.0.1', resolve));
  try {
    return await work(`http://127.0.0.1:${(road.address() as AddressInfo).port}`);
  } finally {
    road.closeAllConnections();
    await new Promise((resolve) => road.close(resolve));
  }
}

const LINES = Array.from({ length: 23 }, (_, i) => `event ${i}`);

const RESUMED = { more: ['--resume'] };

function addBulk(log: ServedLog, endpoint: string, { timeout = '0.3', more = [] as string[] } = {}) {
  const file = join(log.directory, 'events.txt');
  // Not past the road, straight to the node.
  const flags = ['--no-discover', '--chunk', '5', '--timeout', timeout, '-k', API_KEY, '--vkey', log.vkey];
  return runClient(['add-bulk', '--file', file, '--endpoint', endpoint, ...flags, ...more]);
}

async function expectEachOnce({ url, vkey }: ServedLog): Promise<void> {
  const { transport, close } = nodeTransport();
  const client = createClient({ endpoints: [url], trust: vkey, transport });
  try {
    expect((await client.snapshot()).snapshot.version).toBe(LINES.length - 1);
    for (const [version, line] of LINES.entries()) {
      expect((await client.event(version)).eventDigest).toEqual(digestOf(line));
    }
  } finally {
    await close();
  }
}

function writeLines({ directory }: ServedLog): string {
  const file = join(directory, 'events.txt');
  writeFileSync(file, `${LINES.join('\n')}\n`);
  return `${file}.qed-progress`;
}

it('repeats by itself what may not have arrived', async () => {
  await withServedLog(async (log) => {
    const progress = writeLines(log);
    const fates: Fate[] = ['answer lost', 'request lost', 'passed', 'answer lost', 'answer lost', 'passed'];
    const ran = await withRoad(log.url, fates, (url) => addBulk(log, url, { timeout: '5' }));
    expect(ran).toMatchObject({ exitCode: 0 });
    expect(ran.out).toMatch(/Added 23 events: versions 0 to 22/);
    expect(existsSync(progress)).toBe(false);
    await expectEachOnce(log);
  });
});

it.each<[string, Fate[]]>([
  ['before anything', ['request lost']],
  ['with the first answer lost', ['answer lost']],
  ['in the middle, with an answer lost', ['passed', 'passed', 'answer lost', 'request lost']],
  ['at the last chunk', ['passed', 'passed', 'passed', 'passed', 'answer lost', 'request lost']],
])('goes on where it was cut off: %s', async (_when, fates) => {
  await withServedLog(async (log) => {
    writeLines(log);
    const cut = await withRoad(log.url, fates, (url) => addBulk(log, url));
    expect(cut.exitCode).toBe(2);
    expect((await addBulk(log, log.url)).exitCode).toBe(64);
    const again = await withRoad(log.url, ['answer lost'], (url) => addBulk(log, url, RESUMED));
    expect(again.exitCode).toBe(2);
    expect((await addBulk(log, log.url, RESUMED)).exitCode).toBe(0);
    await expectEachOnce(log);
  });
});

it('goes on also when the last step was not noted any more', async () => {
  await withServedLog(async (log) => {
    const progress = writeLines(log);
    await withRoad(log.url, ['passed', 'request lost'], (url) => addBulk(log, url));
    const noted = readFileSync(progress, 'utf8');
    await withRoad(log.url, ['passed', 'passed', 'request lost'], (url) => addBulk(log, url, RESUMED));
    // As after a power failure that took the newest state of the file away.
    writeFileSync(progress, noted);
    expect((await addBulk(log, log.url, RESUMED)).exitCode).toBe(0);
    await expectEachOnce(log);
  });
});

it('does not go on with another log', async () => {
  await withServedLog(async (log) => {
    const progress = writeLines(log);
    await withRoad(log.url, ['passed', 'request lost'], (url) => addBulk(log, url));
    writeFileSync(
      progress,
      readFileSync(progress, 'utf8').replace(log.vkey, log.vkey.replace('example', 'another')),
    );
    const ran = await addBulk(log, log.url, RESUMED);
    expect(ran.exitCode).toBe(64);
    expect(ran.err).toMatch(/another log/);
    for (const damage of ['', '{}', '{"format":"qed-add-bulk/v1"}']) {
      writeFileSync(progress, damage);
      expect((await addBulk(log, log.url, RESUMED)).exitCode).toBe(2);
    }
  });
});
