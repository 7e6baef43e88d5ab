// Each command is in the list from which modules are loaded, and its module has it.
import yargs from 'yargs';
import { modules } from './commands.ts';

it.each(modules)('the module of $names has these commands, and no others', async ({ names, load }) => {
  const help = await (await load())(yargs([]).scriptName('qed')).getHelp();
  expect(Array.from(help.matchAll(/^ {2}qed (\S+) /gm), ([, name]) => name)).toEqual(names);
});
