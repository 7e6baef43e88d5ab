// Faults between this node and a peer, for tests and drills: what befalls a message on its way, without any rights on the machine or its network.

export interface Fault {
  /** Messages and requests to the peer vanish. */
  readonly cutTo?: boolean;
  /** Those from the peer vanish. */
  readonly cutFrom?: boolean;
  /** Those to the peer come late by so much. */
  readonly delayMs?: number;
  /** Those from the peer come late by so much. */
  readonly delayFromMs?: number;
  /** Each of those that come late comes later still, by up to so much, but none before the one before it. */
  readonly jitterMs?: number;
}

/** What befalls one message. */
export interface Trouble {
  readonly isCut: boolean;
  readonly delayMs: number;
}

export interface Faults {
  /** The last one counts. */
  readonly set: (id: number, fault: Fault) => void;
  /** To be asked for each message. */
  readonly to: (id: number) => Trouble;
  readonly from: (id: number) => Trouble;
}

/** `random` gives numbers from 0 to 1. */
export function createFaults(random: () => number): Faults {
  const faults = new Map<number, Fault>();
  const trouble = (isCut = false, delayMs = 0, jitterMs = 0): Trouble => ({
    isCut,
    delayMs: delayMs > 0 ? delayMs + jitterMs * random() : 0,
  });
  return {
    set: (id, fault) => void faults.set(id, fault),
    to(id) {
      const { cutTo, delayMs, jitterMs } = faults.get(id) ?? {};
      return trouble(cutTo, delayMs, jitterMs);
    },
    from(id) {
      const { cutFrom, delayFromMs, jitterMs } = faults.get(id) ?? {};
      return trouble(cutFrom, delayFromMs, jitterMs);
    },
  };
}

/** One way of messages, on which none overtakes another, also when the delay changes. */
export interface Line {
  /** Does the work in its turn: now, when there is no trouble; never, when it is cut. */
  readonly pass: (trouble: Trouble, work: () => void) => void;
  readonly close: () => void;
}

export function openLine(now: () => number): Line {
  const timers = new Set<NodeJS.Timeout>();
  const waiting: (() => void)[] = [];
  let lastDue = 0;
  return {
    pass({ isCut, delayMs }, work) {
      if (isCut) return;
      if (delayMs <= 0 && waiting.length === 0) {
        work();
        return;
      }
      lastDue = Math.max(lastDue, now() + delayMs);
      waiting.push(work);
      // Timers may go off in another order by a little; whichever does, it is the turn of the first that waits.
      const timer = setTimeout(() => {
        timers.delete(timer);
        waiting.shift()?.();
      }, lastDue - now());
      timers.add(timer);
    },
    close() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
      waiting.length = 0;
    },
  };
}
