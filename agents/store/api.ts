// The HTTP API of a snapshot store, with the paths that users of BBVA's QED know: POST /batch, GET /count, GET /snapshot?v=N, POST and GET /alert;
// and what auditors need: /snapshots?from=, as the log itself answers it, /gaps and /conflicts.
import { type FastifyBaseLogger } from 'fastify';
import { Counter, Gauge, Registry } from 'prom-client';
import { z } from 'zod';
import { parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { decodeDecimal } from '../../src/crypto/encoding.ts';
import { QedError } from '../../src/errors.ts';
import { type Access } from '../../src/server/auth.ts';
import { bytesOf, checkMedia, parseJson } from '../../src/server/bodies.ts';
import { checkForm } from '../../src/server/form.ts';
import { createApp, JSON_TYPE, sendJson, type App, type HttpLimits } from '../../src/server/http.ts';
import { requestSeconds } from '../../src/server/metrics.ts';
import { documentApi } from '../../src/server/openapi.ts';
import { refusals, signedSnapshotAnswer } from '../../src/server/schemas.ts';
import { type Ledger } from './ledger.ts';

export const BATCH_MAX = 1_000;
const LIST_MAX = 256;
const ALERT_BYTES_MAX = 256 * 1024;

export interface StoreApiOptions {
  readonly ledger: Ledger;
  readonly access: () => Access;
  readonly logger: FastifyBaseLogger;
  readonly software: string;
  readonly limits?: Partial<HttpLimits>;
}

export type StoreMetrics = ReturnType<typeof createStoreMetrics>;

const batchBody = z
  .strictObject({
    snapshots: z.array(z.unknown()).min(1).max(BATCH_MAX).describe('signed snapshots, oldest first'),
    previous: z
      .int()
      .min(0)
      .nullable()
      .optional()
      .describe('version of the snapshot before the first of these, where there is one'),
  })
  .meta({ id: 'Batch' });

const batchAnswer = z.strictObject({ stored: z.int(), known: z.int() }).meta({ id: 'BatchStored' });
const decimalText = z.string().describe('decimal');
const byVersion = z.object({ v: decimalText });
const listQuestion = z.object({ from: decimalText.optional(), limit: decimalText.optional() });
const listAnswer = z.strictObject({ snapshots: z.array(signedSnapshotAnswer) }).meta({ id: 'Published' });
const gapsAnswer = z
  .strictObject({ gaps: z.array(z.strictObject({ missing: z.int(), before: z.int() })) })
  .meta({ id: 'Gaps' });
const conflictsAnswer = z
  .strictObject({
    conflicts: z.array(
      z.strictObject({ version: z.int(), stored: signedSnapshotAnswer, refused: signedSnapshotAnswer }),
    ),
  })
  .meta({ id: 'Conflicts' });

export function createStoreMetrics(ledger: Ledger) {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
  const gauge = (name: string, help: string, look: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(look()) });
  };
  gauge('qed_store_snapshots', 'Signed snapshots in the store.', () => ledger.figures().snapshots);
  gauge('qed_store_events', 'Events in the log as the newest stored snapshot shows it.', () => {
    return (ledger.figures().versionLast ?? -1) + 1;
  });
  gauge(
    'qed_store_gaps',
    'Snapshots that a publisher knows and the store lacks.',
    () => ledger.figures().gaps,
  );
  gauge('qed_store_conflicts', 'Snapshots that contradict stored ones.', () => ledger.figures().conflicts);
  gauge('qed_store_alerts', 'Alerts in the store.', () => ledger.figures().alerts);
  return {
    registry,
    requestSeconds: requestSeconds(registers),
    batches: counter('qed_store_batches_stored_total', 'Batches that publishers delivered.'),
    retrieved: counter('qed_store_snapshots_retrieved_total', 'Snapshots that were given out.'),
    alerts: counter('qed_store_alerts_generated_total', 'Alerts that agents delivered.'),
  };
}

export async function buildStoreApi(options: StoreApiOptions, metrics: StoreMetrics): Promise<App> {
  const { ledger } = options;
  const app = await createApp({ ...options, metrics });
  await documentApi(app, options.software);
  batchRoutes(app, ledger, metrics);
  readRoutes(app, ledger, metrics);
  alertRoutes(app, ledger, metrics);
  return app;
}

