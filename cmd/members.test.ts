// qed members, leave and transfer-leadership against a server that notes what it is asked: what they send, print, and end with.
import Fastify, { type FastifyInstance } from 'fastify';
import { runCommand, type Ran } from '../testutils/run-client.ts';
import { addMembersTo } from './members.ts';

const member = (nodeId: string, more: Record<string, unknown>) => ({
  nodeId,
  nodeKey: '00'.repeat(32),
  raftAddr: `${nodeId}:8500`,
  httpAddr: `${nodeId}:8800`,
  mgmtAddr: `${nodeId}:8700`,
  isVoter: true,
  isLeader: false,
  roundTripMs: null,
  matchIndex: null,
  ...more,
});
const cluster = {
  nodeId: 'a',
  leaderId: 'a',
  term: 3,
  committedIndex: 120,
  version: 99,
  members: [
    member('a', { isLeader: true, matchIndex: 120 }),
    member('b', { roundTripMs: 1.23, matchIndex: 100 }),
    member('longer-name', { isVoter: false }),
  ],
};

let server: FastifyInstance;
let address = '';
const asked: unknown[] = [];
beforeAll(async () => {
  server = Fastify();
  server.addHook('preHandler', (request, _reply, done) => {
    asked.push([request.method, request.url, request.headers['api-key'], request.body]);
    done();
  });
  server.get('/members', () => cluster);
  server.post('/leave', () => ({ left: 'b' }));
  server.post('/transfer-leadership', (_request, reply) =>
    reply.code(404).send({ code: 'not-found', message: 'there is no member x', hint: 'Members are a, b.' }),
  );
  address = (await server.listen({ host: '127.0.0.1', port: 0 })).replace('http://', '');
});
afterAll(() => server.close());
beforeEach(() => asked.splice(0));

const run = (...args: string[]): Promise<Ran> => runCommand(addMembersTo, args);

it('shows a table, from the first endpoint that answers', async () => {
  const { out, exitCode } = await run('members', '-k', 'key', '-e', `127.0.0.1:1,${address}`);
  expect(exitCode).toBe(0);
  expect(out.split('\n')).toEqual([
    'NODE         ROLE      RAFT              HTTP              MANAGEMENT        ROUND TRIP   BEHIND',
    'a            leader    a:8500            a:8800            a:8700            asked        0',
    'b            follower  b:8500            b:8800            b:8700            1.2 ms       20',
    'longer-name  learner   longer-name:8500  longer-name:8800  longer-name:8700  unreachable  -',
    '',
  ]);
  expect(asked).toEqual([['GET', '/members', 'key', undefined]]);
});

it('prints JSON for other programs', async () => {
  const { out } = await run('members', '-e', `http://${address}`, '--json');
  expect(JSON.parse(out)).toMatchObject({ leaderId: 'a', members: [{ nodeId: 'a' }, {}, {}] });
});

it('sends which node is meant, and tells what was refused', async () => {
  expect(await run('leave', 'b', '-k', 'key', '-e', address)).toMatchObject({ exitCode: 0 });
  expect(await run('leave', '-e', address)).toMatchObject({ exitCode: 0 });
  const refused = await run('transfer-leadership', 'x', '-e', address);
  expect(refused.exitCode).toBe(2);
  expect(refused.err).toContain('there is no member x (not-found)');
  expect(refused.err).toContain('Members are a, b.');
  expect(asked).toEqual([
    ['POST', '/leave', 'key', { nodeId: 'b' }],
    ['POST', '/leave', undefined, {}],
    ['POST', '/transfer-leadership', undefined, { nodeId: 'x' }],
  ]);
});

it('tells a wrong command line from a node that is not there', async () => {
  expect(await run('members', '-e', 'nonsense')).toMatchObject({ exitCode: 64 });
  expect(await run('members', '-e', '127.0.0.1:1')).toMatchObject({ exitCode: 2 });
  expect(await run('members', '-e', address, '--tls-ca', '/nowhere')).toMatchObject({ exitCode: 64 });
});
