// The flags with which an auditor or a monitor also serves as a witness.
import { type InferredOptionTypes } from 'yargs';
import type { Agent } from '../../agents/agent.ts';
import type { ServedWitness, ServeWitnessOptions } from '../../agents/witness/serve.ts';
import { QedError } from '../../src/errors.ts';
import { readWanted } from '../daemon.ts';

export const witnessOptions = {
  'witness-addr': {
    type: 'string',
    describe: 'Cosign checkpoints here, as C2SP tlog-witness has it; needs --state',
  },
  'witness-name': {
    type: 'string',
    describe: 'Name of the witness in its vkey; never change it',
    defaultDescription: 'the name of the key of the agent',
  },
} as const;

export type WitnessFlags = Partial<InferredOptionTypes<typeof witnessOptions>> & {
  readonly state?: string | undefined;
};

/** Before anything is opened. */
export function checkWitnessFlags(flags: WitnessFlags): void {
  if (flags['witness-addr'] === undefined) return;
  readWanted('--witness-addr', flags['witness-addr'], 0);
  if (flags.state !== undefined) return;
  throw new QedError('option-malformed', '--witness-addr needs --state', {
    hint: 'A witness that forgets what it has cosigned, or its key, is none.',
  });
}

/** Undefined unless it is asked for. */
export async function startWitness(
  flags: WitnessFlags,
  agent: Agent,
  options: Pick<ServeWitnessOptions, 'vouch' | 'onSigned'>,
): Promise<ServedWitness | undefined> {
  if (flags['witness-addr'] === undefined) return undefined;
  const { serveWitness } = await import('../../agents/witness/serve.ts');
  const wanted = readWanted('--witness-addr', flags['witness-addr'], 0);
  return serveWitness({ ...options, agent, wanted, name: flags['witness-name'], now: Date.now });
}
