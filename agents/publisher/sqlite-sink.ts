// A table of snapshots in an SQLite database:
//
//   snapshots(id, created_at, version UNIQUE, payload, signatures)
//
// payload is the signed snapshot as one line of JSON, signatures are the signature lines of its checkpoint, created_at says in UTC when the row was written.
// A version is there once, whatever is repeated.
//
// The SQLite that we use is built for WebAssembly and has locks of its own: a directory PATH.lock, which a kill leaves behind and which other
// programs do not know. So the process that holds the database writes its id to PATH.holder, and takes a lock away whose holder is dead. Others should
// look at a copy, or while the publisher is stopped.
import { existsSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { type Database } from 'node-sqlite3-wasm';
import { QedError } from '../../src/errors.ts';
import { type Entry } from '../journal.ts';
import { parseLine } from '../../src/gossip/snapshots.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { sinkError, type OnConflict, type Sink } from './sink.ts';

const TABLE = `
  CREATE TABLE IF NOT EXISTS snapshots (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    version INTEGER NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    signatures TEXT NOT NULL
  )`;
const INSERT = `
  INSERT INTO snapshots (created_at, version, payload, signatures) VALUES (?, ?, ?, ?)
  ON CONFLICT (version) DO NOTHING`;

export interface SqliteOptions {
  readonly path: string;
  readonly onConflict: OnConflict;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export function openSqliteSink({ path, onConflict, now }: SqliteOptions): Sink {
  const name = `sqlite:${path}`;
  let db: Database | undefined;

  function insert(database: Database, entries: readonly Entry[]): void {
    const statement = database.prepare(INSERT);
    database.exec('BEGIN IMMEDIATE');
    try {
      for (const { version, line } of entries) {
        const created = new Date(now()).toISOString();
        const { changes } = statement.run([created, version, line, signaturesOf(line)]);
        if (changes === 0) compare(database, version, line);
      }
      database.exec('COMMIT');
    } catch (error) {
      if (database.inTransaction) database.exec('ROLLBACK');
      throw error;
    } finally {
      statement.finalize();
    }
  }

  /** It is there. If it is another one, both are evidence. */
  function compare(database: Database, version: number, line: string): void {
    const row = database.get('SELECT payload FROM snapshots WHERE version = ?', [version]);
    const theirs = row === null ? undefined : row['payload'];
    if (typeof theirs !== 'string' || theirs === line) return;
    const [a, b] = [parseLine(line), parseLine(theirs)];
    if (!equalBytes(a.snapshot.historyDigest, b.snapshot.historyDigest)) onConflict(line, theirs);
  }

  /** A failed write closes the database, so that the next try begins with what is really there. */
  function close(): void {
    try {
      db?.close();
    } finally {
      db = undefined;
      releaseDatabase(path);
    }
  }

  return {
    name,
    async send(entries) {
      try {
        db ??= await openDatabase(path);
        insert(db, entries);
      } catch (error) {
        try {
          close();
        } catch {
          // The error that led here says more.
        }
        throw sinkError(name, error);
      }
    },
    async close() {
      await Promise.resolve();
      if (db) close();
    },
  };
}

/** The signature lines of the checkpoint. */
export function signaturesOf(line: string): string {
  const { checkpoint } = parseLine(line);
  return checkpoint.slice(checkpoint.lastIndexOf('\n\n') + 2);
}

async function openDatabase(path: string): Promise<Database> {
  holdDatabase(path);
  // Loaded here: only those who write or read SQLite need it.
  const { default: sqlite } = await import('node-sqlite3-wasm');
  const db = new sqlite.Database(path);
  db.exec('PRAGMA synchronous = FULL');
  db.exec(TABLE);
  return db;
}

export function holdDatabase(path: string): void {
  const holderPath = `${path}.holder`;
  const holder = existsSync(holderPath) ? Number(readFileSync(holderPath, 'utf8')) : undefined;
  if (holder !== undefined && holder !== process.pid && isAlive(holder)) {
    throw new QedError('store-locked', `${path} is in use by process ${holder}`, {
      hint: `Stop it. If that process is something else, remove ${holderPath}.`,
    });
  }
  writeFileSync(holderPath, String(process.pid));
  if (existsSync(`${path}.lock`)) rmdirSync(`${path}.lock`);
}

export function releaseDatabase(path: string): void {
  const holderPath = `${path}.holder`;
  if (existsSync(holderPath) && Number(readFileSync(holderPath, 'utf8')) === process.pid)
    rmSync(holderPath, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EPERM';
  }
}
