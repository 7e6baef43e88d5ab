// docs/metrics.md names the figures of gossip, agents and stores that the sources register. Those of the server are held to a running one beside it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

it('docs/metrics.md lists what gossip, agents and stores register, and nothing else', () => {
  const page = readFileSync(join(ROOT, 'docs', 'metrics.md'), 'utf8');
  const documented = Array.from(
    page.slice(page.indexOf('\n## Gossip\n')).matchAll(/^\| `(qed_\w+)`/gm),
    ([, name]) => name,
  );
  const sources = [
    'agents/agent.ts',
    'agents/publisher/publisher.ts',
    'agents/store/api.ts',
    'src/gossip/figures.ts',
  ];
  const registered = sources.flatMap((path) =>
    Array.from(readFileSync(join(ROOT, path), 'utf8').matchAll(/'(qed_\w+)'/g), ([, name]) => name),
  );
  expect(documented.sort()).toEqual(registered.sort());
});
