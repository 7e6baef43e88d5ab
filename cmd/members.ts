// qed members, leave and transfer-leadership: what an operator asks of a running cluster. Any node takes it and has the leader do it.
import { z } from 'zod';
import { type Argv } from 'yargs';
import { QedError } from '../src/errors.ts';
import { urlOf } from '../src/server/listen.ts';
import { addCommand, formatJson, type ClientCommand } from './client/command.ts';
import { readCa } from './client/connect.ts';
import { processWorld, type World } from './client/world.ts';

const options = {
  endpoint: {
    alias: ['endpoints', 'e'],
    type: 'string',
    default: '127.0.0.1:8700',
    describe: 'Management address of a node, host:port or URL; of several with commas the first that answers',
  },
  'api-key': { alias: 'k', type: 'string', describe: 'API key of an administrator; better as QED_API_KEY' },
  json: { type: 'boolean', default: false, describe: 'Print one JSON document' },
  timeout: { type: 'number', default: 10, describe: 'Seconds after which to give up' },
  insecure: { type: 'boolean', default: false, describe: 'Take any TLS certificate' },
  'tls-ca': { type: 'string', describe: "File of the certificates that the server's must lead to, PEM" },
} as const;
const nodeOptions = { ...options, node: { type: 'string', describe: 'Node id' } } as const;

interface Flags {
  readonly endpoint: string;
  readonly 'api-key'?: string | undefined;
  readonly timeout: number;
  readonly insecure: boolean;
  readonly 'tls-ca'?: string | undefined;
}

const membersAnswer = z.object({
  nodeId: z.string(),
  leaderId: z.string().nullable(),
  term: z.int(),
  committedIndex: z.int(),
  version: z.int().nullable(),
  members: z.array(
    z.object({
      nodeId: z.string(),
      raftAddr: z.string(),
      httpAddr: z.string(),
      mgmtAddr: z.string(),
      isVoter: z.boolean(),
      isLeader: z.boolean(),
      roundTripMs: z.number().nullable(),
      matchIndex: z.int().nullable(),
    }),
  ),
});
const leftAnswer = z.object({ left: z.string() });
const leaderAnswer = z.object({ leaderId: z.string().nullable() });
type MembersAnswer = z.output<typeof membersAnswer>;

const members: ClientCommand<typeof options> = {
  command: 'members',
  describe: 'List the nodes of a cluster',
  options,
  positional: withExitCodes,
  examples: [
    ['$0 members -k "$KEY"', 'as the node at 127.0.0.1:8700 knows them'],
    ['$0 members -k "$KEY" --endpoint 10.0.0.1:8700,10.0.0.2:8700', 'ask the first that answers'],
  ],
  async run(flags, world) {
    const answer = read(membersAnswer, await ask(flags, world, '/members'));
    world.out(flags.json ? formatJson(answer) : table(rowsOf(answer)));
  },
};

const leave: ClientCommand<typeof nodeOptions> = {
  command: 'leave [node]',
  describe: 'Remove a node from its cluster; a leader hands over first',
  options: nodeOptions,
  positional: withNode('Node to remove; the one that is asked unless another is named'),
  examples: [
    ['$0 leave -k "$KEY" --endpoint 10.0.0.3:8700', 'the node there leaves'],
    ['$0 leave node2 -k "$KEY"', 'node2 is removed, dead or alive, while a majority is there'],
  ],
  async run(flags, world) {
    const { left } = read(leftAnswer, await ask(flags, world, '/leave', nodeBody(flags.node)));
    world.out(
      flags.json
        ? formatJson({ left })
        : `${left} is no member any more. Stop it; to bring it back: qed rebuild.`,
    );
  },
};

const transfer: ClientCommand<typeof nodeOptions> = {
  command: 'transfer-leadership [node]',
  describe: 'Let another node lead',
  options: nodeOptions,
  positional: withNode('Node to lead; the one that is most up to date unless another is named'),
  examples: [['$0 transfer-leadership node1 -k "$KEY"', 'as before an upgrade of the leader']],
  async run(flags, world) {
    const answer = read(leaderAnswer, await ask(flags, world, '/transfer-leadership', nodeBody(flags.node)));
    world.out(flags.json ? formatJson(answer) : `${answer.leaderId ?? 'another node'} leads.`);
  },
};

export function addMembersTo(main: Argv, world: World): Argv {
  addCommand(main, members, world);
  addCommand(main, leave, world);
  return addCommand(main, transfer, world);
}

export function addMembers(main: Argv): Argv {
  return addMembersTo(main, processWorld());
}

function withNode(describe: string) {
  return (command: Argv): Argv => withExitCodes(command.positional('node', { type: 'string', describe }));
}

function withExitCodes(command: Argv): Argv {
  return command.epilogue('Exit codes: 0 done, 1 refused, 2 could not be done, 64 wrong command line.');
}

function nodeBody(node: string | undefined): unknown {
  return node === undefined ? {} : { nodeId: node };
}

function read<Schema extends z.ZodType>(schema: Schema, json: unknown): z.output<Schema> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new QedError('server-failed', 'the answer is not that of a node of this version');
}

/** The answer of the first endpoint that gives one. */
async function ask(flags: Flags, world: World, path: string, body?: unknown): Promise<unknown> {
  // The API key is not for everybody who lists processes.
  world.hideArguments(`qed ${path.slice(1)}`);
  const ca = readCa(flags['tls-ca']);
  const isTls = ca !== undefined || flags.insecure;
  const urls = flags.endpoint
    .split(',')
    .map((endpoint) => urlOf(endpoint.trim(), { flag: '--endpoint', isTls }));
  const { askManagement } = await import('../src/server/ask.ts');
  const settings = {
    apiKey: flags['api-key'] === '' ? undefined : flags['api-key'],
    ca,
    insecure: flags.insecure,
    timeoutMs: flags.timeout * 1000,
  };
  let last: unknown;
  for (const url of urls) {
    try {
      return (await askManagement(url + path, body, settings)).json;
    } catch (error) {
      if (!(error instanceof QedError) || error.code !== 'unreachable') throw error;
      last = error;
    }
  }
  throw last;
}

function rowsOf({ nodeId: asked, committedIndex, members: list }: MembersAnswer): string[][] {
  const head = ['NODE', 'ROLE', 'RAFT', 'HTTP', 'MANAGEMENT', 'ROUND TRIP', 'BEHIND'];
  return [
    head,
    ...list.map((member) => [
      member.nodeId,
      member.isLeader ? 'leader' : member.isVoter ? 'follower' : 'learner',
      member.raftAddr,
      member.httpAddr,
      member.mgmtAddr,
      roundTrip(member, asked),
      member.matchIndex === null ? '-' : `${Math.max(0, committedIndex - member.matchIndex)}`,
    ]),
  ];
}

function roundTrip({ nodeId, roundTripMs }: MembersAnswer['members'][number], asked: string): string {
  if (nodeId === asked) return 'asked';
  return roundTripMs === null ? 'unreachable' : `${roundTripMs.toFixed(1)} ms`;
}

function table(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
