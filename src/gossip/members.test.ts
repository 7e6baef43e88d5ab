// Membership: any order of start, restarts, members that nobody named, and what is believed of whom. In memory, at a fast pace.
import { keepMembers, MEMBERS_TOPIC, type Member, type Members, type MembersEvent } from './members.ts';
import { memoryNetwork, type MemoryGossip } from './memory.ts';
import { encodeUtf8 } from '../crypto/encoding.ts';
import { until } from '../../testutils/until.ts';

const pace = { tick: 5, backoffFirst: 5, backoffLast: 20, announce: 40, discover: 20 };

interface Joined {
  readonly gossip: MemoryGossip;
  readonly members: Members;
  readonly events: MembersEvent[];
  readonly named: Member[];
}

describe('membership', () => {
  const network = memoryNetwork();
  const open: Joined[] = [];

  function start(
    address: string,
    join: readonly string[],
    options: {
      readonly discover?: () => Promise<readonly string[]>;
      readonly vkeys?: readonly string[];
    } = {},
  ): Joined {
    const gossip = network.open({ address });
    const events: MembersEvent[] = [];
    const named: Member[] = [];
    const members = keepMembers({
      gossip,
      join,
      discover: options.discover,
      announcement: () => ({ name: address, vkeys: options.vkeys ?? [], qedUrls: [] }),
      onEvent: (event) => events.push(event),
      onMember: (member, isNamed) => {
        if (isNamed) named.push(member);
      },
      now: () => performance.now(),
      jitter: () => 0.5,
      pace,
    });
    const joined = { gossip, members, events, named };
    open.push(joined);
    return joined;
  }

  const stop = async ({ gossip, members }: Joined): Promise<void> => {
    members.close();
    await gossip.close();
  };
  afterEach(async () => {
    await Promise.all(open.splice(0).map(stop));
  });

  const isConnected = (a: Joined, b: Joined): boolean =>
    a.gossip.peers().some(({ id }) => id === b.gossip.id);

  it('joins whoever comes later, and joins again after a restart', async () => {
    const agent = start('agent', ['hub']);
    await until('a failed dial', () => agent.events.some(({ kind }) => kind === 'unreachable'));
    const hub = start('hub', []);
    await until('the join', () => isConnected(agent, hub));
    await stop(hub);
    await until('the loss', () => agent.events.some(({ kind }) => kind === 'lost'));
    const again = start('hub', []);
    await until('the join', () => isConnected(agent, again));
  });

  it('may be told to join itself', async () => {
    const auditor = start('auditor', ['auditor']);
    await until('it notices', () => auditor.events.some(({ kind }) => kind === 'self'));
    expect(auditor.gossip.peers()).toEqual([]);
    expect(auditor.events).toHaveLength(1);
  });

  it('spreads: server, auditor that asks it, and agents that only know the auditor; the loss of the auditor parts nobody', async () => {
    const server = start('server', []);
    const auditor = start('auditor', ['auditor'], { discover: () => Promise.resolve(['server']) });
    const monitor = start('monitor', ['auditor']);
    const publisher = start('publisher', ['auditor']);
    await until('all know each other', () => [monitor, publisher].every((one) => isConnected(one, server)));
    await stop(auditor);
    expect(isConnected(publisher, server)).toBe(true);
  });

  it('believes what a member says about the log only when the member was named', async () => {
    start('stranger', ['agent2'], { vkeys: ['false'] });
    start('hub2', [], { vkeys: ['true'] });
    const agent = start('agent2', ['hub2']);
    await until('both are known', () => agent.members.members().length === 2);
    await until('the hub is believed', () => agent.named.length > 0);
    expect(new Set(agent.named.flatMap(({ vkeys }) => vkeys))).toEqual(new Set(['true']));
  });

  it('rejects announcements of any other form, and forgets who is silent', async () => {
    const agent = start('agent3', []);
    const stranger = network.open();
    await stranger.dial('agent3');
    const good = { name: 'x', addresses: ['nowhere'], vkeys: [], qedUrls: [] };
    const forms: readonly unknown[] = [
      1,
      [],
      { ...good, more: 1 },
      { ...good, name: 'a\nb' },
      { ...good, vkeys: [1] },
      { ...good, addresses: Array.from({ length: 9 }, () => 'x') },
      { ...good, qedUrls: ['x'.repeat(600)] },
    ];
    for (const form of forms) await stranger.publish(MEMBERS_TOPIC, encodeUtf8(JSON.stringify(form)));
    expect(agent.gossip.figures().rejected).toBe(forms.length);
    await stranger.publish(MEMBERS_TOPIC, encodeUtf8(JSON.stringify(good)));
    expect(agent.members.members().map(({ name }) => name)).toEqual(['x']);
    await until('the silent one is forgotten', () => agent.members.members().length === 0);
  });
});
