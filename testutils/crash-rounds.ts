// Kills a writing process again and again (SIGKILL, at seeded random moments) and looks after each kill, as a stranger, at what it left.
// `npx tsx testutils/crash-rounds.ts --rounds 60 --seed 1` runs many; a few run with the tests.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openLevelStore } from '../src/storage/level.ts';
import { seededRandom } from './random.ts';
import { checkAsStranger } from './stranger.ts';
import { withTempDir } from './temp.ts';

const CHILD = new URL('./crash-child.ts', import.meta.url).pathname;

export interface CrashReport {
  readonly rounds: number;
  readonly acknowledgedBatches: number;
  readonly size: number;
  readonly problems: readonly string[];
}

/** All rounds on one log, which grows from one to the next. */
export async function crashRounds(
  rounds: number,
  seed: number,
  eventsMax: number,
  lifeMsMax: number,
): Promise<CrashReport> {
  return withTempDir(async (directory) => {
    const random = seededRandom(seed);
    const acknowledged = new Map<number, string>();
    const problems: string[] = [];
    let size = 0;
    for (let round = 0; round < rounds && problems.length === 0; round++) {
      const lines = await runAndKill(
        [directory, String(seed * 1000 + round), String(eventsMax)],
        random.below(lifeMsMax),
      );
      for (const line of lines) {
        const [word, version, digest] = line.split(' ');
        if (word === 'done') acknowledged.set(Number(version), digest!);
      }
      const report = checkAsStranger(await rowsOf(directory), round === rounds - 1 ? 50 : 1000);
      size = report.size;
      problems.push(...report.problems.map((problem) => `round ${round}: ${problem}`));
      for (const version of acknowledged.keys()) {
        if (!report.batchEnds.includes(version))
          problems.push(`round ${round}: batch of version ${version} is lost`);
      }
      const last = [...acknowledged].at(-1);
      if (last?.[0] === size - 1 && last[1] !== report.historyDigest)
        problems.push(`round ${round}: another history digest`);
    }
    return { rounds, acknowledgedBatches: acknowledged.size, size, problems };
  });
}

/** What the child said before it was killed, some time after it had begun to write. */
function runAndKill(args: readonly string[], afterMs: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', CHILD, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    let timer: NodeJS.Timeout | undefined;
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      timer ??= setTimeout(() => child.kill('SIGKILL'), afterMs);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal !== 'SIGKILL')
        reject(new Error(`the writing process ended by itself: ${String(code ?? signal)}`));
      // A line that was cut off was not acknowledged.
      else
        resolve(
          said
            .slice(0, said.lastIndexOf('\n') + 1)
            .split('\n')
            .filter(Boolean),
        );
    });
  });
}

async function rowsOf(directory: string): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  const store = await openLevelStore(join(directory, 'db'));
  const rows: (readonly [Uint8Array, Uint8Array])[] = [];
  for await (const row of store.range({})) rows.push(row);
  await store.close();
  return rows;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
  });
  const report = await crashRounds(Number(values.rounds), Number(values.seed), 20, 250);
  console.log(JSON.stringify(report, null, 2));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
}
