// Where a seeded bug may reach in: at the seams between a core and its driver, all without effect unless a bug sets them.
// The bugs themselves are in mutants.ts.
import type { HardState, Message } from '../../src/raft/message.ts';
import type { NodeOptions } from '../../src/raft/node.ts';
import type { MachineKind } from './machine.ts';
import type { Member } from './member.ts';

export interface Sabotage {
  readonly options?: Partial<NodeOptions>;
  readonly machines?: (id: number) => MachineKind;
  /** What the core gets to see of a message. */
  readonly receive?: (member: Member, m: Message) => Message;
  /** What the others get to see of it. */
  readonly send?: (member: Member, m: Message) => Message;
  readonly recoverHardState?: (state: HardState) => HardState;
  /** Answer and go on before the disk is done. */
  readonly ackBeforeSync?: boolean;
  readonly applyBeforeCommit?: boolean;
  readonly forgetSnapshotData?: boolean;
  readonly skipJoint?: boolean;
  readonly readLocally?: boolean;
  /** Changes the core itself; returns what undoes it. */
  readonly patch?: () => () => void;
}
