// The exam's clusters: nodes numbered from 1, messages that lie around until a command delivers or drops them, and everything that
// the cores say. The output of a command is what was said and done during it, `ok` if that is nothing.
import { decodeChange } from '../src/raft/change-codec.ts';
import {
  describeEntries,
  describeMessage,
  describeProgress,
  describeReady,
  describeRole,
} from '../src/raft/describe.ts';
import { MemoryStorage } from './raft-storage.ts';
import { noMembers, type ConfChange, type Transition } from '../src/raft/membership.ts';
import {
  isLocalTarget,
  message,
  noBytes,
  type Entry,
  type HardState,
  type Message,
  type RaftSnapshot,
} from '../src/raft/message.ts';
import { RaftNode, type NodeOptions } from '../src/raft/node.ts';
import { voterIds } from '../src/raft/quorum.ts';
import { orderedHardState } from '../src/raft/ready.ts';
import type { SayLevel } from '../src/raft/say.ts';
import type { Refused } from '../src/raft/raft.ts';
import { parseChanges } from './raft-exam-tables.ts';
import { parseLine, valuesOf, type Arg, type Command, type Interpreter } from './raft-exam.ts';

const levels = ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'NONE'];
const NONE = levels.indexOf('NONE');
const electionTicks = 3;
const heartbeatTicks = 1;

/** Raft snapshots are not taken by the storage here: there is one after every entry that was applied. */
class ExamStorage extends MemoryStorage {
  readonly history: RaftSnapshot[];

  constructor(start: RaftSnapshot) {
    super();
    this.history = [start];
  }

  override snapshot(): RaftSnapshot {
    return this.history.at(-1)!;
  }
}

interface Member {
  readonly id: number;
  readonly node: RaftNode;
  readonly storage: ExamStorage;
  readonly async: boolean;
  readonly appendWork: Message[];
  readonly applyWork: Message[];
}

interface Cluster {
  readonly members: Member[];
  /** Under way. */
  messages: Message[];
  output: string;
  level: number;
}

/** What a command complains about: printed even when all other output is switched off. */
class Complaint extends Error {}

type Handler = (cluster: Cluster, args: readonly Arg[], body: string) => void;

export function clusterInterpreter(): Interpreter {
  const cluster: Cluster = { members: [], messages: [], output: '', level: 0 };
  return (command) => {
    cluster.output = '';
    try {
      runCommand(cluster, command);
    } catch (error) {
      if (!(error instanceof Complaint)) throw error;
      if (cluster.level === NONE) return error.message;
      print(cluster, error.message);
    }
    return cluster.output === '' ? 'ok' : cluster.output;
  };
}

/** A body is a list of further commands, except after propose-conf-change. */
function runCommand(cluster: Cluster, { name, args, body }: Command): void {
  runOne(cluster, name, args, body);
  if (name === 'propose-conf-change') return;
  for (const line of body.split('\n').filter((part) => part.trim() !== '')) {
    const next = parseLine(line);
    runOne(cluster, next.name, next.args, '');
  }
}

function runOne(cluster: Cluster, name: string, args: readonly Arg[], body: string): void {
  const handler = handlers.get(name);
  if (handler === undefined) throw new Complaint('unknown command');
  handler(cluster, args, body);
}

function print(cluster: Cluster, text: string): void {
  if (cluster.level !== NONE) cluster.output += text;
}

function indented(cluster: Cluster, run: () => void): void {
  const before = cluster.output;
  cluster.output = '';
  run();
  const lines = cluster.output.replace(/\n$/, '').split('\n');
  const inner = cluster.output === '' ? '' : lines.map((line) => `  ${line}\n`).join('');
  cluster.output = before + inner;
}

const complaints: Readonly<Record<Refused, string>> = {
  'proposal-dropped': 'raft proposal dropped',
  'local-message': 'raft: cannot step raft local message',
  'unknown-peer': 'raft: cannot step as peer not found',
};

function check(refused: Refused | undefined): void {
  if (refused !== undefined) throw new Complaint(complaints[refused]);
}

// --- arguments

/** Arguments that are plain numbers name members. */
function membersNamed(cluster: Cluster, args: readonly Arg[]): readonly Member[] {
  return args.filter((arg) => arg.values.length === 0).map((arg) => member(cluster, Number(arg.key)));
}

function member(cluster: Cluster, id: number): Member {
  const found = cluster.members[id - 1];
  if (found === undefined) throw new Complaint(`no member ${id}`);
  return found;
}

const first = (cluster: Cluster, args: readonly Arg[]): Member => member(cluster, Number(args[0]?.key));

