// Alerts: signed, not repeated, delivered in spite of receivers that are gone, each to the right place.
import { parseVkey } from '../src/crypto/vkey.ts';
import { type Transport } from '../src/client/transport.ts';
import { memoryDisk, openMemoryStore, type MemoryDisk } from '../src/storage/memory.ts';
import { alertUrl, openAlert, openAlerts, signAlert, type Alert, type Alerts } from './alerts.ts';
import { openAgentIdentity } from './identity.ts';
import { codeOf } from '../testutils/code-of.ts';
import { keyOfSeed } from '../testutils/signed-log.ts';
import { withTempDir } from '../testutils/temp.ts';
import { until } from '../testutils/until.ts';

const identity = openAgentIdentity(undefined, 'monitor0');

interface World {
  readonly posts: { readonly url: string; readonly body: { readonly alert: Alert; readonly note: string } }[];
  readonly raised: Alert[];
  failing: Set<string>;
  now: number;
  readonly disk: MemoryDisk;
}

const world = (): World => ({ posts: [], raised: [], failing: new Set(), now: 1_000, disk: memoryDisk() });
const open: Alerts[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

async function start(at: World, urls: readonly string[] = ['http://store:8888']): Promise<Alerts> {
  const transport: Transport = (_method, url, _headers, body) => {
    if (at.failing.has(url)) return Promise.reject(new Error('ECONNREFUSED'));
    at.posts.push({
      url,
      body: JSON.parse(new TextDecoder().decode(body)) as World['posts'][number]['body'],
    });
    return Promise.resolve({ status: 200, headers: {}, bytes: new Uint8Array(0) });
  };
  const alerts = await openAlerts({
    store: openMemoryStore(at.disk),
    urls,
    transport,
    identity,
    name: 'monitor0',
    role: 'monitor',
    log: () => 'example.org/log',
    onRaised: (alert) => at.raised.push(alert),
    onFailure: () => undefined,
    now: () => at.now,
    jitter: () => 0,
    quietMs: 500,
  });
  open.push(alerts);
  return alerts;
}

const outage = { kind: 'outage', subject: 'http://log', message: 'no answer' } as const;

it('arrives signed by the agent, and says the same inside and outside the signature', async () => {
  const at = world();
  (await start(at)).raise({
    ...outage,
    kind: 'tampering',
    code: 'consistency-mismatch',
    evidence: { a: 'x\n\ny' },
  });
  await until('it arrives', () => at.posts.length === 1);
  const { url, body } = at.posts[0]!;
  expect(url).toBe('http://store:8888/alert');
  expect(openAlert(body.note, parseVkey(body.alert.agent.vkey))).toEqual(body.alert);
  expect(body.alert).toMatchObject({ kind: 'tampering', log: 'example.org/log', time: 1_000, repeats: 0 });
  const stranger = openAgentIdentity(undefined, 'monitor0');
  expect(codeOf(() => openAlert(body.note, stranger.verifier))).toBe('note-unsigned');
  const forged = body.note.replace('"tampering"', '"lag"');
  expect(codeOf(() => openAlert(forged, identity.verifier))).toBe('signature-invalid');
});

it('says the same once in a while, and how often it was noticed; another subject or kind is news', async () => {
  const at = world();
  const alerts = await start(at);
  for (let i = 0; i < 5; i++) alerts.raise(outage);
  alerts.raise({ ...outage, subject: 'other' });
  alerts.raise({ ...outage, kind: 'lag' });
  at.now += 600;
  alerts.raise(outage);
  alerts.raise(outage);
  alerts.clear('outage', outage.subject);
  alerts.raise(outage);
  expect(at.raised.map(({ kind, subject, repeats }) => `${kind} ${subject} ${repeats}`)).toEqual([
    'outage http://log 0',
    'outage other 0',
    'lag http://log 0',
    'outage http://log 4',
    'outage http://log 0',
  ]);
  expect(alerts.figures().raised).toEqual({ tampering: 0, inconsistent: 0, stale: 0, outage: 4, lag: 1 });
});

it('waits for receivers that are gone, and holds up no other', async () => {
  const at = world();
  at.failing.add('http://hook/x');
  const alerts = await start(at, ['http://hook/x', 'http://store:8888']);
  alerts.raise(outage);
  alerts.raise({ ...outage, subject: 'b' });
  await until('the store has both', () => at.posts.length === 2);
  expect(alerts.figures().waiting).toBe(2);
  at.failing.clear();
  await until('the hook has both', () => at.posts.length === 4);
  expect(at.posts.slice(2).map(({ url, body }) => `${url} ${body.alert.subject}`)).toEqual([
    'http://hook/x http://log',
    'http://hook/x b',
  ]);
});

it('delivers after a restart what had not arrived', async () => {
  const at = world();
  at.failing.add('http://store:8888/alert');
  const alerts = await start(at);
  alerts.raise(outage);
  await alerts.close();
  open.pop();
  at.disk.holder = undefined;
  at.failing.clear();
  await start(at);
  await until('it arrives', () => at.posts.length === 1);
});

it.each([
  ['http://store:8888', 'http://store:8888/alert'],
  ['http://store:8888/', 'http://store:8888/alert'],
  ['https://hooks.example.org/services/x?y=1', 'https://hooks.example.org/services/x?y=1'],
])('sends alerts for %s to %s', (url, endpoint) => {
  expect(alertUrl(url)).toBe(endpoint);
});

it('keeps the key of an agent, or makes one for a run', () =>
  withTempDir(async (directory) => {
    await Promise.resolve();
    const path = `${directory}/agent_key.pem`;
    const first = openAgentIdentity(path, 'auditor0');
    expect(openAgentIdentity(path, 'auditor0').vkey).toBe(first.vkey);
    expect(openAgentIdentity(undefined, 'auditor0').vkey).not.toBe(first.vkey);
    expect(first.verifier.name).toMatch(/^qed\.agent\/auditor0\/[0-9a-f]{8}$/);
  }));

it('signs alerts as nothing else: no checkpoint has that form', () => {
  const alert: Alert = {
    ...outage,
    log: null,
    agent: { name: 'a', role: 'b', vkey: 'c' },
    time: 1,
    repeats: 0,
  };
  const note = signAlert(alert, { ...identity, privateKey: keyOfSeed(1) });
  expect(note.startsWith('qed alert v1\n{')).toBe(true);
});

it('sends the kind alone of evidence that is too large for receivers, and keeps all of it here', async () => {
  const at = world();
  const alerts = await start(at);
  const evidence = { kind: 'false-batch', steps: Array.from({ length: 10_000 }, () => 'a step of many') };
  alerts.raise({ ...outage, kind: 'tampering', evidence });
  await until('it arrives', () => at.posts.length === 1);
  expect(at.posts[0]?.body.alert.evidence).toEqual({ kind: 'false-batch', isTooLarge: true });
  expect(at.raised[0]?.evidence).toBe(evidence);
});
