// The check of all that a sink holds, by the sink and the vkey alone: every line is signed by the log, no version is there twice with two histories, and a
// database says in its columns what its payload says.
import { createReadStream, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type Trust } from '../../src/balloon/verify.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { verifyLine } from '../store/verify.ts';
import { type SinkName } from './sink.ts';
import { holdDatabase, releaseDatabase, signaturesOf } from './sqlite-sink.ts';

export interface SinkChecked {
  readonly snapshots: number;
  readonly versions: number;
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Snapshots behind one of a higher version: they were late. */
  readonly late: number;
}

/** Throws what the first wrong line is refused with. */
export async function checkSink(sink: SinkName, trust: Trust): Promise<SinkChecked> {
  const roots = new Map<number, string>();
  let snapshots = 0;
  let late = 0;
  let first: number | undefined;
  let last: number | undefined;
  for await (const line of linesOf(sink)) {
    snapshots += 1;
    const version = checkLine(line, snapshots, trust);
    const root = encodeHex(parseLine(line).snapshot.historyDigest);
    if ((roots.get(version) ?? root) !== root) {
      throw new QedError(
        'consistency-mismatch',
        `line ${snapshots}: the log has signed two histories for version ${version}`,
      );
    }
    roots.set(version, root);
    if (last !== undefined && version < last) late += 1;
    first = Math.min(first ?? version, version);
    last = Math.max(last ?? version, version);
  }
  return { snapshots, versions: roots.size, first, last, late };
}

function checkLine(line: string, number: number, trust: Trust): number {
  try {
    return verifyLine(line, trust);
  } catch (error) {
    if (!(error instanceof QedError)) throw error;
    throw new QedError(error.code, `line ${number}: ${error.message}`, { cause: error });
  }
}

function linesOf(sink: SinkName): AsyncIterable<string> {
  if (sink.kind === 'ws') return wsLines(`ws://${sink.host ?? '127.0.0.1'}:${sink.port}/?from=0&follow=0`);
  if (!existsSync(sink.path)) throw new QedError('option-malformed', `there is nothing at ${sink.path}`);
  return sink.kind === 'file'
    ? createInterface({ input: createReadStream(sink.path), crlfDelay: Infinity })
    : sqliteLines(sink.path);
}

async function* sqliteLines(path: string): AsyncGenerator<string> {
  const { default: sqlite } = await import('node-sqlite3-wasm');
  holdDatabase(path);
  const db = new sqlite.Database(path, { fileMustExist: true });
  try {
    const PAGE = 500;
    for (let after: number | bigint = -1; ;) {
      const rows = db.all(
        'SELECT id, version, payload, signatures FROM snapshots WHERE id > ? ORDER BY id LIMIT ?',
        [after, PAGE],
      );
      for (const { id, version, payload, signatures } of rows) {
        if (typeof payload !== 'string') throw new QedError('store-corrupt', 'a payload is no text');
        const line = parseLine(payload);
        if (line.snapshot.version !== version || signaturesOf(payload) !== signatures) {
          throw new QedError(
            'store-corrupt',
            `the columns of version ${line.snapshot.version} are not those of its payload`,
          );
        }
        if (typeof id === 'number' || typeof id === 'bigint') after = id;
        yield payload;
      }
      if (rows.length < PAGE) return;
    }
  } finally {
    db.close();
    releaseDatabase(path);
  }
}

async function* wsLines(url: string): AsyncGenerator<string> {
  const { WebSocket } = await import('ws');
  const socket = new WebSocket(url, { handshakeTimeout: 5_000 });
  const lines: string[] = [];
  const state: { end: QedError | 'ended' | undefined } = { end: undefined };
  let wake: () => void = () => undefined;
  socket.on('message', (data: Buffer) => {
    lines.push(data.toString());
    // The publisher waits while we are busy.
    if (lines.length > 1_000) socket.pause();
    wake();
  });
  socket.on('error', (cause) => {
    state.end ??= new QedError('unreachable', `${url} does not answer: ${cause.message}`, { cause });
    wake();
  });
  socket.on('close', (code, reason) => {
    state.end ??=
      code === 1000
        ? 'ended'
        : new QedError('server-failed', `${url} closed with ${code}: ${reason.toString()}`);
    wake();
  });
  for (;;) {
    for (const line of lines.splice(0)) yield line;
    socket.resume();
    if (lines.length > 0) continue;
    if (state.end === 'ended') return;
    if (state.end) throw state.end;
    await new Promise<void>((resolve) => (wake = resolve));
  }
}
