// Where the options of a command come from: the command line, else QED_* environment variables, else the file that --config names.
// QED_HTTP_ADDR is --http-addr; the file is JSON, {"http-addr": ":8800"}.
import { readFileSync } from 'node:fs';
import { type Argv, type InferredOptionTypes, type Options } from 'yargs';
import { QedError } from '../src/errors.ts';

const PREFIX = 'QED_';

/** The options of a command, with both other sources behind them. */
export function withSettings<Table extends Record<string, Options>>(
  command: Argv,
  table: Table,
): Argv<InferredOptionTypes<Table>> {
  const options = command.options(table).env(PREFIX).config('config', 'JSON file with options', readSettings);
  // Variables that other commands understand are no mistake here.
  for (const name of foreignVariables(table)) options.option(name, { hidden: true });
  return options;
}

function foreignVariables(table: Record<string, Options>): string[] {
  return Object.keys(process.env)
    .filter((variable) => variable.startsWith(PREFIX))
    .map((variable) => variable.slice(PREFIX.length).toLowerCase().replaceAll('_', '-'))
    .filter((name) => name !== 'config' && !Object.hasOwn(table, name));
}

function readSettings(path: string): Record<string, unknown> {
  try {
    const settings: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) return { ...settings };
  } catch (cause) {
    throw new QedError('option-malformed', `--config: ${path} cannot be read: ${String(cause)}`, { cause });
  }
  throw new QedError('option-malformed', `--config: ${path} does not hold a JSON object`);
}
