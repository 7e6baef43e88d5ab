// What the auditor takes for an answer, for no answer, for a false one, and for trouble of its own.
import { QedError, type ErrorCode } from '../../src/errors.ts';
import { encodeUtf8 } from '../../src/crypto/encoding.ts';
import { type Transport } from '../../src/client/transport.ts';
import { createSource } from '../source.ts';
import { createAskLog, troubleOf, type AskLog } from './ask.ts';
import { fetchEntries } from './entries.ts';
import { createPace } from './pace.ts';

function askOf(answer: (path: string) => readonly [status: number, body: string | Uint8Array]): AskLog {
  const transport: Transport = (_method, url) => {
    const [status, body] = answer(new URL(url).pathname);
    const headers = { 'content-type': 'application/json' };
    return Promise.resolve({ status, headers, bytes: typeof body === 'string' ? encodeUtf8(body) : body });
  };
  let time = 0;
  const now = (): number => (time += 1_000);
  return createAskLog(createSource({ urls: ['http://log'], transport, now, jitter: () => 0 }), now);
}

const troubleWith = async (ask: AskLog): Promise<unknown> =>
  ask.covering(3).then(
    () => 'answered',
    (error: unknown) => {
      try {
        return `${troubleOf(error)} ${error instanceof QedError ? error.code : ''}`;
      } catch {
        return 'ours';
      }
    },
  );

it.each<[string, number, string, string]>([
  ['that its disk is broken', 500, '{"code":"store-failed","message":"no"}', 'silent server-failed'],
  ['that its data is damaged', 500, '{"code":"store-corrupt","message":"no"}', 'silent server-failed'],
  ['that something is refused', 422, '{"code":"history-mismatch","message":"no"}', 'silent server-failed'],
  ['that we may not', 403, '{"code":"forbidden","message":"no"}', 'silent forbidden'],
  ['that it is busy', 503, '{"code":"busy","message":"no"}', 'silent busy'],
  ['something else', 200, '<html>', 'silent server-failed'],
  ['JSON of another form', 200, '{"snapshot":1}', 'false proof-malformed'],
])('a log that says %s', async (_name, status, body, trouble) => {
  expect(await troubleWith(askOf(() => [status, body]))).toBe(trouble);
});

it.each<[ErrorCode, boolean]>([
  ['store-full', true],
  ['store-corrupt', true],
  ['bug', true],
  ['unreachable', false],
  ['hyper-mismatch', false],
])('%s is our own trouble: %s', (code, isOurs) => {
  const judge = () => troubleOf(new QedError(code, 'x'));
  if (isOurs) expect(judge).toThrow('x');
  else expect(judge()).toMatch(/silent|false/);
});

it('says that an empty log has no newest state', async () => {
  const ask = askOf(() => [404, '{"code":"log-empty","message":"nothing"}']);
  expect(await ask.latest()).toBeUndefined();
});

it('cuts what it wants out of bundles, and takes nothing else for one', async () => {
  const bundle = (index: number, width: number): Uint8Array => {
    const bytes = new Uint8Array(width * 74);
    for (let slot = 0; slot < width; slot++) {
      bytes[slot * 74 + 1] = 72;
      new DataView(bytes.buffer).setUint32(slot * 74 + 2, index * 256 + slot);
    }
    return bytes;
  };
  const sleep = (): Promise<void> => Promise.resolve();
  const pace = createPace({ widthMax: 2, slowMs: 1e9, now: () => 0, sleep });
  const ask = askOf((path) => {
    const [, index, width] = /entries\/(\d+)(?:\.p\/(\d+))?$/.exec(path) ?? [];
    return [200, bundle(Number(index), Number(width ?? 256))];
  });
  const entries = await fetchEntries(ask, pace, 200, 600);
  const view = new DataView(entries.buffer);
  const versions = Array.from({ length: 400 }, (_, at) => view.getUint32(at * 72));
  expect(versions).toEqual(Array.from({ length: 400 }, (_, at) => 200 + at));
  const short = askOf(() => [200, bundle(0, 10).subarray(1)]);
  await expect(fetchEntries(short, pace, 0, 10)).rejects.toMatchObject({ code: 'server-failed' });
  const other = bundle(0, 10);
  other[74 * 5 + 1] = 71;
  await expect(
    fetchEntries(
      askOf(() => [200, other]),
      pace,
      0,
      10,
    ),
  ).rejects.toMatchObject({
    code: 'server-failed',
  });
});
