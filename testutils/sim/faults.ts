// What goes wrong, and what operators do meanwhile. Each fault lasts for a while; several may coincide.
import type { ConfChange, Membership, Change } from '../../src/raft/membership.ts';
import { isJoint, memberIds } from '../../src/raft/membership.ts';
import { noBytes } from '../../src/raft/message.ts';
import { ascending } from '../../src/raft/quorum.ts';
import { Member, type Cluster } from './member.ts';

const MOST_MEMBERS = 7;

type Fault = (cluster: Cluster) => void;

/** How often, relative to each other. */
const faults: readonly (readonly [number, Fault])[] = [
  [6, crash],
  [3, huntLeaders],
  [4, partition],
  [3, cutOneWay],
  [2, lossyNetwork],
  [2, slowNetwork],
  [2, slowDisk],
  [2, skewClock],
  [3, transferLeadership],
  [1, forgetLeader],
  [1, reportUnreachable],
  [5, changeMembership],
];

/**
 * One fault after the other, until `over`. Every run has its own mixture and pace: some combinations only show where others keep out
 * of the way.
 */
export function makeTrouble(cluster: Cluster, over: () => boolean): void {
  const { world } = cluster;
  const pace = world.random.pick([40, 150, 300]);
  const mixture = faults.flatMap(([weight, fault]) => {
    return Array<Fault>(weight * world.random.pick([0, 0, 1, 6])).fill(fault);
  });
  const next = (): void => {
    world.later(world.between(5, pace), () => {
      if (over() || mixture.length === 0) return;
      const fault = world.random.pick(mixture);
      world.count(fault.name);
      fault(cluster);
      next();
    });
  };
  next();
}

/** Everything works again, and members that were voted out are gone. */
export function endTrouble(cluster: Cluster): void {
  const { world, members } = cluster;
  world.note(() => 'all faults end');
  world.network.cut.clear();
  world.network.loss = 0;
  world.network.repeats = 0;
  world.network.maxDelay = 3;
  for (const member of members.values()) {
    member.tickInterval = 10;
    member.disk.slowness = 1;
    if (!member.running) member.start();
  }
}

/** Who knows the latest membership. */
export function mostAdvanced(cluster: Cluster): Member | undefined {
  return [...cluster.members.values()].sort((a, b) => b.applied - a.applied)[0];
}

function lasting(cluster: Cluster, undo: () => void): void {
  const { world } = cluster;
  world.later(world.between(20, 400), undo);
}

const running = ({ members }: Cluster): readonly Member[] =>
  [...members.values()].filter((member) => member.running);

// --- machines

/** One process, or all at once as when the power fails. */
function crash(cluster: Cluster): void {
  const { random } = cluster.world;
  const alive = running(cluster);
  if (alive.length === 0) return;
  const victims = random.chance(0.15) ? alive : [random.pick(alive)];
  for (const member of victims) {
    member.crash();
    lasting(cluster, () => {
      if (!member.running) member.start();
    });
  }
}

/** For a while, whoever comes to lead is gone, or alone, a moment later: before it could tell everybody. */
function huntLeaders(cluster: Cluster): void {
  const { world } = cluster;
  const struck = new Set<number>();
  let over = false;
  const look = (): void => {
    for (const leader of leaders(cluster)) {
      const term = leader.status()?.hardState.term ?? 0;
      if (struck.has(term)) continue;
      struck.add(term);
      if (world.random.chance(0.8))
        world.later(world.between(0, world.random.pick([2, 10, 40])), () => strike(cluster, leader));
    }
    if (!over) world.later(2, look);
  };
  look();
  lasting(cluster, () => (over = true));
}

function strike(cluster: Cluster, member: Member): void {
  const { random, network } = cluster.world;
  if (random.chance(0.5)) {
    member.crash();
    lasting(cluster, () => {
      if (!member.running) member.start();
    });
    return;
  }
  const links = [...cluster.members.keys()].flatMap((id) => [`${id}-${member.id}`, `${member.id}-${id}`]);
  for (const link of links) network.cut.add(link);
  cluster.world.note(() => `the leader ${member.id} is cut off`);
  lasting(cluster, () => links.forEach((link) => network.cut.delete(link)));
}

function slowDisk(cluster: Cluster): void {
  const member = cluster.world.random.pick([...cluster.members.values()]);
  member.disk.slowness = 5 + cluster.world.random.below(40);
  cluster.world.note(() => `the disk of ${member.id} is slow`);
  lasting(cluster, () => (member.disk.slowness = 1));
}

function skewClock(cluster: Cluster): void {
  const member = cluster.world.random.pick([...cluster.members.values()]);
  member.tickInterval = cluster.world.between(3, 40);
  cluster.world.note(() => `the clock of ${member.id} ticks every ${member.tickInterval} ms`);
  lasting(cluster, () => (member.tickInterval = 10));
}

