// qed client: adds events to a log, asks it for proofs, and checks them. The commands are in client/, a file each.
import { type Argv } from 'yargs';
import { add } from './client/add.ts';
import { addBulk } from './client/add-bulk.ts';
import { addCommand } from './client/command.ts';
import { get } from './client/get.ts';
import { incremental } from './client/incremental.ts';
import { info } from './client/info.ts';
import { membership } from './client/membership.ts';
import { verify } from './client/verify.ts';
import { verifyEvidence } from './client/verify-evidence.ts';
import { processWorld, type World } from './client/world.ts';

const EPILOGUE =
  'Exit codes: 0 done and verified, 1 refused, 2 could not be done or checked, 64 wrong command line.\n' +
  'Every flag is also read from the environment: --api-key as QED_API_KEY.';

export function addClientTo(main: Argv, world: World): Argv {
  return main.command(
    'client',
    'Add events, ask for proofs and check them',
    (client) => {
      // The API key is not for everybody who lists processes.
      world.hideArguments('qed client');
      addCommand(client, add, world);
      addCommand(client, addBulk, world);
      addCommand(client, membership, world);
      addCommand(client, incremental, world);
      addCommand(client, get, world);
      addCommand(client, verify, world);
      addCommand(client, verifyEvidence, world);
      addCommand(client, info, world);
      return client.demandCommand(1, 'Name what the client shall do.').epilogue(EPILOGUE);
    },
    () => undefined,
  );
}

export function addClient(main: Argv): Argv {
  return addClientTo(main, processWorld());
}
