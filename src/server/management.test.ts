// Who may join from where: a member that is known at a loopback address can only be reached by nodes on its own machine.
import { openTestNode } from '../../testutils/test-node.ts';
import Fastify from 'fastify';
import { generateKeyPairSync } from 'node:crypto';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { encodeHex } from '../crypto/encoding.ts';
import { buildManagement } from './management.ts';

const nonce = '0'.repeat(32);
const addresses = { httpAddr: null, mgmtAddr: null, raftAddr: null, metricsAddr: null, gossipAddr: null };

it('refuses nodes that others could not reach, and says what to do', async () => {
  // Its own address is on loopback.
  const { node, metrics } = await openTestNode();
  const app = await buildManagement(node, {
    access: () => ({ keys: [], readsNeedKey: false }),
    metrics,
    logger: Fastify().log,
    addresses: () => addresses,
    isTls: false,
    software: 'qed test',
  });
  const { signer, seal } = node.identity;
  const nodeKey = publicKeyOf(generateKeyPairSync('ed25519').privateKey);
  async function join(raftAddr: string, remoteAddress: string): Promise<[number, unknown]> {
    const record = { nodeId: 'b', nodeKey, raftAddr, httpAddr: 'x:2', mgmtAddr: 'x:3' };
    const proof = { vkey: signer.vkey, nonce, seal: seal.ofRequest(nonce, record) };
    const payload = { ...record, nodeKey: encodeHex(nodeKey), ...proof };
    const answer = await app.inject({ method: 'POST', url: '/join', payload, remoteAddress });
    return [answer.statusCode, answer.json()];
  }
  const rows: [string, string, number, string][] = [
    ['10.9.8.7:1', '10.9.8.7', 409, 'node0 is known at 127.0.0.1:1'],
    ['127.0.0.1:2', '10.9.8.7', 409, 'the node that joins is known at 127.0.0.1:2'],
    ['0.0.0.0:2', '127.0.0.1', 400, 'has to name its host'],
    ['[::]:2', '127.0.0.1', 400, 'has to name its host'],
  ];
  for (const [raftAddr, from, status, says] of rows)
    expect([raftAddr, from, await join(raftAddr, from)]).toMatchObject([
      raftAddr,
      from,
      [status, { message: expect.stringContaining(says) as string }],
    ]);
  expect(await join('127.0.0.1:2', '::ffff:127.0.0.1')).toMatchObject([200, { id: 2, vkey: signer.vkey }]);
  await app.close();
  await node.close();
});
