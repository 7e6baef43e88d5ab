// Waiting in tests: for a condition, never for a time. A condition that does not come true in time fails the test and says what was waited for.

/** Only a test that fails waits so long. Machines may be busy. */
const DEADLINE_MS = 60_000;
const PAUSE_MS_MAX = 40;

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadlineMs = DEADLINE_MS,
): Promise<void> {
  const end = performance.now() + deadlineMs;
  // Looked at less often as time goes on: what takes long does not get there sooner by being asked.
  for (let pauseMs = 4; !(await condition()); pauseMs = Math.min(1.2 * pauseMs, PAUSE_MS_MAX)) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** The same for something that is there at some time. */
export async function found<Value>(
  what: string,
  look: () => Value | undefined | Promise<Value | undefined>,
  deadlineMs = DEADLINE_MS,
): Promise<Value> {
  let value: Value | undefined;
  await until(what, async () => (value = await look()) !== undefined, deadlineMs);
  if (value === undefined) throw new Error(what);
  return value;
}
