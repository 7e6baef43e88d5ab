// Raft snapshots, in both directions. One that comes is held back until the database has caught up with what it stands for; until then that message
// counts as on its way, so nothing that Raft was promised can be missing. One that was sent is reported as lost when it seems so: nothing else
// goes to that member before.
import { type Message } from '../raft/message.ts';
import { type Delivery } from './delivery.ts';
import { parseTable, type MemberRecord } from './members.ts';
import { type RaftDriver } from './raft-driver.ts';
import { type RaftStorage } from './raft-storage.ts';
import { type Position } from './segment.ts';

export interface SnapshotsOptions {
  readonly driver: RaftDriver;
  readonly storage: RaftStorage;
  readonly delivery: Delivery;
  readonly patienceTicks: number;
  /** Lets the database catch up from these members; see ClusterLogOptions. */
  readonly catchUp: (position: Position, members: readonly MemberRecord[]) => Promise<number>;
  /** Before the next attempt. */
  readonly pause: () => Promise<void>;
  readonly onEvent: (event: SnapshotEvent) => void;
  readonly signal: AbortSignal;
}

export type SnapshotEvent =
  | { readonly kind: 'catching-up'; readonly index: number }
  | { readonly kind: 'caught-up'; readonly index: number }
  | { readonly kind: 'catch-up-failed'; readonly error: unknown };

export class RaftSnapshots {
  readonly #options: SnapshotsOptions;
  /** Those that were sent, by member: when to take them for lost. */
  readonly #due = new Map<number, number>();
  #held: Message | undefined;
  #catchingUp: Promise<void> | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  sent(to: number, isSent: boolean): void {
    const { driver, patienceTicks } = this.#options;
    this.#due.set(to, isSent ? driver.ticks + patienceTicks : 0);
  }

  /** After every tick. */
  giveUp(): void {
    const { driver } = this.#options;
    for (const [id, due] of this.#due) {
      if (driver.ticks < due) continue;
      this.#due.delete(id);
      driver.tell((node) => node.reportSnapshot(id, false));
    }
  }

  /** Of several that come, the newest counts. False for what is none. */
  receive(m: Message): boolean {
    if (!m.snapshot || !parseTable(m.snapshot.data)) return false;
    const { driver } = this.#options;
    const { index } = m.snapshot;
    if (index <= driver.status.hardState.commit) {
      driver.step(m);
      return true;
    }
    if (index >= (this.#held?.snapshot?.index ?? 0)) this.#held = m;
    this.#catchingUp ??= this.#catchUp();
    return true;
  }

  /** When nothing of it is under way any more. */
  async ended(): Promise<void> {
    await this.#catchingUp;
  }

  async #catchUp(): Promise<void> {
    const { delivery, signal, onEvent, pause } = this.#options;
    for (let m = this.#held; m?.snapshot && !signal.aborted; m = this.#held) {
      const { index } = m.snapshot;
      onEvent({ kind: 'catching-up', index });
      try {
        await this.#take(m, m.snapshot);
        if (this.#held === undefined) onEvent({ kind: 'caught-up', index });
      } catch (error) {
        onEvent({ kind: 'catch-up-failed', error });
        await pause();
      }
    }
    this.#catchingUp = undefined;
    delivery.resume();
  }

  async #take(m: Message, { index, term, data }: NonNullable<Message['snapshot']>): Promise<void> {
    const { driver, storage, delivery, signal, catchUp } = this.#options;
    await delivery.pause(signal);
    await storage.beginCatchUp();
    const database = await catchUp({ index, term }, parseTable(data)?.members ?? []);
    delivery.caughtUp(database);
    // A newer one has come meanwhile.
    if (this.#held !== m) return;
    this.#held = undefined;
    storage.expectSnapshot(database);
    driver.step(m);
  }
}
