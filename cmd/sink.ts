// qed sink check: verifies all that a sink of a publisher holds.
import { type Argv } from 'yargs';
import { parseSinkName } from '../agents/publisher/sink.ts';
import { readVkey } from './daemon.ts';
import { withSettings } from './settings.ts';

const options = {
  vkey: { type: 'string', demandOption: true, describe: 'The vkey of the log, or a file with it' },
} as const;

function buildCheck(command: Argv) {
  return withSettings(
    command.positional('sink', {
      type: 'string',
      demandOption: true,
      describe: 'file:PATH, sqlite:PATH or ws:ADDR',
    }),
    options,
  ).example(
    '$0 sink check file:snapshots.jsonl --vkey log_key.pem.pub',
    'exit code 0: every line is signed by the log',
  );
}

export function addSink(main: Argv): Argv {
  return main.command('sink', 'Look after what a publisher has delivered', (command) =>
    command
      .command('check <sink>', 'Verify all that a sink holds', buildCheck, check)
      .demandCommand(1, 'Say what to do: check.'),
  );
}

async function check({
  sink,
  vkey,
}: {
  readonly sink?: string | undefined;
  readonly vkey: string;
}): Promise<void> {
  const { checkSink } = await import('../agents/publisher/check.ts');
  const trust = { log: readVkey(vkey) };
  const { snapshots, versions, first, last, late } = await checkSink(parseSinkName(sink ?? ''), trust);
  console.log(
    `${snapshots} snapshots of ${versions} versions, ${first ?? '-'} to ${last ?? '-'}: all signed by ${trust.log.name}`,
  );
  if (snapshots > versions) console.log(`${snapshots - versions} are there more than once`);
  if (late > 0) console.log(`${late} came late, behind a newer one`);
}