const number = (args: readonly Arg[], key: string): number | undefined => {
  const value = valuesOf(args, key)[0];
  return value === undefined ? undefined : Number(value);
};

const flag = (args: readonly Arg[], key: string): boolean => valuesOf(args, key)[0] === 'true';

// --- commands

const handlers: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ['_breakpoint', () => undefined],
  ['add-nodes', addNodes],
  ['campaign', (cluster, args) => first(cluster, args).node.campaign()],
  ['compact', compact],
  ['deliver-msgs', deliverCommand],
  ['forget-leader', (cluster, args) => first(cluster, args).node.forgetLeader()],
  ['log-level', (cluster, args) => setLevel(cluster, args[0]?.key ?? '')],
  ['process-append-thread', forEachNamed('processing append thread', processAppend)],
  ['process-apply-thread', forEachNamed('processing apply thread', processApply)],
  ['process-ready', forEachNamed('handling Ready', processReady)],
  ['propose', propose],
  ['propose-conf-change', proposeConfChange],
  ['raft-log', (cluster, args) => printLog(cluster, first(cluster, args))],
  ['raft-state', printStates],
  ['report-unreachable', reportUnreachable],
  ['send-snapshot', sendSnapshot],
  [
    'set-randomized-election-timeout',
    (cluster, args) => first(cluster, args).node.setElectionTimeout(number(args, 'timeout') ?? 0),
  ],
  ['stabilize', stabilizeCommand],
  ['status', printStatus],
  ['tick', (cluster, args) => tick(first(cluster, args), Number(args[1]?.key))],
  ['tick-election', (cluster, args) => tick(first(cluster, args), electionTicks)],
  ['tick-heartbeat', (cluster, args) => tick(first(cluster, args), heartbeatTicks)],
  [
    'transfer-leadership',
    (cluster, args) =>
      member(cluster, number(args, 'from') ?? 0).node.transferLeadership(number(args, 'to') ?? 0),
  ],
]);

function forEachNamed(title: string, run: (cluster: Cluster, member: Member) => void): Handler {
  return (cluster, args) => {
    const named = membersNamed(cluster, args);
    for (const one of named) {
      if (named.length === 1) run(cluster, one);
      else headed(cluster, one, title, () => run(cluster, one));
    }
  };
}

function headed(cluster: Cluster, { id }: Member, title: string, run: () => void): void {
  print(cluster, `> ${id} ${title}\n`);
  indented(cluster, run);
}

function addNodes(cluster: Cluster, args: readonly Arg[]): void {
  const ids = (key: string) => valuesOf(args, key).map(Number);
  const readOnly = valuesOf(args, 'read-only')[0] ?? 'safe';
  if (readOnly !== 'safe' && readOnly !== 'lease-based')
    throw new Complaint(`invalid read-only option "${readOnly}"`);
  const index = number(args, 'index') ?? 0;
  const membership = { ...noMembers, voters: ids('voters'), learners: ids('learners') };
  const data = new TextEncoder().encode(valuesOf(args, 'content')[0] ?? '');
  const bootstrap =
    index > 0 || membership.voters.length > 0 || membership.learners.length > 0 || data.length > 0;
  if (bootstrap && index <= 1) throw new Complaint('index must be specified as > 1 due to bootstrap');
  const start: RaftSnapshot = { index, term: bootstrap ? 1 : 0, membership, data };
  const options = {
    applied: index,
    electionTicks,
    heartbeatTicks,
    asyncStorageWrites: flag(args, 'async-storage-writes'),
    maxSizePerMessage: Infinity,
    maxApplyingSize: number(args, 'max-committed-size-per-ready') ?? Infinity,
    maxInflightMessages: number(args, 'inflight') ?? 2 ** 31 - 1,
    preVote: flag(args, 'prevote'),
    checkQuorum: flag(args, 'checkquorum'),
    readOnly,
    stepDownOnRemoval: flag(args, 'step-down-on-removal'),
    disableConfChangeValidation: flag(args, 'disable-conf-change-validation'),
    random: () => 0,
    say: (level: SayLevel, line: string) => {
      const rank = levels.indexOf(level.toUpperCase());
      if (cluster.level <= rank) print(cluster, `${levels[rank]!} ${line}\n`);
    },
  } satisfies Omit<NodeOptions, 'id' | 'storage'>;
  for (let count = Number(args[0]?.key); count > 0; count -= 1) {
    const storage = new ExamStorage(start);
    if (bootstrap) storage.applySnapshot(start);
    const id = cluster.members.length + 1;
    const node = new RaftNode({ ...options, id, storage });
    const async = options.asyncStorageWrites;
    cluster.members.push({ id, node, storage, async, appendWork: [], applyWork: [] });
  }
}

