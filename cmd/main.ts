// The command line: finds the command, runs it, and turns what it throws into a message and an exit code.
// 64 says that the command line was wrong; a command that tells more apart sets `process.exitCode` itself.
import yargs, { type Argv } from 'yargs';
import { QedError } from '../src/errors.ts';
import { commandsFor } from './commands.ts';
import { EXIT_FAILED, EXIT_USAGE } from './exit.ts';
import { software } from './version.ts';

/** Runs one command line to its end; for a server that is when it was stopped. Returns the exit code, if it failed. */
export async function run(args: readonly string[], printError = console.error): Promise<number | undefined> {
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
      // What yargs finds wrong has a message; with an error as well when it was in a configuration file.
      if (error && error.name !== 'YError') throw error;
      throw new QedError('option-malformed', error?.message ?? message ?? 'the command line cannot be read', {
        hint: 'See qed --help.',
      });
    });
  for (const add of await commandsFor(args)) add(main);
  try {
    await main.parseAsync();
    return undefined;
  } catch (error) {
    return report(error, printError);
  }
}

function report(error: unknown, printError: (...parts: unknown[]) => void): number {
  if (!(error instanceof QedError)) {
    printError('qed: this should not happen:', error);
    return EXIT_FAILED;
  }
  printError(`qed: ${error.message}`);
  if (error.hint !== undefined) printError(`     ${error.hint}`);
  return error.code === 'option-malformed' ? EXIT_USAGE : EXIT_FAILED;
}
