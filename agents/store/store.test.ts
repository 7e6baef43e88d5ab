// The snapshot store: what it keeps, what it refuses, what it says about gaps and conflicts; in memory and on disk, by its API.
import pino from 'pino';
import { parseSignedSnapshot, type SignedSnapshot } from '../../src/balloon/proof.ts';
import { addSignatures } from '../../src/crypto/note.ts';
import { singleKey } from '../../src/server/auth.ts';
import { type App } from '../../src/server/http.ts';
import { openLevelStore } from '../../src/storage/level.ts';
import { openMemoryStore } from '../../src/storage/memory.ts';
import { type Store } from '../../src/storage/store.ts';
import { buildStoreApi, createStoreMetrics } from './api.ts';
import { openLedger, type Ledger, type LedgerOptions } from './ledger.ts';
import { verifyLedger } from './verify.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { seededRandom } from '../../testutils/random.ts';
import { signedLog, witness, type SignedLog } from '../../testutils/signed-log.ts';
import { withTempDir } from '../../testutils/temp.ts';

const random = seededRandom(5);
const digests = Array.from({ length: 12 }, () => random.bytes(32));
const pairs = (list: readonly Uint8Array[]): Uint8Array[][] =>
  list.flatMap((one, i) => (i % 2 ? [[list[i - 1]!, one]] : []));
const log = signedLog(pairs(digests));
const twoFaced = signedLog(pairs(digests.map((one, i) => (i < 6 ? one : random.bytes(32)))));
const impostor = signedLog(pairs(digests), { seed: 3 });
/** Ends of batches: 1, 3, 5, … */
const snapshotOf = (version: number, of: SignedLog = log): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));

interface Served {
  readonly app: App;
  readonly ledger: Ledger;
}

const served: Served[] = [];
afterEach(async () => {
  for (const { app, ledger } of served.splice(0)) {
    await app.close();
    await ledger.close();
  }
});

async function open(
  options: Partial<LedgerOptions> & { readonly apiKey?: string } = {},
  store: Store = openMemoryStore(),
): Promise<Served> {
  const ledger = await openLedger({ store, trust: log.trust, ...options });
  const keys = options.apiKey === undefined ? [] : [singleKey(options.apiKey)];
  const app = await buildStoreApi(
    {
      ledger,
      access: () => ({ keys, readsNeedKey: false }),
      logger: pino({ level: 'silent' }),
      software: 'qed test',
    },
    createStoreMetrics(ledger),
  );
  const one = { app, ledger };
  served.push(one);
  return one;
}

