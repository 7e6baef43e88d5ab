// What the commands of `qed cluster` share.
import { type Options } from 'yargs';
import { QedError } from '../../src/errors.ts';
import { EXIT_UNCHECKED, formatJson } from '../client/command.ts';
import { type World } from '../client/world.ts';

export const sharedOptions = {
  dir: { type: 'string', default: './cluster', describe: 'Directory of the cluster' },
  json: { type: 'boolean', default: false, describe: 'Print JSON' },
} as const satisfies Record<string, Options>;

export function say(world: World, isJson: boolean, json: unknown, text: string): void {
  world.out(isJson ? formatJson(json) : text);
}

/** Ctrl-C as a signal, so that what was taken away is given back first. A second one does not wait. */
export function interruption(): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController();
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(EXIT_UNCHECKED);
    controller.abort(new QedError('busy', 'interrupted; everything was put back'));
  };
  const names = ['SIGINT', 'SIGTERM'] as const;
  for (const name of names) process.on(name, interrupt);
  return {
    signal: controller.signal,
    end() {
      for (const name of names) process.off(name, interrupt);
    },
  };
}

/** What to add to a command that is shown, so that it is about the same cluster. */
export function dirFlag(dir: string): string {
  return dir === sharedOptions.dir.default ? '' : ` --dir ${dir}`;
}
