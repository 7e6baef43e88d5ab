// Runs a command of `qed client` in this process, and gives back what a shell would see of it.
import yargs, { type Argv } from 'yargs';
import { addClientTo } from '../cmd/client.ts';
import { type World } from '../cmd/client/world.ts';
import { EXIT_USAGE } from '../cmd/exit.ts';
import { QedError } from '../src/errors.ts';

export interface Ran {
  readonly out: string;
  readonly err: string;
  readonly exitCode: number;
}

export interface RunOptions {
  readonly stdin?: Uint8Array | undefined;
  readonly configHome?: string;
  readonly now?: () => number;
}

export function runClient(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return runCommand(addClientTo, ['client', ...args], options);
}

export async function runCommand(
  add: (main: Argv, world: World) => Argv,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  let [out, err, exitCode] = ['', '', 0];
  const world: World = {
    stdin: streamOf(options.stdin ?? new Uint8Array(0)),
    isStdinTerminal: options.stdin === undefined,
    isTerminal: false,
    out: (text) => void (out += `${text}\n`),
    err: (text) => void (err += `${text}\n`),
    exit: (code) => void (exitCode = code),
    hideArguments: () => undefined,
    configHome: options.configHome ?? '/nonexistent',
    now: options.now ?? Date.now,
    random: (length) => crypto.getRandomValues(new Uint8Array(length)),
  };
  const main = yargs([...args])
    .scriptName('qed')
    .strict()
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? new QedError('option-malformed', message ?? '');
    });
  try {
    await add(main, world).parseAsync();
  } catch (error) {
    if (!(error instanceof QedError)) throw error;
    world.err(`qed: ${error.message}`);
    world.exit(EXIT_USAGE);
  }
  return { out, err, exitCode };
}

async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield bytes;
}
