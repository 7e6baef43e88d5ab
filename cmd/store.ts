// qed store: the store for snapshots and alerts on disk, and the check of what it holds.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Argv } from 'yargs';
import { QedError } from '../src/errors.ts';
import { singleKey } from '../src/server/auth.ts';
import { createLogger, LEVELS, readVkey, readWanted, untilStopped } from './daemon.ts';
import { EXIT_FAILED } from './exit.ts';
import { withSettings } from './settings.ts';
import { software } from './version.ts';

const shared = {
  path: { alias: 'p', type: 'string', default: './qed-store', describe: 'Data directory' },
  vkey: { type: 'string', demandOption: true, describe: 'The vkey of the log, or a file with it' },
} as const;

const options = {
  ...shared,
  'api-key': {
    alias: 'k',
    type: 'string',
    describe: 'API key for those who deliver; better given as QED_API_KEY',
  },
  insecure: { type: 'boolean', describe: 'Listen on other interfaces than loopback without any API key' },
  'http-addr': { type: 'string', describe: 'HTTP API', defaultDescription: '127.0.0.1:8888' },
  'metrics-addr': {
    type: 'string',
    describe: 'Metrics',
    defaultDescription: '127.0.0.1:18888, or a free port',
  },
  log: { alias: 'l', choices: LEVELS, default: 'info', describe: 'Least severe messages to print' },
} as const;

function buildServe(command: Argv) {
  return withSettings(command, options).example(
    '$0 store -p /var/lib/qed-store --vkey log_key.pem.pub',
    'a store for one log; it takes only what that log has signed',
  );
}

function buildVerify(command: Argv) {
  return withSettings(command, shared);
}

type ServeFlags = Awaited<ReturnType<typeof buildServe>['argv']>;

export function addStore(main: Argv): Argv {
  return main.command('store', 'Run a store for snapshots and alerts, on disk', (command) =>
    command
      .command('verify', 'Check all that a stopped store holds', buildVerify, verify)
      .command('$0', 'Run the store', buildServe, serve),
  );
}

async function serve(flags: ServeFlags): Promise<void> {
  // The API key is not for everybody who lists processes.
  process.title = 'qed store';
  // Loaded here, as below: no other command needs them.
  const { serveStore } = await import('../agents/store/serve.ts');
  const { openLevelStore } = await import('../src/storage/level.ts');
  const key = flags['api-key'];
  const isGuarded = key !== undefined || flags.insecure === true;
  const store = await serveStore({
    store: await openLevelStore(flags.path),
    trust: { log: readVkey(flags.vkey) },
    http: readWanted('--http-addr', flags['http-addr'], 8888, { isGuarded }),
    metrics: readWanted('--metrics-addr', flags['metrics-addr'], 18_888, { isPortFree: true }),
    access: () => ({ keys: key === undefined ? [] : [singleKey(key)], readsNeedKey: false }),
    logger: createLogger(flags.log),
    software,
  });
  console.log(`${software} keeps snapshots and alerts in ${resolve(flags.path)} at http://${store.httpAddr}`);
  await untilStopped();
  await store.close();
}

async function verify({ path, vkey }: { readonly path: string; readonly vkey: string }): Promise<void> {
  if (!existsSync(path)) throw new QedError('option-malformed', `--path: there is no store at ${path}`);
  const { openLedger } = await import('../agents/store/ledger.ts');
  const { verifyLedger } = await import('../agents/store/verify.ts');
  const { openLevelStore } = await import('../src/storage/level.ts');
  const trust = { log: readVkey(vkey) };
  const ledger = await openLedger({ store: await openLevelStore(path), trust });
  try {
    const { snapshots, first, last, gaps, conflicts } = await verifyLedger(ledger, trust);
    console.log(
      `${snapshots} snapshots, versions ${first ?? '-'} to ${last ?? '-'}: all signed by ${trust.log.name}`,
    );
    for (const gap of gaps)
      console.log(`gap: the snapshot of version ${gap.missing}, before ${gap.before}, is missing`);
    for (const { version } of conflicts)
      console.log(`conflict: the log has signed two histories for version ${version}`);
    if (conflicts.length > 0) process.exitCode = EXIT_FAILED;
  } finally {
    await ledger.close();
  }
}
