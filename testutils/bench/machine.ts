// What a figure was measured on, and how figures are shown.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';

export function describeMachine(): string {
  const [cpu] = cpus();
  const gib = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown processor'}, ${gib} GiB, Node ${process.versions.node}, commit ${commit()}`;
}

function commit(): string {
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim();
  try {
    return (
      git('rev-parse', '--short', 'HEAD') +
      (git('status', '--porcelain', '--', 'src') === '' ? '' : ' with changes')
    );
  } catch {
    return 'unknown';
  }
}

export function perSecond(count: number, ms: number): string {
  const rate = (count / ms) * 1000;
  return `${rate >= 10_000 ? `${Math.round(rate / 1000)}k` : Math.round(rate)}/s`;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** Of a process (this one by default): its own memory, and files that the system maps for it and takes back when it needs the room. */
export function describeMemory(pid: number | 'self' = 'self'): string {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kib = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+([0-9]+) kB$`, 'm').exec(status)?.[1] ?? 0);
    return `memory ${megabytes(kib('RssAnon') * 1024)} of its own, ${megabytes(kib('RssFile') * 1024)} of mapped files`;
  } catch {
    return 'memory not known on this system';
  }
}