function compact(cluster: Cluster, args: readonly Arg[]): void {
  const target = first(cluster, args);
  const index = Number(args[1]?.key);
  if (index < target.storage.firstIndex())
    throw new Complaint('requested index is unavailable due to compaction');
  target.storage.compact(index);
  printLog(cluster, target);
}

function setLevel(cluster: Cluster, name: string): void {
  const level = levels.indexOf(name.toUpperCase());
  if (level < 0) throw new Complaint(`log levels must be either of [${levels.join(' ')}]`);
  cluster.level = level;
}

function propose(cluster: Cluster, args: readonly Arg[]): void {
  check(first(cluster, args).node.propose(new TextEncoder().encode(args[1]?.key ?? '')));
}

const transitions: readonly Transition[] = ['auto', 'implicit', 'explicit'];

function proposeConfChange(cluster: Cluster, args: readonly Arg[], body: string): void {
  const named = valuesOf(args, 'transition')[0] ?? 'auto';
  const transition = transitions.find((one) => one === named);
  if (transition === undefined) throw new Complaint(`unknown transition ${named}`);
  const changes = parseChanges(body);
  if (typeof changes === 'string') throw new Complaint(changes);
  const v1 = ['true', 't', '1'].includes(valuesOf(args, 'v1')[0]?.toLowerCase() ?? '');
  if (v1 && (changes.length > 1 || transition !== 'auto'))
    throw new Complaint('v1 conf change can only have one operation and no transition');
  const change: ConfChange = { transition, changes, context: noBytes };
  const type = v1 ? 'EntryConfChange' : 'EntryConfChangeV2';
  check(first(cluster, args).node.proposeConfChange(change, type));
}

function reportUnreachable(cluster: Cluster, args: readonly Arg[]): void {
  const [on, lost] = membersNamed(cluster, args);
  if (on === undefined || lost === undefined || args.length > 2)
    throw new Complaint('must specify exactly two node indexes: node on which to report, and reported node');
  on.node.reportUnreachable(lost.id);
}

function sendSnapshot(cluster: Cluster, args: readonly Arg[]): void {
  const [from, to] = membersNamed(cluster, args);
  if (from === undefined || to === undefined) throw new Complaint('send-snapshot takes two nodes');
  const { term } = from.node.status().hardState;
  const m = message({
    type: 'MsgSnap',
    term,
    from: from.id,
    to: to.id,
    snapshot: from.storage.snapshot(),
  });
  cluster.messages.push(m);
  print(cluster, describeMessage(m));
}

function tick({ node }: Member, times: number): void {
  for (let left = times; left > 0; left -= 1) node.tick();
}

// --- what can be looked at

function printLog(cluster: Cluster, { storage }: Member): void {
  const from = storage.firstIndex();
  const last = storage.lastIndex();
  if (last < from) print(cluster, `log is empty: first index=${from}, last index=${last}`);
  else print(cluster, describeEntries(storage.entries(from, last + 1, Infinity) ?? []));
}

function printStates(cluster: Cluster): void {
  for (const { node } of cluster.members) {
    const { id, softState, hardState, membership } = node.status();
    const voter = voterIds(membership).includes(id) ? '(Voter)' : '(Non-Voter)';
    const role = describeRole(softState.role);
    print(cluster, `${id}: ${role} ${voter} Term:${hardState.term} Lead:${softState.lead}\n`);
  }
}

function printStatus(cluster: Cluster, args: readonly Arg[]): void {
  for (const [id, progress] of first(cluster, args).node.status().progress) {
    print(cluster, `${id}: ${describeProgress(progress)}\n`);
  }
}

// --- messages

function deliverCommand(cluster: Cluster, args: readonly Arg[]): void {
  const type = valuesOf(args, 'type')[0];
  let handled = 0;
  for (const arg of args) {
    if (arg.values.length === 0) handled += deliver(cluster, Number(arg.key), type);
    if (arg.key === 'drop') {
      for (const id of arg.values) handled += drop(cluster, Number(id), type);
    }
  }
  if (handled === 0) print(cluster, 'no messages\n');
}

function deliver(cluster: Cluster, to: number, type?: string): number {
  const taken = take(cluster, (m) => m.to === to && (type === undefined || m.type === type));
  for (const m of taken) {
    print(cluster, `${describeMessage(m)}\n`);
    const refused = member(cluster, to).node.step(m);
    if (refused !== undefined) print(cluster, `${complaints[refused]}\n`);
  }
  return taken.length;
}

