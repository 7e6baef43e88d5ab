// All that `qed start` runs: a node and its three listeners. What was started is stopped again when a later part cannot start.
// Stopping: no new connections, answers in flight are finished, then the node closes.
import { Server as HttpsServer } from 'node:https';
import { type FastifyBaseLogger } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import { type Access } from './auth.ts';
import { buildApi } from './api.ts';
import { type App, type HttpLimits, type Tls } from './http.ts';
import { type Addresses } from './info-routes.ts';
import { formatAddress, listen, type Address, type Wanted } from './listen.ts';
import { buildManagement, buildMetrics } from './management.ts';
import { createMetrics } from './metrics.ts';
import { openNode, type Node, type NodeOptions } from './node.ts';
import { openPublishing, type GossipWanted, type Publishing } from './publishing.ts';

export interface ServerOptions extends Omit<NodeOptions, 'metrics'> {
  readonly http: Wanted;
  readonly management: Wanted;
  readonly metrics: Wanted;
  /** Without it snapshots are only published in the sense that they are listed. */
  readonly gossip?: GossipWanted | undefined;
  readonly access: () => Access;
  readonly tls?: Tls | undefined;
  readonly httpLimits?: Partial<HttpLimits>;
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

const GRACE_MS = 30_000;

export async function startServer(options: ServerOptions): Promise<Server> {
  const { access, logger, software, tls } = options;
  const metrics = createMetrics();
  let publishing: Publishing | undefined;
  const node = await openNode({ ...options, metrics, onApplied: () => publishing?.outbox.notify() });
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

  async function start(
    name: 'httpAddr' | 'mgmtAddr' | 'metricsAddr',
    app: App,
    wanted: Wanted,
  ): Promise<Address> {
    apps.push(app);
    const address = await listen(app, wanted);
    note(name, address, wanted);
    return address;
  }

  function note(name: keyof Addresses, address: Address, wanted: Wanted): void {
    if (address.port !== wanted.address.port && wanted.address.port !== 0) {
      logger.warn(
        `${wanted.flag}: ${formatAddress(wanted.address)} is taken, so ${formatAddress(address)} is used`,
      );
    }
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
    const api = await buildApi(node, { ...shared, tls, isTls, keepEvents, outbox });
    const httpAddress = await start('httpAddr', api, options.http);
    await start('mgmtAddr', await buildManagement(node, { ...shared, tls, isTls }), options.management);
    await start('metricsAddr', await buildMetrics(node, shared), options.metrics);
    if (options.gossip) {
      const gossipAddress = await publishing.join(options.gossip, httpAddress, isTls ? 'https' : 'http');
      note('gossipAddr', gossipAddress, options.gossip);
    }
  } catch (error) {
    await closeParts();
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
