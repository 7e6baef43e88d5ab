// qed client add: logs one event, and shows the signed snapshot that fixes it.
import { formatSignedSnapshot } from '../../src/balloon/proof.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import {
  eventOptions,
  formatJson,
  printSnapshot,
  printVerified,
  readEvent,
  type ClientCommand,
} from './command.ts';
import { connect, connectionOptions } from './connect.ts';
import { saveMembership, saveOptions, wantsProof } from './save.ts';

const options = {
  ...eventOptions,
  ...saveOptions,
  'send-events': {
    type: 'boolean',
    default: false,
    describe: 'Send the event itself, for a log that keeps events; otherwise only its digest travels',
  },
  ...connectionOptions,
} as const;

export const add: ClientCommand<typeof options> = {
  command: 'add',
  describe: 'Add an event',
  options,
  examples: [
    ['$0 client add --event "event 0" -k "$KEY"', 'add a text'],
    ['$0 client add --file report.pdf --save report.qed.json', 'add a document and keep the proof'],
    ['git log -1 | $0 client add', 'add what another program prints'],
  ],
  async run(flags, world) {
    const event = await readEvent(flags, world);
    const { client, vkey, close } = await connect(flags, world, { sendEvents: flags['send-events'] });
    try {
      const added = await client.add(event);
      const { eventDigest, version, signedSnapshot, verified } = added;
      const { snapshot } = signedSnapshot;
      if (flags.json) {
        const signed = formatSignedSnapshot(signedSnapshot);
        world.out(
          formatJson({ eventDigest: encodeHex(eventDigest), version, verified, signedSnapshot: signed }),
        );
      } else {
        printSnapshot('Received snapshot with values:', { ...snapshot, eventDigest, version }, world);
        printVerified(verified, world);
      }
      if (wantsProof(flags)) saveMembership(flags, await client.membership({ eventDigest }), vkey, world);
    } finally {
      await close();
    }
  },
};
