// A node from its data directory: who it is, what it keeps, and its place in a cluster, which it founds or joins at its first start and knows ever after.
// A name that a cluster refuses, or another log, leaves nothing behind that stands in the way of the next try.
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { QedError } from '../errors.ts';
import { type ClusterLog } from '../replication/cluster-log.ts';
import { isNewLog } from '../replication/standing.ts';
import { openClusterLog } from '../replication/cluster.ts';
import { type Joined, type MemberRecord } from '../replication/members.ts';
import { openDurableBalloon } from '../storage/durable-balloon.ts';
import { openLevelStore } from '../storage/level.ts';
import { isSettled, openIdentity, settleIdentity, type Identity, type IdentityOptions } from './identity.ts';
import { findCluster, joinCluster, type FoundCluster, type JoinHelp, type JoinOptions } from './join.ts';
import { formatAddress, isLoopback, ownHost, reachableHost, type Address, type Reserved } from './listen.ts';
import { composeNode, type Node, type NodeOptions } from './node.ts';
import { openPayloads } from './payloads.ts';
import { setAside } from './rebuild.ts';
import { type LogHooks } from './replica.ts';

export interface OpenNodeOptions extends IdentityOptions, NodeOptions {
  /** Where the replicated log is kept; `raft` in the data directory unless said otherwise. */
  readonly raftPath?: string | undefined;
  /** Where it listens for other nodes; and where it will be asked by clients and operators. */
  readonly listeners: { readonly raft: Reserved; readonly http: Address; readonly management: Address };
  /** The host at which all of them reach it, where it listens on all interfaces. */
  readonly advertisedHost?: string | undefined;
  /** The cluster that a node without a log joins; without it the node is the first of a new one. */
  readonly join?: JoinOptions | undefined;
  /** Sets the data that is there aside, and joins as if there were none. */
  readonly isRebuilt?: boolean | undefined;
  /** Ends the waiting for a cluster to join. */
  readonly signal?: AbortSignal | undefined;
  /** Keeps the events, not only their digests. */
  readonly storeEvents?: boolean | undefined;
}

/** A file that is there from the moment at which a node asks to be let into a cluster until it has a log. */
const JOINING = 'joining';

/** Opens a node on its data directory. What was opened is closed again when a later part cannot be. */
export async function openNode(options: OpenNodeOptions): Promise<Node> {
  const { path, onEvent = () => undefined } = options;
  const raftPath = options.raftPath ?? join(path, 'raft');
  const opened: (() => Promise<void>)[] = [];
  async function keep<Part extends { close: () => Promise<void> }>(opening: Promise<Part>): Promise<Part> {
    const part = await opening;
    opened.push(() => part.close());
    return part;
  }
  try {
    await makeDirectory(path);
    if (options.isRebuilt) await giveUpData(raftPath, options);
    const store = await keep(openLevelStore(join(path, 'db')));
    const cluster = await lookForCluster(raftPath, options);
    const host = cluster && !isLoopback({ host: cluster.localHost, port: 0 }) ? cluster.localHost : undefined;
    const identity = openIdentity({ ...options, host, cluster });
    const payloads = options.storeEvents
      ? openPayloads(await keep(openLevelStore(join(path, 'events'))), nativeHash)
      : undefined;
    const imagePath = join(path, 'hyper.image');
    const durable = await openDurableBalloon({ store, hash: nativeHash, imagePath, durable: false, onEvent });
    opened.push(() => durable.close());
    const self = { nodeId: identity.nodeId, ...addressesOf(identity, options) };
    const { nodeKey } = identity;
    const start = await chooseStart(identity, self, cluster, options);
    const { release, wanted } = options.listeners.raft;
    const listen = formatAddress(wanted.address);
    async function openLog(hooks: LogHooks): Promise<ClusterLog> {
      const log = await openClusterLog({
        directory: raftPath,
        self,
        nodeKey,
        listen,
        beforeListening: release,
        start,
        ...hooks,
      });
      settleIdentity(path, identity);
      await rm(join(path, JOINING), { force: true });
      return log;
    }
    const storageBytes = async () => ({
      database: await sizeOf(join(path, 'db')),
      log: await sizeOf(raftPath),
    });
    const parts = { identity, payloads, durable, openLog, hash: nativeHash, storageBytes };
    return await composeNode(parts, options);
  } catch (error) {
    for (const close of opened.reverse()) await close().catch(() => undefined);
    throw error;
  }
}

/** Not before the cluster is there that has it all. */
async function giveUpData(raftPath: string, options: OpenNodeOptions): Promise<void> {
  const { path, join, now, onEvent = () => undefined } = options;
  if (!join)
    throw new QedError('option-malformed', 'a node gets its data from its cluster: name it with --join-addr');
  openIdentity({ ...options, cluster: await findCluster(join, joinHelp(options)) });
  onEvent({ kind: 'set-aside', places: await setAside({ path, raftPath }, now()) });
}

/** A node that has a log already knows its cluster. */
async function lookForCluster(raftPath: string, options: OpenNodeOptions): Promise<FoundCluster | undefined> {
  const { join, onEvent = () => undefined } = options;
  if (!join) return undefined;
  if (await isNewLog({ directory: raftPath })) return findCluster(join, joinHelp(options));
  onEvent({ kind: 'join-ignored' });
  return undefined;
}

function addressesOf(
  { host }: Identity,
  { listeners, advertisedHost }: OpenNodeOptions,
): Pick<MemberRecord, 'raftAddr' | 'httpAddr' | 'mgmtAddr'> {
  const fallback = advertisedHost ?? host ?? ownHost();
  const format = (address: Address): string =>
    formatAddress({ host: reachableHost(address, fallback), port: address.port });
  const { raft, http, management } = listeners;
  return { raftAddr: format(raft.wanted.address), httpAddr: format(http), mgmtAddr: format(management) };
}

/**
 * A node founds a cluster at its first start alone. Where another life of it left something, founding again would sign a second log under the
 * same name; so from the moment at which it asks to be let in it has to be a member, or nothing.
 */
async function chooseStart(
  identity: Identity,
  self: Pick<MemberRecord, 'nodeId' | 'raftAddr' | 'httpAddr' | 'mgmtAddr'>,
  cluster: FoundCluster | undefined,
  options: OpenNodeOptions,
): Promise<'found' | 'resume' | Joined> {
  const { path, join: wanted, onEvent = () => undefined } = options;
  const marker = join(path, JOINING);
  if (!cluster || !wanted) return isSettled(path) || existsSync(marker) ? 'resume' : 'found';
  await writeFile(marker, `${cluster.url}\n`);
  const record = { ...self, nodeKey: publicKeyOf(identity.nodeKey) };
  const joined = await joinCluster(wanted, record, identity, joinHelp(options));
  onEvent({ kind: 'join-accepted', members: joined.members.map(({ nodeId }) => nodeId) });
  return joined;
}

function joinHelp(options: OpenNodeOptions): JoinHelp {
  const { signal = new AbortController().signal, onEvent = () => undefined, listeners } = options;
  const onRetry = (why: string, tries: number): void => onEvent({ kind: 'join-retried', why, tries });
  return { own: listeners.management, signal, onRetry };
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new QedError('store-failed', `the data directory ${path} cannot be made: ${String(cause)}`, {
      hint: 'Name another --path, or give this user the right to write there.',
      cause,
    });
  }
}

/** Bytes of the files in a directory. Files that go while it is read count for nothing. */
async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(directory, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
