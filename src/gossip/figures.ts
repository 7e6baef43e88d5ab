// What servers and agents tell alike about their gossip: figures for /metrics, and sentences for the log.
import { Counter, Gauge, type Registry } from 'prom-client';
import { type Gossip } from './gossip.ts';
import { type MembersEvent } from './members.ts';

export function registerGossipFigures(registry: Registry, gossip: Gossip): void {
  const registers = [registry];
  const peers: Gauge = new Gauge({
    name: 'qed_gossip_peers',
    help: 'Members that this one is connected to.',
    registers,
    collect: () => peers.set(gossip.peers().length),
  });
  const messages = new Counter({
    name: 'qed_gossip_messages_total',
    help: 'Gossip messages by what became of them: published, accepted, ignored, rejected (false), dropped (too many).',
    labelNames: ['end'] as const,
    registers,
    collect() {
      const { published, accepted, ignored, rejected, dropped } = gossip.figures();
      messages.reset();
      for (const [end, count] of Object.entries({ published, accepted, ignored, rejected, dropped })) {
        messages.inc({ end }, count);
      }
    },
  });
  const muted: Gauge = new Gauge({
    name: 'qed_gossip_muted_peers',
    help: 'Members that were cut off because they kept sending what is false.',
    registers,
    collect: () => muted.set(gossip.figures().muted),
  });
}

/** A line for the log, or none: the hundredth failure to reach somebody is not news. */
export function describeMembersEvent(
  event: MembersEvent,
): { readonly level: 'info' | 'warn'; readonly text: string } | undefined {
  switch (event.kind) {
    case 'joined':
      return { level: 'info', text: `gossip: joined ${event.id} at ${event.address}` };
    case 'self':
      return {
        level: 'info',
        text: `gossip: ${event.address} is this member itself; waiting for others there`,
      };
    case 'lost':
      return { level: 'warn', text: `gossip: lost ${event.address}; trying to join again` };
    case 'unreachable':
      if (event.tries !== 1 && event.tries % 30 !== 0) return undefined;
      return { level: 'warn', text: `gossip: ${event.why}; trying again for ever (${event.tries} so far)` };
  }
}
