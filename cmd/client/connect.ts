// From flags to a client, and to whom it believes. The vkey comes from --vkey, else from the pins of an earlier visit, else from the server itself, which
// is said aloud. An address of this machine names no log in particular, since anybody may start another one there: for such an address nothing is
// pinned, unless a file for pins is named.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type InferredOptionTypes, type Options } from 'yargs';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { formatVkey, parseVkey } from '../../src/crypto/vkey.ts';
import { parsePolicy, type Policy } from '../../src/crypto/policy.ts';
import { type Trust } from '../../src/balloon/verify.ts';
import { createClient, type Client, type ClientOptions } from '../../src/client/client.ts';
import { type Evidence } from '../../src/balloon/evidence.ts';
import { nodeTransport } from '../../src/client/transport-node.ts';
import { QedError } from '../../src/errors.ts';
import { openPins, type Pins } from './pins.ts';
import { type World } from './world.ts';

/** The vkey, from wherever it may be known without asking a server. */
export const trustOptions = {
  endpoint: {
    alias: ['endpoints', 'e'],
    type: 'string',
    array: true,
    // One value each, so that what follows is not swallowed.
    nargs: 1,
    default: ['http://127.0.0.1:8800'],
    describe: 'Nodes of the log; repeat it, or separate them by commas',
  },
  vkey: { type: 'string', describe: "The log's verifier key, or a file that holds it" },
  pins: {
    type: 'string',
    describe: 'File of the vkeys and heads seen before',
    defaultDescription: '~/.config/qed/pins.json',
  },
  policy: {
    type: 'string',
    describe: 'C2SP tlog-policy: whose cosignatures every state of the log must have',
  },
  json: { type: 'boolean', default: false, describe: 'Print one JSON document' },
} as const satisfies Record<string, Options>;

export const connectionOptions = {
  ...trustOptions,
  'api-key': { alias: 'k', type: 'string', describe: 'API key; better given as QED_API_KEY' },
  verify: {
    type: 'boolean',
    default: true,
    describe: 'Check what the log answers; --no-verify believes it',
  },
  forget: { type: 'boolean', default: false, describe: 'First forget what was pinned for these nodes' },
  'max-age': { type: 'number', describe: 'Refuse a newest state that is older than so many seconds' },
  discover: {
    type: 'boolean',
    default: true,
    describe: 'Use the other nodes of the cluster too; --no-discover keeps to those that are named',
  },
  timeout: { type: 'number', default: 30, describe: 'Seconds after which to give up' },
  insecure: { type: 'boolean', default: false, describe: 'Take any TLS certificate' },
  'tls-ca': { type: 'string', describe: "File of the certificates that the server's must lead to, PEM" },
} as const satisfies Record<string, Options>;

/** For questions. */
export const readOptions = {
  linearizable: {
    type: 'boolean',
    default: false,
    describe: 'Ask for a state that holds everything that any node acknowledged before',
  },
} as const satisfies Record<string, Options>;

export type TrustFlags = InferredOptionTypes<typeof trustOptions>;
export type ConnectionFlags = InferredOptionTypes<typeof connectionOptions>;

export interface Connection {
  readonly client: Client;
  /** What the answers are checked against; undefined when they are not. */
  readonly vkey: string | undefined;
  readonly close: () => Promise<void>;
}

