// How large the log was known to be, and when: against that it is judged whether something is behind. "Behind" is what lacks something that was known a while ago, so
// that neither the speed of a log nor the moment at which one looks makes a difference.
export interface Marks {
  /** The log has so many events, as somebody shows who is to be believed. */
  readonly note: (size: number) => void;
  /** What was known so long ago. */
  readonly sizeBefore: (milliseconds: number) => number;
  /** Events a second, lately. */
  readonly rate: () => number;
  /** So many events, for people: as events and as time. */
  readonly describe: (events: number) => string;
}

const KEPT_MS = 120_000;
const STEP_MS = 250;

export function keepMarks(now: () => number): Marks {
  /** Of rising time and size. */
  const marks: { at: number; size: number }[] = [];

  function rate(): number {
    const [first] = marks;
    const last = marks.at(-1);
    if (first === undefined || last === undefined || now() <= first.at) return 0;
    return ((last.size - first.size) * 1000) / (now() - first.at);
  }

  return {
    note(size) {
      const last = marks.at(-1);
      if (last !== undefined && size <= last.size) return;
      // Of a step the last one stays, so nothing is expected too early.
      const before = marks.at(-2);
      if (last !== undefined && before !== undefined && last.at - before.at < STEP_MS) marks.pop();
      marks.push({ at: now(), size });
      while (marks.length > 2 && now() - marks[1]!.at > KEPT_MS) marks.shift();
    },
    sizeBefore(milliseconds) {
      const until = now() - milliseconds;
      return marks.findLast(({ at }) => at <= until)?.size ?? 0;
    },
    rate,
    describe(events) {
      const perSecond = rate();
      return perSecond > 0
        ? `${events} events, ${Math.ceil(events / perSecond)} s at ${Math.round(perSecond)} a second`
        : `${events} events`;
    },
  };
}
