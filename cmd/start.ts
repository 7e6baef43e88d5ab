// qed start: one node, from flags to a running server and back.
import { type Argv } from 'yargs';
import { createLogger, untilStopped } from './daemon.ts';
import { withSettings } from './settings.ts';
import {
  readAccess,
  readGossip,
  readHost,
  readJoin,
  readListeners,
  readOrigins,
  readTls,
  readWitnesses,
  startOptions,
  type StartFlags,
} from './start/flags.ts';
import { greeting, logEvent, sparingly } from './start/say.ts';
import { software } from './version.ts';

function build(command: Argv) {
  return withSettings(command, startOptions)
    .example('$0 start', 'a log in ./qed-data, for this machine only')
    .example('$0 start -k "$KEY" --http-addr :8800', 'for other machines: that needs an API key')
    .example(
      '$0 start -p /var/lib/qed -y ~/.ssh/qed_ed25519 --origin example.org/audit',
      'a log with a name and a key of its own',
    )
    .example(
      'QED_API_KEY=… QED_LOG=warn $0 start --config qed.json',
      'flags win over variables, variables over the file',
    )
    .example(
      '$0 start -k "$KEY" -p data2 -y log_key.pem --http-addr :8802 --mgmt-addr :8702 --raft-addr :8502 --join-addr :8700',
      'a second node, of the cluster of the first; later starts need no --join-addr',
    )
    .epilogue('Every flag is also read from the environment: --http-addr as QED_HTTP_ADDR.');
}

function buildRebuild(command: Argv) {
  return withSettings(command, startOptions)
    .example(
      '$0 rebuild -k "$KEY" -p /var/lib/qed -y log_key.pem --join-addr 10.0.0.1:8700,10.0.0.2:8700',
      'as the node was started, with addresses of the others',
    )
    .epilogue(
      'For a node whose data is damaged, or whose digests are not those of its cluster. Once a node of the cluster answers, the database and the log ' +
        'are set aside, next to where they were, and the node joins anew: it fetches all entries from the others, verifies them, and serves. It keeps ' +
        'its keys and its name. Remove what was set aside when no inquiry needs it. Later starts are usual ones: qed start.',
    );
}

export function addStart(main: Argv): Argv {
  return main
    .command('start', 'Start a server', build, (flags) => runServer(flags, 'start'))
    .command('rebuild', 'Start a server that gets its data anew from its cluster', buildRebuild, (flags) =>
      runServer(flags, 'rebuild'),
    );
}

async function runServer(flags: StartFlags, command: 'start' | 'rebuild'): Promise<void> {
  // The API key is not for everybody who lists processes.
  process.title = `qed ${command}`;
  const logger = createLogger(flags.log);
  let access = readAccess(flags, logger);
  const listeners = readListeners(flags, access);
  const tls = readTls(flags);
  // Loaded here: no other command should wait for a server's libraries.
  const { startServer } = await import('../src/server/server.ts');
  const stopping = new AbortController();
  const stopped = untilStopped().then(() => stopping.abort());
  const starting = startServer({
    path: flags.path,
    raftPath: flags.raftpath,
    logKeyPath: flags['private-key'],
    passphrase: process.env['QED_KEY_PASSPHRASE'],
    origin: flags.origin,
    nodeId: flags['node-id'],
    storeEvents: flags['store-events'],
    now: Date.now,
    onEvent: sparingly((event) => logEvent(logger, event)),
    ...listeners,
    advertisedHost: readHost(flags['advertise-host']),
    join: readJoin(flags, tls !== undefined),
    signal: stopping.signal,
    hasDrills: flags.drills,
    isRebuilt: command === 'rebuild',
    gossip: readGossip(flags),
    witnesses: await readWitnesses(flags),
    access: () => access,
    tls,
    httpLimits: { rateMax: flags['rate-limit'] ?? 0 },
    corsOrigins: readOrigins(flags['cors-origin']),
    logger,
    software,
  });
  const server = await starting.catch((error: unknown) => {
    // It was told to stop while it waited for a cluster to join.
    if (stopping.signal.aborted) return undefined;
    throw error;
  });
  if (!server) return;
  console.log(greeting(server, flags, tls !== undefined));
  process.on('SIGHUP', () => {
    try {
      access = readAccess(flags, logger);
      const renewed = readTls(flags);
      if (renewed) server.renewTls(renewed);
      logger.info('API keys and certificates were read again');
    } catch (error) {
      logger.error({ err: error }, 'API keys and certificates stay as they were');
    }
  });
  await stopped;
  logger.info('stopping: answers in flight are finished first');
  await server.close();
}
