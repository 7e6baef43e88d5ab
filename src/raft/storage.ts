// What the core asks of the log on disk. Reads only, and at once: writing is ordered through Ready and done by the driver, who keeps
// at hand (in memory, or by synchronous reads) what is asked for here.
//
// An entry counts as stored from the moment the driver has reported the write that carries it as done, not before.
import type { Membership } from './membership.ts';
import type { Entry, HardState, RaftSnapshot } from './message.ts';

export interface LogStorage {
  /** What was saved before the last stop. Term 0, vote 0, commit 0 and no members for a new node. */
  initialState(): { readonly hardState: HardState; readonly membership: Membership };
  /** The first entry that is still there: one behind the last compaction or Raft snapshot. */
  firstIndex(): number;
  /** The last stored entry; firstIndex() - 1 where there is none. */
  lastIndex(): number;
  /** Of entries from firstIndex() - 1 to lastIndex(); undefined outside. The term before the first entry outlives its compaction. */
  term(index: number): number | undefined;
  /**
   * Consecutive entries from `from` (inclusive) to `to` (exclusive), as many as fit into `maxSize` (see `limitSize`), at least one.
   * Undefined when `from` has been compacted away. The caller changes neither the array nor the entries.
   */
  entries(from: number, to: number, maxSize: number): readonly Entry[] | undefined;
  /**
   * A Raft snapshot for a member that needs compacted entries; undefined while none can be had. Best of the newest applied state: a member
   * refuses one whose membership it is not in, and would never be served by one from before it joined.
   */
  snapshot(): RaftSnapshot | undefined;
}
