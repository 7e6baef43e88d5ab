// The README's tour, run as it is written: each `$ command` of its console blocks, in order, in one folder, with the output it shows.
// `…` in the shown output stands for anything, also for whole lines. A free port takes the place of 8800.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, withTempDir } from './temp.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const QED = join(ROOT, 'dist/cmd/qed.js');

interface Step {
  readonly command: string;
  readonly shown: string;
}

function stepsOf(markdown: string): Step[] {
  const blocks = [...markdown.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block]) => block!);
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((step) => {
        const [command, ...shown] = step.split('\n');
        return { command: command!, shown: shown.join('\n') };
      }),
  );
}

/** The shown output as a pattern: `…` is anything. */
function pattern(shown: string): RegExp {
  const source = shown
    .trim()
    .split(/…/)
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[^]*?');
  return new RegExp(`^\\s*${source}\\s*`);
}

const curl = ((): boolean => {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

const ready = existsSync(QED);
if (!ready) console.log('the tour is skipped: dist is not there, run npm run build');

(ready ? describe : describe.skip)('the tour of the README', () => {
  it('works as written', async () => {
    await withTempDir(async (folder) => {
      const port = String(await freePort());
      const steps = stepsOf(readFileSync(join(ROOT, 'README.md'), 'utf8').replaceAll('8800', port));
      expect(steps.length).toBeGreaterThan(8);
      const env = environment(folder, port);
      let server: ChildProcess | undefined;
      try {
        for (const { command, shown } of steps) {
          if (command.startsWith('curl') && !curl) continue;
          if (command.endsWith(' &')) {
            const started = await startServer(command.slice(0, -2), folder, env);
            server = started.child;
            expect({ command, said: started.said }).toEqual({
              command,
              said: expect.stringMatching(pattern(shown)) as string,
            });
          } else {
            const said = execFileSync('sh', ['-c', `${command} 2>/dev/null`], {
              cwd: folder,
              env,
              encoding: 'utf8',
            });
            expect({ command, said }).toEqual({
              command,
              said: expect.stringMatching(pattern(shown)) as string,
            });
          }
        }
      } finally {
        await stop(server);
      }
    });
  });
});

/** `qed` on the path, ports of our own, and a home that is nobody's. */
function environment(folder: string, port: string): NodeJS.ProcessEnv {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(QED, join(bin, 'qed'));
  return {
    ...process.env,
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    HOME: folder,
    QED_HTTP_ADDR: `127.0.0.1:${port}`,
    QED_ENDPOINT: `http://127.0.0.1:${port}`,
    QED_MGMT_ADDR: '127.0.0.1:0',
    QED_METRICS_ADDR: '127.0.0.1:0',
  };
}

function startServer(
  command: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ child: ChildProcess; said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['-c', `exec ${command}`], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Try next')) resolve({ child, said });
    });
    child.on('exit', (code) => {
      reject(new Error(`the server ended with ${String(code)}: ${errors}`));
    });
  });
}

function stop(child: ChildProcess | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (child === undefined || child.exitCode !== null) {
      resolve();
      return;
    }
    child.on('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
