// The client against a log that answers in memory, and against one that loses answers, stalls, talks nonsense or lies. The clock is ours: it moves
// only when the client sleeps.
import { fakeClock } from '../../testutils/fake-clock.ts';
import { NATIVE } from '../../testutils/signed-log.ts';
import { digestOf, jsonAnswer, logTransport, type LogTransport } from '../../testutils/log-transport.ts';
import { type SignedSnapshotJson } from '../balloon/proof.ts';
import { encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { type ErrorCode, QedError } from '../errors.ts';
import { createClient, type Client, type ClientOptions } from './client.ts';
import { type Evidence } from '../balloon/evidence.ts';
import { type Transport, type TransportAnswer } from './transport.ts';

const A = 'http://a.example:8800';
const B = 'http://b.example:8800';

type Step = (
  ask: () => Promise<TransportAnswer>,
  url: string,
  signal: AbortSignal,
) => Promise<TransportAnswer>;

/** The first requests go through these steps, one each; the others straight to the log. */
function scripted(log: LogTransport, ...steps: readonly Step[]): Transport & { urls: string[] } {
  const left = [...steps];
  const urls: string[] = [];
  const transport: Transport = (method, url, headers, body, signal) => {
    urls.push(url);
    const ask = () => log.transport(method, url, headers, body, signal);
    const step = left.shift();
    return step === undefined ? ask() : step(ask, url, signal);
  };
  return Object.assign(transport, { urls });
}

const refusedConnection: Step = () =>
  Promise.reject(Object.assign(new Error('no'), { code: 'ECONNREFUSED' }));
const lostAnswer: Step = async (ask) => {
  await ask();
  throw Object.assign(new Error('gone'), { code: 'ECONNRESET' });
};
const silence: Step = () => new Promise(() => undefined);
const busy: Step = () =>
  Promise.resolve(jsonAnswer(503, { code: 'busy', message: 'full' }, { 'retry-after': '2' }));
const passed: Step = (ask) => ask();

/** The answer, changed on its way. */
const changed =
  (change: (json: Record<string, unknown>) => unknown): Step =>
  async (ask) => {
    const { bytes } = await ask();
    return jsonAnswer(200, change(JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>));
  };

let drawn = 0;

function clientOf(log: LogTransport, options: Partial<ClientOptions> = {}): Client {
  const clock = fakeClock();
  return createClient({
    endpoints: [A],
    discover: false,
    trust: log.trust,
    primitives: NATIVE,
    transport: log.transport,
    now: clock.now,
    sleep: clock.sleep,
    random: (length) => Uint8Array.from({ length }, () => ++drawn),
    ...options,
  });
}

async function codeOf(promise: Promise<unknown>): Promise<ErrorCode | 'accepted'> {
  try {
    await promise;
    return 'accepted';
  } catch (error) {
    if (error instanceof QedError) return error.code;
    throw error;
  }
}

describe('an honest log', () => {
  it('adds, proves and compares, and says that it verified', async () => {
    const log = logTransport();
    const client = clientOf(log);
    const first = await client.add('event 0');
    expect(first).toMatchObject({ version: 0, verified: true, eventDigest: digestOf('event 0') });
    const bulk = await client.addBulk(['event 1', encodeUtf8('event 2'), 'event 0']);
    expect(bulk).toMatchObject({ versionFirst: 1, versionLast: 3, verified: true });
    expect(await client.addDigests([digestOf('event 4')])).toMatchObject({ versionFirst: 4, verified: true });

    const there = await client.membership({ event: 'event 0' });
    expect(there).toMatchObject({ exists: true, version: 0, versionAsked: 4, verified: true });
    const before = await client.membership({ eventDigest: digestOf('event 2'), version: 1 });
    expect(before).toMatchObject({ exists: false, version: 2, versionAsked: 1, verified: true });
    const absent = await client.membership({ event: 'event 9' });
    expect(absent).toMatchObject({ exists: false, version: null, verified: true });

    expect(await client.incremental(0, 3)).toMatchObject({ start: 0, end: 3, verified: true });
    expect((await client.snapshot()).snapshot.version).toBe(4);
    expect((await client.snapshot(2)).snapshot.version).toBe(3);
    expect(await client.checkpoint()).toMatchObject({ size: 5, verified: true });
    expect(await client.health()).toMatchObject({ ready: true });
    expect((await client.info()).vkey).toBe(log.vkey);
    expect((await client.head())?.snapshot.version).toBe(4);
  });

  it('says that nothing is verified without trust', async () => {
    const log = logTransport();
    const client = clientOf(log, { trust: undefined });
    expect((await client.add('a')).verified).toBe(false);
    expect((await client.addBulk(['b'])).verified).toBe(false);
    expect((await client.membership({ event: 'a' })).verified).toBe(false);
    expect((await client.incremental(0, 1)).verified).toBe(false);
    expect((await client.snapshot()).verified).toBe(false);
    expect((await client.checkpoint()).verified).toBe(false);
    expect(await client.head()).toBeUndefined();
  });

  it('keeps events to itself unless it is told to send them', async () => {
    const log = logTransport();
    await clientOf(log).add('secret');
    await clientOf(log, { sendEvents: true }).add('open');
    expect(log.requests.filter((request) => request.startsWith('POST'))).toEqual([
      'POST /events/bulk/digests',
      'POST /events',
    ]);
  });

  it('asks for a proof when an add shares its batch with others, and only then', async () => {
    const log = logTransport();
    const client = clientOf(log);
    await client.add('alone');
    expect(log.requests).not.toContain('POST /proofs/membership');
    log.companions = ['of somebody else'];
    expect(await client.add('together')).toMatchObject({ version: 1, verified: true });
    expect(log.requests).toContain('POST /proofs/membership');
    log.requests.length = 0;
    await clientOf(log, { proveAdds: false }).add('quick');
    expect(log.requests).toEqual(['POST /events/bulk/digests']);
  });

  it('takes the answers of requests side by side in any order', async () => {
    const log = logTransport();
    const client = clientOf(log);
    await client.add('first');
    const late: Step = async (ask) => {
      const answer = await ask();
      for (let i = 0; i < 50; i++) await Promise.resolve();
      return answer;
    };
    const slow = clientOf(log, { transport: scripted(log, passed, late) });
    await slow.snapshot();
    const answers = await Promise.all(['x', 'y', 'z'].map((event) => slow.add(event)));
    expect(answers.every(({ verified }) => verified)).toBe(true);
    expect((await slow.head())?.snapshot.version).toBe(3);
  });

  it.each<[string, (client: Client) => Promise<unknown>, ErrorCode]>([
    ['an empty log', (client) => client.snapshot(), 'log-empty'],
    ['an empty bulk', (client) => client.addBulk([]), 'batch-empty'],
    ['too many events', (client) => client.addBulk(new Array<string>(10_001).fill('')), 'batch-too-large'],
    [
      'a short digest',
      (client) => client.membership({ eventDigest: new Uint8Array(31) }),
      'digest-malformed',
    ],
    ['half a version', (client) => client.snapshot(0.5), 'version-malformed'],
    ['a range backwards', (client) => client.incremental(2, 1), 'range-reversed'],
  ])('tells the caller about %s', async (_what, ask, code) => {
    expect(await codeOf(ask(clientOf(logTransport())))).toBe(code);
  });

  it('gives back an event with its proof, and says when a repeated one has none of its own', async () => {
    const log = logTransport();
    log.log('a', 'b');
    log.log('a');
    expect(await clientOf(log).event(1)).toMatchObject({ eventDigest: digestOf('b'), verified: true });
    expect(await clientOf(log).event(2)).toMatchObject({ eventDigest: digestOf('a'), verified: false });
    const other = changed((json) => ({ ...json, event: 'c' }));
    expect(await codeOf(clientOf(log, { transport: scripted(log, other) }).event(1))).toBe('proof-question');
    const late = changed((json) => ({ ...json, time: 1 }));
    expect(await codeOf(clientOf(log, { transport: scripted(log, late) }).event(1))).toBe('proof-question');
  });

  it('says what a node says that is not ready', async () => {
    const log = logTransport();
    const unready: Step = () => Promise.resolve(jsonAnswer(503, { status: 'not ready', reason: 'full' }));
    const client = clientOf(log, { transport: scripted(log, unready) });
    expect(await client.health()).toEqual({ ready: false, said: '{"status":"not ready","reason":"full"}' });
  });

  it('tells about a version that is not there yet', async () => {
    const log = logTransport();
    log.log('only');
    expect(await codeOf(clientOf(log).membership({ event: 'only', version: 1 }))).toBe('version-unknown');
  });
});

describe('a network that fails', () => {
  it.each<[string, readonly Step[]]>([
    ['an answer that was lost', [lostAnswer]],
    ['two answers that were lost', [lostAnswer, lostAnswer]],
    ['a node that is silent', [silence]],
    ['a busy node', [busy, busy]],
    ['nobody there at first', [refusedConnection, refusedConnection, lostAnswer, busy]],
  ])('logs an add once in spite of %s', async (_what, steps) => {
    const log = logTransport();
    const client = clientOf(log, { transport: scripted(log, ...steps) });
    expect(await client.add('once')).toMatchObject({ version: 0, verified: true });
    expect(log.size()).toBe(1);
    expect(await client.add('twice')).toMatchObject({ version: 1 });
  });

  it('logs two adds of the same event twice, and a repeated key once', async () => {
    const log = logTransport();
    const client = clientOf(log);
    const idempotencyKey = new Uint8Array(16).fill(99);
    await client.add('same');
    await client.add('same');
    expect(log.size()).toBe(2);
    await client.add('keyed', { idempotencyKey });
    await client.add('keyed', { idempotencyKey });
    expect(log.size()).toBe(3);
  });

  it('goes to the next endpoint at once, and stays with the one that answers', async () => {
    const log = logTransport();
    log.log('here');
    const transport = scripted(log, refusedConnection);
    const clock = fakeClock();
    const client = clientOf(log, { endpoints: [A, B], readFrom: 'stay', transport, ...clock });
    const before = clock.now();
    await client.snapshot();
    await client.snapshot();
    expect(transport.urls.map((url) => new URL(url).origin)).toEqual([A, B, B]);
    expect(clock.now()).toBe(before);
  });

  it('leaves a node that is broken for one that is sound, and asks a lonely one no second time', async () => {
    const log = logTransport();
    log.log('here');
    const broken: Step = () => Promise.resolve(jsonAnswer(500, { code: 'store-corrupt', message: 'rot' }));
    const both = scripted(log, broken);
    await clientOf(log, { endpoints: [A, B], transport: both }).snapshot();
    expect(both.urls.map((url) => new URL(url).origin)).toEqual([A, B]);
    const alone = scripted(log, broken);
    expect(await codeOf(clientOf(log, { transport: alone }).snapshot())).toBe('server-failed');
    expect(alone.urls).toHaveLength(1);
    const adding = clientOf(log, { transport: scripted(log, broken) });
    expect(await codeOf(adding.add('perhaps'))).toBe('outcome-unknown');
  });

  it('waits as long as Retry-After asks, and no longer than the deadline', async () => {
    const log = logTransport();
    log.log('here');
    const clock = fakeClock();
    const client = clientOf(log, { transport: scripted(log, busy), ...clock });
    const before = clock.now();
    await client.snapshot();
    expect(clock.now() - before).toBe(2000);
    const impatient = clientOf(log, { transport: scripted(log, busy), ...clock, deadlineMs: 1500 });
    expect(await codeOf(impatient.snapshot())).toBe('busy');
  });

  it('gives up at the deadline, saying whether anything may have happened', async () => {
    const log = logTransport();
    log.log('here');
    const never = new Array<Step>(100);
    const clock = fakeClock();
    const unreachable = clientOf(log, {
      transport: scripted(log, ...never.fill(refusedConnection)),
      ...clock,
    });
    const before = clock.now();
    expect(await codeOf(unreachable.snapshot())).toBe('unreachable');
    expect(clock.now() - before).toBeLessThanOrEqual(30_000);
    const mute = clientOf(log, { transport: scripted(log, ...never.fill(silence)) });
    expect(await codeOf(mute.snapshot())).toBe('unreachable');
    const refusing = clientOf(log, { transport: scripted(log, ...never.fill(refusedConnection)) });
    expect(await codeOf(refusing.add('never sent'))).toBe('unreachable');
    const losing = clientOf(log, { transport: scripted(log, ...never.fill(lostAnswer)) });
    expect(await codeOf(losing.add('perhaps'))).toBe('outcome-unknown');
  });

  it.each<[string, TransportAnswer, ErrorCode]>([
    [
      'a page of a proxy',
      { status: 200, headers: { 'content-type': 'text/html' }, bytes: encodeUtf8('<p>') },
      'server-failed',
    ],
    [
      'JSON that is none',
      { status: 200, headers: { 'content-type': 'application/json' }, bytes: encodeUtf8('{') },
      'server-failed',
    ],
    [
      'a redirection',
      { status: 302, headers: { location: 'http://evil.example' }, bytes: new Uint8Array(0) },
      'server-failed',
    ],
    ['a bare 500', { status: 500, headers: {}, bytes: new Uint8Array(0) }, 'server-failed'],
    ['a bug of the server', jsonAnswer(500, { code: 'bug', message: 'oh' }), 'server-failed'],
    [
      'a server that claims a refusal',
      jsonAnswer(422, { code: 'signature-invalid', message: 'x' }),
      'server-failed',
    ],
    ['a missing version', jsonAnswer(404, { code: 'version-unknown', message: 'x' }), 'version-unknown'],
    ['a code that nobody knows', jsonAnswer(400, { code: 'toString', message: 'x' }), 'server-failed'],
  ])('does not mistake %s for a refusal', async (_what, answer, code) => {
    const log = logTransport();
    log.log('here');
    const always: Step = () => Promise.resolve(answer);
    const client = clientOf(log, { transport: scripted(log, always, always) });
    const error: unknown = await client.snapshot().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code });
    expect(error instanceof QedError && error.kind).not.toBe('refused');
  });

  it('says that an add was logged when only its check failed', async () => {
    const log = logTransport();
    log.companions = ['other'];
    const steps = [passed, ...new Array<Step>(50).fill(refusedConnection)];
    const client = clientOf(log, { transport: scripted(log, ...steps) });
    await expect(client.add('mine')).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/took the events up to version 0/) as string,
    });
    expect(log.size()).toBe(2);
  });

  it('keeps what a server says to one harmless line', async () => {
    const log = logTransport();
    const said = jsonAnswer(400, { code: 'bad-request', message: `\u001b[31m${'x'.repeat(5000)}\n` });
    const client = clientOf(log, { transport: scripted(log, () => Promise.resolve(said)) });
    const error: unknown = await client.snapshot().catch((caught: unknown) => caught);
    const message = error instanceof Error ? error.message : '';
    expect(message).toMatch(/^[ -~]{900,1000}$/);
  });
});

