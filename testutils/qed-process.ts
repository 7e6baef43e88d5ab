// `qed` as processes of their own, for tests of how they work together. Whatever a test leaves running is killed when it ends.
import { spawn, type ChildProcess } from 'node:child_process';
import { programPath } from './programs.ts';
import { until } from './until.ts';

export interface QedProcess {
  /** All that it has printed so far, on either stream. */
  readonly output: () => string;
  /** Resolves when it has ended. */
  readonly kill: (signal: 'SIGKILL' | 'SIGTERM') => Promise<void>;
  readonly isRunning: () => boolean;
  /** Undefined while it runs, and when a signal ended it. */
  readonly exitCode: () => number | undefined;
}

export interface Processes {
  /** The command line behind `qed`, words parted by spaces. */
  readonly start: (commandLine: string) => QedProcess;
  readonly killAll: () => Promise<void>;
  /** What all of them have printed, for a test that fails. */
  readonly outputs: () => string;
}

export function qedProcesses(): Processes {
  const started: QedProcess[] = [];
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('QED_')),
  );
  return {
    start(commandLine) {
      const args = [programPath('qed'), ...commandLine.trim().split(/\s+/)];
      const child = spawn(process.execPath, args, { env: environment });
      const one = follow(child);
      started.push(one);
      return one;
    },
    outputs: () => started.map((one) => one.output()).join('\n---\n'),
    async killAll() {
      await Promise.all(started.splice(0).map((one) => one.kill('SIGKILL')));
    },
  };
}

function follow(child: ChildProcess): QedProcess {
  let output = '';
  let isRunning = true;
  let exitCode: number | undefined;
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code) => {
      isRunning = false;
      exitCode = code ?? undefined;
      resolve();
    });
  });
  child.stdout?.on('data', (part: Buffer) => (output += part.toString()));
  child.stderr?.on('data', (part: Buffer) => (output += part.toString()));
  return {
    output: () => output,
    isRunning: () => isRunning,
    exitCode: () => exitCode,
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

/** Resolves with the JSON behind the URL as soon as it is there and is as wanted. */
export async function untilAnswers(
  url: string,
  isWanted: (json: unknown) => boolean = () => true,
): Promise<void> {
  await until(`${url} answers as wanted`, async () => {
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(10_000) });
      return answer.ok && isWanted(await answer.json());
    } catch {
      return false;
    }
  });
}