// --- network

function partition(cluster: Cluster): void {
  const { random, network } = cluster.world;
  const ids = [...cluster.members.keys()];
  const away = ids.filter(() => random.chance(0.4));
  const links = ids
    .flatMap((a) => ids.map((b) => [a, b] as const))
    .filter(([a, b]) => away.includes(a) !== away.includes(b))
    .map(([a, b]) => `${a}-${b}`);
  for (const link of links) network.cut.add(link);
  cluster.world.note(() => `members ${away.join(' ')} are cut off`);
  lasting(cluster, () => links.forEach((link) => network.cut.delete(link)));
}

function cutOneWay(cluster: Cluster): void {
  const { random, network } = cluster.world;
  const ids = [...cluster.members.keys()];
  const link = `${random.pick(ids)}-${random.pick(ids)}`;
  network.cut.add(link);
  cluster.world.note(() => `the way ${link} is cut`);
  lasting(cluster, () => network.cut.delete(link));
}

function lossyNetwork(cluster: Cluster): void {
  const { network, random } = cluster.world;
  network.loss = random.below(30) / 100;
  network.repeats = random.below(30) / 100;
  lasting(cluster, () => {
    network.loss = 0;
    network.repeats = 0;
  });
}

function slowNetwork(cluster: Cluster): void {
  const { network, random } = cluster.world;
  network.maxDelay = 10 + random.below(120);
  lasting(cluster, () => (network.maxDelay = 3));
}

// --- operators

function leaders(cluster: Cluster): readonly Member[] {
  return running(cluster).filter((member) => member.status()?.softState.role === 'leader');
}

function transferLeadership(cluster: Cluster): void {
  const to = cluster.world.random.pick([...cluster.members.keys()]);
  for (const member of leaders(cluster)) member.order((node) => node.transferLeadership(to));
}

function forgetLeader(cluster: Cluster): void {
  cluster.world.random.pick([...cluster.members.values()]).order((node) => node.forgetLeader());
}

function reportUnreachable(cluster: Cluster): void {
  const id = cluster.world.random.pick([...cluster.members.keys()]);
  for (const leader of leaders(cluster)) leader.order((node) => node.reportUnreachable(id));
}

function changeMembership(cluster: Cluster): void {
  for (const leader of leaders(cluster)) {
    const change = randomChange(cluster, leader.membership);
    for (const { id } of change.changes) startMember(cluster, id);
    cluster.world.note(() => `an operator asks ${leader.id} for ${JSON.stringify(change.changes)}`);
    leader.order((node) => node.proposeConfChange(change));
  }
}

function startMember(cluster: Cluster, id: number): void {
  if (cluster.members.has(id)) return;
  const member = new Member(id, cluster);
  cluster.members.set(id, member);
  member.start();
}

/** Always one that leaves at least two voters, or leaving a joint membership where there is one. */
function randomChange(cluster: Cluster, membership: Membership): ConfChange {
  if (isJoint(membership)) return { transition: 'auto', changes: [], context: noBytes };
  const { random } = cluster.world;
  const count = random.chance(0.6) ? 1 : 2 + random.below(3);
  let voters = membership.voters;
  const changes: Change[] = [];
  for (let left = count; left > 0; left -= 1) {
    const id = 1 + random.below(MOST_MEMBERS);
    const others = voters.filter((voter) => voter !== id);
    const type = others.length < 2 ? 'voter' : random.pick(['voter', 'voter', 'learner', 'remove'] as const);
    voters = type === 'voter' ? ascending([...voters, id]) : others;
    changes.push({ type, id });
  }
  return { transition: random.pick(['auto', 'auto', 'implicit', 'explicit']), changes, context: noBytes };
}

/** A joint membership is not left half way when the run ends. */
export function settleMembership(cluster: Cluster): void {
  for (const leader of leaders(cluster)) {
    if (isJoint(leader.membership)) {
      leader.order((node) => node.proposeConfChange({ transition: 'auto', changes: [], context: noBytes }));
    }
  }
}

/** Members run, and processes that are no members any more do not: they would go on asking for votes. */
export function matchProcesses(cluster: Cluster): void {
  const latest = mostAdvanced(cluster);
  if (latest === undefined) return;
  const ids = memberIds(latest.membership);
  for (const member of cluster.members.values()) {
    if (!ids.includes(member.id)) member.crash();
    else if (!member.running) member.start();
  }
}

/**
 * Without pre-vote and check-quorum nobody tells a leader of a higher term, and a learner in one would wait for ever. Another
 * election helps it.
 */
export function stirTerms(cluster: Cluster): void {
  const { preVote, checkQuorum } = cluster.options;
  if (preVote !== true && checkQuorum !== true && cluster.world.random.chance(0.1))
    transferLeadership(cluster);
}