/** What a node tells itself cannot get lost. */
function drop(cluster: Cluster, to: number, type?: string): number {
  const local = (m: Message) => m.from === m.to || isLocalTarget(m.from) || isLocalTarget(m.to);
  const taken = take(cluster, (m) => m.to === to && !local(m) && (type === undefined || m.type === type));
  for (const m of taken) print(cluster, `dropped: ${describeMessage(m)}\n`);
  return taken.length;
}

function take(cluster: Cluster, wanted: (m: Message) => boolean): readonly Message[] {
  const taken = cluster.messages.filter(wanted);
  cluster.messages = cluster.messages.filter((m) => !wanted(m));
  return taken;
}

// --- driving

function processReady(cluster: Cluster, target: Member): void {
  const ready = target.node.ready();
  print(cluster, describeReady(ready));
  if (!target.async) {
    save(target.storage, ready.hardState, ready.entries, ready.snapshot);
    apply(target, ready.committedEntries);
  }
  for (const m of ready.messages) {
    if (m.type === 'MsgStorageAppend') target.appendWork.push(m);
    else if (m.type === 'MsgStorageApply') target.applyWork.push(m);
    else cluster.messages.push(m);
  }
  if (!target.async) target.node.advance();
}

function processAppend(cluster: Cluster, { appendWork, storage }: Member): void {
  const m = appendWork.shift();
  if (m === undefined) {
    print(cluster, 'no append work to perform');
    return;
  }
  print(cluster, `Processing:\n${describeMessage({ ...m, responses: [] })}\n`);
  save(storage, orderedHardState(m), m.entries, m.snapshot);
  respond(cluster, m);
}

function processApply(cluster: Cluster, target: Member): void {
  const m = target.applyWork.shift();
  if (m === undefined) {
    print(cluster, 'no apply work to perform');
    return;
  }
  print(cluster, `Processing:\n${describeMessage({ ...m, responses: [] })}\n`);
  apply(target, m.entries);
  respond(cluster, m);
}

function respond(cluster: Cluster, { responses }: Message): void {
  print(cluster, 'Responses:\n');
  for (const response of responses) print(cluster, `${describeMessage(response)}\n`);
  cluster.messages.push(...responses);
}

function save(
  storage: ExamStorage,
  hardState: HardState | undefined,
  entries: readonly Entry[],
  snapshot: RaftSnapshot | undefined,
): void {
  if (hardState !== undefined) storage.hardState = hardState;
  if (snapshot === undefined) storage.append(entries);
  else if (entries.length === 0) storage.applySnapshot(snapshot);
  else throw new Complaint("can't apply snapshot and entries at the same time");
}

/** The state machine of the exam strings all data together. */
function apply({ node, storage }: Member, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const before = storage.history.at(-1)!;
    const change = entry.type === 'EntryNormal' ? undefined : decodeChange(entry.data);
    const membership = change === undefined ? before.membership : node.applyConfChange(change, entry.index);
    const update = change === undefined ? entry.data : change.context;
    const data = Uint8Array.from([...before.data, ...update]);
    storage.history.push({ index: entry.index, term: entry.term, membership, data });
  }
}

function stabilizeCommand(cluster: Cluster, args: readonly Arg[]): void {
  const { level } = cluster;
  const wanted = valuesOf(args, 'log-level')[0];
  if (wanted !== undefined) setLevel(cluster, wanted);
  const named = membersNamed(cluster, args);
  stabilize(cluster, named.length > 0 ? named : [...cluster.members]);
  cluster.level = level;
}

/** Until nothing is left to do for these members: Readies, messages to them, appends, applies, in rounds. */
function stabilize(cluster: Cluster, members: readonly Member[]): void {
  let busy = true;
  const round = (title: string, hasWork: (m: Member) => boolean, run: (m: Member) => void) => {
    for (const one of members.filter(hasWork)) {
      headed(cluster, one, title, () => run(one));
      busy = true;
    }
  };
  while (busy) {
    busy = false;
    round(
      'handling Ready',
      ({ node }) => node.hasReady(),
      (one) => processReady(cluster, one),
    );
    round(
      'receiving messages',
      ({ id }) => cluster.messages.some((m) => m.to === id),
      ({ id }) => deliver(cluster, id),
    );
    round(
      'processing append thread',
      ({ appendWork }) => appendWork.length > 0,
      (one) => {
        while (one.appendWork.length > 0) processAppend(cluster, one);
      },
    );
    round(
      'processing apply thread',
      ({ applyWork }) => applyWork.length > 0,
      (one) => {
        while (one.applyWork.length > 0) processApply(cluster, one);
      },
    );
  }
}
