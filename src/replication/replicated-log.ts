// The replicated log as its users see it: records go in, committed records come out, the same ones in the same order on every node.
// cluster.ts is the one that is: a Raft cluster, of one member or several; who uses it cannot tell.
//
// A record is opaque bytes here. It gets an index, rising but not always by one, because the log keeps records of its own, and the term in which
// it was proposed. Committed means: durable on a majority of the members, and in the log for ever at that index.
import { type QedError } from '../errors.ts';

export interface CommittedRecord {
  readonly index: number;
  readonly term: number;
  readonly payload: Uint8Array;
}

export type Role = 'leader' | 'candidate' | 'follower';

export interface Member {
  readonly nodeId: string;
  /** A member without a vote gets all records but does not count in majorities. */
  readonly isVoter: boolean;
}

export interface LogStatus {
  readonly nodeId: string;
  readonly role: Role;
  /** Undefined while nobody leads, as far as this node knows. */
  readonly leaderId: string | undefined;
  readonly term: number;
  /** Of the last committed record: who has applied it has applied all that is committed. */
  readonly committedIndex: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly members: readonly Member[];
  /** Why this node's log takes nothing until it is opened again, for instance a full disk. */
  readonly failure: QedError | undefined;
}

export interface AppendOptions {
  readonly signal?: AbortSignal;
  /**
   * A record that is in the log twice counts once, because whoever applies it recognises it. Then a try of which nobody knows the outcome is
   * repeated too, and the index is that of one of the copies.
   */
  readonly isRepeatable?: boolean;
}

export interface ReplicatedLog {
  /** What opening had to mend, for the operator; undefined when the log was whole. */
  readonly repair: string | undefined;

  /**
   * Resolves with the record's index once it is committed, on whatever node it is called: the leader proposes it, another node sends it there.
   * While nobody leads it waits for some seconds, then it is `no-leader`. Payloads of more than 4 MiB are a caller's mistake, `batch-too-large`.
   * Other refusals are of two kinds, never mixed:
   * - `outcome-unknown`: the record was proposed, and it may or may not be or become committed. Also after `signal` aborts on the way.
   * - any other code, such as `busy`, `no-leader`, `store-closed`: it is not in the log and never will be.
   * The payload belongs to the log from now on: do not change it.
   */
  append(payload: Uint8Array, options?: AppendOptions): Promise<number>;

  /**
   * All committed records behind `appliedIndex`, the last one that the caller has durably applied: each once, in order, in groups of what
   * was committed by the time the caller asks, so whoever is slow gets larger groups. A group is never empty, and bounded in bytes.
   * It waits for more until the log closes or `signal` aborts, then it ends. It throws `log-compacted` when the next record is no longer in
   * the log: the caller fetches what is missing elsewhere and asks again.
   */
  committed(
    appliedIndex: number,
    options?: { readonly signal?: AbortSignal },
  ): AsyncIterable<readonly CommittedRecord[]>;

  /** Says that everything up to `index` is durably applied: the log may drop it, at once, later or never. */
  compact(index: number): Promise<void>;

  status(): LogStatus;

  /** Calls back whenever `role`, `leaderId` or `term` has changed. Returns the way to stop. */
  onLeadership(listener: (status: LogStatus) => void): () => void;

  /** Takes nothing more, waits for what is under way, and gives everybody who still waits an answer. A second close is a no-op. */
  close(): Promise<void>;
}
