// docs/security.md names for every threat the tests that mount it: they are there, under those names, and no threat is without one.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { errorTable } from '../../src/errors.ts';
import { expected } from './lab.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(root, 'docs/security.md'), 'utf8');
const cellsOf = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map(cellsOf);

const threats = rows.filter((cells) => cells.length === 4 && /^\d+$/.test(cells[0]!));
const mounted = rows
  .filter((cells) => cells.length === 3 && /^\d+$/.test(cells[0]!))
  .map(([threat, file, name]) => ({ threat: Number(threat), file: file!.replaceAll('`', ''), name: name! }));

it('has all 24 threats', () => {
  expect(threats.map(([number]) => Number(number))).toEqual(Array.from({ length: 24 }, (_, at) => at + 1));
});

it('names codes that there are', () => {
  const codes = threats.flatMap(([, , , cell]) =>
    Array.from(cell!.matchAll(/`([^`]+)`/g), ([, code]) => code!),
  );
  for (const code of codes) expect(Object.keys(errorTable)).toContain(code);
});

it('names a test for each', () => {
  expect([...new Set(mounted.map(({ threat }) => threat))].sort((a, b) => a - b)).toEqual(
    threats.map(([number]) => Number(number)),
  );
});

it.each(mounted)('$threat: $file has "$name"', ({ file, name }) => {
  const path = join(root, file);
  expect(existsSync(path)).toBe(true);
  const source = readFileSync(path, 'utf8');
  const isTitle = [`'${name}'`, `"${name}"`].some((title) => source.includes(title));
  // Titles that are put together hold the name within a template.
  expect(isTitle || new RegExp('(?:it|describe)\\(\\s*`[^`]*' + escaped(name)).test(source)).toBe(true);
});

it('shows what the lab expects of each lie', () => {
  const lab = rows.filter((cells) => cells.length === 5 && /^`[a-z-]+`$/.test(cells[0]!));
  const shown = lab.map(([lie, , kind, by, evidence]) => ({
    lie: lie!.replaceAll('`', ''),
    kind: kind === 'nothing' ? 'none' : kind,
    by: by === '' ? [] : by!.split(', '),
    proof: evidence === '' ? undefined : !evidence!.includes('not proven'),
  }));
  expect(shown).toEqual(
    Object.entries(expected).map(([lie, { kind, by, proof }]) => ({ lie, kind, by: [...by], proof })),
  );
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
