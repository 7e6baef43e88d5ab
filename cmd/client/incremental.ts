// qed client incremental: that the log of a later version only grew out of the log of an earlier one.
import { formatIncremental, formatSignedSnapshot } from '../../src/balloon/proof.ts';
import { type Incremental } from '../../src/client/ask.ts';
import { formatIncrementalBundle } from '../../src/client/bundle.ts';
import { formatJson, printVerified, readVersion, usage, type ClientCommand } from './command.ts';
import { connect, connectionOptions, readOptions } from './connect.ts';
import { saveBundle, saveOption } from './save.ts';
import { type World } from './world.ts';

const options = {
  start: { type: 'number', demandOption: true, describe: 'The earlier version' },
  end: { type: 'number', demandOption: true, describe: 'The later version' },
  ...saveOption,
  ...readOptions,
  ...connectionOptions,
} as const;

export const incremental: ClientCommand<typeof options> = {
  command: 'incremental',
  describe: 'Prove that the log only grew between two versions',
  options,
  examples: [['$0 client incremental --start 0 --end 3 --verify', 'nothing was changed in between']],
  async run(flags, world) {
    const start = readVersion(flags.start, 'start') ?? 0;
    const end = readVersion(flags.end, 'end') ?? 0;
    if (start > end) throw usage(`--start ${start} lies behind --end ${end}`);
    const { client, vkey, close } = await connect(flags, world);
    try {
      if (!flags.json) {
        world.out(`\nQuerying incremental between versions [ ${start} ] and [ ${end} ]\n`);
      }
      const found = await client.incremental(start, end, flags);
      if (flags.json) world.out(formatJson(incrementalJson(found)));
      else printIncremental(found, { start, end }, world);
      if (flags.save !== undefined) {
        saveBundle(flags.save, formatIncrementalBundle(found, vkey ?? null), world);
      }
    } finally {
      await close();
    }
  },
};

function incrementalJson({ start, end, proof, signedSnapshots, verified }: Incremental): unknown {
  const snapshots = signedSnapshots && {
    start: formatSignedSnapshot(signedSnapshots.start),
    end: formatSignedSnapshot(signedSnapshots.end),
  };
  return { start, end, verified, incremental: formatIncremental(proof), signedSnapshots: snapshots };
}

function printIncremental(found: Incremental, asked: { start: number; end: number }, world: World): void {
  const lines = [
    `Start version: ${found.start}`,
    `End version: ${found.end}`,
    'Incremental audit path: <TRUNCATED>',
  ];
  world.out(`Received incremental proof:\n\n${lines.map((line) => ` ${line}`).join('\n')}\n`);
  if (found.start !== asked.start || found.end !== asked.end) {
    world.err(
      'Signed states are ends of batches: the ones are compared that cover the versions asked about.',
    );
  }
  printVerified(found.verified, world);
}