async function post(
  { app }: Served,
  url: string,
  body: unknown,
  headers = {},
): Promise<{ status: number; json: unknown }> {
  const payload = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await app.inject({
    method: 'POST',
    url,
    payload,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return { status: answer.statusCode, json: answer.json() };
}

async function get({ app }: Served, url: string): Promise<{ status: number; json: unknown }> {
  const answer = await app.inject({ method: 'GET', url });
  return { status: answer.statusCode, json: answer.json() };
}

const batch = (versions: readonly number[], previous?: number | null, of = log) => ({
  snapshots: versions.map((version) => of.signedSnapshot(version)),
  ...(previous === undefined ? {} : { previous }),
});

it('keeps what publishers deliver, and gives it back as the log said it', async () => {
  const store = await open();
  expect(await post(store, '/batch', batch([1, 3]))).toEqual({ status: 200, json: { stored: 2, known: 0 } });
  expect(await post(store, '/batch', batch([3, 5, 7]))).toEqual({
    status: 200,
    json: { stored: 2, known: 1 },
  });
  expect((await store.app.inject('/count')).body).toBe('4');
  for (const [asked, version] of [
    [0, 1],
    [1, 1],
    [2, 3],
    [7, 7],
  ] as const) {
    expect(await get(store, `/snapshot?v=${asked}`)).toEqual({
      status: 200,
      json: log.signedSnapshot(version),
    });
  }
  expect(await get(store, '/snapshots?from=2&limit=2')).toEqual({
    status: 200,
    json: { snapshots: [log.signedSnapshot(3), log.signedSnapshot(5)] },
  });
  expect(await get(store, '/snapshot?v=8')).toMatchObject({ status: 404, json: { code: 'version-unknown' } });
});

it('keeps the first snapshot of a version, and both sides of a conflict', async () => {
  const store = await open();
  await post(store, '/batch', batch([5, 7]));
  for (let i = 0; i < 2; i++) {
    expect(await post(store, '/batch', batch([7, 9], 5, twoFaced))).toMatchObject({
      status: 409,
      json: { code: 'snapshot-conflict' },
    });
  }
  expect(await get(store, '/snapshot?v=7')).toMatchObject({ json: log.signedSnapshot(7) });
  expect(await get(store, '/snapshot?v=9')).toMatchObject({ json: twoFaced.signedSnapshot(9) });
  expect(await get(store, '/conflicts')).toMatchObject({
    json: { conflicts: [{ version: 7, stored: log.signedSnapshot(7), refused: twoFaced.signedSnapshot(7) }] },
  });
  expect((await verifyLedger(store.ledger, log.trust)).conflicts).toHaveLength(1);
});

it('knows a state again that was cosigned since', async () => {
  const store = await open();
  const { snapshot, audit, checkpoint } = log.signedSnapshot(1);
  const head = { origin: log.trust.log.name, size: 2, root: snapshotOf(1).snapshot.historyDigest };
  const cosigned = addSignatures(checkpoint, witness(4).cosign(head, 1_700_000_000));
  await post(store, '/batch', batch([1]));
  expect(await post(store, '/batch', { snapshots: [{ snapshot, audit, checkpoint: cosigned }] })).toEqual({
    status: 200,
    json: { stored: 0, known: 1 },
  });
});

it('lists gaps that publishers know of, until they are closed', async () => {
  const store = await open();
  await post(store, '/batch', batch([1], null));
  await post(store, '/batch', batch([5, 9], 3));
  expect(await get(store, '/gaps')).toEqual({ status: 200, json: { gaps: [{ missing: 3, before: 5 }] } });
  await post(store, '/batch', batch([3], 1));
  expect(await get(store, '/gaps')).toEqual({ status: 200, json: { gaps: [] } });
});

it('stores nothing of a batch in which one snapshot is false', async () => {
  const store = await open();
  const forged = { ...log.signedSnapshot(3), snapshot: log.signedSnapshot(5).snapshot };
  const cases: readonly [unknown, number, string][] = [
    [{ snapshots: [log.signedSnapshot(1), forged] }, 422, 'snapshot-mismatch'],
    [{ snapshots: [log.signedSnapshot(1), impostor.signedSnapshot(3)] }, 422, 'note-unsigned'],
    [{ snapshots: [log.signedSnapshot(1), { ...log.signedSnapshot(3), more: 1 }] }, 422, 'proof-malformed'],
    [{ snapshots: [] }, 400, 'bad-request'],
    [{ snapshots: Array.from({ length: 1_001 }, () => 1) }, 400, 'bad-request'],
    [{ ...batch([1]), previous: -1 }, 400, 'bad-request'],
    [{ ...batch([1]), more: 1 }, 400, 'bad-request'],
    ['{', 400, 'bad-request'],
    [`[${'['.repeat(20)}${']'.repeat(20)}]`, 400, 'bad-request'],
  ];
  for (const [body, status, code] of cases) {
    expect(await post(store, '/batch', body)).toMatchObject({ status, json: { code } });
  }
  expect(store.ledger.figures().snapshots).toBe(0);
});

it('asks for a key where it has one, and refuses strange questions', async () => {
  const store = await open({ apiKey: 'secret' });
  expect(await post(store, '/batch', batch([1]))).toMatchObject({ status: 401 });
  expect(await post(store, '/batch', batch([1]), { 'api-key': 'secret' })).toMatchObject({ status: 200 });
  expect(await post(store, '/alert', {})).toMatchObject({ status: 401 });
  for (const url of [
    '/snapshot',
    '/snapshot?v=01',
    '/snapshot?v=-1',
    '/snapshot?v=1e3',
    '/snapshots?limit=257',
    '/snapshots?from=x',
  ]) {
    expect((await get(store, url)).status).toBe(400);
  }
});

it('keeps alerts, the newest ones', async () => {
  const store = await open({ alertsMax: 3 });
  for (const word of ['a', 'b', 'c', 'd']) await post(store, '/alert', JSON.stringify({ word }));
  await post(store, '/alert', '"text"');
  expect(await get(store, '/alert')).toEqual({ status: 200, json: [{ word: 'c' }, { word: 'd' }, 'text'] });
});

it('is bounded where it should be, and does not call gaps what it dropped itself', async () => {
  const store = await open({ snapshotsMax: 3 });
  let previous: number | null = null;
  for (const version of [1, 3, 5, 7, 9]) {
    await post(store, '/batch', batch([version], previous));
    previous = version;
  }
  expect(await get(store, '/snapshots')).toMatchObject({
    json: { snapshots: [5, 7, 9].map((version) => ({ snapshot: { version } })) },
  });
  await post(store, '/batch', batch([11], 9));
  expect(store.ledger.figures()).toMatchObject({ snapshots: 3, gaps: 0, versionLast: 11 });
});

it('keeps everything on disk, belongs to one log, and finds what was edited', () =>
  withTempDir(async (path) => {
    const trust = log.trust;
    let ledger = await openLedger({ store: await openLevelStore(path), trust });
    await ledger.add([snapshotOf(1), snapshotOf(7)], null);
    await ledger.add([snapshotOf(11)], 9);
    await ledger.add([snapshotOf(7, twoFaced)], null);
    await ledger.addAlert('{"x":1}');
    const figures = ledger.figures();
    await ledger.close();
    ledger = await openLedger({ store: await openLevelStore(path), trust });
    expect(ledger.figures()).toEqual(figures);
    expect(figures).toMatchObject({ snapshots: 3, alerts: 1, gaps: 1, conflicts: 1, versionLast: 11 });
    expect(await verifyLedger(ledger, trust)).toMatchObject({
      snapshots: 3,
      first: 1,
      last: 11,
      gaps: [{ missing: 9, before: 11 }],
    });
    await ledger.close();
    const store = await openLevelStore(path);
    for await (const [key, value] of store.range({
      from: Uint8Array.of(0x73),
      to: Uint8Array.of(0x74),
      limit: 1,
    })) {
      const text = new TextDecoder().decode(value).replace('"time":17', '"time":16');
      await store.write([{ type: 'put', key, value: new TextEncoder().encode(text) }]);
    }
    ledger = await openLedger({ store, trust });
    expect(await codeOfPromise(verifyLedger(ledger, trust))).toBe('snapshot-mismatch');
    await ledger.close();
    expect(
      await codeOfPromise(openLedger({ store: await openLevelStore(path), trust: impostor.trust })),
    ).toBe('node-mismatch');
  }));
