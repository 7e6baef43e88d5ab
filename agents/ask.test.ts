// What the auditor takes for an answer, for no answer, for a false one, and for trouble of its own.
import { QedError, type ErrorCode } from '../src/errors.ts';
import { encodeUtf8 } from '../src/crypto/encoding.ts';
import { type Transport } from '../src/client/transport.ts';
import { createSource } from './source.ts';
import { createAskLog, troubleOf, type AskLog } from './ask.ts';

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
