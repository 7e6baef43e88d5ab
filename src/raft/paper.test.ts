// One test for each claim that the Raft paper and its author's thesis make and that the core relies on. Section numbers of the
// paper ("In Search of an Understandable Consensus Algorithm", extended version) in brackets, with "T" those of the thesis.
import { Network, termsOf } from '../../testutils/raft-network.ts';
import type { MemoryStorage } from '../../testutils/raft-storage.ts';
import { message, noBytes, type Entry, type Message } from './message.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const withTerms =
  (terms: readonly number[], vote = 0) =>
  (storage: MemoryStorage): void => {
    const entries = terms.map((term, at): Entry => {
      return { term, index: at + 2, type: 'EntryNormal', data: bytes(`${term}`) };
    });
    storage.append(entries);
    storage.hardState = { term: terms.at(-1) ?? 1, vote, commit: 1 };
  };

/** What a node says when it gets one message, with nobody else listening. */
function answers(network: Network, id: number, m: Message): readonly Message[] {
  const peer = network.peer(id);
  while (peer.node.hasReady()) network.handleReady(peer);
  const before = network.sent.length;
  peer.node.step(m);
  while (peer.node.hasReady()) network.handleReady(peer);
  return network.sent.slice(before);
}

describe('terms', () => {
  it('a node that sees a higher term takes it and becomes follower [5.1]', () => {
    for (const prepare of ['follower', 'candidate', 'leader'] as const) {
      const network = new Network([1, 2, 3]);
      if (prepare === 'leader') network.campaign(1);
      if (prepare === 'candidate') {
        network.isolate(1);
        network.campaign(1);
      }
      expect(network.node(1).status().softState.role).toBe(prepare);
      answers(network, 1, message({ type: 'MsgApp', from: 2, to: 1, term: 9, index: 1, logTerm: 1 }));
      expect(network.node(1).status()).toMatchObject({
        hardState: { term: 9 },
        softState: { role: 'follower', lead: 2 },
      });
    }
  });

  it('a request of an earlier term has no effect [5.1]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(2);
    const old = { from: 3, to: 1, term: 1, index: 1, logTerm: 1 };
    const entries: Entry[] = [{ term: 1, index: 2, type: 'EntryNormal', data: bytes('old') }];
    expect(answers(network, 1, message({ type: 'MsgApp', ...old, entries }))).toEqual([]);
    expect(answers(network, 1, message({ type: 'MsgVote', ...old }))).toEqual([]);
    expect(termsOf(network.peer(1).storage)).toEqual([2]);
  });
});

