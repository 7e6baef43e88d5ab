// What an operator or a joining node asks of the cluster: join, remove, hand over, new addresses. Only the leader carries it out; any other member
// passes it on, once, and relays the answer. An order is done when the change is committed and applied here, so it may be repeated safely.
import { z } from 'zod';
import { encodeHex, equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { type Change, type ConfChange } from '../raft/membership.ts';
import { nobody, noBytes } from '../raft/message.ts';
import {
  checkJoined,
  checkNewcomer,
  checkNode,
  formatJson,
  formatMember,
  memberByKey,
  MEMBERS_MAX,
  sameRecord,
  type Joined,
  type MemberRecord,
  type NodeRecord,
  type Standing,
} from './members.ts';
import { type RaftDriver } from './raft-driver.ts';

export interface JoinRequest extends NodeRecord {
  /** The node has no log: what it was known for before, if anything, is void. */
  readonly isFresh: boolean;
}

export interface OrdersOptions {
  readonly driver: RaftDriver;
  readonly standing: () => Standing;
  readonly electionTicks: number;
  /** Passes an order on to another member. */
  readonly forward: (to: MemberRecord, order: unknown, signal: AbortSignal | undefined) => Promise<unknown>;
  readonly isConnected: (id: number) => boolean;
}

export interface MemberOrders {
  readonly join: (request: JoinRequest, signal?: AbortSignal) => Promise<Joined>;
  readonly remove: (nodeId: string, signal?: AbortSignal) => Promise<void>;
  /** To the given member, or to the one that is most up to date. Resolves when it leads. */
  readonly transfer: (nodeId?: string, signal?: AbortSignal) => Promise<void>;
  /** This node has other addresses than its cluster knows. The leader may not find it, so it has to look for the leader among all. */
  readonly update: (record: NodeRecord, members: readonly MemberRecord[]) => Promise<void>;
  /** An order that another member passed on. */
  readonly carryOut: (from: number, order: unknown, signal: AbortSignal) => Promise<unknown>;
  /** Makes voters of learners that have caught up. To be called after every tick. */
  readonly promote: () => void;
}

const text = z.string().max(64);
const orderSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('join'), record: z.unknown(), isFresh: z.boolean() }),
  z.strictObject({ kind: z.literal('remove'), nodeId: text }),
  z.strictObject({ kind: z.literal('transfer'), nodeId: text.optional() }),
  z.strictObject({ kind: z.literal('update'), record: z.unknown() }),
]);
type Order = z.output<typeof orderSchema>;

/** A learner that is no more entries behind than this becomes a voter. */
const PROMOTION_LAG = 100;
const PATIENCE = 4;

