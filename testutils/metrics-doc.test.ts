// docs/metrics.md names the figures of gossip, agents and stores that the sources register. Those of the server are held to a running one beside it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

it('docs/metrics.md lists what gossip, agents and stores register, and nothing else', () => {
  const page = readFileSync(join(ROOT, 'docs', 'metrics.md'), 'utf8');
  const documented = Array.from(
    page.slice(page.indexOf('\n## Gossip\n')).matchAll(/^\| `(qed_\w+)`/gm),
    ([, name]) => name,
  );
  const agents = readdirSync(join(ROOT, 'agents'), { recursive: true, encoding: 'utf8' });
  const sources = [
    'src/gossip/figures.ts',
    ...agents
      .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map((path) => join('agents', path)),
  ];
  const registered = sources.flatMap((path) =>
    Array.from(readFileSync(join(ROOT, path), 'utf8').matchAll(/'(qed_\w+)'/g), ([, name]) => name),
  );
  // Agents of several kinds may have one figure in common.
  expect(documented.sort()).toEqual([...new Set(registered)].sort());
});
