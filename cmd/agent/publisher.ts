// qed agent publisher: delivers verified snapshots to stores, files, databases and WebSockets.
import { type Argv } from 'yargs';
import { parseSinkName } from '../../agents/publisher/sink.ts';
import { withSettings } from '../settings.ts';
import { agentOptions, endpointsOption, qedUrlsOption, readUrls, runAgent, splitList } from './flags.ts';

const PORT = 8300;
/** In memory, a snapshot costs about three kilobytes. */
const KEEP_ON_DISK = 100_000;
const KEEP_IN_MEMORY = 10_000;

const options = {
  ...agentOptions(PORT),
  ...endpointsOption('Snapshot stores, with commas between them'),
  ...qedUrlsOption,
  sink: {
    type: 'string',
    array: true,
    nargs: 1,
    describe: 'file:PATH, sqlite:PATH or ws:ADDR; may be repeated',
  },
  'store-key': { type: 'string', describe: 'API key of the stores; better given as QED_STORE_KEY' },
  keep: {
    type: 'number',
    describe: 'Snapshots kept for slow sinks and replays',
    defaultDescription: `${KEEP_ON_DISK}, or ${KEEP_IN_MEMORY} without --state`,
  },
} as const;

function build(command: Argv) {
  return withSettings(command, options)
    .example(
      '$0 agent publisher --join 127.0.0.1:8400 --endpoints http://127.0.0.1:8888',
      'to a snapshot store',
    )
    .example(
      '$0 agent publisher --qedUrls http://127.0.0.1:8800 --state ./publisher --sink file:snapshots.jsonl --sink sqlite:snapshots.db --sink ws::6001',
      'to a file, a database and whoever connects to port 6001',
    )
    .epilogue('What a sink holds is checked with qed sink check.');
}

export function addPublisher(agent: Argv): Argv {
  return agent.command(
    'publisher',
    'Deliver verified snapshots to stores and sinks',
    build,
    async (flags) => {
      const { startPublisher } = await import('../../agents/publisher/publisher.ts');
      const sinks = splitList(flags.sink).map(parseSinkName);
      const endpoints = readUrls(flags.endpoints, '--endpoints');
      const qedUrls = readUrls(flags.qedUrls, '--qedUrls');
      const keep = flags.keep ?? (flags.state === undefined ? KEEP_IN_MEMORY : KEEP_ON_DISK);
      await runAgent(flags, { role: 'publisher', port: PORT, qedUrls }, (agent) =>
        startPublisher(agent, { endpoints, sinks, storeKey: flags['store-key'], keep }),
      );
    },
  );
}
