// How one node tells another why not: the error as JSON, and back.
import { decodeUtf8, encodeUtf8 } from '../crypto/encoding.ts';
import { errorTable, QedError, type ErrorCode } from '../errors.ts';

const TEXT_MAX = 1_000;

export function toQedError(error: unknown): QedError {
  return error instanceof QedError ? error : new QedError('bug', String(error), { cause: error });
}

export function formatError({ code, message, hint }: QedError): Uint8Array {
  const cut = (text: string | undefined): string | undefined => text?.slice(0, TEXT_MAX);
  return encodeUtf8(JSON.stringify({ code, message: cut(message), hint: cut(hint) }));
}

/** Undefined for anything else. */
export function parseError(bytes: Uint8Array): QedError | undefined {
  try {
    const error: unknown = JSON.parse(decodeUtf8(bytes) ?? '');
    if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error))
      return undefined;
    const { code, message } = error;
    const hint = 'hint' in error && typeof error.hint === 'string' ? { hint: error.hint } : {};
    return isCode(code) && typeof message === 'string' ? new QedError(code, message, hint) : undefined;
  } catch {
    return undefined;
  }
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorTable, code);
}
