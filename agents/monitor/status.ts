// What the monitor says of itself: its part of GET /status, and its figures.
import { Gauge, type Registry } from 'prom-client';
import { type Delivery } from '../delivery.ts';
import { type Intake } from '../intake.ts';
import { type Journal } from '../journal.ts';
import { type Conditions } from './conditions.ts';
import { type History } from './history.ts';
import { type Marks } from './marks.ts';
import { type Nodes } from './nodes.ts';
import { type Pulse } from './pulse.ts';
import { type Settling } from './settling.ts';
import { type Stores } from './stores.ts';

export interface Parts {
  readonly history: History;
  readonly settling: Settling;
  readonly nodes: Nodes;
  readonly stores: Stores;
  readonly pulse: Pulse;
  readonly marks: Marks;
  readonly conditions: Conditions;
  readonly journal: Journal;
  readonly intake: Intake;
  readonly delivery: Delivery;
}

export function statusOf(parts: Parts): Readonly<Record<string, unknown>> {
  const { history, settling, nodes, stores, pulse, marks, journal, delivery } = parts;
  const version = history.head?.snapshot.version ?? -1;
  const heardMs = pulse.heardMs();
  return {
    verified: {
      version: version < 0 ? null : version,
      complete: journal.complete < 0 ? null : journal.complete,
    },
    behind: {
      events: Math.max(0, marks.sizeBefore(0) - version - 1),
      snapshots: delivery.figures().waiting,
      unproven: settling.unproven(),
      skipped: stores.skipped(),
      eventsPerSecond: Math.round(marks.rate()),
      heardSecondsAgo: heardMs === undefined ? null : Math.round(heardMs / 1000),
    },
    intake: parts.intake.figures(),
    nodes: nodes.list().map(({ url, size }) => ({ url, size: size ?? null })),
    stores: stores.figures(),
    wrong: parts.conditions.open(),
  };
}

/** `look`: undefined before the log is known. */
export function registerFigures(registry: Registry, look: () => Parts | undefined): void {
  const registers = [registry];

  function gauge(name: string, help: string, valueOf: (parts: Parts) => number | undefined): void {
    const made: Gauge = new Gauge({
      name,
      help,
      registers,
      collect() {
        const parts = look();
        const value = parts && valueOf(parts);
        if (value !== undefined) made.set(value);
      },
    });
  }

  function gauges(
    name: string,
    help: string,
    label: 'node' | 'store',
    valuesOf: (parts: Parts) => readonly (readonly [who: string, value: number])[],
  ): void {
    const made: Gauge<'node' | 'store'> = new Gauge({
      name,
      help,
      labelNames: [label],
      registers,
      collect() {
        const parts = look();
        made.reset();
        for (const [who, value] of parts ? valuesOf(parts) : []) made.set({ [label]: who }, value);
      },
    });
  }

  gauge(
    'qed_agent_verified_events',
    'Events in the log as the newest verified snapshot shows it.',
    ({ history }) => (history.head?.snapshot.version ?? -1) + 1,
  );
  gauge('qed_monitor_heard_seconds', 'Time since gossip last brought the newest head.', ({ pulse }) => {
    const heardMs = pulse.heardMs();
    return heardMs === undefined ? undefined : heardMs / 1000;
  });
  gauge(
    'qed_monitor_unproven',
    'Signed states that no node has proven to belong to the verified history.',
    ({ settling }) => settling.unproven(),
  );
  gauges('qed_monitor_node_events', 'Events that a node of the log shows.', 'node', ({ nodes }) =>
    nodes.list().flatMap(({ url, size }) => (size === undefined ? [] : [[url, size] as const])),
  );
  gauges('qed_monitor_store_events', 'Events in the log as a store shows it.', 'store', ({ stores }) =>
    stores.figures().map(({ url, versionLast }) => [url, versionLast + 1] as const),
  );
  gauges('qed_monitor_store_missing', 'Snapshots that a store lacks.', 'store', ({ stores }) =>
    stores.figures().map(({ url, missing }) => [url, missing] as const),
  );
}
