// qed cluster status and delays: how the nodes are, and how far they are from each other.
import { EXIT_REFUSED, type ClientCommand } from '../client/command.ts';
import { interruption, say, sharedOptions } from './command.ts';
import { openCluster, type Cluster } from './layout.ts';
import { pause } from './processes.ts';
import { describeDelays, describeStatus, painter } from './show.ts';
import { viewsOf, type NodeView } from './views.ts';

const WATCH_MS = 1_000;
const CLEAR = '\u001b[2J\u001b[H';

const statusOptions = {
  ...sharedOptions,
  watch: {
    alias: 'w',
    type: 'boolean',
    default: false,
    describe: 'Again every second, until it is interrupted',
  },
} as const;

export const status: ClientCommand<typeof statusOptions> = {
  command: 'status',
  describe: 'Say how the nodes are',
  options: statusOptions,
  examples: [
    ['$0 cluster status --watch', 'while something is tried out in another terminal'],
    ['$0 cluster status --json', 'for other programs; exit code 1 when a node is not ready'],
  ],
  async run({ dir, json, watch }, world) {
    const interrupted = interruption();
    try {
      for (;;) {
        const cluster = openCluster(dir);
        const views = await viewsOf(cluster);
        const isScreen = process.stdout.isTTY && !json;
        if (watch && isScreen) world.out(CLEAR);
        if (watch && json) world.out(JSON.stringify(jsonOf(cluster, views)));
        else say(world, json, jsonOf(cluster, views), describeStatus(views, painter(isScreen)));
        if (!watch && views.some(({ isReady }) => !isReady)) world.exit(EXIT_REFUSED);
        if (watch) await pause(WATCH_MS);
        if (!watch || interrupted.signal.aborted) return;
      }
    } finally {
      interrupted.end();
    }
  },
};

function jsonOf({ origin }: Cluster, views: readonly NodeView[]) {
  const nodes = views.map(({ roundTrips, ...view }) => ({
    ...view,
    roundTripsMs: Object.fromEntries(roundTrips),
  }));
  return { origin, nodes };
}

export const delays: ClientCommand<typeof sharedOptions> = {
  command: 'delays',
  describe: 'Show the measured round trips between all nodes',
  options: sharedOptions,
  examples: [['$0 cluster delays', 'a row for each node that measures']],
  async run({ dir, json }, world) {
    const cluster = openCluster(dir);
    const views = await viewsOf(cluster);
    say(world, json, jsonOf(cluster, views), describeDelays(views));
  },
};
