// The door through which all messages of a member come, whatever the network is: limits first, then the subscriber's judgement.
// A neighbour gets a fair share of attention and no more; one that keeps sending what is false is muted. What is over a limit is ignored
// without being looked at: it is not handed on, and nobody is blamed, since an honest neighbour may just have much to hand on.
import {
  MESSAGE_BYTES_MAX,
  type GossipFigures,
  type Message,
  type Subscriber,
  type Verdict,
} from './gossip.ts';

export interface InboxLimits {
  /** Messages that are being judged at one time. */
  readonly pendingMax: number;
  /** Messages a second from one neighbour, and how many it may save up. */
  readonly rate: number;
  readonly burst: number;
  /** So many rejected messages from one neighbour end the patience with it. */
  readonly strikesMax: number;
}

/** A log publishes at most ten snapshots a second. */
export const inboxLimits: InboxLimits = { pendingMax: 1_024, rate: 200, burst: 400, strikesMax: 16 };

export interface InboxOptions {
  readonly limits?: Partial<InboxLimits> | undefined;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** The neighbour should be cut off. */
  readonly onMute: (peerId: string) => void;
}

export interface Inbox {
  readonly subscribe: (topic: string, subscriber: Subscriber) => () => void;
  readonly topics: () => readonly string[];
  /** Judges the message and gives it to the subscriber if it is accepted. */
  readonly take: (topic: string, message: Message) => Promise<Verdict>;
  readonly countPublished: () => void;
  readonly isMuted: (peerId: string) => boolean;
  /** The neighbour is gone; only what it did wrong is remembered. */
  readonly forget: (peerId: string) => void;
  readonly figures: () => GossipFigures;
}

const MUTED_MAX = 10_000;

export function openInbox({ now, onMute, ...options }: InboxOptions): Inbox {
  const limits = { ...inboxLimits, ...options.limits };
  const subscribers = new Map<string, Subscriber>();
  const allowances = new Map<string, { tokens: number; at: number }>();
  const strikes = new Map<string, number>();
  const muted = new Set<string>();
  const figures = { published: 0, accepted: 0, ignored: 0, rejected: 0, dropped: 0 };
  let pending = 0;

  /** A token bucket for each neighbour. */
  function isWithinRate(peerId: string): boolean {
    const at = now();
    const before = allowances.get(peerId) ?? { tokens: limits.burst, at };
    const tokens = Math.min(limits.burst, before.tokens + ((at - before.at) * limits.rate) / 1000);
    // What is dropped costs nothing, or somebody who sends too much would never be heard again.
    allowances.set(peerId, { tokens: tokens >= 1 ? tokens - 1 : tokens, at });
    return tokens >= 1;
  }

  async function judge({ validate }: Subscriber, message: Message): Promise<Verdict> {
    if (message.data.length > MESSAGE_BYTES_MAX) return 'reject';
    pending += 1;
    try {
      return await validate(message);
    } catch {
      return 'reject';
    } finally {
      pending -= 1;
    }
  }

  function strike(peerId: string): void {
    const count = (strikes.get(peerId) ?? 0) + 1;
    strikes.set(peerId, count);
    if (count < limits.strikesMax || muted.has(peerId)) return;
    if (muted.size >= MUTED_MAX) muted.clear();
    muted.add(peerId);
    onMute(peerId);
  }

  return {
    subscribe(topic, subscriber) {
      subscribers.set(topic, subscriber);
      return () => void subscribers.delete(topic);
    },
    topics: () => [...subscribers.keys()],
    async take(topic, message) {
      const subscriber = subscribers.get(topic);
      if (subscriber === undefined || muted.has(message.via)) return 'ignore';
      if (pending >= limits.pendingMax || !isWithinRate(message.via)) {
        figures.dropped += 1;
        return 'ignore';
      }
      const verdict = await judge(subscriber, message);
      if (verdict === 'accept') {
        figures.accepted += 1;
        subscriber.receive(message);
      } else if (verdict === 'ignore') figures.ignored += 1;
      else {
        figures.rejected += 1;
        strike(message.via);
      }
      return verdict;
    },
    countPublished: () => void (figures.published += 1),
    isMuted: (peerId) => muted.has(peerId),
    forget(peerId) {
      allowances.delete(peerId);
      if (strikes.size > MUTED_MAX) strikes.clear();
    },
    figures: () => ({ ...figures, muted: muted.size }),
  };
}
