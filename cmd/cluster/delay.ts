// qed cluster delay: makes the network between the nodes slow, in their transport, without rights on the machine.
import { usage } from '../client/command.ts';
import { type Cluster } from './layout.ts';
import { lookAt } from './processes.ts';
import { order } from './views.ts';

const DELAY_MAX_MS = 10_000;

/** `50ms`, `0.2s` or a bare number of milliseconds. */
export function parseDelay(text: string): number {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s)?$/.exec(text);
  const ms = Number(match?.[1]) * (match?.[2] === 's' ? 1000 : 1);
  if (match !== null && ms > 0 && ms <= DELAY_MAX_MS) return ms;
  throw usage(
    `${JSON.stringify(text.slice(0, 40))} is no delay: write 50ms, or 0.2s; at most ${DELAY_MAX_MS / 1000} s`,
  );
}

/** From now on every message between two nodes comes late by so much, in each direction. Returns the nodes that were told. */
export async function setDelay(cluster: Cluster, delayMs: number): Promise<string[]> {
  const running = cluster.nodes.filter((node) => lookAt(cluster, node).state === 'running');
  await Promise.all(running.map((node) => order(cluster, node, '/drills/delay', { delayMs })));
  return running.map(({ nodeId }) => nodeId);
}
