// The way of a record from a caller on any node to its place in the log. The leader proposes it; another node sends it to the leader, once, and
// waits for the answer. While nobody leads it waits, for as long as the patience lasts.
//
// What it promises to whoever appends: an index, when the record is committed; `outcome-unknown`, when nobody can say whether it is or will be;
// any other code, when it is certain that it never will. So a try is repeated only when the last one is known to have come to nothing, or when the
// caller says that a record that is in the log twice counts once.
import { assert, QedError } from '../errors.ts';
import { nobody } from '../raft/message.ts';
import { type Proposals, unknownOutcome } from './proposals.ts';
import { type RaftDriver } from './raft-driver.ts';
import { type AppendOptions } from './replicated-log.ts';
import { RECORD_BYTES_MAX } from './segment.ts';

export interface AppendsOptions {
  readonly driver: RaftDriver;
  readonly ownId: number;
  readonly proposals: Proposals;
  /** Sends a record to the leader; see forwards.ts. */
  readonly forward: (to: number, record: Uint8Array) => Promise<number>;
  readonly isConnected: (id: number) => boolean;
  readonly bytesMax: number;
  readonly recordsMax: number;
  readonly patienceTicks: number;
}

/** One try, which may be given up. */
interface Try {
  /** The leader that it was sent to; undefined for a record that this node proposed itself. */
  readonly to: number | undefined;
  readonly end: number;
  readonly isRepeatable: boolean;
  readonly giveUp: (why: string) => void;
}

interface Limits extends AppendOptions {
  readonly end: number;
}

export class Appends {
  readonly #options: AppendsOptions;
  #count = 0;
  #bytes = 0;
  readonly #tries = new Set<Try>();

  constructor(options: AppendsOptions) {
    this.#options = options;
  }

  /** Records that wait for an answer. */
  get count(): number {
    return this.#count;
  }

  async append(record: Uint8Array, options: AppendOptions = {}): Promise<number> {
    assert(record.length > 0, 'an empty record');
    this.#begin(record, options.signal);
    try {
      const end = this.#options.driver.ticks + this.#options.patienceTicks;
      return await this.#persist(record, { ...options, end });
    } finally {
      this.#end(record);
    }
  }

  /** A record that another node sent here, because it takes this one for the leader. It is not passed on any further. */
  async takeOver(record: Uint8Array): Promise<number> {
    const { driver, ownId, patienceTicks } = this.#options;
    this.#begin(record, undefined);
    try {
      if (!driver.isLeader) throw new QedError('no-leader', 'the leader changed at this moment');
      return await this.#try(ownId, record, { end: driver.ticks + patienceTicks });
    } finally {
      this.#end(record);
    }
  }

  /** After every tick. A leader's own proposals have no end: either they are committed, or it loses its office. */
  tick(): void {
    const { driver } = this.#options;
    for (const { end, to, giveUp } of this.#tries) {
      if (driver.ticks < end || (to === undefined && driver.isLeader)) continue;
      giveUp(to === undefined ? 'this node lost its office' : 'the leader did not answer in time');
    }
  }

  /** After every step: an old leader's answer may be long in coming, and what may be repeated need not wait for it. */
  look(): void {
    const { leader } = this.#options.driver;
    if (leader === nobody) return;
    for (const { to, isRepeatable, giveUp } of this.#tries)
      if (isRepeatable && to !== undefined && to !== leader) giveUp('another node leads now');
  }

  #begin({ length }: Uint8Array, signal: AbortSignal | undefined): void {
    const { bytesMax, recordsMax } = this.#options;
    if (length > RECORD_BYTES_MAX)
      throw new QedError(
        'batch-too-large',
        `a record holds at most ${RECORD_BYTES_MAX} bytes, not ${length}`,
      );
    if (signal?.aborted)
      throw new QedError('busy', 'the caller gave up before its record was proposed', {
        cause: signal.reason,
      });
    const isFull = this.#count > 0 && this.#bytes + length > bytesMax;
    if (isFull || this.#count >= recordsMax)
      throw new QedError('busy', `${this.#count} records wait to be committed`, { hint: 'Try again soon.' });
    this.#count += 1;
    this.#bytes += length;
  }

  #end({ length }: Uint8Array): void {
    this.#count -= 1;
    this.#bytes -= length;
  }

  /** Tries until the record is in the log, or it makes no sense to go on. */
  async #persist(record: Uint8Array, limits: Limits): Promise<number> {
    const { driver } = this.#options;
    const { isRepeatable = false, signal, end } = limits;
    let notBefore = 0;
    let unknown: QedError | undefined;
    for (;;) {
      try {
        const leader = this.#leader(notBefore) ?? (await this.#waitForLeader(notBefore, limits));
        return await this.#try(leader, record, limits);
      } catch (caught) {
        const error =
          caught instanceof QedError ? caught : new QedError('bug', String(caught), { cause: caught });
        const isUnknown = error.code === 'outcome-unknown';
        if (isUnknown) unknown = error;
        const mayRepeat = isUnknown ? isRepeatable : error.code === 'no-leader';
        if (!mayRepeat || driver.ticks >= end || signal?.aborted) throw unknown ?? error;
        notBefore = driver.ticks + 1;
      }
    }
  }

  /** Who takes records now, as far as this node knows and can reach it. */
  #leader(notBefore: number): number | undefined {
    const { driver, ownId, isConnected } = this.#options;
    if (driver.ticks < notBefore || driver.leader === nobody) return undefined;
    if (driver.leader !== ownId) return isConnected(driver.leader) ? driver.leader : undefined;
    return driver.isHandingOver ? undefined : ownId;
  }

  async #waitForLeader(notBefore: number, { end, signal }: Limits): Promise<number> {
    const { driver } = this.#options;
    try {
      return await driver.until(() => this.#leader(notBefore), end - driver.ticks, signal);
    } catch (error) {
      if (!(error instanceof QedError) || error.code !== 'busy') throw error;
      const why = driver.leader === nobody ? 'the cluster has no leader' : 'the leader cannot be reached';
      throw new QedError('no-leader', why, { hint: 'Try again soon.', cause: signal?.reason });
    }
  }

  #try(leader: number, record: Uint8Array, { end, signal, isRepeatable = false }: Limits): Promise<number> {
    const { ownId, proposals, forward } = this.#options;
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#tries.delete(attempt);
        signal?.removeEventListener('abort', abort);
      };
      const giveUp = (why: string): void => {
        finish();
        reject(unknownOutcome(why, signal?.reason));
      };
      const abort = (): void => giveUp('the caller gave up while its record was on its way');
      const attempt = { to: leader === ownId ? undefined : leader, end, isRepeatable, giveUp };
      this.#tries.add(attempt);
      signal?.addEventListener('abort', abort, { once: true });
      const answer = leader === ownId ? proposals.add(record) : forward(leader, record);
      void answer.then(resolve, reject).then(finish);
    });
  }
}
