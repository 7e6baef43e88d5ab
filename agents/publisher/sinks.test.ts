// Each kind of sink: what it holds afterwards, after a crash in the middle, when it is repeated, and when it holds something else.
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { openMemoryStore } from '../../src/storage/memory.ts';
import { type Transport } from '../../src/client/transport.ts';
import { openJournal, type Entry, type Journal } from '../journal.ts';
import { checkSink } from './check.ts';
import { openFileSink } from './file-sink.ts';
import { parseSinkName } from './sink.ts';
import { openSqliteSink } from './sqlite-sink.ts';
import { openStoreSink } from './store-sink.ts';
import { openWsServer, type WsServer } from './ws-sink.ts';
import { codeOf, codeOfPromise } from '../../testutils/code-of.ts';
import { NATIVE, type SignedLog } from '../../testutils/signed-log.ts';
import { logOf } from '../../testutils/stub-log.ts';
import { withTempDir } from '../../testutils/temp.ts';
import { until } from '../../testutils/until.ts';
import { parseSignedSnapshot } from '../../src/balloon/proof.ts';

const log = logOf(50);
const other = logOf(50, 2);
const never = new AbortController().signal;

function entries(from: number, to: number, of: SignedLog = log): Entry[] {
  return Array.from({ length: to - from }, (_, at) => ({
    version: from + at,
    line: JSON.stringify(of.signedSnapshot(from + at)),
  }));
}
const text = (list: readonly Entry[]): string => list.map(({ line }) => `${line}\n`).join('');

describe('a file', () => {
  const inFile = (path: string): string => readFileSync(path, 'utf8');

  it('gets a line for each snapshot, and can be checked', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.jsonl');
      const sink = openFileSink(path);
      await sink.send(entries(0, 3), null, never);
      await sink.send(entries(3, 5), 2, never);
      expect(inFile(path)).toBe(text(entries(0, 5)));
      expect(await checkSink({ kind: 'file', path }, log.trust)).toEqual({
        snapshots: 5,
        versions: 5,
        first: 0,
        last: 4,
        late: 0,
      });
    }));

  it('has no half lines and no doubles after a crash in the middle of a batch', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.jsonl');
      await openFileSink(path).send(entries(0, 3), null, never);
      appendFileSync(path, text(entries(3, 5)) + entries(5, 6)[0]!.line.slice(0, 100));
      const again = openFileSink(path);
      await again.send(entries(3, 8), 2, never);
      await again.send(entries(8, 9), 7, never);
      expect(inFile(path)).toBe(text(entries(0, 9)));
    }));

  it('is begun anew when it was moved away', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.jsonl');
      const sink = openFileSink(path);
      await sink.send(entries(0, 2), null, never);
      renameSync(path, `${path}.1`);
      await sink.send(entries(2, 4), 1, never);
      expect(inFile(`${path}.1`) + inFile(path)).toBe(text(entries(0, 4)));
    }));

  it('says why it cannot be written, and goes on when it can', () =>
    withTempDir(async (directory) => {
      const sink = openFileSink(join(directory, 'not', 'there', 'a.jsonl'));
      expect(await codeOfPromise(sink.send(entries(0, 1), null, never))).toBe('store-failed');
      mkdirSync(join(directory, 'not', 'there'), { recursive: true });
      await sink.send(entries(0, 1), null, never);
      expect(await codeOfPromise(openFileSink('/dev/full').send(entries(0, 1), null, never))).toMatch(
        /store-f/,
      );
    }));

  it.each<[string, (path: string) => void, string]>([
    [
      'an edited line',
      (path) => writeFileSync(path, text(entries(0, 3)).replace('"time":17', '"time":16')),
      'snapshot-mismatch',
    ],
    ['a line cut short', (path) => appendFileSync(path, '{"snapshot":'), 'proof-malformed'],
    ['another log', (path) => appendFileSync(path, text(entries(3, 4, logOf(4, 9)))), 'consistency-mismatch'],
    ['two histories', (path) => appendFileSync(path, text(entries(2, 3, other))), 'consistency-mismatch'],
  ])('shows when it is checked: %s', (_name, edit, code) =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.jsonl');
      await openFileSink(path).send(entries(0, 4), null, never);
      edit(path);
      expect(await codeOfPromise(checkSink({ kind: 'file', path }, log.trust))).toBe(code);
    }),
  );
});

