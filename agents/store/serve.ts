// A snapshot store as a process: the ledger, its API, and its metrics on a port of their own.
import { type FastifyBaseLogger } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import { type Access } from '../../src/server/auth.ts';
import { type App } from '../../src/server/http.ts';
import { formatAddress, listen, type Wanted } from '../../src/server/listen.ts';
import { buildFigures } from '../figures.ts';
import { buildStoreApi, createStoreMetrics } from './api.ts';
import { openLedger, type Ledger, type LedgerOptions } from './ledger.ts';

export interface ServeOptions extends LedgerOptions {
  readonly http: Wanted;
  readonly metrics: Wanted;
  readonly access: () => Access;
  readonly logger: FastifyBaseLogger;
  readonly software: string;
}

export interface ServedStore {
  readonly ledger: Ledger;
  readonly httpAddr: string;
  readonly metricsAddr: string;
  readonly close: () => Promise<void>;
}

export async function serveStore(options: ServeOptions): Promise<ServedStore> {
  const ledger = await openLedger(options);
  const apps: App[] = [];
  async function close(): Promise<void> {
    await Promise.all(apps.map((app) => app.close()));
    await ledger.close();
  }
  try {
    const metrics = createStoreMetrics(ledger);
    collectDefaultMetrics({ register: metrics.registry });
    const api = await buildStoreApi({ ...options, ledger }, metrics);
    apps.push(api);
    const httpAddr = formatAddress(await listen(api, options.http));
    const figures = await buildFigures({ ...options, metrics }, metrics.registry);
    apps.push(figures);
    const metricsAddr = formatAddress(await listen(figures, options.metrics));
    return { ledger, httpAddr, metricsAddr, close };
  } catch (error) {
    await close();
    throw error;
  }
}
