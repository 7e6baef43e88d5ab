#!/usr/bin/env node
// The command line: finds the command, runs it, and turns what it throws into a message and an exit code.
// 64 says that the command line was wrong; a command that tells more apart sets `process.exitCode` itself.
import yargs, { type Argv } from 'yargs';
import { hideBin } from 'yargs/helpers';
import { QedError } from '../src/errors.ts';
import { commands } from './commands.ts';
import { EXIT_FAILED, EXIT_USAGE } from './exit.ts';
import { software } from './version.ts';

/** Runs one command line. Returns when the command has done its work; a server has then been stopped. */
export async function run(args: readonly string[]): Promise<void> {
  const main: Argv = yargs([...args])
    .scriptName('qed')
    .usage(
      '$0 <command>\n\nA verifiable append-only event log: signed snapshots, proofs of membership, absence and growth.',
    )
    .version(software)
    .strict()
    .demandCommand(1, 'Name a command.')
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      if (error) throw error;
      throw new QedError('option-malformed', message ?? 'the command line cannot be read', {
        hint: 'See qed --help.',
      });
    });
  for (const add of commands) add(main);
  try {
    await main.parseAsync();
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  if (!(error instanceof QedError)) {
    console.error('qed: this should not happen:', error);
    process.exitCode = EXIT_FAILED;
    return;
  }
  console.error(`qed: ${error.message}`);
  if (error.hint !== undefined) console.error(`     ${error.hint}`);
  process.exitCode = error.code === 'option-malformed' ? EXIT_USAGE : EXIT_FAILED;
}

await run(hideBin(process.argv));
