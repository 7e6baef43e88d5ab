// The code with which an action refuses, for tests: `expect(codeOf(() => f(x))).toBe('note-malformed')`.
// An action that succeeds gives 'accepted'. Whatever is thrown and is no QedError goes on, so that a crash never looks like a refusal.
import { QedError, type ErrorCode } from '../src/errors.ts';

export function codeOf(action: () => unknown): ErrorCode | 'accepted' {
  try {
    action();
    return 'accepted';
  } catch (error) {
    if (error instanceof QedError) return error.code;
    throw error;
  }
}

/** The same for an action that is already under way. */
export async function codeOfPromise(action: Promise<unknown>): Promise<ErrorCode | 'accepted'> {
  try {
    await action;
    return 'accepted';
  } catch (error) {
    if (error instanceof QedError) return error.code;
    throw error;
  }
}
