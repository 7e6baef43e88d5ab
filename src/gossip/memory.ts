// Gossip inside one process, for tests: members of one network that hand messages on as the true one does, with links that can be cut.
import { randomUUID } from 'node:crypto';
import { QedError } from '../errors.ts';
import { type Gossip, type Message } from './gossip.ts';
import { openInbox, type InboxLimits } from './inbox.ts';

export interface MemoryNetwork {
  readonly open: (options?: {
    readonly address?: string;
    readonly limits?: Partial<InboxLimits>;
  }) => MemoryGossip;
}

export interface MemoryGossip extends Gossip {
  readonly cut: (peerId: string) => void;
}

interface Envelope {
  readonly key: string;
  readonly topic: string;
  readonly data: Uint8Array;
  readonly author: string;
}

interface Member {
  readonly id: string;
  readonly address: string;
  readonly links: Map<string, Member>;
  readonly deliver: (envelope: Envelope, via: string) => Promise<void>;
  readonly tellListener: (peerId: string) => void;
  readonly isMuted: (peerId: string) => boolean;
}

const SEEN_MAX = 100_000;

export function memoryNetwork(): MemoryNetwork {
  const members = new Map<string, Member>();
  let count = 0;
  return {
    open(options = {}) {
      count += 1;
      const address = options.address ?? `memory:${count}`;
      const { gossip, member } = openMember(members, address, options.limits);
      members.set(address, member);
      return gossip;
    },
  };
}

function openMember(
  members: Map<string, Member>,
  address: string,
  limits: Partial<InboxLimits> | undefined,
): { gossip: MemoryGossip; member: Member } {
  const id = `member-${randomUUID()}`;
  const links = new Map<string, Member>();
  const seen = new Set<string>();
  const listeners: ((peerId: string) => void)[] = [];
  const inbox = openInbox({ limits, now: () => performance.now(), onMute: cut });
  let isClosed = false;

  function cut(peerId: string): void {
    links.get(peerId)?.links.delete(id);
    links.delete(peerId);
    inbox.forget(peerId);
  }

  async function spread(envelope: Envelope, except: readonly string[]): Promise<number> {
    if (seen.size > SEEN_MAX) seen.clear();
    seen.add(envelope.key);
    const next = [...links.values()].filter((link) => !except.includes(link.id));
    await Promise.all(next.map((link) => link.deliver(envelope, id)));
    return next.length;
  }

  async function deliver(envelope: Envelope, via: string): Promise<void> {
    await Promise.resolve();
    if (isClosed || seen.has(envelope.key)) return;
    seen.add(envelope.key);
    const message: Message = { data: envelope.data, author: envelope.author, via };
    if ((await inbox.take(envelope.topic, message)) === 'accept') {
      await spread(envelope, [via, envelope.author]);
    }
  }

  const member: Member = {
    id,
    address,
    links,
    deliver,
    tellListener: (peerId) => listeners.forEach((tell) => tell(peerId)),
    isMuted: inbox.isMuted,
  };

  const gossip: MemoryGossip = {
    id,
    async publish(topic, data) {
      inbox.countPublished();
      return spread({ key: randomUUID(), topic, data: data.slice(), author: id }, []);
    },
    subscribe: inbox.subscribe,
    async dial(to) {
      await Promise.resolve();
      const other = members.get(to);
      if (other === undefined || other.isMuted(id) || isClosed) {
        throw new QedError('unreachable', `nobody answers at ${to}`);
      }
      if (other === member || links.has(other.id)) return other.id;
      links.set(other.id, other);
      other.links.set(id, member);
      member.tellListener(other.id);
      other.tellListener(id);
      return other.id;
    },
    peers: () => [...links.values()].map((link) => ({ id: link.id, address: link.address })),
    addresses: () => [address],
    onListener: (tell) => void listeners.push(tell),
    figures: inbox.figures,
    cut,
    async close() {
      await Promise.resolve();
      isClosed = true;
      members.delete(address);
      for (const peerId of [...links.keys()]) cut(peerId);
    },
  };
  return { gossip, member };
}
