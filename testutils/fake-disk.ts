// A disk in memory that fails on purpose and models what a crash leaves behind.
//
// Whatever was not synced when the power goes off may be there or not. `restart` decides it: nothing of it ('synced', the least that a disk may
// keep), all of it in order ('written', what kill -9 leaves), or any of its 512-byte sectors, with zeros where one is missing, and any of the
// names ('any'). Every byte written and every other call counts as one step, so that a test can take the power away at each of them; of mere zeros
// some bytes together do.
// After a failed sync the data stays visible but never becomes durable, as on Linux: only writing it again helps.
import { type Disk, type DiskFile } from '../src/replication/disk.ts';
import { QedError } from '../src/errors.ts';
import { type Random } from './random.ts';

export type Survival = 'synced' | 'written' | 'any';

export interface Faults {
  /** The step at which the power goes off. */
  readonly powerOffAt?: number;
  /** The sync, counted from 1, that fails. */
  readonly failSync?: number;
  /** Bytes that all files together may hold. */
  readonly capacity?: number;
}

export interface FakeDisk extends Disk {
  readonly steps: number;
  readonly syncs: number;
  faults: Faults;
  /** The disk as it is after a crash. */
  restart(survival: Survival, random: Random): FakeDisk;
  /** For tests that damage a file, or look at it. Durable at once. */
  contents(path: string): Uint8Array;
  damage(path: string, change: (bytes: Uint8Array) => Uint8Array): void;
}

type Pending =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number };

interface Inode {
  visible: Uint8Array;
  durable: Uint8Array;
  pending: Pending[];
}

interface PendingName {
  readonly path: string;
  readonly inode: Inode | undefined;
}

const SECTOR_BYTES = 512;
const ZEROS_A_STEP = 64;

