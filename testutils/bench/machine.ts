// What a figure was measured on, and how figures are shown.
import { execFileSync } from 'node:child_process';
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
