// How far an add-bulk has come, so that another run can go on without logging anything twice. One small JSON file beside the events:
//
//   { "format": "qed-add-bulk/v1", "run", "vkey", "chunkEvents",
//     "events", "digest",                      done: how many events, and the hash over their digests
//     "pending": null | { "events", "digest" } sent, but not known to be done
//     "versionFirst", "versionLast" }
//
// Each chunk is sent under an idempotency key made of `run` and the number of events before it. So a chunk whose answer was lost, or that was done
// when the file could not be written any more, is recognized by the log when it comes again. For that it must hold the same events: `digest` and
// `pending` see to it, also when the file of events was changed or has grown in between.
import { hash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { concat, decodeHex, encodeHex, encodeU64, encodeUtf8, isSize } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';

const FORMAT = 'qed-add-bulk/v1';
const RUN_BYTES = 16;

export interface Chunk {
  readonly events: number;
  /** Hex. */
  readonly digest: string;
}

export interface Progress extends Chunk {
  /** Hex. */
  readonly run: string;
  readonly vkey: string | null;
  readonly chunkEvents: number;
  readonly pending: Chunk | null;
  readonly versionFirst: number | null;
  readonly versionLast: number | null;
}

export function newProgress(random: Uint8Array, vkey: string | undefined, chunkEvents: number): Progress {
  return {
    run: encodeHex(random.subarray(0, RUN_BYTES)),
    vkey: vkey ?? null,
    chunkEvents,
    events: 0,
    digest: encodeHex(hash('sha256', new Uint8Array(0), 'buffer')),
    pending: null,
    versionFirst: null,
    versionLast: null,
  };
}

/** The idempotency key of the chunk behind `events` events of the run. */
export function chunkKey(run: string, events: number): Uint8Array {
  const parts = concat(encodeUtf8(FORMAT), encodeUtf8(run), encodeU64(events));
  return new Uint8Array(hash('sha256', parts, 'buffer').subarray(0, RUN_BYTES));
}

export function hasProgress(path: string): boolean {
  return existsSync(path);
}

export function readProgress(path: string): Progress {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw damaged(path, cause);
  }
  const fields: Readonly<Record<string, unknown>> =
    typeof json === 'object' && json !== null ? { ...json } : {};
  const { run, vkey, chunkEvents, versionFirst, versionLast } = fields;
  const isRight =
    fields['format'] === FORMAT &&
    typeof run === 'string' &&
    decodeHex(run, RUN_BYTES) !== undefined &&
    (vkey === null || typeof vkey === 'string') &&
    isSize(chunkEvents) &&
    (versionFirst === null || isSize(versionFirst)) &&
    (versionLast === null || isSize(versionLast));
  if (!isRight) throw damaged(path);
  const pending = fields['pending'] === null ? null : readChunk(fields['pending'], path);
  return { run, vkey, chunkEvents, versionFirst, versionLast, pending, ...readChunk(fields, path) };
}

function readChunk(json: unknown, path: string): Chunk {
  const fields: Readonly<Record<string, unknown>> =
    typeof json === 'object' && json !== null ? { ...json } : {};
  const { events, digest } = fields;
  if (isSize(events) && typeof digest === 'string') return { events, digest };
  throw damaged(path);
}

export function writeProgress(path: string, progress: Progress): void {
  const beside = `${path}.new`;
  try {
    writeFileSync(beside, `${JSON.stringify({ format: FORMAT, ...progress })}\n`, { mode: 0o600 });
    renameSync(beside, path);
  } catch (cause) {
    throw new QedError('store-failed', `the progress could not be written to ${path}: ${String(cause)}`, {
      cause,
    });
  }
}

export function removeProgress(path: string): void {
  rmSync(path, { force: true });
}

function damaged(path: string, cause?: unknown): QedError {
  return new QedError('store-failed', `the progress in ${path} cannot be read`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'Find out which events are in the log with qed client membership before you add them again.',
  });
}
