// What the commands of `qed client` share: how one is declared, how it ends, and what it prints.
//
// Exit codes: 0 done and, unless --no-verify says otherwise, verified; 1 refused: something was checked and is false; 2 could not be done or
// checked; 64 the command line is wrong.
import { readFileSync } from 'node:fs';
import { type ArgumentsCamelCase, type Argv, type InferredOptionTypes, type Options } from 'yargs';
import { formatSnapshot, type Snapshot } from '../../src/balloon/proof.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { QedError, type ErrorCode } from '../../src/errors.ts';
import { EXIT_USAGE } from '../exit.ts';
import { withSettings } from '../settings.ts';
import { type World } from './world.ts';

export const EXIT_REFUSED = 1;
export const EXIT_UNCHECKED = 2;

export interface ClientCommand<Table extends Record<string, Options>> {
  readonly command: string;
  readonly describe: string;
  readonly options: Table;
  readonly examples: readonly (readonly [string, string])[];
  readonly run: (flags: ArgumentsCamelCase<InferredOptionTypes<Table>>, world: World) => Promise<void>;
  /** Arguments without a flag. */
  readonly positional?: (command: Argv) => Argv;
}

/** Adds the command under `qed client`. */
export function addCommand<Table extends Record<string, Options>>(
  client: Argv,
  { command, describe, options, examples, run, positional = (same) => same }: ClientCommand<Table>,
  world: World,
): Argv {
  return client.command(
    command,
    describe,
    // --version is a version of the log here.
    (argv) =>
      withSettings(
        positional(argv.version(false)).example(examples.map(([line, why]) => [line, why])),
        options,
      ),
    (flags) => ending(flags['json'] === true, world, () => run(flags, world)),
  );
}

async function ending(isJson: boolean, world: World, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const error =
      thrown instanceof QedError
        ? thrown
        : new QedError('bug', `this should not happen: ${String(thrown)}`, { cause: thrown });
    world.exit(exitCode(error));
    const { code, kind, message, hint = hints[code] } = error;
    if (isJson) {
      world.out(formatJson({ verified: false, error: { code, kind, message, hint } }));
      return;
    }
    if (kind === 'refused') world.out('\nVerify: KO\n');
    world.err(`qed: ${kind === 'refused' ? 'refused' : 'not done'}: ${message} (${code})`);
    if (hint !== undefined) world.err(`     ${hint}`);
  }
}

/** What a person at a shell can do, where the error itself does not say it. */
const hints: Partial<Record<ErrorCode, string>> = {
  'note-unsigned':
    'The server shows another log than the one of this vkey. What was pinned for it on an earlier visit is forgotten with --forget.',
  'head-rollback':
    'Ask the operator why. If the log was begun anew on purpose, --forget drops what was verified before.',
};

export function exitCode(error: QedError): number {
  if (error.kind === 'refused') return EXIT_REFUSED;
  return error.code === 'option-malformed' ? EXIT_USAGE : EXIT_UNCHECKED;
}

export function formatJson(json: unknown): string {
  return JSON.stringify(json, null, 2);
}

/** The lines that users of QED know. */
export function printSnapshot(title: string, snapshot: Snapshot, world: World): void {
  const { eventDigest, hyperDigest, historyDigest, version } = formatSnapshot(snapshot);
  const lines = [
    `EventDigest: ${eventDigest}`,
    `HyperDigest: ${hyperDigest}`,
    `HistoryDigest: ${historyDigest}`,
    `Version: ${version}`,
  ];
  world.out(`\n${title}\n\n${lines.map((line) => ` ${line}`).join('\n')}\n`);
}

export function printVerified(verified: boolean, world: World): void {
  if (verified) world.out('Verify: OK\n');
}

// --- events on the command line

export const eventOptions = {
  event: { type: 'string', describe: 'The event, as text' },
  file: { type: 'string', describe: 'File whose bytes are the event; - is standard input' },
} as const satisfies Record<string, Options>;

/** The event that exactly one of the flags gives, or standard input; undefined when `isOptional` and there is none. */
export async function readEvent(
  { event, file }: { readonly event?: string | undefined; readonly file?: string | undefined },
  world: World,
): Promise<Uint8Array> {
  if (event !== undefined && file !== undefined) throw usage('give --event or --file, not both');
  if (event !== undefined) return new TextEncoder().encode(once(event, 'event'));
  if (file !== undefined && file !== '-') return readBytes(once(file, 'file'), '--file');
  if (file === undefined && world.isStdinTerminal)
    throw usage('name the event: --event, --file, or standard input');
  return readStream(world.stdin);
}

export function once(value: string | readonly string[], flag: string): string {
  if (typeof value === 'string') return value;
  throw usage(`--${flag} is given more than once`);
}

export function readBytes(path: string, flag: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new QedError('option-malformed', `${flag}: ${path} cannot be read: ${String(cause)}`, { cause });
  }
}

export async function readStream(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

export function usage(message: string): QedError {
  return new QedError('option-malformed', message, { hint: 'See --help.' });
}

/** A version as yargs reads numbers: anything that is not one becomes NaN. */
export function readVersion(value: number | undefined, flag: string): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return value;
  throw usage(`--${flag}: not a version: an integer from 0 to 2^53 - 1`);
}

/** What the log said last about an event: quoted, since events are anything. */
export function quoted(event: string | undefined, eventDigest: Uint8Array): string {
  return event === undefined
    ? `digest [ ${encodeHex(eventDigest)} ]`
    : `key [ ${event.replace(/\p{Control}/gu, '?')} ]`;
}
