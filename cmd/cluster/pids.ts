// Which process is whose. A process id alone says nothing, because ids are given again: a file also holds when the process began, and a process that began
// at another time is a stranger's, whatever its id.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { QedError } from '../../src/errors.ts';
import { type Cluster } from './layout.ts';

const marker = z.strictObject({ pid: z.number().int().min(1), began: z.string().min(1) });
type Marker = z.output<typeof marker>;

interface Seen {
  /** Tells the process from all others that have had or will have its id. */
  readonly began: string;
  readonly isPaused: boolean;
}

function see(pid: number): Seen | undefined {
  return process.platform === 'linux' ? seeInProc(pid) : seeWithPs(pid);
}

function seeInProc(pid: number): Seen | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the state is the first field behind it, the start time the twentieth.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return seen(fields[0] ?? '', `${boot} ${fields[19] ?? ''}`);
  } catch {
    return undefined;
  }
}

function seeWithPs(pid: number): Seen | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return seen(line, line.slice(line.indexOf(' ')).trim());
  } catch {
    return undefined;
  }
}

/** A process that has ended and that nobody has buried yet is no process any more. */
function seen(state: string, began: string): Seen | undefined {
  return /^[ZX]/.test(state) ? undefined : { began, isPaused: /^[Tt]/.test(state) };
}

function readMarker(path: string): Marker | undefined {
  try {
    return marker.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/** The process that the file is about, if it still is that one. */
export function seeMarked(path: string): (Seen & { readonly pid: number }) | undefined {
  const marked = readMarker(path);
  if (!marked) return undefined;
  const found = see(marked.pid);
  return found?.began === marked.began ? { ...found, pid: marked.pid } : undefined;
}

export function writeMarker(path: string, pid: number, flag: 'w' | 'wx'): void {
  writeFileSync(path, `${JSON.stringify({ pid, began: see(pid)?.began ?? 'ended' })}\n`, { flag });
}

// --- one command at a time

/** Commands that start, stop or disturb nodes exclude each other. */
export async function alone<Result>({ directory }: Cluster, work: () => Promise<Result>): Promise<Result> {
  const path = join(directory, 'lock');
  if (!seeMarked(path)) rmSync(path, { force: true });
  try {
    writeMarker(path, process.pid, 'wx');
  } catch (cause) {
    if (!existsSync(path))
      throw new QedError('store-failed', `${path} cannot be written: ${String(cause)}`, { cause });
    throw new QedError('store-locked', `another qed cluster command is at work in ${directory}`, {
      hint: `It is process ${readMarker(path)?.pid ?? 'unknown'}; wait until it has ended.`,
    });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}
