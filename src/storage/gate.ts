// Who may use a store, and when: writes one after the other in the order of the calls, none after a failed one; nobody
// once close was called. Every implementation of Store stands behind one of these, so all of them behave alike.
import { QedError } from '../errors.ts';

export interface Gate {
  /** Throws `store-closed` once close was called. */
  check(): void;
  /** Runs the work when all earlier writes are done. The first work that fails shuts the gate for all further ones. */
  write(work: () => Promise<void>): Promise<void>;
  /** Shuts the gate, waits for the writes under way, then runs the work once. `failed` says that a write had failed. */
  close(work: (failed: boolean) => Promise<void>): Promise<void>;
}

/** `name` says in messages which store it is. */
export function openGate(name: string): Gate {
  let failure: { readonly cause: unknown } | undefined;
  let closing: Promise<void> | undefined;
  let last: Promise<void> = Promise.resolve();

  function checkWhole(): void {
    if (failure === undefined) return;
    throw new QedError('store-closed', `${name}: an earlier write failed, so its outcome is unknown`, {
      hint: 'Close the store and open it again.',
      cause: failure.cause,
    });
  }

  function check(): void {
    if (closing !== undefined) throw new QedError('store-closed', `${name} is closed`);
  }

  /** A write that waited behind a failed one never reaches the disk: what it builds on may not be there. */
  async function turn(work: () => Promise<void>): Promise<void> {
    checkWhole();
    try {
      await work();
    } catch (cause) {
      failure = { cause };
      throw cause;
    }
  }

  return {
    check,
    async write(work) {
      checkWhole();
      check();
      const mine = last.then(() => turn(work));
      last = mine.catch(() => undefined);
      return mine;
    },
    close(work) {
      closing ??= last.then(() => work(failure !== undefined));
      return closing;
    },
  };
}
