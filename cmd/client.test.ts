// `qed client` as transcripts: each file of testdata/client is a session against a new log, with every line that a person would see. The server
// is a real one; its key and clock are fixed, so the digests are always the same. UPDATE_TRANSCRIPTS=1 writes the files anew: read the diff.
//
//   # a remark
//   $ qed client …       runs it; lines of standard error follow behind "! ", and the exit code where it is not 0
//   $ write FILE TEXT    makes a file; \n stands for a new line, ' for a double quote
//   $ cat FILE
// A command may read a file: … < FILE. $DIR/ahead.json holds pins of a longer log. $URL, $VKEY, $OTHER_VKEY (of another log) and $DIR stand for what is different in each run.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf, logTransport } from '../testutils/log-transport.ts';
import { runClient } from '../testutils/run-client.ts';
import { signedLog } from '../testutils/signed-log.ts';
import { withServedLog, type ServedLog } from '../testutils/served-log.ts';

const DIRECTORY = new URL('testdata/client/', import.meta.url).pathname;
const isUpdate = process.env['UPDATE_TRANSCRIPTS'] === '1';

// Variables of whoever runs the tests are flags as well.
for (const name of Object.keys(process.env)) {
  if (name.startsWith('QED_')) Reflect.deleteProperty(process.env, name);
}

for (const file of readdirSync(DIRECTORY)) {
  it(file, async () => {
    const path = join(DIRECTORY, file);
    const wanted = readFileSync(path, 'utf8');
    const got = await withServedLog((log) => replay(wanted, log));
    if (isUpdate) writeFileSync(path, got);
    else expect(got).toBe(wanted);
  });
}

/** The transcript with what came out this time. */
async function replay(transcript: string, log: ServedLog): Promise<string> {
  const names: [string, string][] = [
    ['$URL', log.url],
    ['$VKEY', log.vkey],
    ['$OTHER_VKEY', logTransport({ seed: 2 }).vkey],
    ['$DIR', log.directory],
  ];
  const fill = (text: string): string =>
    names.reduce((filled, [name, value]) => filled.replaceAll(name, value), text);
  const blank = (text: string): string =>
    names.reduce((left, [name, value]) => left.replaceAll(value, name), text.replaceAll(COSIGNATURE, ''));
  writeFileSync(join(log.directory, 'ahead.json'), pinsAhead(log));
  const lines: string[] = [];
  for (const line of transcript.split('\n')) {
    if (line.startsWith('#')) lines.push('', line);
    if (!line.startsWith('$ ')) continue;
    const output = await runLine(words(fill(line.slice(2))), log);
    lines.push('', line, ...blank(output).split('\n').slice(0, -1));
  }
  return `${lines.join('\n').trim()}\n`;
}

/** Of the node, which is there a moment after the first answer. As a line, or within JSON. */
const COSIGNATURE = /— example\.org\/log\/node0 [\w+/=]+(?:\n|\\n)/g;

/** Pins with a head of two events, under the same origin and key: once verified, it must never be unseen. */
function pinsAhead({ vkey }: ServedLog): string {
  const ahead = signedLog([[digestOf('event 0'), digestOf('event 1')]]).signedSnapshot(1);
  const pins = { format: 'qed-pins/v1', vkeys: {}, heads: { [vkey]: ahead } };
  return JSON.stringify(pins);
}

/** The output, each line with its newline. */
async function runLine([command, ...args]: readonly string[], { directory }: ServedLog): Promise<string> {
  if (command === 'cat') return readFileSync(args[0] ?? '', 'utf8');
  if (command === 'write') {
    writeFileSync(args[0] ?? '', (args[1] ?? '').replaceAll('\\n', '\n').replaceAll("'", '"'));
    return '';
  }
  if (command !== 'qed' || args[0] !== 'client') throw new Error(`no command ${String(command)}`);
  const at = args.indexOf('<');
  const stdin = at < 0 ? undefined : readFileSync(args[at + 1] ?? '');
  mkdirSync(join(directory, 'config'), { recursive: true });
  const ran = await runClient(args.slice(1, at < 0 ? undefined : at), {
    stdin,
    configHome: join(directory, 'config'),
    now: () => 1_700_000_060_000,
  });
  const errors = ran.err.replaceAll(/^/gm, '! ').replace(/! $/, '');
  return ran.out + errors + (ran.exitCode === 0 ? '' : `exit ${ran.exitCode}\n`);
}

/** Double quotes keep spaces together; nothing else is special. */
function words(line: string): readonly string[] {
  return Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, bare]) => quoted ?? bare ?? '');
}
