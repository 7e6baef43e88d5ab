// The commands of qed, a module each.
import { type Argv } from 'yargs';
import { addAgent } from './agent.ts';
import { addClient } from './client.ts';
import { addCluster } from './cluster.ts';
import { addGenerate } from './generate.ts';
import { addMembers } from './members.ts';
import { addNotifierstore } from './notifierstore.ts';
import { addSink } from './sink.ts';
import { addStart } from './start.ts';
import { addStore } from './store.ts';
import { addVersion } from './version.ts';
import { addWorkload } from './workload.ts';

export const commands: readonly ((main: Argv) => Argv)[] = [
  addStart,
  addClient,
  addMembers,
  addCluster,
  addAgent,
  addNotifierstore,
  addStore,
  addSink,
  addGenerate,
  addVersion,
  addWorkload,
];
