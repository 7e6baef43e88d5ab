// What commands that run until they are stopped have in common: where they log to, and how they are told to stop.
import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';
import { QedError } from '../src/errors.ts';
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
