// A few cores and a network that delivers at once and in order, except where it is cut: for tests of one behaviour at a time.
// (Whole clusters under faults are played by the simulator in sim/.)
import { decodeChange } from '../src/raft/change-codec.ts';
import { MemoryStorage } from './raft-storage.ts';
import { noMembers, type Membership } from '../src/raft/membership.ts';
import { noBytes, type Entry, type Message } from '../src/raft/message.ts';
import { RaftNode, type NodeOptions } from '../src/raft/node.ts';
import type { ReadState } from '../src/raft/read-index.ts';

export interface Peer {
  readonly id: number;
  node: RaftNode;
  readonly storage: MemoryStorage;
  /** Data of the entries that were applied, in order; empty ones left out. */
  readonly applied: string[];
  readonly reads: ReadState[];
  membership: Membership;
}

export class Network {
  readonly peers = new Map<number, Peer>();
  readonly #options: Partial<NodeOptions>;
  readonly #cut = new Set<string>();
  /** Everything that was ever sent, delivered or not. */
  readonly sent: Message[] = [];
  #queue: Message[] = [];

  constructor(ids: readonly number[], options: Partial<NodeOptions> = {}) {
    this.#options = options;
    for (const id of ids) this.add(id, ids);
  }

  /** A member from the start: its log begins behind entry 1 of term 1. */
  add(id: number, voters: readonly number[], prepare?: (storage: MemoryStorage) => void): void {
    const membership = { ...noMembers, voters };
    const storage = new MemoryStorage();
    storage.applySnapshot({ index: 1, term: 1, membership, data: noBytes });
    storage.hardState = { term: 1, vote: 0, commit: 1 };
    prepare?.(storage);
    this.#put(id, storage, membership);
  }

  /** A process that knows nothing yet. */
  join(id: number): void {
    this.#put(id, new MemoryStorage(), noMembers);
  }

  #put(id: number, storage: MemoryStorage, membership: Membership): void {
    const peer = { id, storage, applied: [], reads: [], membership, node: this.#start(id, storage) };
    this.peers.set(id, peer);
  }

  /** The process ends and starts again, with what is on its disk. */
  restart(id: number): void {
    const peer = this.peer(id);
    peer.applied.length = 0;
    peer.node = this.#start(id, peer.storage);
  }

  #start(id: number, storage: MemoryStorage): RaftNode {
    return new RaftNode({ random: () => id, electionTicks: 10, ...this.#options, id, storage });
  }

  peer(id: number): Peer {
    const peer = this.peers.get(id);
    if (peer === undefined) throw new Error(`no peer ${id}`);
    return peer;
  }

  node(id: number): RaftNode {
    return this.peer(id).node;
  }

  leader(): number | undefined {
    return [...this.peers.keys()].find((id) => this.node(id).status().softState.role === 'leader');
  }

  /** No messages between these and the others, until `heal`. */
  isolate(...ids: readonly number[]): void {
    for (const a of this.peers.keys()) {
      for (const b of this.peers.keys()) {
        if (ids.includes(a) !== ids.includes(b)) this.#cut.add(`${a}-${b}`);
      }
    }
  }

  heal(): void {
    this.#cut.clear();
  }

  campaign(id: number): void {
    this.node(id).campaign();
    this.settle();
  }

  propose(id: number, text: string): void {
    this.node(id).propose(new TextEncoder().encode(text));
    this.settle();
  }

  tick(id: number, times = 1): void {
    for (let left = times; left > 0; left -= 1) {
      this.node(id).tick();
      this.settle();
    }
  }

  /** Until nobody has anything to do any more. */
  settle(): void {
    for (let busy = true; busy;) {
      const ready = [...this.peers.values()].filter(({ node }) => node.hasReady());
      for (const peer of ready) this.handleReady(peer);
      const delivered = this.#queue;
      this.#queue = [];
      for (const m of delivered) this.#deliver(m);
      busy = ready.length > 0 || delivered.length > 0;
    }
  }

  #deliver(m: Message): void {
    if (!this.#cut.has(`${m.from}-${m.to}`)) this.peers.get(m.to)?.node.step(m);
  }

  handleReady(peer: Peer): void {
    const { node, storage } = peer;
    const ready = node.ready();
    if (ready.hardState !== undefined) storage.hardState = ready.hardState;
    if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot);
    storage.append(ready.entries);
    this.sent.push(...ready.messages);
    this.#queue.push(...ready.messages);
    for (const entry of ready.committedEntries) this.#apply(peer, entry);
    peer.reads.push(...ready.readStates);
    node.advance();
  }

  #apply(peer: Peer, entry: Entry): void {
    const change = entry.type === 'EntryNormal' ? undefined : decodeChange(entry.data);
    if (change !== undefined) peer.membership = peer.node.applyConfChange(change, entry.index);
    else if (entry.data.length > 0) peer.applied.push(new TextDecoder().decode(entry.data));
    const { index, term } = entry;
    const data = new TextEncoder().encode(peer.applied.join(' '));
    peer.storage.saveSnapshot({ index, term, membership: peer.membership, data });
  }
}

export const termsOf = (storage: MemoryStorage): readonly number[] =>
  (storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity) ?? []).map(({ term }) => term);
