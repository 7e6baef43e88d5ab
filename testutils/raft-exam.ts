// Runs scripts of etcd's raft library against our core: commands in, output out, to be compared to the letter.
// This file reads the format and picks the interpreter; raft-exam-cluster.ts plays whole clusters, raft-exam-tables.ts quorums and
// membership changes.
//
// A block is a command line and perhaps a body, a line `----`, and the expected output up to the next empty line; where the output itself
// has empty lines, `----` is written twice on both sides. Lines before a command that begin with # are comments.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterInterpreter } from './raft-exam-cluster.ts';
import { membershipInterpreter, quorumInterpreter } from './raft-exam-tables.ts';

export interface Command {
  readonly name: string;
  readonly args: readonly Arg[];
  readonly body: string;
}

/** `key`, `key=value` or `key=(value, …)`. */
export interface Arg {
  readonly key: string;
  readonly values: readonly string[];
}

export type Interpreter = (command: Command) => string;

interface Block {
  readonly line: number;
  readonly source: string;
  readonly command: Command;
  readonly expected: string;
}

export interface Difference {
  readonly where: string;
  readonly expected: string;
  readonly actual: string;
}

/** Paths of all scripts in a directory and those below it. */
export function listScripts(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.txt'))
    .sort();
}

/** The first block whose output is not as expected: whatever follows it would only repeat the news. */
export function firstDifference(directory: string, path: string): Difference | undefined {
  const run = interpreterFor(path);
  for (const { line, source, command, expected } of readBlocks(readFileSync(join(directory, path), 'utf8'))) {
    const output = run(command);
    const actual = output === '' || output.endsWith('\n') ? output : `${output}\n`;
    if (comparable(actual) !== comparable(expected))
      return { where: `${path}:${line} ${source}`, expected, actual };
  }
  return undefined;
}

/**
 * A refused membership change is printed the way a protobuf library prints it, and that has changed between etcd's versions. So of
 * this one phrase the names and numbers are compared, without those that stand for a default.
 */
function comparable(text: string): string {
  return text.replaceAll(/(?<=ignoring conf change ).*?(?= at config)/g, (change) => {
    const words = change.match(/ConfChange\w+|\d+/g) ?? [];
    return words.filter((word) => word !== 'ConfChangeTransitionAuto' && word !== '0').join(' ');
  });
}

function interpreterFor(path: string): Interpreter {
  if (path.startsWith('quorum')) return quorumInterpreter();
  return path.startsWith('confchange/') ? membershipInterpreter() : clusterInterpreter();
}

function readBlocks(text: string): readonly Block[] {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const source = lines[at]!.trim();
    at += 1;
    if (source === '' || source.startsWith('#')) continue;
    const line = at;
    const body: string[] = [];
    for (; at < lines.length && lines[at] !== '----'; at += 1) body.push(lines[at]!);
    at += 1;
    const fenced = lines[at] === '----';
    if (fenced) at += 1;
    const expected: string[] = [];
    for (; at < lines.length && !ends(lines, at, fenced); at += 1) expected.push(`${lines[at]!}\n`);
    if (fenced) at += 2;
    blocks.push({
      line,
      source,
      command: { ...parseLine(source), body: body.join('\n').trim() },
      expected: expected.join(''),
    });
  }
  return blocks;
}

function ends(lines: readonly string[], at: number, fenced: boolean): boolean {
  return fenced ? lines[at] === '----' && lines[at + 1] === '----' : lines[at] === '';
}

export function parseLine(line: string): Pick<Command, 'name' | 'args'> {
  const words = line.match(/[^\s=()]+=\([^)]*\)|\S+/g) ?? [];
  const [name = '', ...rest] = words;
  return { name, args: rest.map(parseArg) };
}

function parseArg(word: string): Arg {
  const at = word.indexOf('=');
  if (at < 0) return { key: word, values: [] };
  const value = word.slice(at + 1);
  const list = /^\((.+)\)$/s.exec(value);
  const values = list === null ? [value] : list[1]!.split(',').map((item) => item.trim());
  return { key: word.slice(0, at), values };
}

/** The values of a key, wherever it stands. */
export function valuesOf(args: readonly Arg[], key: string): readonly string[] {
  return args.filter((arg) => arg.key === key).flatMap((arg) => arg.values);
}
