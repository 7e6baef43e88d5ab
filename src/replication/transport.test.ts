// Strangers at the door of a node, and peers that misbehave: nobody gets anything, and the cluster goes on.
import { generateKeyPairSync } from 'node:crypto';
import { request } from 'node:http';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { leaderOf, recordOf, startCluster, stopNode, until, type TestNode } from '../../testutils/cluster.ts';
import { seededRandom } from '../../testutils/random.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { message, type Message, type MessageType } from '../raft/message.ts';
import { createFaults } from './faults.ts';
import { createFrameReader, formatFrame, MESSAGE_FRAME, PING_FRAME } from './frames.ts';
import { connectTo, createCredentials, parseAddress, tlsOptions, type Credentials } from './identity-tls.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';
import { openPeerServer, type PeerServerOptions } from './peer-server.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const newKey = () => generateKeyPairSync('ed25519').privateKey;

/** What the other side sends until it closes the connection. */
function drain(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });
}

/** As a client who does not care who answers. */
function tlsTo(port: number, credentials: Credentials | undefined): TLSSocket {
  const own = credentials ? tlsOptions(credentials) : { rejectUnauthorized: false };
  return connect({ ...own, host: '127.0.0.1', port });
}

async function ask(
  node: TestNode,
  as: TestNode,
  path: string,
  method = 'GET',
  id = '1',
): Promise<{ status: number | undefined; body: string }> {
  const socket = await connectTo(recordOf(node), await createCredentials(as.nodeKey), { timeoutMs: 20_000 });
  return new Promise((resolve, reject) => {
    const asked = request({
      method,
      path,
      headers: { 'x-qed-member': id, connection: 'close' },
      createConnection: () => socket,
    });
    asked.on('error', reject);
    asked.on('response', (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode, body }));
    });
    asked.end();
  });
}

