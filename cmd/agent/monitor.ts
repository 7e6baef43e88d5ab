// qed agent monitor: watches that the log keeps to one history, answers, goes on and is heard, and that stores show what it published.
import { readFileSync } from 'node:fs';
import { type Argv } from 'yargs';
import { parsePolicy, type Policy } from '../../src/crypto/policy.ts';
import { QedError } from '../../src/errors.ts';
import { withSettings } from '../settings.ts';
import { agentOptions, endpointsOption, readUrls, runAgent } from './flags.ts';
import { checkWitnessFlags, startWitness, witnessOptions } from './witness.ts';

const PORT = 8200;
/** In memory, a snapshot costs about three kilobytes. */
const KEEP_ON_DISK = 100_000;
const KEEP_IN_MEMORY = 10_000;

const options = {
  ...agentOptions(PORT),
  ...endpointsOption('Nodes of the log, with commas between them; the other members are found there'),
  pubUrls: {
    type: 'string',
    array: true,
    nargs: 1,
    alias: 'pub-urls',
    describe: 'Snapshot stores to compare, with commas between them',
  },
  'store-key': { type: 'string', describe: 'API key of the stores; better given as QED_STORE_KEY' },
  every: { type: 'number', default: 2, describe: 'Seconds from one look at nodes and stores to the next' },
  'max-age': { type: 'number', default: 60, describe: 'Seconds without a head of the log until it is stale' },
  'max-lag': {
    type: 'number',
    default: 10,
    describe: 'Seconds until what is known must be at every node, in every store and in gossip',
  },
  'max-outage': { type: 'number', default: 15, describe: 'Seconds without an answer until it is an outage' },
  policy: {
    type: 'string',
    describe: 'C2SP tlog-policy: a head is as old as the cosignatures of this quorum',
  },
  keep: {
    type: 'number',
    describe: 'Snapshots that are remembered, to be compared with stores',
    defaultDescription: `${KEEP_ON_DISK}, or ${KEEP_IN_MEMORY} without --state`,
  },
  ...witnessOptions,
} as const;

function build(command: Argv) {
  return withSettings(command, options)
    .example(
      '$0 agent monitor --endpoints http://127.0.0.1:8800 --pubUrls http://127.0.0.1:8888 --state ./monitor',
      'the log and a snapshot store',
    )
    .epilogue('Evidence of tampering is kept in <state>/evidence; check it with qed client verify-evidence.');
}

export function addMonitor(agent: Argv): Argv {
  return agent.command('monitor', 'Watch the log from outside, and raise alerts', build, async (flags) => {
    const { startMonitor } = await import('../../agents/monitor/monitor.ts');
    const endpoints = readUrls(flags.endpoints, '--endpoints');
    const stores = readUrls(flags.pubUrls, '--pubUrls');
    const timing = {
      everyMs: milliseconds(flags.every, '--every'),
      maxAgeMs: milliseconds(flags['max-age'], '--max-age'),
      maxLagMs: milliseconds(flags['max-lag'], '--max-lag'),
      maxOutageMs: milliseconds(flags['max-outage'], '--max-outage'),
    };
    const keep = flags.keep ?? (flags.state === undefined ? KEEP_IN_MEMORY : KEEP_ON_DISK);
    const policy = flags.policy === undefined ? undefined : readPolicy(flags.policy);
    checkWitnessFlags(flags);
    await runAgent(flags, { role: 'monitor', port: PORT, qedUrls: endpoints }, async (agent) => {
      const monitor = await startMonitor(agent, {
        endpoints,
        stores,
        apiKey: flags['api-key'],
        storeKey: flags['store-key'],
        policy,
        keep,
        timing,
        now: Date.now,
        jitter: Math.random,
      });
      const witness = await startWitness(flags, agent, { onSigned: monitor.meet });
      agent.setStatus(() => ({ ...monitor.status(), ...witness?.status() }));
      return {
        async close() {
          await witness?.close();
          await monitor.close();
        },
      };
    });
  });
}

function readPolicy(path: string): Policy {
  try {
    return parsePolicy(readFileSync(path, 'utf8'));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new QedError('option-malformed', `--policy: ${why}`, { cause });
  }
}

function milliseconds(seconds: number, flag: string): number {
  if (Number.isFinite(seconds) && seconds > 0 && seconds <= 86_400) return seconds * 1000;
  throw new QedError('option-malformed', `${flag}: ${seconds} is not a number of seconds up to a day`);
}
