// qed start and qed generate as real processes: first start, second start, signals, kill -9.
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { verifyMembership } from '../src/balloon/verify.ts';
import { parseVkey } from '../src/crypto/vkey.ts';
import { programPath } from '../testutils/programs.ts';
import { run as main } from './main.ts';
import { jest } from '@jest/globals';

let directory = '';
const children: ChildProcess[] = [];
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'qed-start-'))));
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(directory, { recursive: true, force: true });
});

interface Running {
  readonly child: ChildProcess;
  /** What standard output says in the greeting, by name. */
  readonly said: ReadonlyMap<string, string>;
  readonly errors: () => string;
  readonly exit: Promise<number | null>;
}

function launch(
  args: readonly string[],
  env: Record<string, string> = {},
): Running & { greeted: Promise<void> } {
  const child = spawn(process.execPath, [programPath('qed'), ...args], {
    cwd: resolve('.'),
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const said = new Map<string, string>();
  let errors = '';
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const greeted = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, name, value] = /^ {2}(\w+) {2,}(\S+)/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) said.set(name, value);
      if (line.startsWith('Try next')) resolve();
    });
    child.once('exit', () => resolve());
  });
  const exit = once(child, 'exit').then(([code]: (number | null)[]) => code ?? null);
  return { child, said, errors: () => errors, exit, greeted };
}

async function start(args: readonly string[] = [], env: Record<string, string> = {}): Promise<Running> {
  const ports = ['--http-addr', '127.0.0.1:0', '--mgmt-addr', '127.0.0.1:0'];
  const running = launch(['start', '-p', join(directory, 'data'), ...ports, ...args], env);
  await running.greeted;
  return running;
}

/** Runs in this process, which is faster: for command lines that start nothing, or fail. */
async function runHere(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; errors: string }> {
  const lines: string[] = [];
  const before = { ...process.env };
  Object.assign(process.env, env);
  const log = jest.spyOn(console, 'log').mockReturnValue(undefined);
  try {
    const code = await main(args, (...parts: unknown[]) => lines.push(parts.map(String).join(' ')));
    return { code: code ?? 0, errors: lines.join('\n') };
  } finally {
    log.mockRestore();
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) Reflect.deleteProperty(process.env, name);
    }
  }
}

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });

