// What the auditor holds the log against: what it has verified so far. Two kinds: full.ts replays everything; sample.ts follows the heads alone.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';

export interface Copy {
  /** The log up to here is verified, as far as this kind goes. */
  readonly size: number;
  /** The newest state that was found to belong to the log's one history. It may lie before the end of what is verified on the way to it, or behind it. */
  readonly head: SignedSnapshot | undefined;
  /** Whether an earlier state is compared without asking the log. */
  readonly holdsAll: boolean;
  /** The root of a size that is replayed; undefined for others. */
  readonly rootAt: (size: number) => Uint8Array | undefined;
  /** To be waited after a step. */
  readonly restMs: number;
  /** Holds a state that ends before `size` against what is verified; raises what does not fit. True when it fits. */
  readonly compare: (signed: SignedSnapshot) => Promise<boolean>;
  /** One step towards a state that ends behind `size`. Rejects when the log does not answer. */
  readonly advance: (target: SignedSnapshot) => Promise<Step>;
  /** An event to ask about, and where it was first logged; undefined while there is none. */
  readonly pick: () => Promise<Picked | undefined>;
  readonly figures: () => Readonly<Record<string, unknown>>;
  readonly close: () => Promise<void>;
}

/** Grown: go on. Refused: the target is not of this history, or the log serves something else. Stopped: nothing behind `size` can be verified any more. */
export type Step = 'grown' | 'refused' | 'stopped';

export interface Picked {
  readonly eventDigest: Uint8Array;
  /** The event is in the log from this version on at the latest. */
  readonly version: number;
  /** Whether that is its first version. */
  readonly isFirst: boolean;
}
