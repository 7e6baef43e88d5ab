// docs/curl.md as a reader uses it: every command runs in a shell against a new server, in the order of the page, and must print what the page shows.
// UPDATE is by hand: an answer that changed is a change for every user.
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { withServedLog } from '../testutils/served-log.ts';

const run = promisify(execFile);
const page = readFileSync(new URL('../docs/curl.md', import.meta.url), 'utf8');
const BASE = 'http://127.0.0.1:8800';

interface Example {
  readonly command: string;
  readonly output: string;
}

/** Each block of commands with the block of output behind it. */
function examples(): Example[] {
  const blocks = page.matchAll(/^```bash\n([^]*?)^```\n\n^```\n([^]*?)^```$/gm);
  return Array.from(blocks, ([, command = '', output = '']) => ({ command, output }));
}

const missing = ['bash', 'curl', 'openssl'].filter(
  (program) => spawnSync(program, ['version']).error !== undefined,
);
const onlyWithCurl = missing.length === 0 ? it : it.skip;
const reason = missing.length === 0 ? '' : `, skipped: this machine has no ${missing.join(', ')}`;

onlyWithCurl(`docs/curl.md works as written${reason}`, async () => {
  await withServedLog(async ({ url, directory }) => {
    for (const { command, output } of examples()) {
      const script = command.replaceAll(BASE, url);
      const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], { cwd: directory });
      expect(`${command}${stdout.trim()}`).toMatch(like(`${command}${output.trim()}`));
    }
  });
});

it('every command of the page has its output, and names the documented address', () => {
  expect(examples().length).toBe(page.match(/^```bash$/gm)?.length);
  expect(examples().length).toBeGreaterThan(15);
  expect(page).not.toMatch(/curl (?!-s http:\/\/127\.0\.0\.1:8800\/)[^\n]*http/);
});

/** The text, with anything at all where it says "…". */
function like(text: string): RegExp {
  const parts = text.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^]*')}$`);
}
