// qed version: which qed this is.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Argv } from 'yargs';

export const software = `qed ${packageVersion(dirname(fileURLToPath(import.meta.url)))}`;

/** From the package.json above this file: beside cmd in the sources, one level further up in what is built. */
function packageVersion(directory: string): string {
  try {
    const content: unknown = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
    if (typeof content === 'object' && content !== null && 'version' in content)
      return String(content.version);
  } catch {
    // Not in this directory.
  }
  const parent = dirname(directory);
  return parent === directory ? 'of an unknown version' : packageVersion(parent);
}

export function addVersion(main: Argv): Argv {
  return main.command('version', 'Print the version', {}, () => console.log(software));
}