describe('an SQLite database', () => {
  const openSink = (path: string, conflicts: string[] = []) =>
    openSqliteSink({
      path,
      now: () => 1_700_000_000_000,
      onConflict: (_ours, theirs) => void conflicts.push(theirs),
    });

  it('gets a row for each version, once, whatever is repeated, and can be checked', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.db');
      const conflicts: string[] = [];
      const sink = openSink(path, conflicts);
      await sink.send(entries(0, 5), null, never);
      await sink.send(entries(2, 8), 1, never);
      expect(await codeOfPromise(checkSink({ kind: 'sqlite', path }, log.trust))).toBe('accepted');
      await sink.close();
      const checked = await checkSink({ kind: 'sqlite', path }, log.trust);
      expect(checked).toEqual({ snapshots: 8, versions: 8, first: 0, last: 7, late: 0 });
      expect(conflicts).toEqual([]);
    }));

  it('keeps its row and tells when the same version comes with another history', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.db');
      const conflicts: string[] = [];
      const sink = openSink(path, conflicts);
      await sink.send(entries(0, 3), null, never);
      await sink.send(entries(2, 4, other), 1, never);
      await sink.close();
      expect(conflicts).toEqual([entries(2, 3)[0]!.line]);
    }));

  it('takes over from a holder that is dead, with its lock, and from nobody who lives', () =>
    withTempDir(async (directory) => {
      const path = join(directory, 'a.db');
      const sink = openSink(path);
      await sink.send(entries(0, 2), null, never);
      await sink.close();
      expect(existsSync(`${path}.holder`)).toBe(false);
      mkdirSync(`${path}.lock`);
      // No process has that id: it is above the system's limit.
      writeFileSync(`${path}.holder`, '99999999');
      await sink.send(entries(2, 3), 1, never);
      await sink.close();
      writeFileSync(`${path}.holder`, String(process.ppid));
      expect(await codeOfPromise(sink.send(entries(3, 4), 2, never))).toBe('store-locked');
    }));

  it('shows when it is checked that a row was edited', () =>
    withTempDir(async (directory) => {
      const { default: sqlite } = await import('node-sqlite3-wasm');
      for (const [edit, code] of [
        ['UPDATE snapshots SET version = 77 WHERE version = 1', 'store-corrupt'],
        ["UPDATE snapshots SET signatures = '' WHERE version = 1", 'store-corrupt'],
        [
          'UPDATE snapshots SET payload = replace(payload, \'"time":17\', \'"time":16\')',
          'snapshot-mismatch',
        ],
      ] as const) {
        const path = join(directory, `${code}-${edit.length}.db`);
        const sink = openSink(path);
        await sink.send(entries(0, 3), null, never);
        await sink.close();
        const db = new sqlite.Database(path);
        db.exec(edit);
        db.close();
        expect(await codeOfPromise(checkSink({ kind: 'sqlite', path }, log.trust))).toBe(code);
      }
    }));
});

describe('a snapshot store', () => {
  interface Fake {
    readonly posts: string[];
    status: number;
    shows: SignedLog;
  }

  function openSink(fake: Fake, conflicts: [string, string][]) {
    const transport: Transport = (method, url, headers, body) => {
      const bytes = (json: string): Uint8Array => new TextEncoder().encode(json);
      expect(headers['api-key']).toBe('of the store');
      if (method === 'GET') {
        const version = Number(new URL(url).searchParams.get('v'));
        return Promise.resolve({
          status: 200,
          headers: {},
          bytes: bytes(JSON.stringify(fake.shows.signedSnapshot(version))),
        });
      }
      fake.posts.push(new TextDecoder().decode(body));
      return Promise.resolve({ status: fake.status, headers: {}, bytes: bytes('{"code":"x"}') });
    };
    const onConflict = (ours: string, theirs: string): void => void conflicts.push([ours, theirs]);
    return openStoreSink({
      url: 'http://store/',
      apiKey: 'of the store',
      transport,
      trust: log.trust,
      primitives: NATIVE,
      onConflict,
    });
  }

  it('gets batches that say what comes before them', async () => {
    const fake: Fake = { posts: [], status: 200, shows: log };
    await openSink(fake, []).send(entries(3, 5), 2, never);
    expect(JSON.parse(fake.posts[0]!)).toEqual({
      previous: 2,
      snapshots: [log.signedSnapshot(3), log.signedSnapshot(4)],
    });
  });

  it('is tried again when it refuses, and asked what it has when it knows better', async () => {
    const fake: Fake = { posts: [], status: 422, shows: other };
    const conflicts: [string, string][] = [];
    const sink = openSink(fake, conflicts);
    expect(await codeOfPromise(sink.send(entries(0, 1), null, never))).toBe('server-failed');
    fake.status = 409;
    await sink.send(entries(0, 2), null, never);
    expect(conflicts).toEqual(entries(0, 2).map(({ line }, at) => [line, entries(0, 2, other)[at]!.line]));
    fake.shows = logOf(3, 5);
    expect(conflicts).toHaveLength(2);
  });
});

