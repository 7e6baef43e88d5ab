// Whether the log is heard. It repeats its newest head every ten seconds when nothing happens, so silence means that it stands still, or that gossip does not arrive:
// an answer over HTTP could be an old one, and does not count. A log without gossip says nothing of itself; then only that it answers is watched.
import { type Received } from '../../src/gossip/snapshots.ts';
import { type Conditions } from './conditions.ts';
import { type Marks } from './marks.ts';

export interface PulseOptions {
  readonly name: string;
  readonly conditions: Conditions;
  readonly marks: Marks;
  readonly maxAgeMs: number;
  readonly maxLagMs: number;
  readonly now: () => number;
}

export interface Pulse {
  readonly hear: (received: Received) => void;
  /** `gossips`: some node says that it publishes. */
  readonly watch: (gossips: boolean) => void;
  /** Since the newest head was heard; undefined before the first. */
  readonly heardMs: () => number | undefined;
}

export function keepPulse({ name, conditions, marks, maxAgeMs, maxLagMs, now }: PulseOptions): Pulse {
  const startedAt = now();
  let heardAt: number | undefined;
  let size = 0;

  return {
    hear({ kind, signedSnapshot }) {
      const shown = signedSnapshot.snapshot.version + 1;
      if (kind === 'conflict' || shown < size) return;
      size = shown;
      heardAt = now();
    },
    watch(gossips) {
      const isExpected = gossips || heardAt !== undefined;
      const age = now() - (heardAt ?? startedAt);
      const isStale = isExpected && age > maxAgeMs && marks.sizeBefore(maxAgeMs) > 0;
      const stale = `nothing was heard of ${name} for ${Math.round(age / 1000)} s, and it repeats its newest head every ten: it stands still, or gossip does not arrive`;
      conditions.set('stale', 'heads', isStale ? { message: stale, code: 'head-stale' } : undefined, 0);
      const expected = marks.sizeBefore(maxLagMs);
      const late = `gossip is behind: it has brought ${size} events, and the log had ${expected} already (${marks.describe(expected - size)})`;
      const isLate = isExpected && size < expected;
      // After a start the first head may take as long as it takes to be repeated.
      conditions.set('lag', 'gossip', isLate ? { message: late } : undefined, maxLagMs);
    },
    heardMs: () => (heardAt === undefined ? undefined : now() - heardAt),
  };
}