describe('a log that lies', () => {
  const events = ['event 0', 'event 1', 'event 2'];

  function grown(seed = 1): LogTransport {
    const log = logTransport({ seed });
    for (const event of events) log.log(event);
    return log;
  }

  const edited = (path: string, value: unknown): Step =>
    changed((json) => {
      const names = path.split('.');
      const last = names.pop()!;
      let at: Record<string, unknown> = json;
      for (const name of names) at = at[name] as Record<string, unknown>;
      at[last] = value;
      return json;
    });

  it.each<[string, Step, ErrorCode]>([
    ['says that the event is not there', edited('exists', false), 'proof-malformed'],
    ['names another version', edited('version', 1), 'hyper-mismatch'],
    ['answers about another event', edited('eventDigest', '00'.repeat(32)), 'proof-question'],
    ['shifts the time of the entry', edited('entry.time', 5), 'history-mismatch'],
    ['leaves the history out', edited('history', null), 'proof-malformed'],
    ['empties the path of the map', edited('hyper.path', []), 'hyper-mismatch'],
    [
      'shows another hyper digest',
      edited('signedSnapshot.snapshot.hyperDigest', '11'.repeat(32)),
      'snapshot-mismatch',
    ],
    ['shows another version', edited('signedSnapshot.snapshot.version', 1), 'snapshot-mismatch'],
    ['adds a field', edited('extra', 1), 'proof-malformed'],
    ['shows a checkpoint of nobody', edited('signedSnapshot.checkpoint', 'a\n\n'), 'note-malformed'],
  ])('is refused when its proof %s', async (_what, lie, code) => {
    const log = grown();
    const client = clientOf(log, { transport: scripted(log, lie) });
    expect(await codeOf(client.membership({ event: 'event 0' }))).toBe(code);
  });

  it.each<[string, Step, ErrorCode]>([
    ['is about another event', edited('eventDigests', ['00'.repeat(32)]), 'proof-question'],
    ['claims a version that nobody signed', edited('versions', [9, 9]), 'snapshot-mismatch'],
    ['claims the version of another event', edited('versions', [2, 2]), 'proof-question'],
    ['has versions that do not fit', edited('versions', [0, 3]), 'server-failed'],
  ])('is refused when its answer to an add %s', async (_what, lie, code) => {
    const log = grown();
    const client = clientOf(log, { transport: scripted(log, lie) });
    expect(await codeOf(client.add('mine'))).toBe(code);
  });

  it('is refused with the key of another log', async () => {
    const log = grown();
    expect(await codeOf(clientOf(log, { trust: grown(2).trust }).snapshot())).toBe('note-unsigned');
  });

  it('is refused for a proof between versions that were not asked about', async () => {
    const log = grown();
    const other = changed(() => ({ start: 0, end: 1, hashes: [] }));
    const client = clientOf(log, { transport: scripted(log, passed, passed, passed, passed, other) });
    await client.snapshot();
    expect(await codeOf(client.incremental(0, 2))).toBe('proof-question');
  });

  it('cannot show another history of the same size', async () => {
    const log = grown();
    const split = logTransport();
    for (const event of ['event 0', 'event 1', 'event X']) split.log(event);
    const steps = [
      passed,
      (_ask: unknown, url: string) =>
        split.transport('GET', url, {}, undefined, new AbortController().signal),
    ];
    const client = clientOf(log, { transport: scripted(log, ...steps) });
    await client.snapshot();
    expect(await codeOf(client.snapshot())).toBe('consistency-mismatch');
  });

  it('cannot rewrite history behind a verified head', async () => {
    const log = grown();
    const rewritten = logTransport();
    for (const event of ['event 0', 'forged', 'event 2', 'event 3']) rewritten.log(event);
    let now = log;
    const evidence: Evidence[] = [];
    const client = clientOf(log, {
      transport: (...ask) => now.transport(...ask),
      onEvidence: (found) => evidence.push(found),
    });
    await client.snapshot();
    now = rewritten;
    expect(await codeOf(client.snapshot())).toBe('consistency-mismatch');
    expect(evidence).toMatchObject([{ format: 'qed-evidence/v1', kind: 'inconsistent' }]);
    expect(await codeOf(client.membership({ event: 'forged' }))).toBe('consistency-mismatch');
    expect(await codeOf(client.add('event 4'))).toBe('consistency-mismatch');
    now = log;
    expect(await codeOf(client.snapshot())).toBe('accepted');
  });

  it('cannot show an old snapshot of another history either', async () => {
    const log = grown();
    const rewritten = logTransport();
    for (const event of ['event 0', 'forged', 'event 2', 'event 3']) rewritten.log(event);
    let past = log;
    const client = clientOf(log, {
      transport: (method, url, ...rest) =>
        (url.endsWith('/snapshots/1') ? past : log).transport(method, url, ...rest),
    });
    await client.snapshot();
    expect(await codeOf(client.snapshot(1))).toBe('accepted');
    past = rewritten;
    expect(await codeOf(clientOf(log).snapshot(1))).toBe('accepted');
    const again = clientOf(log, {
      transport: (method, url, ...rest) =>
        (url.endsWith('/snapshots/1') ? past : log).transport(method, url, ...rest),
    });
    await again.snapshot();
    expect(await codeOf(again.snapshot(1))).toBe('consistency-mismatch');
  });

  it('cannot go back, but a node that lags may catch up', async () => {
    const log = grown();
    const old = logTransport();
    old.log('event 0');
    const oldAnswer: Step = (_ask, url) =>
      old.transport('GET', url, {}, undefined, new AbortController().signal);
    const lagging = clientOf(log, { transport: scripted(log, passed, oldAnswer, oldAnswer) });
    await lagging.snapshot();
    expect((await lagging.snapshot()).snapshot.version).toBe(2);
    const frozen = clientOf(log, {
      transport: scripted(log, passed, ...new Array<Step>(20).fill(oldAnswer)),
    });
    await frozen.snapshot();
    expect(await codeOf(frozen.snapshot())).toBe('head-rollback');
  });

  it('is held to the head that was saved by an earlier process', async () => {
    const log = grown();
    let saved: SignedSnapshotJson | undefined;
    const headStore = {
      load: () => Promise.resolve<unknown>(saved),
      save: (head: SignedSnapshotJson) => {
        saved = head;
        return Promise.resolve();
      },
    };
    await clientOf(log, { headStore }).snapshot();
    expect(saved?.snapshot.version).toBe(2);
    const shorter = logTransport();
    shorter.log('event 0');
    expect(await codeOf(clientOf(shorter, { headStore }).snapshot())).toBe('head-rollback');
    const rewritten = logTransport();
    for (const event of ['a', 'b', 'c', 'd']) rewritten.log(event);
    expect(await codeOf(clientOf(rewritten, { headStore }).snapshot())).toBe('consistency-mismatch');
    expect(await codeOf(clientOf(log, { headStore }).snapshot())).toBe('accepted');
    saved = { ...saved!, audit: ['00'] };
    expect(await codeOf(clientOf(log, { headStore }).snapshot())).toBe('proof-malformed');
  });

  it('is refused when its newest state is older than allowed', async () => {
    const log = grown();
    const { snapshot } = await clientOf(log).snapshot();
    const clock = fakeClock(snapshot.time + 5000);
    expect(await codeOf(clientOf(log, { ...clock, maxAgeMs: 5000 }).snapshot())).toBe('accepted');
    expect(await codeOf(clientOf(log, { ...clock, maxAgeMs: 4999 }).snapshot())).toBe('head-stale');
    expect(await codeOf(clientOf(log, { ...clock, maxAgeMs: 4999 }).snapshot(0))).toBe('accepted');
  });
});

describe('the requests themselves', () => {
  it('carry the API key in a header and nowhere else', async () => {
    const log = logTransport();
    const sent: { url: string; headers: Readonly<Record<string, string>>; body: string }[] = [];
    const transport: Transport = (method, url, headers, body, signal) => {
      sent.push({ url, headers, body: body === undefined ? '' : encodeHex(body) });
      return log.transport(method, url, headers, body, signal);
    };
    await clientOf(log, { apiKey: 'my-key', transport }).add('event');
    expect(sent[0]?.headers).toEqual({
      'api-key': 'my-key',
      'content-type': 'application/octet-stream',
      'idempotency-key': expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
    expect(sent[0]?.url).toBe(`${A}/events/bulk/digests`);
    expect(sent[0]?.body).toBe(encodeHex(digestOf('event')));
  });

  it.each(['', 'localhost:8800', 'ftp://a', 'http://', 'http://a b', 'http://user:pass@a', 'http://a?x'])(
    'do not go to %p',
    (endpoint) => {
      expect(() => createClient({ endpoints: [endpoint] })).toThrow(QedError);
    },
  );
});