describe('the door for peers', () => {
  let nodes: TestNode[];
  beforeAll(async () => {
    nodes = await startCluster(['a', 'b', 'c']);
  });
  afterAll(async () => {
    await Promise.all(nodes.map(stopNode));
  });
  const portOf = (node: TestNode): number => parseAddress(node.address).port;

  it('closes on strangers before it reads a byte of theirs', async () => {
    const { port } = nodes[0]!.log!;
    expect(port).toBe(portOf(nodes[0]!));
    const stranger = await createCredentials(newKey());
    const http = 'POST /stream HTTP/1.1\r\nhost: x\r\nx-qed-member: 1\r\ntransfer-encoding: chunked\r\n\r\n';
    for (const credentials of [stranger, undefined]) {
      const socket = tlsTo(port, credentials);
      const answer = drain(socket);
      socket.write(http);
      socket.write(
        formatFrame(MESSAGE_FRAME, encodeMessage(message({ type: 'MsgApp', from: 1, to: 2, term: 1e9 }))!),
      );
      expect(await answer).toBe('');
    }
    const { events } = nodes[0]!;
    const refusals = events.flatMap((event) => (event.kind === 'peer-refused' ? [event.why] : []));
    expect(refusals.some((why) => why.includes('not one of a member'))).toBe(true);
  });

  it('closes on whoever speaks no TLS, or an old one', async () => {
    const { port } = nodes[0]!.log!;
    for (const garbage of [bytes('GET / HTTP/1.1\r\n\r\n'), seededRandom(1).bytes(5000)]) {
      const socket = connectPlain(port, '127.0.0.1');
      const answer = drain(socket);
      socket.write(garbage);
      expect((await answer).includes('HTTP')).toBe(false);
    }
    const member = await createCredentials(nodes[1]!.nodeKey);
    const old = connect({
      ...tlsOptions(member),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      host: '127.0.0.1',
      port,
    });
    expect(await drain(old)).toBe('');
  });

  it('tells a member only what members may ask, under its own number', async () => {
    const [a, b] = nodes as [TestNode, TestNode];
    const own = String(a.log!.members().find(({ nodeId }) => nodeId === 'b')!.id);
    expect((await ask(a, b, '/fetch/state/1', 'GET', own)).status).toBe(200);
    expect((await ask(a, b, '/fetch/nothing/9', 'GET', own)).status).not.toBe(200);
    expect((await ask(a, b, '/', 'GET', own)).status).toBe(404);
    expect((await ask(a, b, '/order', 'POST', own)).status).toBe(400);
    // Under another's number, or none.
    for (const id of ['1', '3', '99', '', '02', '1e0'].filter((id) => id !== own))
      expect((await ask(a, b, '/fetch/state/1', 'GET', id)).status).toBe(403);
  });

  it('refuses to talk to a node that does not hold the expected key', async () => {
    const [a, b] = nodes as [TestNode, TestNode];
    const target = { raftAddr: a.address, nodeKey: publicKeyOf(b.nodeKey) };
    const credentials = await createCredentials(nodes[2]!.nodeKey);
    await expect(connectTo(target, credentials, { timeoutMs: 2000 })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  it('loses a peer that sends garbage, nothing else', async () => {
    const [a, b] = nodes as [TestNode, TestNode];
    const own = a.log!.members().find(({ nodeId }) => nodeId === 'b')!.id;
    const to = a.log!.members().find(({ nodeId }) => nodeId === 'a')!.id;
    const random = seededRandom(2);
    const oversized = new Uint8Array(5);
    new DataView(oversized.buffer).setUint32(0, 0xffffffff);
    oversized[4] = MESSAGE_FRAME;
    const bad = [
      oversized,
      random.bytes(1000),
      formatFrame(MESSAGE_FRAME, random.bytes(100)),
      formatFrame(9, new Uint8Array(0)),
      formatFrame(PING_FRAME, new Uint8Array(17)),
      // In the name of another member, or to one.
      formatFrame(
        MESSAGE_FRAME,
        encodeMessage(message({ type: 'MsgHeartbeat', from: own + 1, to, term: 1e6 }))!,
      ),
      formatFrame(
        MESSAGE_FRAME,
        encodeMessage(message({ type: 'MsgHeartbeat', from: own, to: to + 7, term: 1e6 }))!,
      ),
    ];
    for (const frame of bad) {
      const socket = await connectTo(recordOf(a), await createCredentials(b.nodeKey), { timeoutMs: 20_000 });
      const answer = drain(socket);
      const head = `POST /stream HTTP/1.1\r\nhost: x\r\nx-qed-member: ${own}\r\ntransfer-encoding: chunked\r\n\r\n`;
      socket.write(head + `${frame.length.toString(16)}\r\n`);
      socket.write(frame);
      socket.write('\r\n');
      expect(await answer).toContain('200 OK');
    }
    await until(() => leaderOf(nodes) !== undefined);
    const { term } = leaderOf(nodes)!.log!.status();
    expect(term).toBeLessThan(1000);
    await until(() => nodes.every(({ log }) => log!.leader() !== undefined));
  });
});

describe('the server behind it', () => {
  async function withServer(
    more: Partial<PeerServerOptions>,
    work: (port: number, key: Credentials) => Promise<void>,
  ): Promise<void> {
    const member = newKey();
    const memberKey = publicKeyOf(member);
    const server = await openPeerServer({
      credentials: await createCredentials(newKey()),
      address: '127.0.0.1:0',
      callersOf: (key) => (Buffer.from(key).equals(memberKey) ? [{ id: 2, isRemoved: false }] : []),
      onMessage: () => true,
      onRecord: () => Promise.resolve(1),
      onOrder: () => Promise.resolve({}),
      onFetch: () => Promise.resolve(new Uint8Array(3)),
      faults: createFaults(() => 0),
      now: () => performance.now(),
      onRefused: () => undefined,
      ...more,
    });
    await work(server.port, await createCredentials(member));
    await server.close();
  }

  it('waits for nobody: not for a handshake, nor for headers, nor for a stream that fell silent', async () => {
    await withServer({ handshakeMs: 60, silenceMs: 60 }, async (port, member) => {
      await drain(connectPlain(port, '127.0.0.1'));
      const slow = tlsTo(port, member);
      slow.write('POST /stream HTTP/1.1\r\nx-qed-');
      await drain(slow);
      const silent = tlsTo(port, member);
      silent.write(
        'POST /stream HTTP/1.1\r\nhost: x\r\nx-qed-member: 2\r\ntransfer-encoding: chunked\r\n\r\n',
      );
      expect(await drain(silent)).toContain('200 OK');
    });
  });

  it('takes a whole frame in any cuts', () => {
    const random = seededRandom(3);
    const payloads = [0, 1, 5, 100, 70_000].map((length) => random.bytes(length));
    const stream = Buffer.concat(payloads.map((payload) => formatFrame(MESSAGE_FRAME, payload)));
    for (const cut of [1, 2, 3, 7, 1000, stream.length]) {
      const read = createFrameReader();
      const found: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += cut)
        for (const { payload } of read(stream.subarray(at, at + cut))!) found.push(payload);
      expect(found.map((payload) => Buffer.from(payload).toString('hex'))).toEqual(
        payloads.map((payload) => Buffer.from(payload).toString('hex')),
      );
    }
  });
});

describe('messages as bytes', () => {
  const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const id = fc.integer({ min: 1, max: 2 ** 40 });
  const data = fc.uint8Array({ maxLength: 40 });
  const types: MessageType[] = [
    'MsgAppResp',
    'MsgVote',
    'MsgVoteResp',
    'MsgPreVote',
    'MsgHeartbeat',
    'MsgHeartbeatResp',
    'MsgTimeoutNow',
    'MsgReadIndex',
  ];
  const plain = fc.record({
    type: fc.constantFrom(...types),
    from: id,
    to: id,
    term: size,
    logTerm: size,
    index: size,
    commit: size,
    vote: size,
    reject: fc.boolean(),
    rejectHint: size,
    context: data,
  });
  const append = fc
    .record({ from: id, to: id, index: fc.nat(1e9), datas: fc.array(data, { maxLength: 5 }) })
    .map(({ from, to, index, datas }) => {
      const entries = datas.map((one, at) => ({
        type: 'EntryNormal' as const,
        term: 3,
        index: index + 1 + at,
        data: one,
      }));
      return message({ type: 'MsgApp', from, to, term: 4, logTerm: 2, index, entries, commit: index });
    });
  const membership = {
    voters: [1, 2],
    votersOutgoing: [1, 5],
    learners: [3],
    learnersNext: [5],
    autoLeave: true,
  };
  const snap = message({
    type: 'MsgSnap',
    from: 1,
    to: 3,
    term: 4,
    snapshot: { index: 9, term: 3, membership, data: bytes('table') },
  });
  const messages = fc.oneof(
    plain.map((fields) => message(fields)),
    append,
    fc.constant(snap),
  );
  const show = (m: Message | undefined): string =>
    JSON.stringify(m, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value));

  it('come back as they went', () => {
    fc.assert(fc.property(messages, (m) => expect(show(decodeMessage(encodeMessage(m)!))).toBe(show(m))));
  });

  it('are refused when cut, longer, or of no node', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (m, seed) => {
        const whole = encodeMessage(m)!;
        const cut = seed % whole.length;
        expect(decodeMessage(whole.subarray(0, cut))).toBeUndefined();
        expect(decodeMessage(Buffer.concat([whole, Buffer.alloc(1)]))).toBeUndefined();
        // Any other change gives another message or none, and never throws.
        const changed = whole.map((byte, at) => (at === cut ? byte ^ (1 << (seed % 8)) : byte));
        const read = decodeMessage(changed);
        if (read) expect(Buffer.from(encodeMessage(read)!)).toEqual(Buffer.from(changed));
      }),
    );
    for (const type of ['MsgHup', 'MsgProp', 'MsgStorageAppend', 'MsgUnreachable'] as const)
      expect(encodeMessage(message({ type, from: 1, to: 2 }))).toBeUndefined();
  });
});
