// What a node knows of its cluster when its log is opened: what the log says; or, where there is none yet, a cluster of its own, or a place in the one
// that it was told about.
import { randomBytes } from 'node:crypto';
import { equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { encodeChange } from '../raft/change-codec.ts';
import { noMembers } from '../raft/membership.ts';
import { nodeDisk, type Disk } from './disk.ts';
import {
  checkJoined,
  emptyTable,
  formatJson,
  formatMember,
  formatStanding,
  parseStanding,
  type Joined,
  type NodeRecord,
  type Standing,
} from './members.ts';
import { openWal, type Wal } from './wal.ts';

export interface StandingOptions {
  readonly directory: string;
  /** What a directory without a log becomes: a cluster of its own, or a member of the one that it was told about. With `resume` there has to be one. */
  readonly start: 'found' | 'resume' | Joined;
  /** The last record that the database has applied. */
  readonly appliedIndex: number;
}

const FOUNDER = 1;
/** The type of a membership change on disk. */
const CHANGE = 2;

const blank: Omit<Standing, 'id'> = {
  index: 0,
  term: 0,
  membership: noMembers,
  table: emptyTable,
  seeds: [],
  floor: { database: 0, log: 0 },
  isCatchingUp: false,
};

/** Whether there is no log in the directory yet. It is made and locked in passing. */
export async function isNewLog({
  directory,
  disk = nodeDisk,
}: {
  readonly directory: string;
  readonly disk?: Disk;
}): Promise<boolean> {
  const wal = await openWal({ directory, disk, random: randomBytes });
  const isNew = isEmpty(wal);
  await wal.close();
  return isNew;
}

export async function openStanding(
  wal: Wal,
  self: NodeRecord,
  { directory, start, appliedIndex }: StandingOptions,
): Promise<Standing> {
  if (!isEmpty(wal)) {
    const standing = checkStanding(wal, self, directory);
    checkApplied(wal, standing, appliedIndex, directory);
    return standing;
  }
  if (typeof start === 'object') return enterCluster(wal, start, appliedIndex);
  if (start === 'resume' || appliedIndex > 0)
    throw new QedError(
      'store-corrupt',
      `this node had a log or was about to join one, but there is none in ${directory}`,
      {
        hint: 'Name the right --raftpath, or start with --join-addr to get into the cluster. Only with an empty --path it can begin another log.',
      },
    );
  return foundCluster(wal, self);
}

function isEmpty({ note, last }: Wal): boolean {
  return note === undefined && last.index === 0;
}

function checkStanding({ note, last }: Wal, self: NodeRecord, directory: string): Standing {
  const standing = note && parseStanding(note);
  if (!standing || standing.index > last.index)
    throw new QedError('store-corrupt', `the log in ${directory} does not hold what its members applied`, {
      hint: 'Put the right directory back, or get the data from the cluster: qed rebuild.',
    });
  const own = [...standing.table.members, ...standing.seeds].find(({ id }) => id === standing.id);
  if (own && (!equalBytes(own.nodeKey, self.nodeKey) || own.nodeId !== self.nodeId))
    throw new QedError(
      'node-mismatch',
      `the log in ${directory} belongs to the node ${own.nodeId} with another key or id`,
      {
        hint: 'Start with the node id and key that it was made with.',
      },
    );
  return standing;
}

/**
 * What the database has applied, this log had, or the database got it from peers. A log that has it no longer has lost what it promised to others as
 * well: votes, and records that they count on. It must not take part under the same number again.
 */
function checkApplied(
  { last }: Wal,
  { floor, isCatchingUp }: Standing,
  appliedIndex: number,
  directory: string,
): void {
  if (isCatchingUp || appliedIndex <= Math.max(last.index, floor.database)) return;
  throw new QedError(
    'store-corrupt',
    `the database has applied record ${appliedIndex}, but the log in ${directory} ends at record ${last.index}`,
    {
      hint: 'The log lost acknowledged records or belongs to other data. Put the right directory back, or wipe this node and let it join anew.',
    },
  );
}

/** The founder is the first entry, so that whoever replays the log from its start learns of it. */
async function foundCluster(wal: Wal, self: NodeRecord): Promise<Standing> {
  const term = Math.max(1, wal.hardState.term);
  const founder = formatMember({ ...self, id: FOUNDER });
  const payload = encodeChange({
    transition: 'auto',
    changes: [{ type: 'voter', id: FOUNDER }],
    context: founder,
  });
  const standing = { ...blank, id: FOUNDER };
  const hardState = { term, vote: FOUNDER, commit: 1 };
  await wal.append([{ type: CHANGE, index: 1, term, payload }], hardState, formatStanding(standing));
  return standing;
}

/** The database may be there already; its log is gone. */
async function enterCluster(wal: Wal, joined: Joined, appliedIndex: number): Promise<Standing> {
  const { id, members } = checkJoined(JSON.parse(formatJson(joined)));
  const standing = { ...blank, id, seeds: members, floor: { database: appliedIndex, log: 0 } };
  await wal.append([], undefined, formatStanding(standing));
  return standing;
}