it('makes everything it needs at the first start, says what it did, keeps the data locked, and stops with 0', async () => {
  const { said, child, exit, errors } = await start();
  const names = ['api', 'management', 'metrics', 'data', 'node', 'origin', 'vkey'];
  expect([...said.keys()].filter((name) => names.includes(name))).toEqual(names);
  expect(said.get('data')).toBe(join(directory, 'data'));
  expect(statSync(join(directory, 'data', 'log_key.pem')).mode & 0o777).toBe(0o600);
  const api = said.get('api')!;
  const info: unknown = await (await fetch(`${api}/info`)).json();
  expect(info).toMatchObject({
    vkey: said.get('vkey'),
    origin: said.get('origin'),
    nodeId: said.get('node'),
  });
  expect((await post(`${api}/events`, { event: 'hello' })).status).toBe(201);
  expect((await fetch(said.get('metrics')!)).status).toBe(200);
  const second = await runHere(['start', '-p', join(directory, 'data')]);
  expect(second).toMatchObject({ code: 1, errors: expect.stringContaining('already open') as string });
  child.kill('SIGTERM');
  expect(await exit).toBe(0);
  // Not on a terminal: every line of the log is JSON.
  for (const line of errors().trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('level');
});

it('loses nothing acknowledged to kill -9 under load, and moves nothing', async () => {
  const acknowledged = new Map<string, number>();
  let vkey = '';
  for (let round = 0; round < 2; round++) {
    const { child, said, exit } = await start();
    const api = said.get('api')!;
    vkey = said.get('vkey')!;
    const worker = async (name: number): Promise<void> => {
      for (let at = 0; ; at++) {
        const events = Array.from({ length: 5 }, (_, one) => `${round} ${name} ${at} ${one}`);
        const answer = await post(`${api}/events/bulk`, { events });
        const { versions } = (await answer.json()) as { versions: [number, number] };
        for (const [one, event] of events.entries()) acknowledged.set(event, versions[0] + one);
        if (acknowledged.size >= 300 * (round + 1)) child.kill('SIGKILL');
      }
    };
    await Promise.allSettled(Array.from({ length: 8 }, (_, name) => worker(name)));
    expect(await exit).toBeNull();
  }
  const { said } = await start();
  expect(said.get('vkey')).toBe(vkey);
  expect(acknowledged.size).toBeGreaterThanOrEqual(600);
  expect(new Set(acknowledged.values()).size).toBe(acknowledged.size);
  for (const [event, version] of acknowledged) {
    const answer: unknown = await (await post(`${said.get('api')!}/proofs/membership`, { event })).json();
    const eventDigest = new Uint8Array(createHash('sha256').update(event).digest());
    const verified = verifyMembership(answer, { eventDigest }, { log: parseVkey(vkey) });
    expect(verified).toMatchObject({ exists: true, version });
  }
});

it('takes flags over variables over the file, and renews keys on SIGHUP', async () => {
  const config = join(directory, 'qed.json');
  const keys = join(directory, 'keys');
  const line = (name: string, key: string) =>
    `${name} append ${createHash('sha256').update(key).digest('hex')}\n`;
  writeFileSync(keys, line('one', 'first'));
  writeFileSync(
    config,
    JSON.stringify({ origin: 'file.example', 'node-id': 'file', 'api-keys-file': keys, log: 'info' }),
  );
  const env = {
    QED_NODE_ID: 'variable',
    QED_ORIGIN: 'variable.example',
    QED_ENDPOINT: 'http://for.another.command',
  };
  const { said, child, errors } = await start(['--config', config, '--origin', 'flag.example'], env);
  expect([said.get('origin'), said.get('node')]).toEqual(['flag.example', 'variable']);
  const status = async (key: string) => {
    const headers = { 'api-key': key, 'content-type': 'application/json' };
    return (await fetch(`${said.get('api')!}/events`, { method: 'POST', body: '{"event":"x"}', headers }))
      .status;
  };
  expect([await status('first'), await status('second')]).toEqual([201, 401]);
  writeFileSync(keys, line('two', 'second'));
  child.kill('SIGHUP');
  while (!errors().includes('were read again')) await once(child.stderr!, 'data');
  expect([await status('first'), await status('second')]).toEqual([401, 201]);
});

it('takes no notice of variables that only begin like its own', async () => {
  const out = join(directory, 'key.pem');
  expect(await runHere(['generate', 'keypair', '-o', out], { QEDITOR: 'vim', QED: 'yes' })).toMatchObject({
    code: 0,
  });
});

describe('says what is wrong, and what to do', () => {
  const rows: { name: string; args: string[]; code: number; says: string }[] = [
    { name: 'an unknown flag', args: ['--nothing'], code: 64, says: 'nothing' },
    { name: 'a level that is none', args: ['-l', 'loud'], code: 64, says: 'loud' },
    { name: 'an address that is none', args: ['--http-addr', '8800'], code: 64, says: '--http-addr' },
    { name: 'all interfaces without a key', args: ['--http-addr', ':0'], code: 64, says: '--insecure' },
    {
      name: 'a key file that is not there',
      args: ['-y', '/nowhere/key'],
      code: 1,
      says: 'qed generate keypair, or ssh-keygen',
    },
    {
      name: 'a certificate without its key',
      args: ['--tls-cert', 'x'],
      code: 64,
      says: 'qed generate certs',
    },
    {
      name: 'a certificate that is not there',
      args: ['--tls-cert', 'x', '--tls-key', 'y'],
      code: 64,
      says: '--tls-cert: x cannot be read',
    },
    {
      name: 'a cluster that is no address',
      args: ['--join-addr', ':8700,x'],
      code: 64,
      says: '--join-addr: "x"',
    },
    { name: 'a host that is none', args: ['--advertise-host', 'a/b'], code: 64, says: '--advertise-host' },
    {
      name: 'a cluster of which it would be the first node',
      args: ['--mgmt-addr', '127.0.0.1:18719', '--join-addr', ':18719'],
      code: 64,
      says: 'this node itself',
    },
    {
      name: 'a configuration that is not there',
      args: ['--config', '/nowhere.json'],
      code: 64,
      says: '/nowhere.json',
    },
    {
      name: 'a page that is no origin',
      args: ['--cors-origin', 'https://a.example,https://b.example/page'],
      code: 64,
      says: '--cors-origin: "https://b.example/page"',
    },
    { name: 'reads for keys without keys', args: ['--read-key-required'], code: 64, says: '--api-key' },
  ];
  for (const { name, args, code, says } of rows) {
    it(name, async () => {
      const outcome = await runHere(['start', '-p', join(directory, 'data'), ...args]);
      expect(outcome).toMatchObject({ code, errors: expect.stringContaining(says) as string });
      expect(outcome.errors).not.toContain('    at ');
    });
  }

  it('a port that is taken', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as net.AddressInfo;
    const outcome = await runHere([
      'start',
      '-p',
      join(directory, 'data'),
      '--http-addr',
      `127.0.0.1:${port}`,
    ]);
    expect(outcome.code).toBe(1);
    expect(outcome.errors).toContain(`--http-addr: 127.0.0.1:${port} is taken`);
    taken.close();
  });
});

