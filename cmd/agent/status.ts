// qed agent status: what agents say about themselves: what they have verified, how far they are, how far behind.
import { type Argv } from 'yargs';
import { decodeUtf8 } from '../../src/crypto/encoding.ts';
import { EXIT_FAILED } from '../exit.ts';
import { withSettings } from '../settings.ts';
import { readUrls } from './flags.ts';

/** Metrics of the agents of the tutorial. */
const USUAL = ['127.0.0.1:18100', '127.0.0.1:18200', '127.0.0.1:18300'];
const ANSWER_MS = 3_000;

const options = {
  endpoint: {
    type: 'string',
    array: true,
    nargs: 1,
    alias: 'endpoints',
    describe: 'Metrics addresses of agents, with commas between them',
    defaultDescription: `those of ${USUAL.join(', ')} that answer`,
  },
  json: { type: 'boolean', describe: 'Everything they say, as JSON' },
} as const;

function build(command: Argv) {
  return withSettings(command, options).example('$0 agent status', 'of the agents on this machine');
}

export function addStatus(agent: Argv): Argv {
  return agent.command(
    'status',
    'Say what agents have verified, and how far behind they are',
    build,
    async (flags) => {
      const given = readUrls(flags.endpoint, '--endpoint');
      const urls = given.length > 0 ? given : readUrls(USUAL, '--endpoint');
      const { nodeTransport } = await import('../../src/client/transport-node.ts');
      const { transport, close } = nodeTransport();
      let answered = 0;
      for (const url of urls) {
        try {
          const answer = await transport(
            'GET',
            `${url}/status`,
            {},
            undefined,
            AbortSignal.timeout(ANSWER_MS),
          );
          const status: unknown = JSON.parse(decodeUtf8(answer.bytes) ?? '');
          console.log(flags.json === true ? JSON.stringify(status, undefined, 2) : describe(url, status));
          answered += 1;
        } catch (error) {
          if (given.length > 0)
            console.error(
              `${url}: no agent answers: ${error instanceof Error ? error.message : String(error)}`,
            );
        }
      }
      await close();
      if (answered === urls.length || (given.length === 0 && answered > 0)) return;
      if (given.length === 0)
        console.error(`no agent answers at ${USUAL.join(', ')}; name another with --endpoint`);
      process.exitCode = EXIT_FAILED;
    },
  );
}

/** The parts that people ask for first; agents differ in what they say. */
function describe(url: string, status: unknown): string {
  const fields = entriesOf(status);
  const log = entriesOf(fields.get('log'));
  const head = `${textOf(fields.get('role'))} ${textOf(fields.get('name'))} at ${url}`;
  const rows: [string, string][] = [
    ['log', log.size === 0 ? 'not known yet' : `${textOf(log.get('origin'))}, ${textOf(log.get('how'))}`],
    ...['verified', 'behind', 'intake', 'witness'].flatMap((key): [string, string][] =>
      fields.has(key) ? [[key, flat(fields.get(key))]] : [],
    ),
    ['peers', String(listOf(entriesOf(fields.get('gossip')).get('peers')).length)],
    ['alerts', flat(entriesOf(fields.get('alerts')).get('raised'))],
    ...listOf(fields.get('wrong')).map((what): [string, string] => ['wrong', textOf(what)]),
    ...listOf(fields.get('sinks')).map((sink): [string, string] => ['sink', flat(sink)]),
  ];
  return [head, ...rows.map(([name, text]) => `  ${name.padEnd(10)}${text}`)].join('\n');
}

function flat(value: unknown): string {
  return [...entriesOf(value)].map(([name, one]) => `${name} ${textOf(one)}`).join(', ');
}

function entriesOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map<string, unknown>(typeof value === 'object' && value !== null ? Object.entries(value) : []);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** What others say goes to a terminal. */
function textOf(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? '-' : JSON.stringify(value);
  return text.slice(0, 200).replace(/\p{Control}/gu, ' ');
}
