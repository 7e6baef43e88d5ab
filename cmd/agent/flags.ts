// The flags that all agents have, and what they mean. --alertsUrls stands before or after the name of the agent.
import { type InferredOptionTypes } from 'yargs';
import type { Agent, AgentOptions } from '../../agents/agent.ts';
import { QedError } from '../../src/errors.ts';
import { dialAddress } from '../../src/gossip/address.ts';
import { createLogger, LEVELS, readVkey, readWanted, untilStopped } from '../daemon.ts';
import { software } from '../version.ts';

const list = { type: 'string', array: true, nargs: 1 } as const;

export const alertsOption = {
  alertsUrls: {
    ...list,
    describe: 'Where alerts go, with commas between them: stores, or webhooks (a URL with a path)',
  },
} as const;

/** `port`: the usual one of the agent for gossip. Its metrics are 10,000 above. */
export function agentOptions(port: number) {
  return {
    ...alertsOption,
    bind: { type: 'string', describe: 'Gossip', defaultDescription: `127.0.0.1:${port}, or a free port` },
    join: { ...list, describe: 'Gossip members to join, with commas between them: host:port or multiaddr' },
    node: { type: 'string', describe: 'Name of the agent, for people' },
    'api-key': { alias: 'k', type: 'string', describe: 'API key of the log; better given as QED_API_KEY' },
    vkey: {
      type: 'string',
      describe: 'The vkey of the log, or a file with it; without it the first one seen is trusted',
    },
    state: {
      type: 'string',
      describe: 'Directory for what the agent has verified; without it that is forgotten',
    },
    identity: {
      type: 'string',
      describe: 'Key file of the agent, made where there is none',
      defaultDescription: '<state>/agent_key.pem',
    },
    'metrics-addr': {
      type: 'string',
      describe: 'Metrics and status',
      defaultDescription: 'the port of --bind and 10,000',
    },
    log: { alias: 'l', choices: LEVELS, default: 'info', describe: 'Least severe messages to print' },
  } as const;
}

export const qedUrlsOption = {
  qedUrls: { ...list, alias: 'qed-urls', describe: 'Nodes of the log, with commas between them' },
} as const;

export const endpointsOption = (describe: string) =>
  ({ endpoints: { ...list, alias: 'endpoint', describe } }) as const;

export type AgentFlags = InferredOptionTypes<ReturnType<typeof agentOptions>>;

export interface RoleOptions {
  readonly role: AgentOptions['role'];
  readonly port: number;
  readonly qedUrls: readonly string[];
}

/** Runs an agent until it is told to stop. `start` builds the role on it and resolves with how to end it. */
export async function runAgent(
  flags: AgentFlags,
  { role, port, qedUrls }: RoleOptions,
  start: (agent: Agent) => Promise<{ readonly close: () => Promise<void> }>,
): Promise<void> {
  // The API key is not for everybody who lists processes.
  process.title = `qed agent ${role}`;
  const name = flags.node ?? `${role}0`;
  const bind = readWanted('--bind', flags.bind, port, { isPortFree: true });
  const metricsPort = bind.address.port + 10_000;
  const join = splitList(flags.join);
  for (const address of join) dialAddress(address, '--join');
  const state = flags.state;
  // Loaded here: no other command needs what agents are made of.
  const { openAgent } = await import('../../agents/agent.ts');
  const agent = await openAgent({
    role,
    name,
    bind,
    join,
    metrics: readWanted('--metrics-addr', flags['metrics-addr'], metricsPort > 65_535 ? 0 : metricsPort, {
      isPortFree: true,
    }),
    qedUrls,
    apiKey: flags['api-key'],
    vkey: flags.vkey === undefined ? undefined : readVkey(flags.vkey),
    alertsUrls: readUrls(flags.alertsUrls, '--alertsUrls'),
    statePath: state,
    identityPath: flags.identity ?? (state === undefined ? undefined : `${state}/agent_key.pem`),
    passphrase: process.env['QED_KEY_PASSPHRASE'],
    logger: createLogger(flags.log),
    software,
  });
  try {
    const running = await start(agent);
    await untilStopped();
    await running.close();
  } finally {
    await agent.close();
  }
}

export function splitList(given: readonly string[] | undefined): readonly string[] {
  return (given ?? [])
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '');
}

/** URLs of nodes, stores or webhooks; `host:port` is one as well. */
export function readUrls(given: readonly string[] | undefined, flag: string): readonly string[] {
  return splitList(given).map((text) => {
    const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
    if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url.replace(/\/+$/, '');
    throw new QedError('option-malformed', `${flag}: ${JSON.stringify(text.slice(0, 120))} is not a URL`, {
      hint: 'It looks like http://127.0.0.1:8800.',
    });
  });
}
