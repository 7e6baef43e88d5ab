// The commands of qed, a module each. Only the module that is asked for is loaded: no command waits for what the others need.
import { type Argv } from 'yargs';

type Add = (main: Argv) => Argv;

interface Module {
  /** The commands that it adds. */
  readonly names: readonly string[];
  readonly load: () => Promise<Add>;
}

export const modules: readonly Module[] = [
  { names: ['start', 'rebuild'], load: async () => (await import('./start.ts')).addStart },
  { names: ['client'], load: async () => (await import('./client.ts')).addClient },
  {
    names: ['members', 'leave', 'transfer-leadership'],
    load: async () => (await import('./members.ts')).addMembers,
  },
  { names: ['cluster'], load: async () => (await import('./cluster.ts')).addCluster },
  { names: ['agent'], load: async () => (await import('./agent.ts')).addAgent },
  { names: ['notifierstore'], load: async () => (await import('./notifierstore.ts')).addNotifierstore },
  { names: ['store'], load: async () => (await import('./store.ts')).addStore },
  { names: ['sink'], load: async () => (await import('./sink.ts')).addSink },
  { names: ['generate'], load: async () => (await import('./generate.ts')).addGenerate },
  { names: ['version'], load: async () => (await import('./version.ts')).addVersion },
  { names: ['workload'], load: async () => (await import('./workload.ts')).addWorkload },
];

/** What the command line needs: all commands when it does not begin with one, as when somebody asks for help. */
export async function commandsFor([first = '']: readonly string[]): Promise<readonly Add[]> {
  const asked = modules.filter(({ names }) => names.includes(first));
  const adds: Add[] = [];
  // One after the other: Jest mixes up modules that are loaded at once.
  for (const { load } of asked.length === 0 ? modules : asked) adds.push(await load());
  return adds;
}
