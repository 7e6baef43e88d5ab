// docs/dependencies.md gives a reason for every dependency in package.json, and for no other.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const page = readFileSync(join(ROOT, 'docs', 'dependencies.md'), 'utf8');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<
  'dependencies' | 'devDependencies' | 'overrides',
  Record<string, string>
>;

function namedUnder(heading: string): string[] {
  const section = page.split('\n## ').find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return Array.from(section.matchAll(/^\| `([^`]+)` \| [^|\n]{6,}\.? \|$/gm), ([, name]) => name!);
}

it.each([
  ['At run time', 'dependencies'],
  ['For development', 'devDependencies'],
] as const)('%s: a reason for each of %s, in the same order', (heading, list) => {
  expect(namedUnder(heading)).toEqual(Object.keys(manifest[list]));
});

it('pins exact versions', () => {
  const versions = Object.values({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.overrides,
  });
  expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
});

it('says why a version is overridden', () => {
  for (const [name, version] of Object.entries(manifest.overrides))
    expect(page).toContain(`\`${name}\` at ${version}`);
});
