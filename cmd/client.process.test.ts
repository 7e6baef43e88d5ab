// `qed client` as a process of its own: exit codes, variables, standard input, and what others can see of the API key.
import { spawn } from 'node:child_process';
import { logTransport } from '../testutils/log-transport.ts';
import { programPath } from '../testutils/programs.ts';
import { API_KEY, withServedLog } from '../testutils/served-log.ts';

interface Ran {
  readonly out: string;
  readonly exitCode: number | null;
}

function qed(args: readonly string[], env: Record<string, string> = {}, stdin = ''): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('QED_'));
    const child = spawn(process.execPath, [programPath('qed'), 'client', ...args], {
      env: { ...Object.fromEntries(clean), ...env },
    });
    let out = '';
    child.stdout.on('data', (part: Buffer) => (out += part.toString()));
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ out, exitCode }));
    child.stdin.end(stdin);
  });
}

it('ends with 0 when done and verified, 1 when refused, 2 when it could not check, 64 when asked wrongly', async () => {
  await withServedLog(async ({ url, vkey }) => {
    const env = { QED_ENDPOINT: url, QED_API_KEY: API_KEY, QED_VKEY: vkey };
    const added = await qed(['add'], { ...env, QED_JSON: 'true' }, 'from standard input');
    expect(added.exitCode).toBe(0);
    expect(JSON.parse(added.out)).toMatchObject({ version: 0, verified: true });
    const [refused, unreachable, wrong] = await Promise.all([
      qed(['get', '--vkey', logTransport({ seed: 2 }).vkey], env),
      qed(['get', '--endpoint', 'http://127.0.0.1:1', '--timeout', '0.1'], env),
      qed(['get', '--nothing'], env),
    ]);
    expect([refused.exitCode, unreachable.exitCode, wrong.exitCode]).toEqual([1, 2, 64]);
  });
});