describe('elections', () => {
  it('a follower that hears nothing for its election timeout starts an election; one that hears a leader does not [5.2]', () => {
    const network = new Network([1, 2, 3], { random: () => 0 });
    network.isolate(1);
    network.tick(1, 9);
    expect(network.node(1).status().hardState.term).toBe(1);
    network.tick(1);
    expect(network.node(1).status()).toMatchObject({
      hardState: { term: 2, vote: 1 },
      softState: { role: 'candidate' },
    });
    const heartbeat = message({ type: 'MsgHeartbeat', from: 2, to: 3, term: 1 });
    for (let round = 0; round < 5; round += 1) {
      network.tick(3, 9);
      answers(network, 3, heartbeat);
    }
    expect(network.node(3).status().softState.role).toBe('follower');
  });

  it('a candidate wins with a majority of the votes, and only then [5.2]', () => {
    const cases = [
      [[1], true],
      [[1, 2], false],
      [[1, 2, 3], true],
      [[1, 2, 3, 4], false],
      [[1, 2, 3, 4, 5], true],
    ] as const;
    for (const [ids] of cases) {
      for (let reachable = 1; reachable <= ids.length; reachable += 1) {
        const network = new Network(ids);
        network.isolate(...ids.filter((id) => id > reachable));
        network.campaign(1);
        expect(network.leader()).toBe(reachable * 2 > ids.length ? 1 : undefined);
      }
    }
  });

  it('a node gives one vote in a term, also when it was restarted in between [5.2]', () => {
    const network = new Network([1, 2, 3]);
    const ask = (from: number) =>
      answers(network, 1, message({ type: 'MsgVote', from, to: 1, term: 2, index: 1, logTerm: 1 }));
    expect(ask(2)).toMatchObject([{ type: 'MsgVoteResp', to: 2, reject: false }]);
    expect(ask(3)).toMatchObject([{ type: 'MsgVoteResp', to: 3, reject: true }]);
    network.restart(1);
    expect(ask(3)).toMatchObject([{ type: 'MsgVoteResp', to: 3, reject: true }]);
    expect(ask(2)).toMatchObject([{ type: 'MsgVoteResp', to: 2, reject: false }]);
  });

  it('a vote is not sent before it is saved [5, figure 2]', () => {
    const network = new Network([1, 2, 3], { asyncStorageWrites: true });
    const { node } = network.peer(1);
    node.step(message({ type: 'MsgVote', from: 2, to: 1, term: 2, index: 1, logTerm: 1 }));
    const { messages } = node.ready();
    expect(messages.map(({ type }) => type)).toEqual(['MsgStorageAppend']);
    expect(messages[0]).toMatchObject({ term: 2, vote: 2, responses: [{ type: 'MsgVoteResp', to: 2 }] });
  });

  it('a candidate that hears from the leader of its term follows it [5.2]', () => {
    const network = new Network([1, 2, 3]);
    network.isolate(1);
    network.campaign(1);
    answers(network, 1, message({ type: 'MsgHeartbeat', from: 2, to: 1, term: 2 }));
    expect(network.node(1).status().softState).toEqual({ role: 'follower', lead: 2 });
  });

  it('election timeouts are spread over [timeout, 2 timeout) [5.2]', () => {
    const timeouts = new Set<number>();
    for (let random = 0; random < 10; random += 1) {
      const network = new Network([1, 2, 3], { random: () => random });
      network.isolate(1);
      let ticks = 0;
      for (; network.node(1).status().softState.role === 'follower'; ticks += 1) network.tick(1);
      timeouts.add(ticks);
    }
    expect([...timeouts]).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  });

  it('a vote goes only to a candidate whose log is at least as up to date [5.4.1]', () => {
    const cases = [
      [[2, 2], { logTerm: 2, index: 3 }, true],
      [[2, 2], { logTerm: 2, index: 4 }, true],
      [[2, 2], { logTerm: 3, index: 2 }, true],
      [[2, 2], { logTerm: 2, index: 2 }, false],
      [[2, 3], { logTerm: 2, index: 9 }, false],
    ] as const;
    for (const [terms, last, granted] of cases) {
      const network = new Network([2, 3]);
      network.add(1, [1, 2, 3], withTerms(terms));
      const [answer] = answers(network, 1, message({ type: 'MsgVote', from: 2, to: 1, term: 9, ...last }));
      expect(answer).toMatchObject({ type: 'MsgVoteResp', reject: !granted });
    }
  });

  it('with pre-vote, a node that was cut off does not disturb the leader when it is back [T 9.6]', () => {
    const network = new Network([1, 2, 3], { preVote: true });
    network.campaign(1);
    network.isolate(3);
    network.tick(3, 100);
    expect(network.node(3).status().softState.role).toBe('pre-candidate');
    network.heal();
    network.tick(1);
    expect([network.leader(), network.node(1).status().hardState.term]).toEqual([1, 2]);
  });

  it('with check-quorum, a leader that is cut off steps down [T 6.2]', () => {
    const network = new Network([1, 2, 3], { checkQuorum: true });
    network.campaign(1);
    network.isolate(1);
    network.tick(1, 20);
    expect(network.node(1).status().softState.role).toBe('follower');
  });
});

