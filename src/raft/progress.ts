// What the leader knows of one member's log, and how fast it may send to it.
//
//   probe      where the logs meet is not known: one message at a time, the next one when an answer or a heartbeat's answer is in
//   replicate  the logs meet: entries are sent ahead of their acknowledgement, as far as the limits on messages in flight allow
//   snapshot   the entries the member needs are compacted away: nothing is sent until it reports that a Raft snapshot is in place
//
// Invariants: match < next; everything between them is in flight; sentCommit < next while probing.
import { Inflights } from './inflights.ts';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

export interface ProgressFields {
  readonly next: number;
  readonly learner: boolean;
  readonly recentActive: boolean;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
}

export class Progress {
  /** The log is known to agree with the leader's up to here. */
  match = 0;
  /** The next entry to send. */
  next: number;
  state: ProgressState = 'probe';
  /** The highest commit index that the member has been told; it may regress when messages seem to be lost. */
  #sentCommit = 0;
  /** In `snapshot`: the index of the Raft snapshot on its way. */
  pendingSnapshot = 0;
  /** Heard from since the last check for a quorum. */
  recentActive: boolean;
  /** No further append message until something is heard from the member. */
  flowPaused = false;
  learner: boolean;
  readonly inflights: Inflights;

  constructor(fields: ProgressFields) {
    this.next = fields.next;
    this.learner = fields.learner;
    this.recentActive = fields.recentActive;
    this.inflights = new Inflights(fields.maxInflightMessages, fields.maxInflightBytes);
  }

  /** After a Raft snapshot, probing goes on behind it: it may well have arrived. */
  becomeProbe(): void {
    const from = this.state === 'snapshot' ? Math.max(this.match, this.pendingSnapshot) : this.match;
    this.#enter('probe');
    this.next = from + 1;
    this.#regressCommit();
  }

  becomeReplicate(): void {
    this.#enter('replicate');
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter('snapshot');
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.#sentCommit = index;
  }

  #enter(state: ProgressState): void {
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.clear();
  }

  #regressCommit(): void {
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
  }

  get paused(): boolean {
    return this.state === 'snapshot' || this.flowPaused;
  }

  /** Notes an append message with so many entries from `next` on. */
  sentEntries(count: number, bytes: number): void {
    if (this.state === 'probe') {
      if (count > 0) this.flowPaused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    // A message that fills the window, or is sent although it is full, is itself a probe.
    this.flowPaused = this.inflights.full;
  }

  sentCommit(index: number): void {
    this.#sentCommit = index;
  }

  /** Whether telling the member this commit index can move its own. It never moves beyond next - 1. */
  canBumpCommit(index: number): boolean {
    return index > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  /** The member acknowledged everything up to `index`. False for an outdated acknowledgement. */
  acked(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /** The member refused entries behind `rejected`; the logs may meet at `hint`. False for an outdated refusal. */
  rejected(rejected: number, hint: number): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.#regressCommit();
      return true;
    }
    // One probe is under way at a time, so a refusal of any other index belongs to an earlier one.
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
    this.#regressCommit();
    this.flowPaused = false;
    return true;
  }
}
