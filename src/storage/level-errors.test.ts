import { storeError } from './level-errors.ts';

const native = (code: string | undefined, text: string) =>
  Object.assign(new Error(text), code === undefined ? {} : { code });
const onOpen = (code: string, text: string) =>
  Object.assign(new Error('Database failed to open', { cause: native(code, text) }), {
    code: 'LEVEL_DATABASE_NOT_OPEN',
  });

const PATH = '/data/qed';

it.each<[string, unknown, string]>([
  [
    'lock, this process',
    onOpen('LEVEL_LOCKED', `IO error: lock ${PATH}/LOCK: already held by process`),
    'store-locked',
  ],
  [
    'lock, another process',
    onOpen('LEVEL_LOCKED', `IO error: lock ${PATH}/LOCK: Resource temporarily unavailable`),
    'store-locked',
  ],
  [
    'a file system without locks',
    onOpen('LEVEL_LOCKED', `IO error: lock ${PATH}/LOCK: No locks available`),
    'store-failed',
  ],
  [
    'full, LevelDB',
    native('LEVEL_IO_ERROR', `IO error: ${PATH}/000005.log: No space left on device`),
    'store-full',
  ],
  ['full, Node', native('ENOSPC', 'ENOSPC: no space left on device, write'), 'store-full'],
  [
    'quota, LevelDB',
    native('LEVEL_IO_ERROR', `IO error: ${PATH}/000005.log: Disk quota exceeded`),
    'store-full',
  ],
  ['quota, Node', native('EDQUOT', 'EDQUOT: disk quota exceeded, write'), 'store-full'],
  ['corruption on open', onOpen('LEVEL_CORRUPTION', 'Corruption: checksum mismatch'), 'store-corrupt'],
  [
    'corruption on a synchronous read',
    native('LEVEL_CORRUPTION', 'Corruption: bad entry in block'),
    'store-corrupt',
  ],
  [
    'missing tables',
    onOpen('LEVEL_CORRUPTION', `Corruption: 2 missing files; e.g.: ${PATH}/000005.ldb`),
    'store-corrupt',
  ],
  [
    'missing MANIFEST',
    onOpen('LEVEL_IO_ERROR', `IO error: ${PATH}/MANIFEST-000002: No such file or directory`),
    'store-corrupt',
  ],
  [
    'missing CURRENT',
    onOpen('', `Invalid argument: ${PATH}: does not exist (create_if_missing is false)`),
    'store-corrupt',
  ],
  [
    'missing table on a synchronous read',
    native(undefined, `IO error: ${PATH}/000005.ldb: No such file or directory`),
    'store-corrupt',
  ],
  ['CURRENT of zeros', onOpen('LEVEL_IO_ERROR', `IO error: ${PATH}/`), 'store-corrupt'],
  [
    'permission, LevelDB',
    onOpen('LEVEL_IO_ERROR', `IO error: ${PATH}/LOCK: Permission denied`),
    'store-failed',
  ],
  ['permission, Node', native('EACCES', `EACCES: permission denied, mkdir '${PATH}'`), 'store-failed'],
  ['read-only', onOpen('LEVEL_IO_ERROR', `IO error: ${PATH}/LOCK: Read-only file system`), 'store-failed'],
  ['a file in the place', native('EEXIST', `EEXIST: file already exists, mkdir '${PATH}'`), 'store-failed'],
  [
    'a broken device',
    native('LEVEL_IO_ERROR', `IO error: ${PATH}/000005.ldb: Input/output error`),
    'store-failed',
  ],
  [
    'a device that breaks on a synchronous read',
    native(undefined, `IO error: ${PATH}/000005.ldb: Input/output error`),
    'store-failed',
  ],
  ['anything else', native(undefined, 'Operation failed'), 'store-failed'],
  ['no error at all', 'a word', 'store-failed'],
  [
    'a directory with a telling name',
    native('EACCES', "EACCES: permission denied, mkdir '/No space left on device'"),
    'store-failed',
  ],
])('%s', (_, thrown, code) => {
  const error = storeError(PATH, thrown);
  expect(error.code).toBe(code);
  expect(error.message).toContain(PATH);
  expect(error.hint).toBeDefined();
  expect(error.cause).toBe(thrown);
  expect(storeError('elsewhere', error)).toBe(error);
});
