// All that `qed start` runs: a node and its three listeners. What was started is stopped again when a later part cannot start.
// Stopping: no new connections, answers in flight are finished, then the node closes.
import { Server as HttpsServer } from 'node:https';
import { type FastifyBaseLogger } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import { type Access } from './auth.ts';
import { buildApi } from './api.ts';
import { type App, type HttpLimits, type Tls } from './http.ts';
import { type Addresses } from './info-routes.ts';
import { formatAddress, listen, reserve, type Address, type Reserved, type Wanted } from './listen.ts';
import { buildManagement, buildMetrics } from './management.ts';
import { createMetrics } from './metrics.ts';
import { type Node } from './node.ts';
import { openNode, type OpenNodeOptions } from './open-node.ts';
import { openPublishing, type GossipWanted, type Publishing, type WitnessesWanted } from './publishing.ts';

export interface ServerOptions extends Omit<OpenNodeOptions, 'metrics' | 'listeners'> {
  readonly http: Wanted;
  readonly management: Wanted;
  readonly metrics: Wanted;
  /** For other nodes; any port of this machine unless said otherwise. */
  readonly raft?: Wanted | undefined;
  /** Without it snapshots are only published in the sense that they are listed. */
  readonly gossip?: GossipWanted | undefined;
  /** Outside witnesses whose quorum has to vouch for what is published. */
  readonly witnesses?: WitnessesWanted | undefined;
  readonly access: () => Access;
  readonly tls?: Tls | undefined;
  readonly httpLimits?: Partial<HttpLimits>;
  /** Origins whose pages may ask the API. */
  readonly corsOrigins?: readonly string[] | undefined;
  /** Management takes orders to disturb the ways to other nodes. */
  readonly hasDrills?: boolean | undefined;
  readonly logger: FastifyBaseLogger;
  readonly software: string;
}

export interface Server {
  readonly node: Node;
  readonly addresses: Addresses;
  /** Takes a renewed certificate for new connections. */
  readonly renewTls: (tls: Tls) => void;
  /** Answers in flight get so long to finish. */
  readonly close: (graceMs?: number) => Promise<void>;
}

type Listener = 'httpAddr' | 'mgmtAddr' | 'metricsAddr';
type Ports = Readonly<Record<'http' | 'management' | 'metrics' | 'raft', Reserved>>;

const GRACE_MS = 30_000;
const anyPort: Wanted = { address: { host: '127.0.0.1', port: 0 }, flag: '--raft-addr', isPortFree: true };

export async function startServer(options: ServerOptions): Promise<Server> {
  const { access, logger, software, tls } = options;
  const metrics = createMetrics();
  let publishing: Publishing | undefined;
  const ports = await reservePorts(options);
  const node = await openNode({
    ...options,
    metrics,
    listeners: {
      raft: ports.raft,
      http: ports.http.wanted.address,
      management: ports.management.wanted.address,
    },
    onApplied: () => publishing?.outbox.notify(),
  }).catch(async (error: unknown) => {
    await releaseAll(ports);
    throw error;
  });
  const apps: App[] = [];
  const closeApps = () => Promise.all(apps.map((app) => app.close()));
  let addresses: Addresses = {
    httpAddr: null,
    mgmtAddr: null,
    raftAddr: null,
    metricsAddr: null,
    gossipAddr: null,
  };
  const shared = {
    access,
    logger,
    software,
    metrics,
    limits: options.httpLimits ?? {},
    addresses: () => addresses,
  };
  const isTls = tls !== undefined;

  async function start(name: Listener, app: App, { wanted, release }: Reserved): Promise<Address> {
    apps.push(app);
    await app.ready();
    await release();
    const address = await listen(app, wanted);
    note(name, address);
    return address;
  }

  function note(name: keyof Addresses, address: Address): void {
    addresses = { ...addresses, [name]: formatAddress(address) };
  }

  async function closeParts(): Promise<void> {
    await closeApps();
    await publishing?.close();
    await node.close();
  }

  try {
    collectDefaultMetrics({ register: metrics.registry });
    publishing = await openPublishing({ ...options, node, metrics });
    const keepEvents = options.storeEvents ?? false;
    const { outbox } = publishing;
    const { corsOrigins } = options;
    const api = await buildApi(node, { ...shared, tls, isTls, keepEvents, outbox, corsOrigins });
    note('raftAddr', ports.raft.wanted.address);
    const httpAddress = await start('httpAddr', api, ports.http);
    await start(
      'mgmtAddr',
      await buildManagement(node, { ...shared, tls, isTls, hasDrills: options.hasDrills }),
      ports.management,
    );
    await start('metricsAddr', await buildMetrics(node, shared), ports.metrics);
    if (options.gossip) {
      const gossipAddress = await publishing.join(options.gossip, httpAddress, isTls ? 'https' : 'http');
      tellReplaced(options.gossip, gossipAddress, logger);
      note('gossipAddr', gossipAddress);
    }
  } catch (error) {
    await closeParts();
    await releaseAll(ports);
    throw error;
  }

  return {
    node,
    addresses,
    renewTls(renewed) {
      for (const { server } of apps) if (server instanceof HttpsServer) server.setSecureContext(renewed);
    },
    async close(graceMs = GRACE_MS) {
      const timer = setTimeout(() => {
        for (const { server } of apps) server.closeAllConnections();
      }, graceMs);
      await closeApps();
      clearTimeout(timer);
      await closeParts();
    },
  };
}

/** All that others have to be told before the node opens, and all that an operator has got wrong, is known first. */
async function reservePorts(options: ServerOptions): Promise<Ports> {
  const kept: Reserved[] = [];
  async function keep(wanted: Wanted): Promise<Reserved> {
    const reserved = await reserve(wanted);
    kept.push(reserved);
    tellReplaced(wanted, reserved.wanted.address, options.logger);
    return reserved;
  }
  try {
    const http = await keep(options.http);
    const management = await keep(options.management);
    const metrics = await keep(options.metrics);
    return { http, management, metrics, raft: await keep(options.raft ?? anyPort) };
  } catch (error) {
    await Promise.all(kept.map(({ release }) => release()));
    throw error;
  }
}

async function releaseAll(ports: Ports): Promise<void> {
  await Promise.all(Object.values(ports).map(({ release }) => release()));
}

function tellReplaced({ address, flag }: Wanted, used: Address, logger: FastifyBaseLogger): void {
  if (used.port === address.port || address.port === 0) return;
  logger.warn(`${flag}: ${formatAddress(address)} is taken, so ${formatAddress(used)} is used`);
}