describe('replication', () => {
  it('an entry is applied everywhere once a majority has it, and not before [5.3]', () => {
    const network = new Network([1, 2, 3, 4, 5]);
    network.campaign(1);
    network.isolate(3, 4, 5);
    network.propose(1, 'a');
    expect([1, 2].map((id) => network.peer(id).applied)).toEqual([[], []]);
    network.heal();
    network.tick(1);
    network.tick(1);
    expect([...network.peers.values()].map(({ applied }) => applied)).toEqual(Array(5).fill(['a']));
  });

  it('the leader makes every follower log like its own, whatever was in it [5.3, figure 7]', () => {
    const leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const followers = [
      [1, 1, 1, 4, 4, 5, 5, 6, 6],
      [1, 1, 1, 4],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      [1, 1, 1, 4, 4, 4, 4],
      [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for (const terms of followers) {
      const network = new Network([]);
      network.add(1, [1, 2, 3], withTerms(leader));
      network.add(2, [1, 2, 3], withTerms(terms));
      network.add(3, [1, 2, 3]);
      // With terms of up to 7 in the logs, the one after is the first that can be won.
      network.isolate(2);
      for (let term = 6; term < 8; term += 1) network.campaign(1);
      network.heal();
      network.propose(1, 'x');
      network.tick(1);
      expect(network.leader()).toBe(1);
      expect(termsOf(network.peer(2).storage)).toEqual(termsOf(network.peer(1).storage));
    }
  });

  it('each term of a diverged log costs one probe at most [5.3]', () => {
    const network = new Network([]);
    network.add(1, [1, 2, 3], withTerms([1, 3, 3, 3, 5, 5, 5, 5, 5]));
    network.add(2, [1, 2, 3], withTerms([1, 1, 1, 1, 2, 2]));
    network.add(3, [1, 2, 3]);
    network.campaign(1);
    const probes = network.sent.filter(({ type, to, reject }) => type === 'MsgAppResp' && to === 1 && reject);
    expect(probes.filter(({ from }) => from === 2).length).toBeLessThanOrEqual(2);
    expect(termsOf(network.peer(2).storage)).toEqual(termsOf(network.peer(1).storage));
  });

  it('a leader commits by counting only entries of its own term; earlier ones along with them [5.4.2, figure 8]', () => {
    const alone = new Network([]);
    alone.add(1, [1, 2, 3], withTerms([1, 2]));
    alone.peer(1).node.campaign();
    alone.handleReady(alone.peer(1));
    alone.node(1).step(message({ type: 'MsgVoteResp', from: 2, to: 1, term: 3 }));
    alone.node(1).step(message({ type: 'MsgAppResp', from: 2, to: 1, term: 3, index: 3 }));
    alone.handleReady(alone.peer(1));
    // Entry 3, of term 2, is on a majority: the leader and number 2.
    expect(alone.node(1).status()).toMatchObject({ softState: { role: 'leader' }, hardState: { commit: 1 } });
    alone.node(1).step(message({ type: 'MsgAppResp', from: 2, to: 1, term: 3, index: 4 }));
    expect(alone.node(1).status().hardState.commit).toBe(4);
  });

  it('an acknowledgement is not sent before the entries are saved, and the leader waits for its own disk as well [5.3, T 10.2.1]', () => {
    const network = new Network([1, 2, 3], { asyncStorageWrites: true });
    const { node } = network.peer(1);
    const entries: Entry[] = [{ term: 2, index: 2, type: 'EntryNormal', data: noBytes }];
    node.step(message({ type: 'MsgApp', from: 2, to: 1, term: 2, index: 1, logTerm: 1, entries }));
    const { messages } = node.ready();
    expect(messages).toMatchObject([
      { type: 'MsgStorageAppend', entries, responses: [{ type: 'MsgAppResp' }, { from: -1 }] },
    ]);
  });
});

describe('membership', () => {
  const voter = (id: number) => ({
    transition: 'auto' as const,
    changes: [{ type: 'voter' as const, id }],
    context: noBytes,
  });

  it('one change at a time: a second one is made void while the first is under way [T 4.1]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.node(1).proposeConfChange(voter(4));
    network.node(1).proposeConfChange(voter(5));
    network.settle();
    expect(network.peer(1).membership.voters).toEqual([1, 2, 3, 4]);
    network.node(1).proposeConfChange(voter(5));
    network.settle();
    expect(network.peer(1).membership.voters).toEqual([1, 2, 3, 4, 5]);
  });

  it('a learner gets the log and has no say [T 4.2.1]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.node(1).proposeConfChange({
      transition: 'auto',
      changes: [{ type: 'learner', id: 4 }],
      context: noBytes,
    });
    network.settle();
    network.join(4);
    network.tick(1, 2);
    network.propose(1, 'a');
    network.tick(1, 2);
    expect(network.peer(4).storage.lastIndex()).toBe(network.peer(1).storage.lastIndex());
    network.isolate(2, 3);
    network.propose(1, 'b');
    expect(network.peer(1).applied).toEqual(['a']);
    network.campaign(4);
    expect(network.node(4).status().softState.role).toBe('follower');
  });

  it.each([
    ['two of three, but two of five', [3, 4, 5]],
    ['three of five, but one of three', [2, 3]],
  ])('a joint membership needs both majorities, so %s is not enough [6]', (_, away) => {
    const network = new Network([1, 2, 3, 4, 5]);
    network.campaign(1);
    const changes = [4, 5].map((id) => ({ type: 'remove' as const, id }));
    network.node(1).proposeConfChange({ transition: 'explicit', changes, context: noBytes });
    network.settle();
    expect(network.peer(1).membership).toMatchObject({ voters: [1, 2, 3], votersOutgoing: [1, 2, 3, 4, 5] });
    network.isolate(...away);
    network.propose(1, 'a');
    expect(network.peer(1).applied).toEqual([]);
    network.heal();
    network.tick(1, 2);
    expect(network.peer(1).applied).toEqual(['a']);
  });

  it('leadership is handed over to a member whose log is complete, at once and against the lease [T 3.10]', () => {
    const network = new Network([1, 2, 3], { checkQuorum: true, preVote: true });
    network.campaign(1);
    network.isolate(3);
    network.propose(1, 'a');
    network.heal();
    network.node(1).transferLeadership(3);
    network.settle();
    expect([network.leader(), network.peer(3).applied]).toEqual([3, ['a']]);
  });

  it('a transfer that does not succeed is given up after an election timeout, and proposals are taken again [T 3.10]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.isolate(3);
    network.node(1).transferLeadership(3);
    network.settle();
    expect(network.node(1).propose(bytes('a'))).toBe('proposal-dropped');
    network.tick(1, 10);
    network.propose(1, 'b');
    expect(network.peer(1).applied).toEqual(['b']);
  });
});

