// qed notifierstore: the demo store for snapshots and alerts, in memory.
import { type Argv } from 'yargs';
import { createLogger, LEVELS, readVkey, readWanted, untilStopped } from './daemon.ts';
import { withSettings } from './settings.ts';
import { software } from './version.ts';

const options = {
  'http-addr': { type: 'string', describe: 'HTTP API', defaultDescription: '127.0.0.1:8888' },
  'metrics-addr': {
    type: 'string',
    describe: 'Metrics',
    defaultDescription: '127.0.0.1:18888, or a free port',
  },
  vkey: { type: 'string', describe: 'Take only what this log has signed: its vkey, or a file with it' },
  'snapshots-max': { type: 'number', default: 100_000, describe: 'Snapshots kept; the oldest go' },
  'alerts-max': { type: 'number', default: 10_000, describe: 'Alerts kept; the oldest go' },
  log: { alias: 'l', choices: LEVELS, default: 'info', describe: 'Least severe messages to print' },
} as const;

function build(command: Argv) {
  return withSettings(command, options)
    .example('$0 notifierstore', 'for a demo; what it holds is gone when it stops')
    .epilogue('For production there is qed store: on disk, and it takes only what the log has signed.');
}

export function addNotifierstore(main: Argv): Argv {
  return main.command(
    'notifierstore',
    'Run a demo store for snapshots and alerts, in memory',
    build,
    async (flags) => {
      // Loaded here: no other command needs a server.
      const { serveStore } = await import('../agents/store/serve.ts');
      const { openMemoryStore } = await import('../src/storage/memory.ts');
      const trust = flags.vkey === undefined ? undefined : { log: readVkey(flags.vkey) };
      const store = await serveStore({
        store: openMemoryStore(),
        trust,
        snapshotsMax: flags.snapshotsMax,
        alertsMax: flags.alertsMax,
        http: readWanted('--http-addr', flags['http-addr'], 8888),
        metrics: readWanted('--metrics-addr', flags['metrics-addr'], 18_888, { isPortFree: true }),
        access: () => ({ keys: [], readsNeedKey: false }),
        logger: createLogger(flags.log),
        software,
      });
      console.log(`${software} keeps snapshots and alerts in memory at http://${store.httpAddr}`);
      await untilStopped();
      await store.close();
    },
  );
}
