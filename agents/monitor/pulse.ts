// Whether the log is heard. It repeats its newest head every ten seconds when nothing happens, so silence means that it stands still, or that gossip does not arrive.
//
// Without a policy the time at which gossip brings the newest head counts. Anybody could replay that head, so this finds a log that stands still, and not somebody who
// hides that it went on. With a policy it is the time at which its quorum has cosigned the head, wherever that is shown: that cannot be replayed. An answer
// over HTTP could be an old one, and counts only so. A log without gossip says nothing of itself, and then only that it answers is watched.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type Verify } from '../../src/crypto/ed25519.ts';
import { checkPolicy, type Policy } from '../../src/crypto/policy.ts';
import { QedError } from '../../src/errors.ts';
import { type Received } from '../../src/gossip/snapshots.ts';
import { type Conditions } from './conditions.ts';
import { type Marks } from './marks.ts';

export interface PulseOptions {
  readonly name: string;
  readonly policy: Policy | undefined;
  readonly verify: Verify;
  readonly conditions: Conditions;
  readonly marks: Marks;
  readonly maxAgeMs: number;
  readonly maxLagMs: number;
  readonly now: () => number;
}

export interface Pulse {
  /** Over gossip. */
  readonly hear: (received: Received) => void;
  /** At a node. */
  readonly see: (signed: SignedSnapshot) => void;
  /** `gossips`: some node says that it publishes. */
  readonly watch: (gossips: boolean) => void;
  /** Since the newest head was heard; undefined before the first. */
  readonly heardMs: () => number | undefined;
}

export function keepPulse(options: PulseOptions): Pulse {
  const { name, conditions, marks, maxAgeMs, maxLagMs, now } = options;
  // One that asks for nobody says nothing.
  const policy = options.policy?.quorum.kind === 'none' ? undefined : options.policy;
  const startedAt = now();
  let heardAt: number | undefined;
  let size = 0;

  function beat(at: number): void {
    heardAt = Math.max(at, heardAt ?? at);
  }

  function see({ checkpoint, snapshot }: SignedSnapshot): void {
    // Nodes show what is not cosigned yet, so the newest head that is may lie a little behind.
    if (policy === undefined || snapshot.version + 1 < marks.sizeBefore(maxLagMs)) return;
    const at = quorumMs(checkpoint, policy, options.verify);
    if (at !== undefined) beat(at);
  }

  return {
    hear({ kind, signedSnapshot }) {
      const shown = signedSnapshot.snapshot.version + 1;
      if (kind === 'conflict' || shown < size) return;
      size = shown;
      if (policy === undefined) beat(now());
      else see(signedSnapshot);
    },
    see,
    watch(gossips) {
      const isExpected = gossips || policy !== undefined || heardAt !== undefined;
      const age = now() - (heardAt ?? startedAt);
      const isStale = isExpected && age > maxAgeMs && marks.sizeBefore(maxAgeMs) > 0;
      const what = policy === undefined ? 'was heard of' : 'that its quorum has cosigned was seen of';
      const stale = `nothing ${what} ${name} for ${Math.round(age / 1000)} s, and it repeats its newest head every ten: it stands still, or what it says does not arrive`;
      conditions.set('stale', 'heads', isStale ? { message: stale, code: 'head-stale' } : undefined, 0);
      const expected = marks.sizeBefore(maxLagMs);
      const late = `gossip is behind: it has brought ${size} events, and the log had ${expected} already (${marks.describe(expected - size)})`;
      const isLate = (gossips || size > 0) && size < expected;
      // After a start the first head may take as long as it takes to be repeated.
      conditions.set('lag', 'gossip', isLate ? { message: late } : undefined, maxLagMs);
    },
    heardMs: () => (heardAt === undefined ? undefined : now() - heardAt),
  };
}

/** Undefined when too few have cosigned. */
function quorumMs(checkpoint: string, policy: Policy, verify: Verify): number | undefined {
  try {
    const { quorumTime } = checkPolicy(checkpoint, policy, verify);
    return quorumTime === null ? undefined : quorumTime * 1000;
  } catch (error) {
    if (error instanceof QedError && error.kind === 'refused') return undefined;
    throw error;
  }
}