describe('reads and limits', () => {
  it('a leader answers a read at its commit index, after a majority confirmed it [T 6.4]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.propose(1, 'a');
    const { commit } = network.node(1).status().hardState;
    network.node(1).readIndex(bytes('mine'));
    network.node(2).readIndex(bytes('forwarded'));
    network.settle();
    expect(network.peer(1).reads).toEqual([{ index: commit, context: bytes('mine') }]);
    expect(network.peer(2).reads).toEqual([{ index: commit, context: bytes('forwarded') }]);
  });

  it('a leader that was deposed without knowing answers no read [T 6.4]', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.isolate(1);
    network.campaign(2);
    network.propose(2, 'news');
    network.node(1).readIndex(bytes('stale?'));
    network.tick(1, 5);
    network.heal();
    network.tick(2, 2);
    expect(network.peer(1).reads).toEqual([]);
  });

  it('several reads are answered by one round, in order, also when contexts repeat', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.isolate(1);
    for (const context of ['a', 'b', 'b']) network.node(1).readIndex(bytes(context));
    network.settle();
    network.heal();
    expect(network.peer(1).reads).toEqual([]);
    network.tick(1);
    expect(network.peer(1).reads.map(({ context }) => context)).toEqual(['a', 'b', 'b'].map(bytes));
  });

  it('a read that comes before the leader has committed in its term waits for that [T 6.4]', () => {
    const network = new Network([]);
    network.add(1, [1, 2], withTerms([1]));
    network.add(2, [1, 2], withTerms([1]));
    const { node } = network.peer(1);
    node.campaign();
    network.handleReady(network.peer(1));
    node.step(message({ type: 'MsgVoteResp', from: 2, to: 1, term: 2 }));
    node.readIndex(bytes('early'));
    expect(network.peer(1).reads).toEqual([]);
    network.settle();
    expect(network.peer(1).reads).toMatchObject([{ index: 3 }]);
  });

  it('a lease lets the leader answer alone', () => {
    const network = new Network([1, 2, 3], { checkQuorum: true, readOnly: 'lease-based' });
    network.campaign(1);
    network.isolate(1);
    network.node(1).readIndex(bytes('now'));
    network.settle();
    expect(network.peer(1).reads).toHaveLength(1);
  });

  it('proposals are dropped while too much is uncommitted, and taken again afterwards', () => {
    const network = new Network([1, 2, 3], { maxUncommittedSize: 8 });
    network.campaign(1);
    network.isolate(1);
    const big = bytes('1234567890');
    expect(network.node(1).propose(big)).toBeUndefined();
    expect(network.node(1).propose(big)).toBe('proposal-dropped');
    network.settle();
    network.heal();
    network.tick(1);
    network.tick(1);
    expect(network.node(1).propose(big)).toBeUndefined();
  });

  it('entries travel in messages of limited size, and no more of them than the window allows', () => {
    const network = new Network([1, 2], {
      maxSizePerMessage: 64,
      maxInflightMessages: 3,
      maxInflightBytes: 200,
    });
    network.campaign(1);
    network.isolate(2);
    for (let at = 0; at < 40; at += 1) network.propose(1, 'x'.repeat(20));
    const before = network.sent.length;
    network.heal();
    network.tick(1);
    network.tick(1);
    const appends = network.sent.slice(before).filter(({ type }) => type === 'MsgApp');
    expect(Math.max(...appends.map(({ entries }) => entries.length))).toBeLessThanOrEqual(3);
    expect(network.peer(2).applied).toHaveLength(40);
  });

  it('a follower that needs compacted entries gets a Raft snapshot, and entries again from there', () => {
    const network = new Network([1, 2, 3]);
    network.campaign(1);
    network.isolate(3);
    for (const text of ['a', 'b', 'c']) network.propose(1, text);
    network.peer(1).storage.compact(network.peer(1).storage.lastIndex() - 1);
    network.heal();
    network.tick(1);
    network.tick(1);
    expect(network.sent.some(({ type, to }) => type === 'MsgSnap' && to === 3)).toBe(true);
    network.propose(1, 'd');
    expect(network.peer(3).applied).toEqual(['d']);
    expect(network.peer(3).storage.lastIndex()).toBe(network.peer(1).storage.lastIndex());
  });

  it('a message that a node only says to itself is refused from outside, and so is an answer of a stranger', () => {
    const network = new Network([1, 2, 3]);
    expect(network.node(1).step(message({ type: 'MsgHup', from: 2, to: 1 }))).toBe('local-message');
    expect(network.node(1).step(message({ type: 'MsgAppResp', from: 9, to: 1, term: 1 }))).toBe(
      'unknown-peer',
    );
  });
});
