// qed generate: keys and certificates.
import { type Argv } from 'yargs';

export function addGenerate(main: Argv): Argv {
  return main;
}
