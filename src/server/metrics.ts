// The figures that a node gives away at /metrics, one registry a node. docs/metrics.md lists the same names; a test keeps them equal.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type Outbox } from './outbox.ts';

const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
const BATCH_EVENTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    added: new Counter({
      name: 'qed_events_added_total',
      help: 'Events that were logged by this node on request, repetitions not counted.',
      registers,
    }),
    refused: new Counter({
      name: 'qed_adds_refused_total',
      help: 'Requests to add that got an error, by its code.',
      labelNames: ['code'] as const,
      registers,
    }),
    batchEvents: new Histogram({
      name: 'qed_batch_events',
      help: 'Events in a record that this node proposed.',
      buckets: BATCH_EVENTS,
      registers,
    }),
    commitSeconds: new Histogram({
      name: 'qed_commit_seconds',
      help: 'Time from proposing a record until it is durable and applied.',
      buckets: SECONDS,
      registers,
    }),
    proofs: new Counter({
      name: 'qed_proofs_total',
      help: 'Proofs made, by kind.',
      labelNames: ['kind'] as const,
      registers,
    }),
    cosignatures: new Histogram({
      name: 'qed_cosignatures',
      help: 'Cosignatures by nodes of the cluster that a published snapshot carries.',
      buckets: [1, 2, 3, 4, 5, 6, 7, 8, 9],
      registers,
    }),
    cosignSeconds: new Histogram({
      name: 'qed_cosign_seconds',
      help: 'How long a publication waited for the cosignatures of other nodes.',
      buckets: SECONDS,
      registers,
    }),
    witnessAnswers: new Counter({
      name: 'qed_witness_requests_total',
      help: 'Requests to outside witnesses, by what became of them.',
      labelNames: ['witness', 'outcome'] as const,
      registers,
    }),
    witnessQuorum: new Counter({
      name: 'qed_witness_quorum_total',
      help: 'Publications for which outside witnesses were asked, by whether their quorum was reached.',
      labelNames: ['outcome'] as const,
      registers,
    }),
    requestSeconds: requestSeconds(registers),
  };
}

export interface ServedRequest {
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
}

export interface RequestSeconds {
  readonly observe: (request: ServedRequest) => void;
}

/** Requests that are put into the histogram together. */
const REQUESTS_TOGETHER = 256;

/**
 * How long requests take, for any listener that `createApp` makes. Requests are put into the histogram many at a time, and when somebody looks:
 * one by one, each between other work, that takes about twice as long.
 */
export function requestSeconds(registers: Registry[]): RequestSeconds {
  const served: ServedRequest[] = [];
  const histogram = new Histogram({
    name: 'qed_request_seconds',
    help: 'Time from the first byte of a request until its answer is sent, by route, method and status.',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: SECONDS,
    registers,
    collect: putIn,
  });
  function putIn(): void {
    for (const { route, method, status, seconds } of served)
      histogram.observe({ route, method, status }, seconds);
    served.length = 0;
  }
  return {
    observe(request) {
      if (served.push(request) === REQUESTS_TOGETHER) putIn();
    },
  };
}

/** What is read when somebody looks, instead of being kept. */
export interface Gauges {
  readonly logEvents: () => number;
  readonly distinctEvents: () => number;
  readonly appliedIndex: () => number;
  readonly waitingEvents: () => number;
  readonly waitingBytes: () => number;
  readonly isReady: () => boolean;
  readonly storageBytes: () => Promise<{ readonly database: number; readonly log: number }>;
}

export function registerGauges(registry: Registry, gauges: Gauges): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers: [registry], collect: () => made.set(read()) });
  };
  gauge('qed_log_events', 'Events in the log: the size of the history tree.', gauges.logEvents);
  gauge(
    'qed_distinct_events',
    'Different events in the log: the size of the hyper tree.',
    gauges.distinctEvents,
  );
  gauge('qed_applied_index', 'Index of the last applied record of the replicated log.', gauges.appliedIndex);
  gauge('qed_waiting_events', 'Events that wait for a record.', gauges.waitingEvents);
  gauge('qed_waiting_bytes', 'Bytes that wait for a record.', gauges.waitingBytes);
  gauge('qed_ready', '1 while the node takes events and answers questions, else 0.', () =>
    gauges.isReady() ? 1 : 0,
  );
  const storage = new Gauge({
    name: 'qed_storage_bytes',
    help: 'Bytes of the files of the database and of the replicated log.',
    labelNames: ['part'] as const,
    registers: [registry],
    async collect() {
      const { database, log } = await gauges.storageBytes();
      storage.set({ part: 'database' }, database);
      storage.set({ part: 'log' }, log);
    },
  });
}

export function registerOutboxFigures(registry: Registry, outbox: Outbox): void {
  const registers = [registry];
  const published = new Counter({
    name: 'qed_snapshots_published_total',
    help: 'Signed snapshots that were published, by kind: new, or the last one again.',
    labelNames: ['kind'] as const,
    registers,
    collect() {
      const figures = outbox.figures();
      published.reset();
      published.inc({ kind: 'new' }, figures.published);
      published.inc({ kind: 'repeated' }, figures.repeated);
    },
  });
  const events: Gauge = new Gauge({
    name: 'qed_published_events',
    help: 'Events in the log as it was last published.',
    registers,
    collect: () => events.set((outbox.figures().version ?? -1) + 1),
  });
}
