// The server as a member of gossip: it publishes what its outbox hands it, carries what others publish of the same log, and compares that with its own.
// Its identity is the node key. A snapshot that our key has signed and that is not ours means that two servers use one key, or that this one runs
// on an old copy of its data: both must be known at once.
import { networkInterfaces } from 'node:os';
import { type FastifyBaseLogger } from 'fastify';
import { type Registry } from 'prom-client';
import { type KeyObject } from 'node:crypto';
import { type SignedSnapshot } from '../balloon/proof.ts';
import { nativeVerify } from '../crypto/ed25519-node.ts';
import { equalBytes } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { describeMembersEvent, registerGossipFigures } from '../gossip/figures.ts';
import { keepMembers } from '../gossip/members.ts';
import { openGossip, portOf } from '../gossip/open.ts';
import { joinSnapshots, type Received } from '../gossip/snapshots.ts';
import { type Address, type Wanted } from './listen.ts';
import { type Node } from './node.ts';

/** How long a node may need to see what another one has published. */
const COMPARE_MS = 5_000;

export interface ServerGossipOptions {
  readonly node: Pick<Node, 'identity' | 'signed' | 'version' | 'linearize' | 'gossipOfPeers'>;
  readonly nodeKey: KeyObject;
  readonly wanted: Wanted;
  /** Members to join, `host:port` or multiaddr. */
  readonly join: readonly string[];
  /** Where the API answers, for members that look for the log. */
  readonly qedUrls: readonly string[];
  readonly logger: FastifyBaseLogger;
  readonly registry: Registry;
  /** Another node has published it, and our state at that version is the same. */
  readonly onPublished: (signedSnapshot: SignedSnapshot) => Promise<void>;
}

export interface ServerGossip {
  readonly address: Address;
  readonly publish: (signedSnapshot: SignedSnapshot) => Promise<unknown>;
  readonly close: () => Promise<void>;
}

export async function startGossip(options: ServerGossipOptions): Promise<ServerGossip> {
  const { node, logger, wanted } = options;
  const { signer, nodeId } = node.identity;
  const { host, port } = wanted.address;
  const gossip = await openGossip({ ...wanted, privateKey: options.nodeKey, host, port });
  registerGossipFigures(options.registry, gossip);
  const snapshots = joinSnapshots(gossip, {
    trust: { log: signer.verifier },
    primitives: { hash: nativeHash, verify: nativeVerify },
    now: () => performance.now(),
    receive(received) {
      compare(received, options).catch((error: unknown) => {
        logger.warn({ err: error }, 'a published snapshot could not be compared with the log');
      });
    },
  });
  const members = keepMembers({
    gossip,
    join: options.join,
    discover: () => node.gossipOfPeers(),
    announcement: () => ({ name: nodeId, vkeys: [signer.vkey], qedUrls: options.qedUrls }),
    onEvent(event) {
      const line = describeMembersEvent(event);
      if (line) logger[line.level](line.text);
    },
    now: () => performance.now(),
    jitter: Math.random,
  });
  return {
    address: { host, port: portOf(gossip) },
    publish: snapshots.publish,
    async close() {
      members.close();
      snapshots.close();
      await gossip.close();
    },
  };
}

async function compare(
  { signedSnapshot, author }: Received,
  { node, logger, onPublished }: ServerGossipOptions,
): Promise<void> {
  const { version, historyDigest } = signedSnapshot.snapshot;
  const isAhead = (): boolean => version > (node.version ?? -1);
  // What another node has published is committed, so that this one only has to catch up.
  if (isAhead()) await node.linearize(AbortSignal.timeout(COMPARE_MS));
  if (!isAhead() && equalBytes(node.signed(version).signedSnapshot.snapshot.historyDigest, historyDigest)) {
    await onPublished(signedSnapshot);
    return;
  }
  logger.error(
    { version, author, checkpoint: signedSnapshot.checkpoint },
    'the key of this log has signed a state that is not ours: another server uses the key, or this one runs on an old copy of its data',
  );
}

/** Where the API of a node that listens at this address can be reached; on all interfaces, at those of this machine. */
export function urlsOf(address: Address, scheme: 'http' | 'https'): readonly string[] {
  const hosts =
    address.host === undefined
      ? [
          '127.0.0.1',
          ...Object.values(networkInterfaces())
            .flatMap((list = []) => list)
            .filter(({ family, internal }) => family === 'IPv4' && !internal)
            .map(({ address: one }) => one),
        ]
      : [address.host.includes(':') ? `[${address.host}]` : address.host];
  return hosts.slice(0, 4).map((host) => `${scheme}://${host}:${address.port}`);
}
