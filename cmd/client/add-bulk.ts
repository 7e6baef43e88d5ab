// qed client add-bulk: logs the lines of a file, in their order, some thousand at a time; and goes on where an earlier run was cut off.
//
// It promises: with a progress file, which a file of events always has, every line is in the log once when the last run says that it is done,
// whatever failed before and however often it was resumed. progress-file.ts tells how. The log remembers the last 65,536 keyed requests: who resumes
// after others have sent more than that may log one chunk twice.
import { createHash, hash, type Hash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { formatSignedSnapshot, type SignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { type Client } from '../../src/client/client.ts';
import { QedError } from '../../src/errors.ts';
import { formatJson, printSnapshot, printVerified, usage, type ClientCommand } from './command.ts';
import { connect, connectionOptions } from './connect.ts';
import { readLines } from './lines.ts';
import {
  chunkKey,
  hasProgress,
  newProgress,
  readProgress,
  removeProgress,
  writeProgress,
  type Progress,
} from './progress-file.ts';
import { type World } from './world.ts';

const CHUNK_EVENTS_MAX = 10_000;
/** So that a chunk of events that are sent themselves stays below what the API takes. */
const CHUNK_BYTES_MAX = 2 * 1024 * 1024;

const options = {
  file: { type: 'string', describe: 'File with an event on each line; otherwise standard input' },
  chunk: { type: 'number', default: 1000, describe: 'Events in one request' },
  resume: { type: 'boolean', default: false, describe: 'Go on where the last run was cut off' },
  'progress-file': {
    type: 'string',
    describe: 'Where to keep how far it has come',
    defaultDescription: '<file>.qed-progress',
  },
  'send-events': {
    type: 'boolean',
    default: false,
    describe: 'Send the events themselves, not only their digests',
  },
  ...connectionOptions,
} as const;

interface Source {
  readonly lines: AsyncGenerator<Uint8Array, undefined>;
  /** Undefined for standard input, whose end nobody knows. */
  readonly bytes: number | undefined;
  readonly progressPath: string | undefined;
}

interface Done {
  readonly progress: Progress;
  readonly signedSnapshot: SignedSnapshot | undefined;
  readonly verified: boolean;
}

export const addBulk: ClientCommand<typeof options> = {
  command: 'add-bulk',
  describe: 'Add many events, one a line',
  options,
  examples: [
    ['$0 client add-bulk --file events.txt -k "$KEY"', 'each line of the file is an event'],
    ['$0 client add-bulk --file events.txt --resume', 'go on after a failure'],
    ['journalctl -o json | $0 client add-bulk', 'what another program prints'],
  ],
  async run(flags, world) {
    const chunkEvents = readChunkEvents(flags.chunk);
    const source = openSource(flags, world);
    const before = openProgress(source.progressPath, flags.resume);
    const { client, vkey, close } = await connect(flags, world, { sendEvents: flags['send-events'] });
    const bar = await openBar(source, world);
    try {
      const progress = before ?? newProgress(world.random(16), vkey, chunkEvents);
      checkLog(progress, vkey);
      const done = await addAll(source, progress, { client, bar });
      bar.stop();
      if (source.progressPath !== undefined) removeProgress(source.progressPath);
      report(done, flags.json, world);
    } catch (error) {
      bar.stop();
      throw withAdvice(error, source.progressPath);
    } finally {
      await close();
    }
  },
};

function readChunkEvents(chunk: number): number {
  if (Number.isSafeInteger(chunk) && chunk >= 1 && chunk <= CHUNK_EVENTS_MAX) return chunk;
  throw usage(`--chunk: not a number of events from 1 to ${CHUNK_EVENTS_MAX}`);
}

function openSource(
  flags: { file?: string | undefined; 'progress-file'?: string | undefined },
  world: World,
): Source {
  const { file } = flags;
  if (file === undefined || file === '-') {
    if (world.isStdinTerminal) throw usage('name the events: --file, or standard input');
    return { lines: readLines(world.stdin), bytes: undefined, progressPath: flags['progress-file'] };
  }
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) throw usage(`--file: there is no file ${file}`);
  const progressPath = flags['progress-file'] ?? `${file}.qed-progress`;
  return { lines: readLines(createReadStream(file)), bytes: stat.size, progressPath };
}

/** A run that was cut off is never forgotten by accident, and never continued by accident. */
function openProgress(path: string | undefined, isResumed: boolean): Progress | undefined {
  const isThere = path !== undefined && hasProgress(path);
  if (isResumed && path === undefined)
    throw usage('--resume needs --progress-file, since standard input has none');
  if (isResumed) return isThere ? readProgress(path) : undefined;
  if (!isThere) return undefined;
  throw new QedError('option-malformed', `an earlier run was cut off: ${path} tells how far it came`, {
    hint: 'Go on with --resume; or remove that file to add everything once more.',
  });
}

function checkLog(progress: Progress, vkey: string | undefined): void {
  if (progress.vkey === null || vkey === undefined || progress.vkey === vkey) return;
  throw new QedError(
    'option-malformed',
    `the run that was cut off was adding to another log, ${progress.vkey}`,
  );
}

async function addAll(
  { lines, progressPath }: Source,
  before: Progress,
  { client, bar }: { readonly client: Client; readonly bar: Bar },
): Promise<Done> {
  const over = createHash('sha256');
  await skipDone(lines, before, over, bar);
  let progress = before;
  let done: Done = { progress, signedSnapshot: undefined, verified: true };
  const keep = (next: Progress): void => {
    progress = next;
    if (progressPath !== undefined) writeProgress(progressPath, next);
  };
  for (;;) {
    const chunk = await readChunk(lines, progress);
    if (chunk.events.length === 0) return { ...done, progress };
    const pending = {
      events: chunk.events.length,
      digest: encodeHex(hash('sha256', chunk.digests, 'buffer')),
    };
    checkPending(progress, pending);
    keep({ ...progress, pending });
    const idempotencyKey = chunkKey(progress.run, progress.events);
    const { versionFirst, versionLast, signedSnapshot, verified } = await client.addBulk(chunk.events, {
      idempotencyKey,
    });
    over.update(chunk.digests);
    keep({
      ...progress,
      pending: null,
      events: progress.events + pending.events,
      digest: digestSoFar(over),
      versionFirst: progress.versionFirst ?? versionFirst,
      versionLast,
    });
    done = { progress, signedSnapshot, verified: done.verified && verified };
    bar.advance(chunk.events);
  }
}

/** Reads what was done before, and makes sure that it still is what was done. */
async function skipDone(
  lines: AsyncGenerator<Uint8Array, undefined>,
  { events, digest }: Progress,
  over: Hash,
  bar: Bar,
): Promise<void> {
  for (let count = 0; count < events; count++) {
    const { value } = await lines.next();
    if (value === undefined) throw changed();
    over.update(hash('sha256', value, 'buffer'));
    bar.advance([value]);
  }
  if (digestSoFar(over) !== digest) throw changed();
}

async function readChunk(
  lines: AsyncGenerator<Uint8Array, undefined>,
  { chunkEvents, pending }: Progress,
): Promise<{ events: Uint8Array[]; digests: Uint8Array }> {
  const events: Uint8Array[] = [];
  let bytes = 0;
  // What was sent already must come again as it was.
  const isFull = (): boolean =>
    pending === null
      ? events.length === chunkEvents || bytes >= CHUNK_BYTES_MAX
      : events.length === pending.events;
  while (!isFull()) {
    const { value } = await lines.next();
    if (value === undefined) break;
    events.push(value);
    bytes += value.length;
  }
  return { events, digests: Buffer.concat(events.map((event) => hash('sha256', event, 'buffer'))) };
}

function checkPending(
  { pending }: Progress,
  chunk: { readonly events: number; readonly digest: string },
): void {
  if (pending !== null && (pending.events !== chunk.events || pending.digest !== chunk.digest))
    throw changed();
}

function digestSoFar(over: Hash): string {
  return over.copy().digest('hex');
}

function changed(): QedError {
  return new QedError(
    'option-malformed',
    'the events are not those that the run that was cut off has added',
    {
      hint: 'Lines may be added at the end of the file; those before must stay as they were.',
    },
  );
}

function report({ progress, signedSnapshot, verified }: Done, isJson: boolean, world: World): void {
  const { events, versionFirst, versionLast } = progress;
  const isVerified = verified && signedSnapshot !== undefined;
  if (isJson) {
    const signed = signedSnapshot && formatSignedSnapshot(signedSnapshot);
    world.out(
      formatJson({ events, versionFirst, versionLast, verified: isVerified, signedSnapshot: signed ?? null }),
    );
    return;
  }
  if (events === 0) {
    world.out('\nThere was no event to add.\n');
    return;
  }
  world.out(`\nAdded ${events} events: versions ${versionFirst ?? 0} to ${versionLast ?? 0}`);
  if (signedSnapshot !== undefined)
    printSnapshot('Received snapshot with values:', signedSnapshot.snapshot, world);
  printVerified(isVerified, world);
}

function withAdvice(error: unknown, progressPath: string | undefined): unknown {
  if (!(error instanceof QedError) || error.code === 'option-malformed') return error;
  const advice =
    progressPath === undefined
      ? 'Without a progress file nothing can be resumed: see --progress-file.'
      : 'Go on with --resume when the cause is gone.';
  return new QedError(error.code, error.message, {
    cause: error,
    hint: [error.hint, advice].filter(Boolean).join(' '),
  });
}

interface Bar {
  readonly advance: (events: readonly Uint8Array[]) => void;
  readonly stop: () => void;
}

/** Only for a person who watches, and only where the end is known. */
async function openBar({ bytes }: Source, world: World): Promise<Bar> {
  if (!world.isTerminal || bytes === undefined) return { advance: () => undefined, stop: () => undefined };
  const { SingleBar } = await import('cli-progress');
  const bar = new SingleBar({
    format: '{bar} {percentage}% | {events} events | {eta_formatted} left',
    hideCursor: true,
  });
  let events = 0;
  bar.start(bytes, 0, { events });
  return {
    advance(added) {
      events += added.length;
      bar.increment(
        added.reduce((sum, event) => sum + event.length + 1, 0),
        { events },
      );
    },
    stop: () => bar.stop(),
  };
}
