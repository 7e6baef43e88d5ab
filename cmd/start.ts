// qed start: one node, from flags to a running server and back.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Logger } from 'pino';
import { createSecureContext } from 'node:tls';
import { type Argv } from 'yargs';
import { parsePolicy } from '../src/crypto/policy.ts';
import { QedError } from '../src/errors.ts';
import type { MemberStatus } from '../src/replication/cluster.ts';
import { dialAddress } from '../src/gossip/address.ts';
import { isGuessable, readApiKeys, singleKey, type Access } from '../src/server/auth.ts';
import type { Tls } from '../src/server/http.ts';
import { formatAddress, isLoopback, parseAddress, urlOf, type Wanted } from '../src/server/listen.ts';
import type { NodeEvent } from '../src/server/node.ts';
import type { Server, ServerOptions } from '../src/server/server.ts';
import { createLogger, LEVELS, readWanted, untilStopped } from './daemon.ts';
import { withSettings } from './settings.ts';
import { software } from './version.ts';

const options = {
  'api-key': {
    alias: 'k',
    type: 'string',
    describe: 'API key, with every right; better given as QED_API_KEY',
  },
  'api-keys-file': { type: 'string', describe: 'File of API keys: a line for each, name scopes sha256' },
  'read-key-required': { type: 'boolean', describe: 'Questions need an API key too' },
  insecure: { type: 'boolean', describe: 'Listen on other interfaces than loopback without any API key' },
  path: { alias: 'p', type: 'string', default: './qed-data', describe: 'Data directory' },
  raftpath: {
    type: 'string',
    describe: 'Directory of the replicated log',
    defaultDescription: '<path>/raft',
  },
  'private-key': {
    alias: 'y',
    type: 'string',
    describe: 'Log key, Ed25519; without it one is made in the data directory',
  },
  origin: {
    type: 'string',
    describe: 'Name of the log, fixed at the first start',
    defaultDescription: 'qed.local/<key>',
  },
  'node-id': {
    type: 'string',
    describe: 'Name of the node, fixed at the first start',
    defaultDescription: 'node-<key>',
  },
  'http-addr': { type: 'string', describe: 'HTTP API', defaultDescription: '127.0.0.1:8800' },
  'mgmt-addr': { type: 'string', describe: 'Management', defaultDescription: '127.0.0.1:8700' },
  'metrics-addr': {
    type: 'string',
    describe: 'Metrics',
    defaultDescription: '127.0.0.1:8600, or a free port',
  },
  'raft-addr': {
    type: 'string',
    describe: 'Where the other nodes of a cluster reach this one',
    defaultDescription: '127.0.0.1:8500, or a free port',
  },
  'advertise-host': {
    type: 'string',
    describe: 'Host at which others reach a node that listens on all interfaces',
    defaultDescription: 'the first address of this machine',
  },
  'gossip-addr': {
    type: 'string',
    describe: 'Gossip, which carries signed snapshots to agents; "off" for none',
    defaultDescription: '127.0.0.1:8400, or a free port',
  },
  'join-addr': {
    type: 'string',
    describe: 'Join a cluster: management addresses of its nodes, with commas; not needed again later',
  },
  'tls-ca': { type: 'string', describe: 'Certificates that those of --join-addr must lead to, PEM' },
  'gossip-join-addr': {
    type: 'string',
    describe: 'Gossip members to join, with commas between them: host:port or multiaddr',
  },
  'tls-cert': { type: 'string', describe: 'Certificate, PEM; read again on SIGHUP' },
  'tls-key': { type: 'string', describe: 'Key of the certificate, PEM' },
  'cors-origin': {
    type: 'string',
    describe:
      'Origins whose pages may ask the API from a browser, with commas between them, or * for all; they may not add',
    defaultDescription: 'none',
  },
  'witness-policy': {
    type: 'string',
    describe:
      'C2SP tlog-policy with the URLs of outside witnesses: snapshots are published when its quorum has cosigned',
  },
  'witness-fail-open': {
    type: 'boolean',
    describe: 'Publish without the witnesses while too few of them answer',
  },
  'store-events': {
    type: 'boolean',
    describe: 'Keep the events themselves, not only their digests: each on the node that took it',
  },
  'rate-limit': { type: 'number', describe: 'Requests a second from one address; more are refused' },
  drills: {
    type: 'boolean',
    describe: 'For exercises: POST /drills/delay on the management port makes messages to other nodes late',
  },
  log: { alias: 'l', choices: LEVELS, default: 'info', describe: 'Least severe messages to print' },
} as const;

