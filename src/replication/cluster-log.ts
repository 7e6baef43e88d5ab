// The log of a node of a cluster, as its users see it: what it is opened with, what can be asked of it, what it tells. cluster.ts opens it.
import { type KeyObject } from 'node:crypto';
import { type QedError } from '../errors.ts';
import { type SayLevel } from '../raft/say.ts';
import { type Disk } from './disk.ts';
import { type Fault } from './faults.ts';
import { type JoinRequest } from './member-orders.ts';
import { type Joined, type MemberRecord, type NodeRecord } from './members.ts';
import { type SnapshotEvent } from './raft-snapshots.ts';
import { type Tail } from './raft-storage.ts';
import { type ReplicatedLog } from './replicated-log.ts';
import { type Position } from './segment.ts';
import { type StandingOptions } from './standing.ts';
import { type Peer } from './transport.ts';
import { type WalOptions } from './wal.ts';

export type ClusterEvent =
  /** Remarks of the Raft core. */
  | { readonly kind: 'raft'; readonly level: SayLevel; readonly line: string }
  | { readonly kind: 'members'; readonly members: readonly MemberStatus[] }
  | { readonly kind: 'peer-refused'; readonly why: string; readonly remote: string }
  | SnapshotEvent
  | { readonly kind: 'failed'; readonly error: QedError };

export interface ClusterLogOptions extends StandingOptions, Pick<WalOptions, 'segmentBytes'> {
  /** Its own id and the addresses at which others reach it. */
  readonly self: Omit<NodeRecord, 'nodeKey'>;
  readonly nodeKey: KeyObject;
  /** host:port to listen at for peers. */
  readonly listen: string;
  /** Called right before, for whoever kept the port free until then. */
  readonly beforeListening?: () => Promise<void>;
  /**
   * Lets the database catch up with all records up to the position and resolves with the index of the last one it then holds, durably. Called
   * again after a while when it rejects. Meanwhile `committed` hands out nothing, and what it handed out before is applied: it takes the next
   * call as saying so. Afterwards it goes on behind what the database then holds.
   */
  readonly onSnapshot: (position: Position, peers: readonly Peer[], signal: AbortSignal) => Promise<number>;
  /** The bytes at a path for peers that catch up, or undefined. */
  readonly serve: (path: string, signal: AbortSignal) => Promise<Uint8Array | undefined>;
  readonly onEvent?: (event: ClusterEvent) => void;
  readonly disk?: Disk;
  readonly random?: WalOptions['random'];
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
  readonly tickMs?: number;
  /** Calls back every so many milliseconds; returns the way to stop. */
  readonly startTicks?: (tick: () => void, ms: number) => () => void;
  /** A follower that hears nothing for this many ticks, or up to twice as many, stands for election. */
  readonly electionTicks?: number;
  /** How long an append may wait for a leader or for its answer. */
  readonly patienceMs?: number;
  readonly waitingBytesMax?: number;
  readonly tail?: Tail;
}

export interface MemberStatus extends MemberRecord {
  readonly isVoter: boolean;
  readonly isLeader: boolean;
  /** Round trip to this node; undefined for itself and while there is no connection. */
  readonly roundTripMs: number | undefined;
  /** How far its log is known to agree with the leader's; only the leader knows. */
  readonly matchIndex: number | undefined;
}

export interface ClusterLog extends ReplicatedLog {
  /** The index of a record: whoever has applied it sees all that was acknowledged before the call. */
  readIndex(signal?: AbortSignal): Promise<number>;
  /** Resolves when everything up to `index`, record or not, is committed here, with the index of a record that is not before it. */
  recordBy(index: number, signal?: AbortSignal): Promise<number>;
  /** Undefined while nobody leads, as far as this node knows. */
  leader(): MemberRecord | undefined;
  members(): readonly MemberStatus[];
  /** The other members, for fetching. */
  peers(): readonly Peer[];
  join(request: JoinRequest, signal?: AbortSignal): Promise<Joined>;
  remove(nodeId: string, signal?: AbortSignal): Promise<void>;
  transferLeadership(nodeId?: string, signal?: AbortSignal): Promise<void>;
  /** Where it listens for peers. */
  readonly port: number;
  /** For tests and drills. */
  setFault(nodeId: string, fault: Fault): void;
}
