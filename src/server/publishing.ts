// From the node to the world: the outbox over its own small database, and the gossip that it speaks through once that is open.
import { join } from 'node:path';
import { type FastifyBaseLogger } from 'fastify';
import { readPrivateKey } from '../crypto/keys.ts';
import { openLevelStore } from '../storage/level.ts';
import { startGossip, urlsOf, type ServerGossip } from './gossip.ts';
import { type Address, type Wanted } from './listen.ts';
import { registerOutboxFigures, type Metrics } from './metrics.ts';
import { type Node } from './node.ts';
import { openOutbox, type Outbox } from './outbox.ts';

export interface GossipWanted extends Wanted {
  /** Members to join: `host:port`, or multiaddrs. */
  readonly join: readonly string[];
}

export interface PublishingOptions {
  readonly node: Node;
  /** The data directory of the node. */
  readonly path: string;
  readonly passphrase?: string | undefined;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
}

export interface Publishing {
  readonly outbox: Outbox;
  /** Joins gossip; resolves with the address that it listens on. */
  readonly join: (wanted: GossipWanted, api: Address, scheme: 'http' | 'https') => Promise<Address>;
  readonly close: () => Promise<void>;
}

/** It holds a line for each publication. */
const OUTBOX_BYTES = 1024 * 1024;

export async function openPublishing({ node, path, ...options }: PublishingOptions): Promise<Publishing> {
  const { logger, metrics } = options;
  let gossip: ServerGossip | undefined;
  const outbox = await openOutbox({
    store: await openLevelStore(join(path, 'outbox'), {
      cacheBytes: OUTBOX_BYTES,
      writeBufferBytes: OUTBOX_BYTES,
    }),
    version: () => node.version,
    signed: (version) => node.signed(version).signedSnapshot,
    isLeader: () => node.status().role === 'leader',
    publish: async (signedSnapshot) => gossip?.publish(signedSnapshot),
    onFailure: (error) => logger.error({ err: error }, 'a snapshot could not be published; trying again'),
    now: () => performance.now(),
  });
  registerOutboxFigures(metrics.registry, outbox);
  return {
    outbox,
    async join(wanted, api, scheme) {
      gossip = await startGossip({
        node,
        nodeKey: readPrivateKey(join(path, 'node_key.pem'), options.passphrase),
        wanted,
        join: wanted.join,
        qedUrls: urlsOf(api, scheme),
        logger,
        registry: metrics.registry,
        onPublished: outbox.note,
      });
      return gossip.address;
    },
    async close() {
      await outbox.close();
      await gossip?.close();
    },
  };
}