it('keeps the API key out of the list of processes and out of the log', async () => {
  const secret = 'a-key-that-nobody-else-may-see-0123456789';
  const { child, errors, said } = await start(['-k', secret, '-l', 'debug']);
  await fetch(`${said.get('api')!}/events`, { method: 'POST', headers: { 'api-key': secret }, body: 'x' });
  await fetch(`${said.get('api')!}/nothing`, { headers: { 'api-key': secret } });
  expect(readFileSync(`/proc/${String(child.pid)}/cmdline`, 'utf8')).not.toContain(secret);
  expect(errors()).not.toContain(secret);
});

describe('qed generate', () => {
  it('makes a key that qed start takes, once', async () => {
    const key = join(directory, 'key.pem');
    const env = { QED_KEY_PASSPHRASE: 'a passphrase of some length' };
    expect(
      await runHere(['generate', 'keypair', '-o', key, '--origin', 'example.org/log'], env),
    ).toMatchObject({
      code: 0,
    });
    expect(await runHere(['generate', 'keypair', '-o', key], env)).toMatchObject({ code: 1 });
    const { said } = await start(['-y', key, '--origin', 'example.org/log'], env);
    expect(`${said.get('vkey')!}\n`).toBe(readFileSync(`${key}.pub`, 'utf8'));
  });

  it('makes certificates that qed start takes, once', async () => {
    const out = join(directory, 'certs');
    expect(await runHere(['generate', 'certs', '-o', out, '--host', '127.0.0.1'])).toMatchObject({ code: 0 });
    expect(await runHere(['generate', 'certs', '-o', out])).toMatchObject({ code: 1 });
    for (const name of ['ca', 'server', 'client'])
      expect(statSync(join(out, `${name}_key.pem`)).mode & 0o777).toBe(0o600);
    const { said } = await start([
      '--tls-cert',
      join(out, 'server.pem'),
      '--tls-key',
      join(out, 'server_key.pem'),
    ]);
    expect(said.get('api')).toMatch(/^https:/);
  });

  it('wants to know what', async () => {
    expect(await runHere(['generate'])).toMatchObject({ code: 64 });
    expect(await runHere([])).toMatchObject({ code: 64 });
  });
});