function batchRoutes(app: App, ledger: Ledger, metrics: StoreMetrics): void {
  app.post(
    '/batch',
    {
      config: { scope: 'append' },
      schema: {
        tags: ['store'],
        summary: 'Store signed snapshots',
        body: batchBody,
        response: { 200: batchAnswer, ...refusals },
      },
    },
    async (request, reply) => {
      checkMedia(request.mediaType, [JSON_TYPE]);
      const { snapshots, previous = null } = checkForm(batchBody, parseJson(bytesOf(request.body)));
      const { stored, known, conflicts } = await ledger.add(snapshots.map(parseSignedSnapshot), previous);
      metrics.batches.inc();
      if (conflicts.length > 0) {
        request.log.error(
          { conflicts },
          'a snapshot contradicts a stored one: both are kept, see GET /conflicts',
        );
        throw new QedError(
          'snapshot-conflict',
          `other snapshots are stored for the versions ${conflicts.slice(0, 10).join(', ')}`,
          {
            hint: 'GET /conflicts shows both. The others of the batch are stored.',
          },
        );
      }
      return sendJson(reply, JSON.stringify({ stored, known }));
    },
  );
}

function readRoutes(app: App, ledger: Ledger, metrics: StoreMetrics): void {
  const config = { scope: 'read' } as const;
  app.get(
    '/count',
    { config, schema: { tags: ['store'], summary: 'How many snapshots are stored, as a decimal' } },
    (_request, reply) =>
      reply.header('content-type', 'text/plain; charset=utf-8').send(String(ledger.figures().snapshots)),
  );
  app.get(
    '/snapshot',
    {
      config,
      schema: {
        tags: ['store'],
        summary: 'The first stored snapshot that covers version `v`',
        querystring: byVersion,
        response: { 200: signedSnapshotAnswer, ...refusals },
      },
    },
    async (request, reply) => {
      const version = numberOf(checkForm(byVersion, request.query).v, Number.MAX_SAFE_INTEGER);
      const line = await ledger.covering(version);
      if (line === undefined)
        throw new QedError('version-unknown', `no stored snapshot covers version ${version} yet`);
      metrics.retrieved.inc();
      return sendJson(reply, line);
    },
  );
  app.get(
    '/snapshots',
    {
      config,
      schema: {
        tags: ['store'],
        summary: 'Stored snapshots from a version on, oldest first',
        querystring: listQuestion,
        response: { 200: listAnswer, ...refusals },
      },
    },
    async (request, reply) => {
      const { from = '0', limit = String(LIST_MAX) } = checkForm(listQuestion, request.query);
      const lines = await ledger.list(numberOf(from, Number.MAX_SAFE_INTEGER), numberOf(limit, LIST_MAX));
      metrics.retrieved.inc(lines.length);
      return sendJson(reply, `{"snapshots":[${lines.join(',')}]}`);
    },
  );
  app.get(
    '/gaps',
    {
      config,
      schema: {
        tags: ['store'],
        summary: 'Snapshots that are known to be missing',
        response: { 200: gapsAnswer },
      },
    },
    (_request, reply) => sendJson(reply, JSON.stringify({ gaps: ledger.gaps() })),
  );
  app.get(
    '/conflicts',
    {
      config,
      schema: {
        tags: ['store'],
        summary: 'Snapshots that contradict stored ones, with both',
        response: { 200: conflictsAnswer },
      },
    },
    async (_request, reply) => {
      const list = await ledger.conflicts();
      const json = list.map(
        ({ version, stored, refused }) => `{"version":${version},"stored":${stored},"refused":${refused}}`,
      );
      return sendJson(reply, `{"conflicts":[${json.join(',')}]}`);
    },
  );
}

function alertRoutes(app: App, ledger: Ledger, metrics: StoreMetrics): void {
  app.post(
    '/alert',
    {
      config: { scope: 'append' },
      bodyLimit: ALERT_BYTES_MAX,
      schema: { tags: ['store'], summary: 'Keep an alert: any JSON', body: z.unknown() },
    },
    async (request, reply) => {
      checkMedia(request.mediaType, [JSON_TYPE]);
      const json = JSON.stringify(parseJson(bytesOf(request.body)));
      await ledger.addAlert(json);
      metrics.alerts.inc();
      request.log.warn({ alert: json.slice(0, 500) }, 'an agent raised an alert');
      return sendJson(reply, '{}');
    },
  );
  app.get(
    '/alert',
    { config: { scope: 'read' }, schema: { tags: ['store'], summary: 'The alerts, newest last' } },
    async (_request, reply) => sendJson(reply, `[${(await ledger.alerts()).join(',')}]`),
  );
}

function numberOf(text: string, max: number): number {
  const number = decodeDecimal(text);
  if (number !== undefined && number <= max) return number;
  throw new QedError(
    'version-malformed',
    `${JSON.stringify(text.slice(0, 40))} is not a plain decimal up to ${max}`,
  );
}
