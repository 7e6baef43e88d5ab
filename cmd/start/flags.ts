// The flags of qed start and qed rebuild, and what they mean: everything that can be wrong with them is found before anything is opened.
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Logger } from 'pino';
import { type InferredOptionTypes } from 'yargs';
import { parsePolicy } from '../../src/crypto/policy.ts';
import { QedError } from '../../src/errors.ts';
import { dialAddress } from '../../src/gossip/address.ts';
import { isGuessable, readApiKeys, singleKey, type Access } from '../../src/server/auth.ts';
import type { Tls } from '../../src/server/http.ts';
import { formatAddress, isLoopback, parseAddress, urlOf, type Wanted } from '../../src/server/listen.ts';
import type { ServerOptions } from '../../src/server/server.ts';
import { LEVELS, readWanted } from '../daemon.ts';

export const startOptions = {
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

export type StartFlags = InferredOptionTypes<typeof startOptions>;

export function readHost(host: string | undefined): string | undefined {
  if (host !== undefined) parseAddress(formatAddress({ host, port: 1 }), '--advertise-host');
  return host;
}

/** Its network is loaded only where there are witnesses. */
export async function readWitnesses(flags: StartFlags): Promise<ServerOptions['witnesses']> {
  const { 'witness-policy': path, 'witness-fail-open': isOpen = false } = flags;
  if (path === undefined) return undefined;
  const policy = parsePolicy(readText(path, '--witness-policy'));
  const { nodeTransport } = await import('../../src/client/transport-node.ts');
  const { transport } = nodeTransport({ connections: 2 });
  const headers = { 'content-type': 'text/plain' };
  return { policy, isOpen, post: (url, body, signal) => transport('POST', url, headers, body, signal) };
}

export function readJoin(flags: StartFlags, isTls: boolean): ServerOptions['join'] {
  const { 'join-addr': text, 'api-key': apiKey } = flags;
  if (text === undefined) return undefined;
  const addresses = text.split(',').filter((one) => one !== '');
  if (addresses.length === 0) throw new QedError('option-malformed', '--join-addr names no address');
  for (const address of addresses) urlOf(address, { flag: '--join-addr', isTls });
  const ca = flags['tls-ca'] === undefined ? undefined : readPem(flags['tls-ca'], '--tls-ca');
  return { addresses, apiKey, isTls, ca };
}

export function readAccess(flags: StartFlags, logger: Logger): Access {
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

export function readListeners(
  flags: StartFlags,
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
export function readGossip(flags: StartFlags): ServerOptions['gossip'] {
  const { 'gossip-addr': text, 'gossip-join-addr': joined } = flags;
  if (text === 'off') return undefined;
  const flag = '--gossip-addr';
  const address = text === undefined ? { host: '127.0.0.1', port: 8400 } : parseAddress(text, flag);
  const join = (joined ?? '').split(',').filter((one) => one !== '');
  for (const one of join) dialAddress(one, '--gossip-join-addr');
  return { address, flag, isPortFree: text === undefined, join };
}

export function readOrigins(list: string | undefined): readonly string[] | undefined {
  return list?.split(',').map((origin) => {
    if (origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin)) return origin;
    throw new QedError('option-malformed', `--cors-origin: ${JSON.stringify(origin)} is not an origin`, {
      hint: 'It looks like https://example.org, without a path.',
    });
  });
}

export function readTls(flags: StartFlags): Tls | undefined {
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
