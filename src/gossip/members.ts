// Membership: who we are connected to, and staying so. Addresses that were named are dialled for ever, with backoff; QED servers are asked for
// theirs; and members tell each other where they are, so that the loss of one member parts nobody who was connected through it.
//
// What members say about themselves proves nothing. Their addresses are only dialled while connections are few. What they say about the log (its vkey,
// where it answers) is for those who have nothing better, and only believed of members that were named: see `isNamed`.
import { decodeUtf8, encodeUtf8 } from '../crypto/encoding.ts';
import { type Gossip, type Message, type Verdict } from './gossip.ts';

export const MEMBERS_TOPIC = 'qed/members/v1';

/** What a member tells all others, about itself. */
export interface Announcement {
  /** `qed start`, `publisher0`, …: for people. */
  readonly name: string;
  readonly addresses: readonly string[];
  /** Logs that it knows. */
  readonly vkeys: readonly string[];
  /** Where it asks the log, or is the log. */
  readonly qedUrls: readonly string[];
}

export interface Member extends Announcement {
  readonly id: string;
}

export type MembersEvent =
  | { readonly kind: 'joined'; readonly address: string; readonly id: string }
  | { readonly kind: 'self'; readonly address: string }
  | { readonly kind: 'unreachable'; readonly address: string; readonly why: string; readonly tries: number }
  | { readonly kind: 'lost'; readonly address: string };

export interface MembersOptions {
  readonly gossip: Gossip;
  /** Dialled for ever. */
  readonly join: readonly string[];
  /** Asks QED servers for the addresses of their gossip; never rejects. */
  readonly discover?: (() => Promise<readonly string[]>) | undefined;
  readonly announcement: () => Omit<Announcement, 'addresses'>;
  readonly onEvent?: (event: MembersEvent) => void;
  /** `isNamed`: it answers at an address that was named, or that a named QED server gave. */
  readonly onMember?: (member: Member, isNamed: boolean) => void;
  readonly now: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly jitter: () => number;
  readonly pace?: Partial<Pace>;
}

/** All in milliseconds. */
export interface Pace {
  readonly tick: number;
  readonly backoffFirst: number;
  readonly backoffLast: number;
  readonly announce: number;
  readonly discover: number;
}

const usualPace: Pace = {
  tick: 250,
  backoffFirst: 250,
  backoffLast: 10_000,
  announce: 15_000,
  discover: 10_000,
};

export interface Members {
  readonly members: () => readonly Member[];
  /** Tells others at once: something about us has changed. */
  readonly announce: () => void;
  readonly close: () => void;
}

/** Below this number of neighbours, members that are only known from others are dialled as well. */
const NEIGHBOURS_WANTED = 6;
const MEMBERS_MAX = 512;
const LIST_MAX = 8;
const TEXT_MAX = 512;
const ANNOUNCEMENT_BYTES_MAX = 8 * 1024;
/** A member that was silent for so many rounds of announcements is forgotten. */
const SILENT_ROUNDS = 4;

interface Target {
  readonly address: string;
  readonly isNamed: boolean;
  peerId: string | undefined;
  wasConnected: boolean;
  isSelf: boolean;
  isDialling: boolean;
  tries: number;
  dueAt: number;
}

