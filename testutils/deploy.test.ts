// What deploy/ tells people to run: every command and option in it must be one that qed has, so that a renamed flag cannot leave it behind.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { run } from '../cmd/main.ts';

function read(name: string): string {
  return readFileSync(join(import.meta.dirname, '..', 'deploy', name), 'utf8');
}

/** The options of a command, from its help. */
async function optionsOf(command: string): Promise<ReadonlySet<string>> {
  const print = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    expect(await run([...command.split(' '), '--help'])).toBeUndefined();
    const help = print.mock.calls.flat().join('\n');
    expect(help).toMatch(`qed ${command}\n`);
    return new Set(Array.from(help.matchAll(/--([\w-]+)/g), ([, name]) => name!));
  } finally {
    print.mockRestore();
  }
}

const composed = Array.from(
  read('compose.yaml').matchAll(/command: (?:>-\s+)?(.+(?:\n {6}.+)*)/g),
  ([, text]) => text!.split(/\s+/),
);

it('compose.yaml runs three nodes, a store and the three agents', () => {
  expect(composed.map(([first, second]) => (first === 'agent' ? second : first))).toEqual([
    ...['start', 'start', 'start', 'store', 'publisher', 'auditor', 'monitor'],
  ]);
});

it.each(composed.map((words) => [words.filter((word) => /^[a-z]+$/.test(word)).join(' '), words] as const))(
  'compose.yaml: %s',
  async (_, words) => {
    const options = words.filter((word) => word.startsWith('--')).map((word) => word.slice(2));
    const command = words
      .slice(
        0,
        words.findIndex((word) => word.startsWith('--')),
      )
      .join(' ');
    const known = await optionsOf(command);
    expect(options.length).toBeGreaterThan(2);
    expect(options.filter((option) => !known.has(option))).toEqual([]);
  },
);

it('qed.json has options of qed start only', async () => {
  const known = await optionsOf('start');
  const named = Object.keys(JSON.parse(read('qed.json')) as object);
  expect(named.filter((name) => !known.has(name))).toEqual([]);
  expect(read('qed.service')).toMatch('ExecStart=/usr/bin/env qed start --config /etc/qed/qed.json');
});
