// What commands that run until they are stopped have in common: where they log to, where they listen, and how they are told to stop.
import { readFileSync } from 'node:fs';
import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';
import { parseVkey, type Verifier } from '../src/crypto/vkey.ts';
import { QedError } from '../src/errors.ts';
import { isLoopback, parseAddress, type Wanted } from '../src/server/listen.ts';
import { EXIT_FAILED } from './exit.ts';

export const LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export function createLogger(level: string): Logger {
  // Standard error, so that standard output holds the greeting alone.
  const destination = process.stderr.isTTY
    ? pretty({ destination: 2, sync: true, ignore: 'pid,hostname' })
    : pino.destination({ dest: 2, sync: true });
  return pino({ level, base: null, serializers: { err: describeError } }, destination);
}

/** Where it came from matters only for what should not happen. */
function describeError(error: unknown): unknown {
  if (!(error instanceof QedError))
    return pino.stdSerializers.err(error instanceof Error ? error : new Error(String(error)));
  const { code, message, hint, cause, stack } = error;
  return { code, message, hint, ...(error.kind === 'bug' ? { stack, cause: String(cause) } : {}) };
}

/** Resolves at the first signal to stop; a second one does not wait for anything. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(EXIT_FAILED));
        resolve();
      });
    }
  });
}

/** The address of a flag, or its usual port on this machine alone; with `isPortFree`, any other port does as well where nobody named one. */
export function readWanted(
  flag: string,
  text: string | undefined,
  port: number,
  { isPortFree = false, isGuarded = true } = {},
): Wanted {
  const address = text === undefined ? { host: '127.0.0.1', port } : parseAddress(text, flag);
  if (isGuarded || isLoopback(address))
    return { address, flag, isPortFree: isPortFree && text === undefined };
  throw new QedError('option-malformed', `${flag}: without an API key it listens for its own machine only`, {
    hint: 'Name a key with --api-key, or say --insecure if everybody who reaches this address may write.',
  });
}

/** A vkey, or a file that holds one. */
export function readVkey(given: string): Verifier {
  try {
    return parseVkey(/^[^+\s]+\+[0-9a-f]{8}\+/.test(given) ? given : readFileSync(given, 'utf8').trim());
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new QedError('option-malformed', `--vkey: ${why}`, { cause });
  }
}
