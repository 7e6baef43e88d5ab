// One run: a cluster, its clients and its troubles for a while; then the troubles end, and everything has to come to rest with nothing
// lost. All of it follows from the seed.
import { balloonMachines } from './balloon-machine.ts';
import { Checks, Violation } from './checks.ts';
import { Client } from './clients.ts';
import {
  endTrouble,
  makeTrouble,
  mostAdvanced,
  matchProcesses,
  settleMembership,
  stirTerms,
} from './faults.ts';
import { listMachines } from './machine.ts';
import { Member, type Cluster } from './member.ts';
import type { Sabotage } from './sabotage.ts';
import { World } from './world.ts';
import type { NodeOptions } from '../../src/raft/node.ts';

const TROUBLE_MS = 3_000;
/** After the last fault, this is more than enough to elect, catch up and answer. */
const CALM_MS = 6_000;
const MAX_STEPS = 200_000;
const CLIENTS = 3;
/** One seed of so many runs the balloon itself; the others a list, which takes a quarter of the time. */
const BALLOON_EVERY = 20;

export interface Outcome {
  readonly seed: number;
  /** What went wrong, or undefined. */
  readonly failure: string | undefined;
  /** Only of a traced run. */
  readonly trace: readonly string[];
  readonly steps: number;
  readonly tally: ReadonlyMap<string, number>;
}

export function simulate(seed: number, sabotage: Sabotage = {}, traced = false): Outcome {
  const world = new World(seed, traced);
  const cluster = found(world, sabotage);
  const undo = sabotage.patch?.();
  let failure: string | undefined;
  try {
    run(cluster);
  } catch (error) {
    // An assertion of the core, or of its storage, is as good a witness as a check of ours.
    if (!(error instanceof Error)) throw error;
    failure = error instanceof Violation ? error.message : `${error.name}: ${error.message}`;
    world.note(() => `FAILED: ${error.stack ?? error.message}`);
  } finally {
    undo?.();
  }
  world.tally.set('elections', cluster.checks.electionCount);
  world.tally.set('acknowledged adds', cluster.checks.addedCount);
  return { seed, failure, trace: world.trace, steps: world.steps, tally: world.tally };
}

/** What happened in several runs, together. */
export function sumUp(outcomes: Iterable<Outcome>): ReadonlyMap<string, number> {
  const sum = new Map<string, number>();
  for (const { tally } of outcomes) {
    for (const [what, count] of tally) sum.set(what, (sum.get(what) ?? 0) + count);
  }
  return sum;
}

/** A failed run again, this time with its story. */
export function describeFailure({ seed, failure }: Outcome, sabotage: Sabotage = {}): string {
  const { trace } = simulate(seed, sabotage, true);
  return `seed ${seed}: ${failure ?? 'no failure'}\n${trace.join('\n')}\nseed ${seed}: ${failure ?? 'no failure'}`;
}

function found(world: World, sabotage: Sabotage): Cluster {
  const { random } = world;
  const options: Partial<NodeOptions> = {
    electionTicks: 8,
    heartbeatTicks: 2,
    asyncStorageWrites: random.chance(0.5),
    preVote: random.chance(0.5),
    checkQuorum: random.chance(0.5),
    stepDownOnRemoval: random.chance(0.5),
    maxSizePerMessage: random.pick([0, 40, 200, Infinity]),
    maxApplyingSize: random.pick([1, 60, Infinity]),
    maxInflightMessages: random.pick([1, 2, 8]),
    maxInflightBytes: Infinity,
    maxUncommittedSize: random.pick([50, Infinity]),
    ...sabotage.options,
  };
  const machines = world.seed % BALLOON_EVERY === 0 ? balloonMachines() : listMachines();
  const cluster: Cluster = { world, checks: new Checks(), options, sabotage, machines, members: new Map() };
  const founders = Array.from({ length: random.pick([2, 3, 3, 3, 5]) }, (_, at) => at + 1);
  for (const id of founders) cluster.members.set(id, new Member(id, cluster, founders));
  return cluster;
}

function run(cluster: Cluster): void {
  const { world } = cluster;
  for (const member of cluster.members.values()) member.start();
  const clients = Array.from({ length: CLIENTS }, (_, at) => new Client(at + 1, cluster));
  for (const client of clients) client.next();
  makeTrouble(cluster, () => world.now >= TROUBLE_MS);
  while (world.now < TROUBLE_MS) takeStep(cluster);
  endTrouble(cluster);
  for (const client of clients) client.stop();
  for (let check = world.now; world.now < TROUBLE_MS + CALM_MS;) {
    takeStep(cluster);
    if (world.now < check) continue;
    check = world.now + 50;
    settleMembership(cluster);
    matchProcesses(cluster);
    stirTerms(cluster);
    if (isAtRest(cluster, clients)) {
      holds(cluster);
      return;
    }
  }
  throw new Violation(
    `no rest within ${CALM_MS} ms after the last fault: ${describeState(cluster, clients)}`,
  );
}

function takeStep({ world }: Cluster): void {
  if (!world.step()) throw new Violation('nothing is going on any more');
  if (world.steps > MAX_STEPS) throw new Violation(`more than ${MAX_STEPS} steps`);
}

/** Every operation is answered, and all members have applied the same. */
function isAtRest(cluster: Cluster, clients: readonly Client[]): boolean {
  const members = [...cluster.members.values()].filter((member) => member.running);
  const latest = mostAdvanced(cluster);
  return (
    latest !== undefined &&
    clients.every(({ busy }) => !busy) &&
    members.some((member) => member.status()?.softState.role === 'leader') &&
    latest.membership.votersOutgoing.length === 0 &&
    members.every((member) => member.applied === latest.applied)
  );
}

function holds({ members, checks }: Cluster): void {
  for (const { id, machine } of members.values()) {
    if (machine === undefined) continue;
    checks.holds(id, machine.contents());
    checks.reaches(id, machine.checkpoint());
  }
}

function describeState({ members }: Cluster, clients: readonly Client[]): string {
  const nodes = [...members.values()].map((member) => {
    const { role = 'down', lead = 0 } = member.status()?.softState ?? {};
    return `${member.id} ${role} of ${lead}, applied ${member.applied}`;
  });
  return `${nodes.join('; ')}; ${clients.filter(({ busy }) => busy).length} clients wait`;
}
