// What a command of `qed client` takes from the process it runs in: streams, clock, random, home. Tests hand in others.
import { randomBytes } from 'node:crypto';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface World {
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Whether a person sits at the other end of standard input, and of standard error. */
  readonly isStdinTerminal: boolean;
  readonly isTerminal: boolean;
  /** One line, or several; a newline is added. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Sets the exit code; the command still ends by itself. */
  readonly exit: (code: number) => void;
  /** Shows this in lists of processes, where the command line would stand with all its flags. */
  readonly hideArguments: (title: string) => void;
  /** The directory for what a user's programs keep, as in the XDG Base Directory Specification. */
  readonly configHome: string;
  readonly now: () => number;
  readonly random: (length: number) => Uint8Array;
}

export function processWorld(): World {
  return {
    stdin: process.stdin,
    isStdinTerminal: process.stdin.isTTY,
    isTerminal: process.stderr.isTTY,
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
    exit(code) {
      process.exitCode = code;
    },
    hideArguments(title) {
      process.title = title;
    },
    configHome: process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'),
    now: Date.now,
    random: (length) => randomBytes(length),
  };
}