describe('WebSocket', () => {
  const servers: WsServer[] = [];
  const sockets: WebSocket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.terminate();
    await Promise.all(servers.splice(0).map((server) => server.close()));
  });

  async function serve(
    keep = 10_000,
  ): Promise<{ journal: Journal; server: WsServer; add: (from: number, to: number) => Promise<void> }> {
    const journal = await openJournal(openMemoryStore(), keep);
    const server = await openWsServer({ host: '127.0.0.1', port: 0, journal });
    servers.push(server);
    const add = async (from: number, to: number): Promise<void> => {
      await journal.add(
        Array.from({ length: to - from }, (_, at) => parseSignedSnapshot(log.signedSnapshot(from + at))),
      );
    };
    return { journal, server, add };
  }

  function read(
    server: WsServer,
    query: string,
  ): { readonly lines: string[]; readonly socket: WebSocket; readonly closed: number[] } {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/${query}`);
    const reader = { lines: [] as string[], socket, closed: [] as number[] };
    socket.on('message', (data: Buffer) => reader.lines.push(data.toString()));
    socket.on('close', (code) => reader.closed.push(code));
    socket.on('error', () => undefined);
    sockets.push(socket);
    return reader;
  }

  const linesOf = (from: number, to: number): string[] => entries(from, to).map(({ line }) => line);

  it('replays from a version on, and then follows', async () => {
    const { server, add } = await serve();
    await add(0, 10);
    const [all, some, fresh] = [read(server, '?from=0'), read(server, '?from=7'), read(server, '')];
    await until(
      'the replay',
      () => all.lines.length === 10 && some.lines.length === 3 && server.figures().readers === 3,
    );
    await add(10, 20);
    await until('the rest', () =>
      [all, some, fresh].every(({ lines }) => lines.at(-1) === linesOf(19, 20)[0]),
    );
    expect(all.lines).toEqual(linesOf(0, 20));
    expect(some.lines).toEqual(linesOf(7, 20));
    expect(fresh.lines).toEqual(linesOf(10, 20));
  });

  it('ends after the replay when asked to, and can be checked so', async () => {
    const { server, add } = await serve();
    await add(0, 10);
    const reader = read(server, '?from=2&follow=0');
    await until('the end', () => reader.closed.length > 0);
    expect([reader.lines.length, reader.closed]).toEqual([8, [1000]]);
    const checked = await checkSink({ kind: 'ws', host: '127.0.0.1', port: server.port }, log.trust);
    expect(checked).toMatchObject({ snapshots: 10, first: 0, last: 9 });
  });

  it('refuses what is no version', async () => {
    const { server } = await serve();
    const reader = read(server, '?from=01');
    await until('the refusal', () => reader.closed.length > 0);
    expect(reader.closed).toEqual([4400]);
  });

  it('holds a slow reader back instead of leaving holes, and serves others meanwhile', async () => {
    const { server, journal } = await serve();
    // Large enough to fill what the system keeps for a connection.
    const line = 'x'.repeat(64 * 1024);
    const big = { ...journal, entryOf: () => ({ version: 1, line }) };
    await server.close();
    const slowServer = await openWsServer({ host: '127.0.0.1', port: 0, journal: big });
    servers.push(slowServer);
    const [slow, fast] = [read(slowServer, ''), read(slowServer, '')];
    await until('both are there', () => slowServer.figures().readers === 2);
    slow.socket.pause();
    for (let from = 0; from < 50; from++) {
      await journal.add([parseSignedSnapshot(log.signedSnapshot(from))]);
    }
    const many = logOf(400, 3);
    await journal.add(
      many.snapshots.slice(50).map(({ version }) => parseSignedSnapshot(many.signedSnapshot(version))),
    );
    await until('the fast one has all', () => fast.lines.length === 400);
    expect(slow.lines.length).toBeLessThan(400);
    expect(slowServer.figures().sent).toBeLessThan(800);
    slow.socket.resume();
    await until('the slow one has all', () => slow.lines.length === 400);
  });

  it('cuts off a reader that wants what is forgotten while it was slow', async () => {
    const { server, journal, add } = await serve(5);
    const forgetful = {
      ...journal,
      queue: { ...journal.queue, next: 1, read: journal.queue.read, wait: journal.queue.wait },
    };
    await server.close();
    const other = await openWsServer({ host: '127.0.0.1', port: 0, journal: forgetful });
    servers.push(other);
    for (let from = 0; from < 30; from++) await add(from, from + 1);
    const reader = read(other, '');
    await until('it is cut off', () => reader.closed.length > 0);
    expect(reader.closed).toEqual([4408]);
  });
});

it.each([
  ['file:/a/b', { kind: 'file', path: '/a/b' }],
  ['sqlite:a.db', { kind: 'sqlite', path: 'a.db' }],
  ['ws::6001', { kind: 'ws', host: undefined, port: 6001 }],
  ['ws:127.0.0.1:6001', { kind: 'ws', host: '127.0.0.1', port: 6001 }],
  ['ws://127.0.0.1:6001', { kind: 'ws', host: '127.0.0.1', port: 6001 }],
])('reads %s', (name, sink) => {
  expect(parseSinkName(name)).toEqual(sink);
});

it.each(['', 'file:', 'x:y', 'ws:6001', 'ws:a:b', '/a/b'])('refuses "%s" as a sink', (name) => {
  expect(codeOf(() => parseSinkName(name))).toBe('option-malformed');
});
