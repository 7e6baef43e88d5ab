// qed client info: what a node says about itself. None of it is proven; the vkey of the log is what to compare with its operator.
import { formatJson, type ClientCommand } from './command.ts';
import { connect, connectionOptions } from './connect.ts';

const options = { ...connectionOptions } as const;

export const info: ClientCommand<typeof options> = {
  command: 'info',
  describe: 'Show what a node says about itself',
  options,
  examples: [['$0 client info --json', 'for other programs']],
  async run(flags, world) {
    // Nothing here is verified, so nothing has to be trusted for it.
    const { client, close } = await connect({ ...flags, verify: false }, world);
    try {
      const { all } = await client.info();
      if (flags.json) world.out(formatJson(all));
      else for (const [name, value] of Object.entries(all)) world.out(` ${name}: ${printable(value)}`);
    } finally {
      await close();
    }
  },
};

function printable(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.replace(/\p{Control}/gu, '?');
}
