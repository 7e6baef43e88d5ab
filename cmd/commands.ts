// The commands of qed, a module each.
import { type Argv } from 'yargs';
import { addClient } from './client.ts';
import { addGenerate } from './generate.ts';
import { addStart } from './start.ts';
import { addVersion } from './version.ts';
import { addWorkload } from './workload.ts';

export const commands: readonly ((main: Argv) => Argv)[] = [
  addStart,
  addClient,
  addGenerate,
  addVersion,
  addWorkload,
];
