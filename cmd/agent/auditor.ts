// qed agent auditor: replays the log, and holds everything that is said about it against the replay.
import { type Argv } from 'yargs';
import { QedError } from '../../src/errors.ts';
import { withSettings } from '../settings.ts';
import { agentOptions, qedUrlsOption, readUrls, runAgent } from './flags.ts';
import { checkWitnessFlags, startWitness, witnessOptions } from './witness.ts';

const PORT = 8100;

const options = {
  ...agentOptions(PORT),
  ...qedUrlsOption,
  pubUrls: {
    type: 'string',
    array: true,
    nargs: 1,
    alias: 'pub-urls',
    describe: 'Snapshot stores to hold against the log, with commas between them',
  },
  'store-key': { type: 'string', describe: 'API key of the stores; better given as QED_STORE_KEY' },
  sample: {
    type: 'boolean',
    default: false,
    describe: 'Follow the signed heads and ask random questions, without replaying the log',
  },
  'ask-every': { type: 'number', default: 1, describe: 'Seconds between random questions to the log' },
  ...witnessOptions,
} as const;

function build(command: Argv) {
  return withSettings(command, options)
    .example(
      '$0 agent auditor --qedUrls http://127.0.0.1:8800 --pubUrls http://127.0.0.1:8888 --state ./auditor',
      'of a log and a store',
    )
    .epilogue(
      [
        'It fetches every entry, rebuilds both trees, and compares each batch and each signed state that it meets: about 150 bytes of memory an event, and',
        'with --state about 150 of disk. With --sample it keeps a head only: a rewritten history and two views of it are found, also what answers prove about',
        'random events; a hyper tree that does not follow from the log is not, but by luck.',
      ].join('\n'),
    );
}

export function addAuditor(agent: Argv): Argv {
  return agent.command(
    'auditor',
    'Replay the log and check all that is said about it',
    build,
    async (flags) => {
      const { startAuditor } = await import('../../agents/auditor/auditor.ts');
      const qedUrls = readUrls(flags.qedUrls, '--qedUrls');
      const pubUrls = readUrls(flags.pubUrls, '--pubUrls');
      const askEvery = flags['ask-every'];
      if (!(askEvery >= 0.01 && askEvery <= 86_400))
        throw new QedError('option-malformed', '--ask-every: from 0.01 to 86400 seconds');
      checkWitnessFlags(flags);
      await runAgent(flags, { role: 'auditor', port: PORT, qedUrls }, async (agent) => {
        const auditor = startAuditor(agent, {
          pubUrls,
          storeKey: flags['store-key'],
          isSample: flags.sample,
          askEveryMs: askEvery * 1000,
          statePath: flags.state,
        });
        const { vouch } = auditor;
        const witness = await startWitness(flags, agent, { vouch });
        agent.setStatus(() => ({ ...auditor.status(), ...witness?.status() }));
        return {
          async close() {
            await witness?.close();
            await auditor.close();
          },
        };
      });
    },
  );
}
