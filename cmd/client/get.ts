// qed client get: the signed snapshot of a version, or the newest.
import { formatSignedSnapshot } from '../../src/balloon/proof.ts';
import { formatSnapshotBundle } from '../../src/client/bundle.ts';
import { formatJson, printSnapshot, printVerified, readVersion, type ClientCommand } from './command.ts';
import { connect, connectionOptions, readOptions } from './connect.ts';
import { saveBundle, saveOption } from './save.ts';

const options = {
  version: {
    type: 'number',
    describe: 'The snapshot of the batch that covers this version',
    defaultDescription: 'the latest',
  },
  ...saveOption,
  ...readOptions,
  ...connectionOptions,
} as const;

export const get: ClientCommand<typeof options> = {
  command: 'get',
  describe: 'Get a signed snapshot',
  options,
  examples: [
    ['$0 client get --version 3', 'the first snapshot that covers version 3'],
    ['$0 client get --save head.json', 'keep the newest one'],
  ],
  async run(flags, world) {
    const version = readVersion(flags.version, 'version');
    const { client, vkey, close } = await connect(flags, world);
    try {
      const found = await client.snapshot(version, flags);
      const { verified } = found;
      if (flags.json) world.out(formatJson({ verified, signedSnapshot: formatSignedSnapshot(found) }));
      else printSnapshot('Retrieved snapshot with values:', found.snapshot, world);
      if (!flags.json) printVerified(verified, world);
      if (flags.save !== undefined) saveBundle(flags.save, formatSnapshotBundle(found, vkey ?? null), world);
    } finally {
      await close();
    }
  },
};