export function keepMembers(options: MembersOptions): Members {
  const { gossip, now, jitter, onEvent = () => undefined, onMember = () => undefined } = options;
  const pace = { ...usualPace, ...options.pace };
  const targets = new Map<string, Target>();
  const heard = new Map<string, { member: Member; at: number }>();
  let announceAt = 0;
  let announcedAt = -Infinity;
  let discoverAt = 0;
  let isDiscovering = false;
  let isClosed = false;

  function aim(address: string, isNamed: boolean): void {
    const known = targets.get(address);
    if (known?.isNamed === true || (known && !isNamed)) return;
    if (!isNamed && targets.size >= MEMBERS_MAX) return;
    const fresh = { peerId: undefined, wasConnected: false, isSelf: false, isDialling: false, tries: 0 };
    targets.set(address, { address, isNamed, ...fresh, dueAt: now() });
  }

  function namedIds(): ReadonlySet<string> {
    return new Set([...targets.values()].flatMap((one) => (one.isNamed && one.peerId ? [one.peerId] : [])));
  }

  async function dial(target: Target): Promise<void> {
    target.isDialling = true;
    target.tries += 1;
    try {
      const id = await gossip.dial(target.address);
      target.isSelf = id === gossip.id;
      target.peerId = id;
      target.wasConnected = !target.isSelf;
      target.tries = 0;
      if (isClosed) return;
      onEvent(
        target.isSelf
          ? { kind: 'self', address: target.address }
          : { kind: 'joined', address: target.address, id },
      );
      const known = heard.get(id);
      if (known && target.isNamed) onMember(known.member, true);
    } catch (error) {
      const backoff = Math.min(pace.backoffFirst * 2 ** Math.min(target.tries - 1, 20), pace.backoffLast);
      target.dueAt = now() + backoff * (0.5 + jitter() / 2);
      const why = error instanceof Error ? error.message : String(error);
      if (!isClosed && target.isNamed)
        onEvent({ kind: 'unreachable', address: target.address, why, tries: target.tries });
      // An address that only others spoke of gets one chance; they may speak of it again.
      if (!target.isNamed) targets.delete(target.address);
    } finally {
      target.isDialling = false;
    }
  }

  function dialDue(): void {
    const connected = new Set(gossip.peers().map(({ id }) => id));
    let wanted = NEIGHBOURS_WANTED - connected.size;
    for (const target of targets.values()) {
      if (target.isSelf || target.isDialling) continue;
      if (target.peerId !== undefined && connected.has(target.peerId)) continue;
      if (target.wasConnected) {
        target.wasConnected = false;
        if (target.isNamed) onEvent({ kind: 'lost', address: target.address });
        else {
          targets.delete(target.address);
          continue;
        }
      }
      if (target.dueAt > now() || (!target.isNamed && wanted-- <= 0)) continue;
      void dial(target);
    }
  }

  async function discover(): Promise<void> {
    if (options.discover === undefined || isDiscovering || discoverAt > now()) return;
    isDiscovering = true;
    const found = await options.discover();
    for (const address of found) aim(address, true);
    // Until somebody answers, soon again; later only to learn of changes.
    discoverAt = now() + pace.discover * (found.length > 0 ? 0.5 + jitter() / 2 : 0.1);
    isDiscovering = false;
  }

  function sayWhoWeAre(): void {
    if (announceAt > now()) return;
    announceAt = now() + pace.announce * (0.5 + jitter() / 2);
    announcedAt = now();
    const announcement: Announcement = {
      ...options.announcement(),
      addresses: gossip.addresses().slice(0, LIST_MAX),
    };
    void gossip.publish(MEMBERS_TOPIC, encodeUtf8(JSON.stringify(announcement))).catch(() => undefined);
  }

  /** Those who have just come hear it soon, however many come at once. */
  function announce(): void {
    announceAt = Math.min(announceAt, Math.max(now(), announcedAt + pace.tick));
    if (announceAt <= now() && !isClosed) sayWhoWeAre();
  }

  function validate({ data, author }: Message): Verdict {
    if (parseAnnouncement(data) === undefined) return 'reject';
    const before = heard.get(author);
    return before && now() - before.at < pace.tick / 2 ? 'ignore' : 'accept';
  }

  function receive({ data, author }: Message): void {
    const announcement = parseAnnouncement(data);
    if (announcement === undefined) return;
    const member = { id: author, ...announcement };
    if (!heard.has(author) && heard.size >= MEMBERS_MAX) return;
    heard.set(author, { member, at: now() });
    const isNamed = namedIds().has(author);
    if (!isNamed && !gossip.peers().some(({ id }) => id === author)) {
      for (const address of announcement.addresses.slice(0, 1)) aim(address, false);
    }
    onMember(member, isNamed);
  }

  function tick(): void {
    for (const [id, { at }] of heard) if (now() - at > pace.announce * SILENT_ROUNDS) heard.delete(id);
    dialDue();
    sayWhoWeAre();
    void discover();
  }

  for (const address of options.join) aim(address, true);
  const leave = gossip.subscribe(MEMBERS_TOPIC, { validate, receive });
  gossip.onListener(announce);
  const timer = setInterval(tick, pace.tick);
  tick();

  return {
    members: () => Array.from(heard.values(), ({ member }) => member),
    announce,
    close() {
      isClosed = true;
      clearInterval(timer);
      leave();
    },
  };
}

/** Undefined unless it is exactly of the form that we write. */
function parseAnnouncement(data: Uint8Array): Announcement | undefined {
  if (data.length > ANNOUNCEMENT_BYTES_MAX) return undefined;
  try {
    const json: unknown = JSON.parse(decodeUtf8(data) ?? '');
    if (typeof json !== 'object' || json === null || Object.keys(json).length !== 4) return undefined;
    const fields = new Map<string, unknown>(Object.entries(json));
    const name = fields.get('name');
    const [addresses, vkeys, qedUrls] = ['addresses', 'vkeys', 'qedUrls'].map((key) =>
      readTexts(fields.get(key)),
    );
    if (!isShortText(name)) return undefined;
    return addresses && vkeys && qedUrls && { name, addresses, vkeys, qedUrls };
  } catch {
    return undefined;
  }
}

function readTexts(json: unknown): readonly string[] | undefined {
  const list: unknown[] = Array.isArray(json) ? json : [];
  const texts = list.flatMap((one) => (isShortText(one) ? [one] : []));
  return Array.isArray(json) && list.length <= LIST_MAX && texts.length === list.length ? texts : undefined;
}

function isShortText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT_MAX && !/\p{Control}/u.test(value);
}
