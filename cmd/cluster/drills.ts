// qed cluster failover and delay: drills that take the leader away, or make the network slow.
import { EXIT_REFUSED, EXIT_UNCHECKED, usage, type ClientCommand } from '../client/command.ts';
import { interruption, say, sharedOptions } from './command.ts';
import { parseDelay, setDelay } from './delay.ts';
import { runFailover, WAYS, type Way } from './failover.ts';
import { openCluster } from './layout.ts';
import { alone } from './pids.ts';
import { describeFailover, describeRound, painter } from './show.ts';

const failoverOptions = {
  ...sharedOptions,
  kill: { type: 'boolean', default: false, describe: 'Kill the leader, as a crash does; the default' },
  pause: { type: 'boolean', default: false, describe: 'Pause the leader, as a hanging machine does' },
  rounds: { type: 'number', default: 5, describe: 'How often; with both ways, each so often' },
  connections: { alias: 'c', type: 'number', default: 16, describe: 'Clients that add events meanwhile' },
  rate: { type: 'number', default: 0, describe: 'Adds a second; 0 is as many as go' },
} as const;

export const failover: ClientCommand<typeof failoverOptions> = {
  command: 'failover',
  describe: 'Take the leader away under load, and check that nothing is lost',
  options: failoverOptions,
  examples: [
    ['$0 cluster failover --kill', 'five times; the events of the load stay in the log'],
    [
      '$0 cluster failover --kill --pause --rounds 20 --json',
      'exit code 1 when anything acknowledged is lost or doubled',
    ],
  ],
  async run({ dir, json, rounds, connections: workers, rate, ...flags }, world) {
    if (!Number.isInteger(rounds) || rounds < 1) throw usage('--rounds: not a number of rounds');
    if (!Number.isInteger(workers) || workers < 1 || workers > 1000)
      throw usage('--connections: not a number from 1 to 1000');
    if (!(rate >= 0)) throw usage('--rate: not a number of adds a second');
    const cluster = openCluster(dir);
    if (cluster.nodes.length < 3)
      throw usage(`a cluster of ${cluster.nodes.length} does not outlive its leader; three nodes do`);
    const asked = WAYS.filter((way) => flags[way]);
    const ways: readonly Way[] = asked.length > 0 ? asked : ['kill'];
    const interrupted = interruption();
    try {
      const done = await alone(cluster, () =>
        runFailover(cluster, {
          ways,
          rounds,
          workers,
          rate,
          signal: interrupted.signal,
          onStep: world.err,
          onRound: (round, number) => (json ? world.err : world.out)(describeRound(round, number)),
        }),
      );
      say(world, json, done, describeFailover(done, painter(process.stdout.isTTY)));
      if (done.verdict.problems.length > 0) world.exit(EXIT_REFUSED);
    } finally {
      interrupted.end();
    }
  },
};

const delayOptions = {
  ...sharedOptions,
  action: {
    choices: ['add', 'remove'] as const,
    demandOption: true,
    describe: 'Whether there shall be a delay',
  },
  time: { type: 'string', describe: 'How long, such as 50ms' },
} as const;

export const delay: ClientCommand<typeof delayOptions> = {
  command: 'delay <action> [time]',
  describe: 'Delay all messages between the nodes, or no longer',
  options: delayOptions,
  positional: (command) =>
    command
      .positional('action', { describe: delayOptions.action.describe })
      .positional('time', { type: 'string', describe: delayOptions.time.describe }),
  examples: [
    ['$0 cluster delay add 50ms', 'as between continents; a round trip takes twice as long'],
    ['$0 cluster delay remove', 'as before'],
  ],
  async run({ dir, json, action, time }, world) {
    if (action === 'add' && time === undefined) throw usage('delay add: name the delay, such as 50ms');
    const ms = action === 'add' ? parseDelay(String(time)) : 0;
    const cluster = openCluster(dir);
    const told = await setDelay(cluster, ms);
    if (told.length < cluster.nodes.length) world.exit(EXIT_UNCHECKED);
    const what = ms === 0 ? 'no longer delays' : `delays by ${ms} ms`;
    const text =
      told.length === 0 ? 'no node runs' : `${told.join(', ')}: each ${what} what it sends to the others`;
    say(world, json, { delayMs: ms, nodes: told }, text);
  },
};
