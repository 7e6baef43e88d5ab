// qed cluster: a whole cluster on this machine, to try things out and to practise for the day when a node fails. The nodes are `qed start` processes that
// live on when the command has ended; the parts are in cluster/.
import { type Argv } from 'yargs';
import { addCommand } from './client/command.ts';
import { processWorld, type World } from './client/world.ts';
import { delay, failover } from './cluster/drills.ts';
import { clean, create, run, stop } from './cluster/lifecycle.ts';
import { nodeCommands } from './cluster/nodes.ts';
import { delays, status } from './cluster/status.ts';

export function addClusterTo(main: Argv, world: World): Argv {
  return main.command(
    'cluster',
    'Run a whole cluster on this machine, and practise failures',
    (cluster) => {
      addCommand(cluster, create, world);
      addCommand(cluster, run, world);
      addCommand(cluster, status, world);
      addCommand(cluster, stop, world);
      addCommand(cluster, clean, world);
      for (const one of nodeCommands) addCommand(cluster, one, world);
      addCommand(cluster, failover, world);
      addCommand(cluster, delay, world);
      addCommand(cluster, delays, world);
      return cluster
        .demandCommand(1, 'Name what to do with the cluster.')
        .example('$0 cluster create && $0 cluster run', 'three nodes, until qed cluster stop')
        .example('$0 cluster failover', 'kills the leader five times')
        .epilogue(
          'Exit codes: 0 done, 1 something is lost or not ready, 2 could not be done, 64 wrong command line.',
        );
    },
    () => undefined,
  );
}

export function addCluster(main: Argv): Argv {
  return addClusterTo(main, processWorld());
}