export async function connect(
  flags: ConnectionFlags,
  world: World,
  extra: Pick<ClientOptions, 'sendEvents'> = {},
): Promise<Connection> {
  const endpoints = readEndpoints(flags.endpoint);
  const pins = pinsFor(flags, endpoints, world);
  const given = readVkey(flags.vkey);
  const policy = readPolicy(flags.policy);
  if (flags.forget) pins?.forget(endpoints, given);
  const { transport, close } = nodeTransport({ ca: readCa(flags['tls-ca']), insecure: flags.insecure });
  const options = {
    endpoints,
    transport,
    primitives: { hash: nativeHash, verify: nativeVerify },
    now: world.now,
    random: world.random,
    // An empty variable is the usual way to say that there is none.
    apiKey: flags['api-key'] === '' ? undefined : flags['api-key'],
    discover: flags.discover,
    deadlineMs: milliseconds(flags.timeout, 'timeout'),
    maxAgeMs: flags['max-age'] === undefined ? undefined : milliseconds(flags['max-age'], 'max-age'),
    onEvidence: (evidence: Evidence) => keepEvidence(evidence, world),
    ...extra,
  };
  try {
    if (!flags.verify) return { client: createClient(options), vkey: undefined, close };
    const vkey =
      given ?? logOf(policy) ?? pinned(pins, endpoints) ?? (await firstSeen(options, pins, endpoints, world));
    const headStore = pins?.headStore(vkey);
    return { client: createClient({ ...options, trust: trustOf(vkey, policy), headStore }), vkey, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What the log signed and cannot take back: the refusal alone would leave nothing to show to others. */
function keepEvidence(evidence: Evidence, world: World): void {
  const directory = join(world.configHome, 'qed');
  const path = join(directory, `evidence-${evidence.kind}-${world.now()}.json`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(path, `${JSON.stringify(evidence, null, 2)}\n`);
    world.err(
      `What the log signed is kept as evidence in ${path}\nSee what it proves with qed client verify-evidence.`,
    );
  } catch (error) {
    world.err(`What the log signed could not be kept as evidence in ${path}: ${String(error)}`);
  }
}

/** What can be trusted without asking a server; `remark` is the vkey that the file to be checked names. */
export function readTrust(flags: TrustFlags, world: World, remark: string | undefined): Trust {
  const endpoints = readEndpoints(flags.endpoint);
  const policy = readPolicy(flags.policy);
  const vkey = readVkey(flags.vkey) ?? logOf(policy) ?? pinned(pinsFor(flags, endpoints, world), endpoints);
  if (vkey !== undefined) return trustOf(vkey, policy);
  throw new QedError('vkey-unknown', 'no vkey of the log is known, so nothing can be checked', {
    hint:
      remark === undefined
        ? 'Give it with --vkey.'
        : `The file names ${remark}; if the operator of the log names the same, give it with --vkey.`,
  });
}

function trustOf(vkey: string, policy: Policy | undefined): Trust {
  const logs = policy?.logs.map(({ verifier }) => formatVkey(verifier)) ?? [];
  if (logs.length > 0 && !logs.includes(vkey))
    throw new QedError('option-malformed', `--policy: it is not about the log ${vkey}`);
  return { log: parseVkey(vkey), policy };
}

/** A policy of one log says which one is meant. */
function logOf(policy: Policy | undefined): string | undefined {
  const [only, ...others] = policy?.logs ?? [];
  return only && others.length === 0 ? formatVkey(only.verifier) : undefined;
}

function readPolicy(path: string | undefined): Policy | undefined {
  return path === undefined ? undefined : parsePolicy(readText(path, 'policy'));
}

function pinsFor(flags: TrustFlags, endpoints: readonly string[], world: World): Pins | undefined {
  if (flags.pins !== undefined) return openPins(flags.pins);
  return endpoints.every(isLoopback) ? undefined : openPins(join(world.configHome, 'qed', 'pins.json'));
}

function pinned(pins: Pins | undefined, endpoints: readonly string[]): string | undefined {
  const [vkey, ...others] = pins?.vkeys(endpoints) ?? [];
  if (others.length === 0) return vkey;
  throw new QedError('option-malformed', 'different logs are pinned for these endpoints', {
    hint: 'Name nodes of one log, give its --vkey, or forget what was pinned with --forget.',
  });
}

/** Trust on first use: whoever answers now is believed, and held to it where there are pins. */
async function firstSeen(
  options: ClientOptions,
  pins: Pins | undefined,
  endpoints: readonly string[],
  world: World,
): Promise<string> {
  const { vkey } = await createClient(options).info();
  try {
    parseVkey(vkey);
  } catch (cause) {
    throw new QedError('vkey-unknown', 'the server shows no vkey that can be used', { cause });
  }
  pins?.pin(endpoints, vkey);
  const kept = pins === undefined ? 'for this command only' : `and pinned in ${pins.path}`;
  world.err(`No vkey was given: the one that the server shows is taken, ${kept}:\n  ${vkey}`);
  return vkey;
}

export function readEndpoints(given: readonly string[]): readonly string[] {
  const endpoints = given.flatMap((list) => list.split(',')).map((endpoint) => endpoint.trim());
  return endpoints.map((endpoint) => {
    const url = /^[a-z]+:\/\//i.test(endpoint) ? endpoint : `http://${endpoint}`;
    if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url.replace(/\/+$/, '');
    throw new QedError(
      'option-malformed',
      `--endpoint: ${JSON.stringify(endpoint)} is not the URL of a node`,
      {
        hint: 'It looks like http://127.0.0.1:8800.',
      },
    );
  });
}

function isLoopback(endpoint: string): boolean {
  const { hostname } = new URL(endpoint);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.[0-9]+){3}$/.test(hostname);
}

function readVkey(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  // A vkey always holds plus signs, and so may the name of a file: what reads as a vkey is one.
  const text = /^[^+\s]+\+[0-9a-f]{8}\+/.test(given) ? given : readText(given, 'vkey').trim();
  try {
    return formatVkey(parseVkey(text));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new QedError('option-malformed', `--vkey: ${why}`, { cause });
  }
}

export function readCa(path: string | undefined): string | undefined {
  return path === undefined ? undefined : readText(path, 'tls-ca');
}

function readText(path: string, flag: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new QedError('option-malformed', `--${flag}: ${path} cannot be read: ${String(cause)}`, { cause });
  }
}

function milliseconds(seconds: number, flag: string): number {
  if (seconds >= 0 && seconds <= 86_400 * 365) return seconds * 1000;
  throw new QedError('option-malformed', `--${flag}: not a number of seconds`);
}
