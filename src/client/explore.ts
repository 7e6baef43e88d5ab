// Finding the other nodes of a cluster: asks the known ones at /info/shards, beside the requests that it is for and never in their way. Who asks
// only once needs no map, so the first request sends nobody.
import { type KnownNode, type Nodes } from './nodes.ts';

/** `soon`: something failed, so what is known may be out of date. */
export type Explore = (when: 'when old' | 'soon') => void;

/** Resolves with the JSON that the node answers at the path, or undefined. */
type Ask = (node: KnownNode, path: string, timeoutMs: number) => Promise<unknown>;

const SOON_MS = 500;
const OLD_MS = 60_000;
const PATIENCE_MS = 2_000;
/** The answer of one is enough, but one may be down, or cut off. */
const ASKED_MAX = 3;
const SHARDS = '/info/shards';

export function createExplorer(nodes: Nodes, ask: Ask, now: () => number): Explore {
  let requests = 0;
  let isUnderWay = false;
  let exploredAt = -Infinity;

  async function explore(node: KnownNode): Promise<void> {
    nodes.learn(node, await ask(node, SHARDS, PATIENCE_MS));
  }

  return (when) => {
    if (when === 'when old') requests += 1;
    const isDue = now() - exploredAt >= (when === 'soon' ? SOON_MS : OLD_MS);
    if (isUnderWay || !isDue || (when === 'when old' && requests === 1)) return;
    isUnderWay = true;
    exploredAt = now();
    // Behind a path there is a proxy, which knows better.
    const asked = nodes.round('write').filter(({ url }) => new URL(url).pathname === '/');
    const exploring = asked.slice(0, ASKED_MAX).map(explore);
    void Promise.allSettled(exploring).then(() => (isUnderWay = false));
  };
}