export function createFakeDisk(
  faults: Faults = {},
  start: ReadonlyMap<string, Uint8Array> = new Map(),
): FakeDisk {
  const names = new Map<string, Inode>();
  for (const [path, bytes] of start) names.set(path, { visible: bytes, durable: bytes, pending: [] });
  const durableNames = new Map(names);
  let pendingNames: PendingName[] = [];
  const locks = new Set<string>();
  let used = [...start.values()].reduce((sum, bytes) => sum + bytes.length, 0);

  let steps = 0;
  let syncs = 0;

  /** How many of `wanted` steps can be made before the power goes off. */
  const take = (wanted: number): number => {
    const possible = Math.min(wanted, (disk.faults.powerOffAt ?? Infinity) - steps);
    steps += possible;
    return possible;
  };
  const step = (): void => {
    if (take(1) < 1) throw new Error('power off');
  };
  const rename = (path: string, inode: Inode | undefined): void => {
    if (inode) names.set(path, inode);
    else names.delete(path);
    pendingNames.push({ path, inode });
  };
  const inodeAt = (path: string): Inode => {
    const inode = names.get(path);
    if (!inode) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    return inode;
  };
  const makeRoom = (wanted: number): number => {
    const possible = Math.max(0, Math.min(wanted, (disk.faults.capacity ?? Infinity) - used));
    used += possible;
    return possible;
  };

  const fakeFile = (inode: Inode): DiskFile => ({
    async write(bytes, position) {
      await Promise.resolve();
      const growth = Math.max(0, position + bytes.length - inode.visible.length);
      const fits = bytes.length - growth + makeRoom(growth);
      const stepBytes = bytes.some((byte) => byte !== 0) ? 1 : ZEROS_A_STEP;
      const count = Math.min(fits, take(Math.ceil(fits / stepBytes)) * stepBytes);
      // A copy: what the caller does with its bytes later is not on the disk.
      const pending = { kind: 'write', position, bytes: bytes.slice(0, count) } as const;
      inode.pending.push(pending);
      inode.visible = applyPending(inode.visible, pending);
      if (count < fits) throw new Error('power off');
      if (fits < bytes.length) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    },
    readSync: (position, length) => inode.visible.slice(position, position + length),
    async truncate(size) {
      await Promise.resolve();
      step();
      const pending = { kind: 'truncate', size } as const;
      used += size - inode.visible.length;
      inode.pending.push(pending);
      inode.visible = applyPending(inode.visible, pending);
    },
    async sync() {
      await Promise.resolve();
      step();
      const { pending } = inode;
      inode.pending = [];
      syncs += 1;
      if (syncs === disk.faults.failSync) throw Object.assign(new Error('EIO: sync'), { code: 'EIO' });
      inode.durable = pending.reduce(applyPending, inode.durable);
    },
    close: () => Promise.resolve(),
  });

  const disk: FakeDisk = {
    get steps() {
      return steps;
    },
    get syncs() {
      return syncs;
    },
    faults,
    makeDirectory: () => Promise.resolve(),
    async list(directory) {
      await Promise.resolve();
      const prefix = `${directory}/`;
      return [...names.keys()]
        .filter((path) => path.startsWith(prefix))
        .map((path) => path.slice(prefix.length));
    },
    async read(path) {
      await Promise.resolve();
      return inodeAt(path).visible.slice();
    },
    async open(path) {
      await Promise.resolve();
      if (!names.has(path)) {
        step();
        rename(path, { visible: new Uint8Array(0), durable: new Uint8Array(0), pending: [] });
      }
      return fakeFile(inodeAt(path));
    },
    async rename(from, to) {
      await Promise.resolve();
      step();
      const inode = inodeAt(from);
      rename(to, inode);
      rename(from, undefined);
    },
    async remove(path) {
      await Promise.resolve();
      step();
      used -= inodeAt(path).visible.length;
      rename(path, undefined);
    },
    async syncDirectory(directory) {
      await Promise.resolve();
      step();
      const isHere = ({ path }: PendingName): boolean => path.startsWith(`${directory}/`);
      applyNames(durableNames, pendingNames.filter(isHere));
      pendingNames = pendingNames.filter((name) => !isHere(name));
    },
    async lock(path) {
      await Promise.resolve();
      if (locks.has(path)) throw new QedError('store-locked', `${path} is locked`);
      locks.add(path);
      return () => Promise.resolve(void locks.delete(path));
    },
    restart(survival, random) {
      const survivors = new Map(durableNames);
      const isKept = (): boolean => survival === 'written' || (survival === 'any' && random.chance(0.5));
      applyNames(survivors, pendingNames.filter(isKept));
      const contents = [...survivors].map(([path, inode]) => [path, survivingBytes(inode, isKept)] as const);
      return createFakeDisk({}, new Map(contents));
    },
    contents: (path) => inodeAt(path).visible,
    damage(path, change) {
      const inode = inodeAt(path);
      inode.visible = change(inode.visible.slice());
      inode.durable = inode.visible;
      inode.pending = [];
    },
  };
  return disk;
}

function applyPending(content: Uint8Array, pending: Pending): Uint8Array {
  const end = pending.kind === 'write' ? pending.position + pending.bytes.length : pending.size;
  const result = new Uint8Array(pending.kind === 'write' ? Math.max(content.length, end) : end);
  result.set(content.subarray(0, result.length));
  if (pending.kind === 'write') result.set(pending.bytes, pending.position);
  return result;
}

function applyNames(names: Map<string, Inode>, changes: readonly PendingName[]): void {
  for (const { path, inode } of changes) {
    if (inode) names.set(path, inode);
    else names.delete(path);
  }
}

/** Each sector of an unsynced write on its own; where a later one survives, the file has its length, with zeros before. */
function survivingBytes(inode: Inode, isKept: () => boolean): Uint8Array {
  let content = inode.durable;
  for (const pending of inode.pending) {
    if (pending.kind === 'truncate') {
      if (isKept()) content = applyPending(content, pending);
      continue;
    }
    const end = pending.position + pending.bytes.length;
    for (let at = pending.position; at < end;) {
      const next = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
      const bytes = pending.bytes.subarray(at - pending.position, next - pending.position);
      if (isKept()) content = applyPending(content, { kind: 'write', position: at, bytes });
      at = next;
    }
  }
  return content;
}
