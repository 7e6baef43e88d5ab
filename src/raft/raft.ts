// The state of one Raft node between two inputs, and the few things that every part of the core does with it.
// The parts are functions over this state, one file each: roles (becoming), campaign (elections), append (sending),
// leader, follower and candidate (answering), reconfigure (membership), step (the one door for all input).
import { assert } from '../errors.ts';
import type { RaftLog } from './log.ts';
import type { Membership } from './membership.ts';
import {
  message,
  nobody,
  type HardState,
  type Message,
  type MessageFields,
  type MessageType,
} from './message.ts';
import { Progress, type ProgressFields } from './progress.ts';
import type { ReadIndex, ReadState } from './read-index.ts';
import type { Say } from './say.ts';
import type { LogStorage } from './storage.ts';

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

/** Everything a node is given. Ticks are the only time it knows; sizes are in bytes, Infinity for no limit. */
export interface RaftOptions {
  readonly id: number;
  readonly storage: LogStorage;
  /** An integer from 0 to below `limit`. */
  readonly random: (limit: number) => number;
  readonly say: Say;
  /** What the application has applied already: entries up to here are not handed out again after a restart. */
  readonly applied: number;
  /** A follower that hears nothing for this long, plus a random part of it, starts an election. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Orders writes by messages to the local threads instead of Ready and advance(), so that they can overlap. */
  readonly asyncStorageWrites: boolean;
  readonly maxSizePerMessage: number;
  /** Bounds what is handed out for applying and not yet reported as applied. */
  readonly maxApplyingSize: number;
  /** Proposals beyond this much uncommitted data are dropped. */
  readonly maxUncommittedSize: number;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  /** A leader that does not hear from a quorum for an election timeout steps down, and followers of a live leader do not vote. */
  readonly checkQuorum: boolean;
  /** Asks for votes before it raises its term, so that a node that was away does not depose a leader when it is back. */
  readonly preVote: boolean;
  /** `lease-based` reads trust that clocks run at about the same speed; `safe` ones ask a quorum. */
  readonly readOnly: 'safe' | 'lease-based';
  readonly disableProposalForwarding: boolean;
  readonly disableConfChangeValidation: boolean;
  readonly stepDownOnRemoval: boolean;
}

export interface Raft {
  readonly options: RaftOptions;
  readonly id: number;
  readonly log: RaftLog;
  readonly say: Say;

  role: Role;
  term: number;
  vote: number;
  lead: number;

  membership: Membership;
  /** The last entry, or Raft snapshot, that `membership` takes account of. */
  membershipIndex: number;
  /** Of every member, by ascending id. */
  progress: Map<number, Progress>;
  votes: Map<number, boolean>;

  /** To be sent at once. */
  messages: Message[];
  /** To be sent when all that has happened so far is on disk; may be addressed to this node itself. */
  messagesAfterAppend: Message[];

  leadTransferee: number;
  /** No membership change is taken before everything up to here is applied: only one may be under way. */
  pendingConfIndex: number;
  /** An estimate, never too high, of the data behind the commit index of a leader. */
  uncommittedSize: number;

  reads: ReadIndex;
  /** Questions that came before this leader committed an entry of its own term. */
  waitingReads: Message[];
  readStates: ReadState[];

  electionElapsed: number;
  heartbeatElapsed: number;
  /** Ticks without news until this node starts an election. */
  randomizedElectionTimeout: number;
}

/** What a role does with which message; others it does not heed. */
export type Answers = { readonly [Type in MessageType]?: (raft: Raft, m: Message) => void };

/** Why an input had no effect. A dropped proposal may be repeated later; the other two must not be stepped at all. */
export type Refused = 'proposal-dropped' | 'local-message' | 'unknown-peer';

export const hex = (id: number): string => id.toString(16);

export function hardState(raft: Raft): HardState {
  return { term: raft.term, vote: raft.vote, commit: raft.log.committed };
}

/**
 * Queues a message. Answers that others count on (votes, acknowledgements) wait until what they attest is on disk; refusals of the
 * same kind as well, for they may rest on a term or a log that is not saved yet either.
 */
export function send(raft: Raft, fields: MessageFields): void {
  const { type } = fields;
  const vote =
    type === 'MsgVote' || type === 'MsgVoteResp' || type === 'MsgPreVote' || type === 'MsgPreVoteResp';
  assert(vote === ((fields.term ?? 0) !== 0), `${type} is sent with term ${fields.term ?? 0}`);
  const unbound = type === 'MsgProp' || type === 'MsgReadIndex';
  const term = fields.term ?? (unbound ? 0 : raft.term);
  const from = fields.from === undefined || fields.from === nobody ? raft.id : fields.from;
  const queued = message({ ...fields, from, term });
  if (type === 'MsgAppResp' || type === 'MsgVoteResp' || type === 'MsgPreVoteResp') {
    raft.messagesAfterAppend.push(queued);
  } else {
    assert(queued.to !== raft.id, `${type} is sent to oneself`);
    raft.messages.push(queued);
  }
}

export function newProgress(
  raft: Raft,
  fields: Pick<ProgressFields, 'next' | 'learner' | 'recentActive'>,
): Progress {
  const { maxInflightMessages, maxInflightBytes } = raft.options;
  return new Progress({ ...fields, maxInflightMessages, maxInflightBytes });
}

/** Whether this node may become leader: a voter whose state is not just being replaced. */
export function isPromotable(raft: Raft): boolean {
  const own = raft.progress.get(raft.id);
  return own !== undefined && !own.learner && raft.log.unstable.snapshot === undefined;
}
