// What spreads signed snapshots: topics that everybody connected to anybody hears, whoever published. Two implementations, libp2p.ts (the network) and
// memory.ts (for tests), pass the one suite in testutils/gossip-suite.ts.
//
// It promises: a message is handed on to neighbours only after the subscriber of its topic has accepted it, so nothing false travels
// further than one step. Its author is who published it, proven by a signature. It may be lost: who needs everything asks the log for
// what is missing. Whatever waits has a limit, and what is dropped is counted.

/** The longest message. A signed snapshot with the cosignatures of a large cluster has about 8 KB. */
export const MESSAGE_BYTES_MAX = 64 * 1024;

export interface Message {
  readonly data: Uint8Array;
  /** The id of the member that published it. */
  readonly author: string;
  /** The id of the neighbour that it came from. */
  readonly via: string;
}

/** Accept: receive it and hand it on. Ignore: neither. Reject: neither, and it counts against the neighbour. */
export type Verdict = 'accept' | 'ignore' | 'reject';

export interface Subscriber {
  /** What it rejects with counts as a rejection of the message. */
  readonly validate: (message: Message) => Verdict | Promise<Verdict>;
  /** Called once for each accepted message. */
  readonly receive: (message: Message) => void;
}

export interface Peer {
  readonly id: string;
  /** Where the connection leads, as this implementation writes addresses. */
  readonly address: string;
}

/** How many messages met which end since the start. */
export interface GossipFigures {
  readonly published: number;
  readonly accepted: number;
  readonly ignored: number;
  readonly rejected: number;
  /** Not even looked at: too many at once. */
  readonly dropped: number;
  /** Neighbours that were cut off because of what they sent. */
  readonly muted: number;
}

export interface Gossip {
  /** Who we are to others. */
  readonly id: string;
  /** Hands the message to all neighbours that listen to the topic; resolves with their number, which may be 0. */
  readonly publish: (topic: string, data: Uint8Array) => Promise<number>;
  /** One subscriber a topic; the returned function ends the subscription. */
  readonly subscribe: (topic: string, subscriber: Subscriber) => () => void;
  /** Connects; resolves with the id of whoever answers there, which is our own when the address is. Rejects with `unreachable`. */
  readonly dial: (address: string) => Promise<string>;
  /** Neighbours: those we are connected to. */
  readonly peers: () => readonly Peer[];
  /** Where others can dial us. */
  readonly addresses: () => readonly string[];
  /** Called when a neighbour begins to listen to topics: what is published from now on reaches it. */
  readonly onListener: (tell: (peerId: string) => void) => void;
  readonly figures: () => GossipFigures;
  readonly close: () => Promise<void>;
}