export function createMemberOrders(options: OrdersOptions): MemberOrders {
  const { driver, standing, electionTicks, isConnected } = options;
  const patience = PATIENCE * electionTicks;
  let promotedAt = 0;

  // --- passing on

  /** Carries the order out as leader, or has the leader do it. Waits for one through an election. */
  async function run<Result>(
    order: Order,
    here: (signal?: AbortSignal) => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const leader = await waitForLeader(signal);
    if (leader === standing().id) return here(signal);
    return options.forward(recordOf(leader), JSON.parse(formatJson(order)), signal);
  }

  function waitForLeader(signal?: AbortSignal): Promise<number> {
    const look = (): number | undefined =>
      driver.leader === nobody || !findRecord(driver.leader) ? undefined : driver.leader;
    return driver.until(look, patience, signal).catch((error: unknown) => {
      if (error instanceof QedError && error.code === 'busy')
        throw new QedError('no-leader', 'the cluster has no leader', { hint: 'Try again soon.' });
      throw error;
    });
  }

  function findRecord(id: number): MemberRecord | undefined {
    return standing().table.members.find((member) => member.id === id);
  }

  function recordOf(id: number): MemberRecord {
    const record = findRecord(id);
    if (!record) throw new QedError('no-leader', 'the leader is no member any more');
    return record;
  }

  async function carryOut(from: number, given: unknown, signal: AbortSignal): Promise<unknown> {
    const parsed = orderSchema.safeParse(given);
    if (!parsed.success)
      throw new QedError('bad-request', `not an order of a member: ${z.prettifyError(parsed.error)}`);
    if (!driver.isLeader)
      throw new QedError('no-leader', 'the leader changed at this moment', { hint: 'Try again.' });
    const order = parsed.data;
    if (order.kind === 'join')
      return JSON.parse(
        formatJson(await joinHere({ ...checkNode(order.record), isFresh: order.isFresh }, signal)),
      ) as unknown;
    if (order.kind === 'remove') return removeHere(order.nodeId, signal);
    if (order.kind === 'transfer') return transferHere(order.nodeId, signal);
    return updateHere(from, checkNode(order.record));
  }

  // --- as leader

  /** Proposes until it is so. Proposing again is harmless: while one change is under way, the core makes the next one empty. */
  function change<Found>(
    look: () => Found | undefined,
    propose: () => ConfChange,
    signal?: AbortSignal,
  ): Promise<Found> {
    let due = 0;
    return driver.until(
      () => {
        const found = look();
        if (found !== undefined) return found;
        if (!driver.isLeader)
          throw new QedError('no-leader', 'this node lost its office on the way', { hint: 'Try again.' });
        if (driver.ticks >= due) {
          due = driver.ticks + electionTicks;
          driver.proposeChange(propose());
        }
        return undefined;
      },
      patience,
      signal,
    );
  }

  async function joinHere(request: JoinRequest, signal?: AbortSignal): Promise<Joined> {
    const { isFresh, ...record } = request;
    const before = memberByKey(standing().table, record.nodeKey);
    const oldId = before?.id ?? 0;
    if (before && !isFresh) {
      await updateHere(oldId, record);
      return { id: oldId, members: standing().table.members };
    }
    if (before) checkRemoval(before);
    const joined = (): MemberRecord | undefined => {
      const member = memberByKey(standing().table, record.nodeKey);
      return member && member.id !== oldId ? member : undefined;
    };
    const { id } = await change(joined, () => additionOf(record, before), signal);
    return { id, members: standing().table.members };
  }

  function additionOf(record: NodeRecord, before: MemberRecord | undefined): ConfChange {
    const { table } = standing();
    checkNewcomer(table, record);
    if (table.members.length >= MEMBERS_MAX)
      throw new QedError('bad-request', `a cluster has at most ${MEMBERS_MAX} members`);
    const id = table.nextId;
    const leaving: readonly Change[] = before ? [{ type: 'remove', id: before.id }] : [];
    return {
      transition: 'auto',
      changes: [...leaving, { type: 'learner', id }],
      context: formatMember({ ...record, id }),
    };
  }

  async function updateHere(id: number, record: NodeRecord): Promise<void> {
    const known = recordOf(id);
    if (!equalBytes(known.nodeKey, record.nodeKey) || known.nodeId !== record.nodeId)
      throw new QedError('node-mismatch', `the member ${known.nodeId} has another key or id`);
    const isKnown = (): true | undefined => (sameRecord(recordOf(id), record) ? true : undefined);
    await change(isKnown, () => {
      checkNewcomer(standing().table, record);
      return {
        transition: 'auto',
        changes: [{ type: 'update', id }],
        context: formatMember({ ...record, id }),
      };
    });
  }

  async function removeHere(nodeId: string, signal?: AbortSignal): Promise<void> {
    const member = standing().table.members.find((candidate) => candidate.nodeId === nodeId);
    if (!member) return;
    checkRemoval(member);
    if (member.id === standing().id) {
      // Whoever leads next has to do it: nobody can remove itself and see it through.
      await transferHere(undefined, signal);
      await run({ kind: 'remove', nodeId }, () => removeHere(nodeId, signal), signal);
      return;
    }
    const isGone = (): true | undefined =>
      standing().table.members.some(({ id }) => id === member.id) ? undefined : true;
    await change(
      isGone,
      () => ({ transition: 'auto', changes: [{ type: 'remove', id: member.id }], context: noBytes }),
      signal,
    );
  }

  /** Those who stay must be enough to go on: a removal that is committed cannot be taken back without a majority. */
  function checkRemoval({ id, nodeId }: MemberRecord): void {
    const { voters } = standing().membership;
    if (!voters.includes(id)) return;
    const rest = voters.filter((voter) => voter !== id);
    if (rest.length === 0)
      throw new QedError('bad-request', `${nodeId} is the last voter and cannot be removed`, {
        hint: 'Let another node join first.',
      });
    const alive = rest.filter((voter) => voter === standing().id || isConnected(voter)).length;
    if (alive * 2 > rest.length) return;
    throw new QedError(
      'bad-request',
      `without ${nodeId} only ${alive} of ${rest.length} voters would be there: no majority`,
      {
        hint: 'Bring the others back first, or remove those that are gone.',
      },
    );
  }

  async function transferHere(nodeId: string | undefined, signal?: AbortSignal): Promise<void> {
    const own = standing().id;
    const to =
      nodeId === undefined
        ? bestHeir()
        : standing().table.members.find((member) => member.nodeId === nodeId)?.id;
    if (to === own) return;
    if (to === undefined || !standing().membership.voters.includes(to))
      throw new QedError(
        'bad-request',
        `${nodeId ?? 'nobody else'} is a voter of this cluster: the leadership stays`,
      );
    driver.tell((node) => node.transferLeadership(to));
    await driver.until(() => (driver.leader === to ? true : undefined), 2 * electionTicks, signal);
  }

  /** The voter with the longest log, best one that is there. */
  function bestHeir(): number | undefined {
    const { id: own, progress, membership } = driver.status;
    const rank = (id: number): number => (isConnected(id) ? 2 ** 52 : 0) + (progress.get(id)?.match ?? 0);
    const others = membership.voters.filter((id) => id !== own);
    return others.sort((a, b) => rank(b) - rank(a))[0];
  }

  function promote(): void {
    if (!driver.isLeader || driver.ticks < promotedAt) return;
    const { membership, progress, hardState } = driver.status;
    const ready = membership.learners.find((id) => {
      const member = progress.get(id);
      return (
        member?.state === 'replicate' &&
        member.recentActive &&
        member.match + PROMOTION_LAG >= hardState.commit
      );
    });
    if (ready === undefined) return;
    promotedAt = driver.ticks + electionTicks;
    driver.proposeChange({ transition: 'auto', changes: [{ type: 'voter', id: ready }], context: noBytes });
  }

  return {
    async join({ isFresh, ...given }, signal) {
      const record = checkNode({ ...given, nodeKey: encodeHex(given.nodeKey) });
      const order: Order = { kind: 'join', record, isFresh };
      return checkJoined(
        JSON.parse(formatJson(await run(order, () => joinHere({ ...record, isFresh }, signal), signal))),
      );
    },
    async remove(nodeId, signal) {
      await run({ kind: 'remove', nodeId }, () => removeHere(nodeId, signal), signal);
    },
    async transfer(nodeId, signal) {
      await run({ kind: 'transfer', nodeId }, () => transferHere(nodeId, signal), signal);
    },
    async update(record, members) {
      if (driver.isLeader) {
        await updateHere(standing().id, record);
        return;
      }
      const order: unknown = JSON.parse(formatJson({ kind: 'update', record }));
      const others = members.filter(({ id }) => id !== standing().id);
      await Promise.any(others.map((member) => options.forward(member, order, undefined)));
    },
    carryOut: async (from, order, signal) => (await carryOut(from, order, signal)) ?? null,
    promote,
  };
}
