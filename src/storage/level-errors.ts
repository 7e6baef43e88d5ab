// What classic-level, LevelDB and the file system throw, turned into our codes. LevelDB tells its troubles apart in words only,
// so the words are read here, once. Damage is never "not found", and a full or locked disk is never damage.
import { QedError, type ErrorCode } from '../errors.ts';

export const CORRUPT_HINT = 'Do not use this copy: rebuild it from a peer or a backup.';

interface Trouble {
  /** Matched against the code and the text of the innermost cause. */
  readonly sign: RegExp;
  readonly code: ErrorCode;
  readonly message: (path: string, text: string) => string;
  readonly hint: string;
}

const troubles: readonly Trouble[] = [
  {
    sign: /^LEVEL_LOCKED (?!.*: No locks available$)/,
    code: 'store-locked',
    message: (path) => `the database at ${path} is already open, here or in another process`,
    hint: 'Stop that process, or name another path.',
  },
  {
    sign: /^(ENOSPC|EDQUOT) |: (No space left on device|Disk quota exceeded)$/,
    code: 'store-full',
    message: (path) => `no space is left on the disk for the database at ${path}`,
    hint: 'Free space, then start again.',
  },
  {
    // Where LevelDB does not find a file, or a directory in its place, it is one that its own lists name. A name with zero bytes ends there.
    sign: /^\w* (Corruption: |Invalid argument: |IO error: .*(: No such file or directory|: Is a directory|\/)$)/,
    code: 'store-corrupt',
    message: (path, text) => `the database at ${path} is damaged: ${text}`,
    hint: CORRUPT_HINT,
  },
  {
    sign: /^(EACCES|EPERM|EROFS) |: (Permission denied|Operation not permitted|Read-only file system)$/,
    code: 'store-failed',
    message: (path, text) => `no permission to write the database at ${path}: ${text}`,
    hint: 'Give this user the right to write there, or name another path.',
  },
  {
    sign: /^(EEXIST|ENOTDIR) |: Not a directory$/,
    code: 'store-failed',
    message: (path, text) => `the database at ${path} needs a directory: ${text}`,
    hint: 'Name a directory, or a path where one can be made.',
  },
  {
    sign: /^/,
    code: 'store-failed',
    message: (path, text) => `the database at ${path} could not be used: ${text}`,
    hint: 'See to the disk and its mount, then start again.',
  },
];

export function storeError(path: string, error: unknown): QedError {
  if (error instanceof QedError) return error;
  const { code, text } = innermost(error);
  const { message, hint, code: ours } = troubles.find(({ sign }) => sign.test(`${code} ${text}`))!;
  return new QedError(ours, message(path, text), { hint, cause: error });
}

/** Errors of the runtime are read by their fields: not all of them are instances of the `Error` that this file sees. */
function innermost(error: unknown): { readonly code: string; readonly text: string } {
  if (typeof error !== 'object' || error === null) return { code: '', text: String(error) };
  if ('cause' in error && error.cause !== undefined) return innermost(error.cause);
  return {
    code: 'code' in error ? String(error.code) : '',
    text: 'message' in error ? String(error.message) : 'unknown error',
  };
}