function build(command: Argv) {
  return withSettings(command, options)
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

type Flags = Awaited<ReturnType<typeof build>['argv']>;

function buildRebuild(command: Argv) {
  return withSettings(command, options)
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

async function runServer(flags: Flags, command: 'start' | 'rebuild'): Promise<void> {
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

/** What fails again and again, or is done by a stranger, fills no log: the same is told once in so long. */
function sparingly(tell: (event: NodeEvent) => void): (event: NodeEvent) => void {
  const told = new Map<string, number>();
  return (event) => {
    const subject = subjectOf(event);
    const now = performance.now();
    if (subject !== undefined && now - (told.get(subject) ?? -Infinity) < TOLD_AGAIN_MS) return;
    if (told.size >= TOLD_MAX) told.clear();
    if (subject !== undefined) told.set(subject, now);
    tell(event);
  };
}

const TOLD_AGAIN_MS = 60_000;
const TOLD_MAX = 100;

function subjectOf(event: NodeEvent): string | undefined {
  if (event.kind === 'catch-up-failed' || event.kind === 'duty-failed')
    return `${event.kind} ${String(event.error)}`;
  if (event.kind === 'peer-refused') return `${event.kind} ${event.why} ${event.remote}`;
  return undefined;
}

function logEvent(logger: Logger, event: NodeEvent): void {
  switch (event.kind) {
    case 'rebuilding':
      if (event.of > 0) logger.info(`reading the log: ${event.versions} of ${event.of} events`);
      return;
    case 'image-damaged':
      logger.warn(
        `the image of the hyper tree is damaged and made anew (${event.why}); the old one is ${event.aside}`,
      );
      return;
    case 'image-failed':
      logger.warn(
        { err: event.error },
        'the image of the hyper tree cannot be written; the next start takes longer',
      );
      return;
    case 'log-repaired':
      logger.warn(`the replicated log was mended: ${event.repair}`);
      return;
    case 'join-ignored':
      logger.info('--join-addr is not needed: this node is a member of its cluster already');
      return;
    case 'set-aside':
      logger.warn(`the data of this node was set aside: ${event.places.join(', ') || 'there was none'}`);
      return;
    case 'join-retried':
      logger.warn(`could not join, try ${event.tries}: ${event.why}; trying again`);
      return;
    case 'join-accepted':
      logger.info(`joined the cluster of ${event.members.join(', ')}`);
      return;
    case 'raft':
      // What matters of it to an operator is told in other words.
      logger.debug(event.line);
      return;
    case 'members':
      if (event.members.length > 0) logger.info(`members: ${event.members.map(describeMember).join(', ')}`);
      return;
    case 'leader':
      if (event.leaderId === undefined) logger.warn('no node leads, as far as this one knows');
      else logger.info(`${event.leaderId} leads, in term ${event.term}`);
      return;
    case 'peer-refused':
      logger.warn(`a connection from ${event.remote} was refused: ${event.why}`);
      return;
    case 'catching-up':
      logger.info('too far behind for the logs of the others: fetching entries from them');
      return;
    case 'fetched':
      logger.debug(`fetched ${event.versions} of ${event.of} events`);
      return;
    case 'caught-up':
      logger.info('caught up with the others');
      return;
    case 'catch-up-failed':
      logger.warn({ err: event.error }, 'could not catch up; trying again');
      return;
    case 'disagreement':
      logger.error(
        `${event.nodeId ?? 'this node'} has another history digest at size ${event.size} than ${event.nodeId === undefined ? 'the leader' : 'this node'}: who is wrong is found out now`,
      );
      return;
    case 'duty-failed':
      logger.warn({ err: event.error }, 'what a leader does by the clock did not work out; trying again');
      return;
    case 'failed':
      logger.error(
        { err: event.error },
        event.error.kind === 'refused'
          ? 'THIS NODE DOES NOT SERVE ANY MORE: its data is not to be trusted'
          : 'the node takes no more events until it is started again',
      );
      return;
  }
}

function readHost(host: string | undefined): string | undefined {
  if (host !== undefined) parseAddress(formatAddress({ host, port: 1 }), '--advertise-host');
  return host;
}

function describeMember({ nodeId, raftAddr, isVoter }: MemberStatus): string {
  return `${nodeId} at ${raftAddr}${isVoter ? '' : ', not a voter yet'}`;
}

/** Its network is loaded only where there are witnesses. */
async function readWitnesses(flags: Flags): Promise<ServerOptions['witnesses']> {
  const { 'witness-policy': path, 'witness-fail-open': isOpen = false } = flags;
  if (path === undefined) return undefined;
  const policy = parsePolicy(readText(path, '--witness-policy'));
  const { nodeTransport } = await import('../src/client/transport-node.ts');
  const { transport } = nodeTransport({ connections: 2 });
  const headers = { 'content-type': 'text/plain' };
  return { policy, isOpen, post: (url, body, signal) => transport('POST', url, headers, body, signal) };
}

function readJoin(flags: Flags, isTls: boolean): ServerOptions['join'] {
  const { 'join-addr': text, 'api-key': apiKey } = flags;
  if (text === undefined) return undefined;
  const addresses = text.split(',').filter((one) => one !== '');
  if (addresses.length === 0) throw new QedError('option-malformed', '--join-addr names no address');
  for (const address of addresses) urlOf(address, { flag: '--join-addr', isTls });
  const ca = flags['tls-ca'] === undefined ? undefined : readPem(flags['tls-ca'], '--tls-ca');
  return { addresses, apiKey, isTls, ca };
}

function readAccess(flags: Flags, logger: Logger): Access {
  const single = flags['api-key'];
  if (single === '') throw new QedError('option-malformed', '--api-key is empty');
  if (single !== undefined && isGuessable(single)) {
    logger.warn('the API key is short enough to be guessed; make one with: openssl rand -hex 32');
  }
  const file = flags['api-keys-file'];
  const keys = [
    ...(single === undefined ? [] : [singleKey(single)]),
    ...(file === undefined ? [] : readApiKeys(file)),
  ];
  const readsNeedKey = flags['read-key-required'] ?? false;
  if (keys.length > 0 || !readsNeedKey) return { keys, readsNeedKey };
  throw new QedError('option-malformed', '--read-key-required: there is no API key', {
    hint: 'Name one with --api-key.',
  });
}

function readListeners(
  flags: Flags,
  { keys }: Access,
): Pick<ServerOptions, 'http' | 'management' | 'metrics' | 'raft'> {
  const isGuarded = keys.length > 0 || flags.insecure === true;
  function wanted(
    flag: '--http-addr' | '--mgmt-addr' | '--metrics-addr',
    text: string | undefined,
    port: number,
  ): Wanted {
    const address = text === undefined ? { host: '127.0.0.1', port } : parseAddress(text, flag);
    if (isGuarded || isLoopback(address)) return { address, flag, isPortFree: text === undefined };
    throw new QedError(
      'option-malformed',
      `${flag}: without an API key, a node listens for its own machine only`,
      {
        hint: 'Name a key with --api-key, or say --insecure if everybody who reaches this address may add events.',
      },
    );
  }
  return {
    http: { ...wanted('--http-addr', flags['http-addr'], 8800), isPortFree: false },
    management: wanted('--mgmt-addr', flags['mgmt-addr'], 8700),
    metrics: wanted('--metrics-addr', flags['metrics-addr'], 8600),
    // Nobody gets in there without a node key that the cluster knows.
    raft: readWanted('--raft-addr', flags['raft-addr'], 8500, { isPortFree: true }),
  };
}

/** Whoever reaches it can listen, and hand on what the log has signed; nobody can add to the log that way. */
function readGossip(flags: Flags): ServerOptions['gossip'] {
  const { 'gossip-addr': text, 'gossip-join-addr': joined } = flags;
  if (text === 'off') return undefined;
  const flag = '--gossip-addr';
  const address = text === undefined ? { host: '127.0.0.1', port: 8400 } : parseAddress(text, flag);
  const join = (joined ?? '').split(',').filter((one) => one !== '');
  for (const one of join) dialAddress(one, '--gossip-join-addr');
  return { address, flag, isPortFree: text === undefined, join };
}

function readOrigins(list: string | undefined): readonly string[] | undefined {
  return list?.split(',').map((origin) => {
    if (origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin)) return origin;
    throw new QedError('option-malformed', `--cors-origin: ${JSON.stringify(origin)} is not an origin`, {
      hint: 'It looks like https://example.org, without a path.',
    });
  });
}

function readTls(flags: Flags): Tls | undefined {
  const { 'tls-cert': certPath, 'tls-key': keyPath } = flags;
  if (certPath === undefined && keyPath === undefined) return undefined;
  if (certPath === undefined || keyPath === undefined) {
    throw new QedError(
      'option-malformed',
      '--tls-cert and --tls-key belong together: one of them is missing',
      {
        hint: 'Make both with: qed generate certs',
      },
    );
  }
  const tls = { cert: readPem(certPath, '--tls-cert'), key: readPem(keyPath, '--tls-key') };
  try {
    createSecureContext(tls);
  } catch (cause) {
    throw new QedError(
      'option-malformed',
      `--tls-cert and --tls-key: not a certificate and its key: ${String(cause)}`,
      { cause },
    );
  }
  return tls;
}

function readPem(path: string, flag: string): string {
  return readText(path, flag, 'Make certificates with: qed generate certs');
}

function readText(path: string, flag: string, hint?: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const why = { cause, ...(hint === undefined ? {} : { hint }) };
    throw new QedError('option-malformed', `${flag}: ${path} cannot be read: ${String(cause)}`, why);
  }
}

function greeting({ node, addresses }: Server, flags: Flags, isTls: boolean): string {
  const { origin, nodeId, signer } = node.identity;
  const url = (address: string | null, scheme: string): string =>
    `${scheme}://${address?.replace(/^:/, 'localhost:') ?? ''}`;
  const api = url(addresses.httpAddr, isTls ? 'https' : 'http');
  const key = flags['api-key'] === undefined && flags['api-keys-file'] === undefined ? '' : ' -k <api key>';
  const rows = [
    ['api', `${api}   (${api}/docs)`],
    ['management', url(addresses.mgmtAddr, isTls ? 'https' : 'http')],
    ['metrics', `${url(addresses.metricsAddr, 'http')}/metrics`],
    ['gossip', addresses.gossipAddr ?? 'off'],
    ['data', resolve(flags.path)],
    ['node', nodeId],
    ['origin', origin],
    ['vkey', signer.vkey],
  ] as const;
  const lines = rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`);
  const tryNext = `qed client add --event "hello" --endpoint ${api}${key}`;
  return [
    `${software} serves the log ${origin}`,
    ...lines,
    'Try next, in another terminal:',
    `  ${tryNext}`,
  ].join('\n');
}
