// The two listeners beside the API, on ports of their own: management, for operators and nodes that join, and metrics, for their tools.
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { encodeHex } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { checkNode, formatJson } from '../replication/members.ts';
import { type Fault } from '../replication/faults.ts';
import { bytesOf, parseJson } from './bodies.ts';
import { checkForm } from './form.ts';
import { createApp, sendJson, type App, type AppOptions } from './http.ts';
import { healthRoute, infoRoutes, type InfoOptions } from './info-routes.ts';
import { checkLogKey } from './identity.ts';
import { isSeal } from './join-seal.ts';
import { isLoopback, isOfThisMachine, parseAddress, reachableHost } from './listen.ts';
import { type Metrics } from './metrics.ts';
import { type Node } from './node.ts';

export interface ManagementOptions extends AppOptions, InfoOptions {
  /** Whether faults may be put between this node and others. */
  readonly hasDrills?: boolean | undefined;
}

/** How long it may take until a change shows here, and how often to look. */
const SHOWN_MS = 3_000;
const LOOK_MS = 50;

const config = { scope: 'admin' } as const;

const nodeId = z.string().min(1).max(64);
const joinBody = z.looseObject({
  vkey: z.string().max(512),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  seal: z.string().regex(/^[0-9a-f]{64}$/),
});
const leaveBody = z.strictObject({ nodeId: nodeId.optional() });
const delayBody = z.strictObject({ nodeId: nodeId.optional(), delayMs: z.number().min(0).max(60_000) });
const cutBody = z.strictObject({ nodeId: nodeId.optional(), cutTo: z.boolean(), cutFrom: z.boolean() });

export async function buildManagement(node: Node, options: ManagementOptions): Promise<App> {
  const app = await createApp(options);
  infoRoutes(app, node, options);
  memberRoutes(app, node);
  if (options.hasDrills === true) drillRoutes(app, node);
  return app;
}

function memberRoutes(app: App, node: Node): void {
  const { orders, identity } = node;

  app.get('/members', { config }, (_request, reply) =>
    sendJson(reply, JSON.stringify(describeMembers(node))),
  );

  app.post('/join', { config }, async (request, reply) => {
    const { vkey, nonce, seal, ...record } = readBody(joinBody, request.body);
    const newcomer = checkNode(record);
    checkLogKey(identity.signer.vkey, vkey, 'this address');
    if (!isSeal(seal, identity.seal.ofRequest(nonce, newcomer)))
      throw new QedError('node-mismatch', `the node ${newcomer.nodeId} does not hold the key of this log`);
    checkReachable(node, newcomer.raftAddr, request.ip);
    const joined = await orders.join({ ...newcomer, isFresh: true });
    const proof = { vkey: identity.signer.vkey, seal: identity.seal.ofAnswer(nonce, joined) };
    return sendJson(reply, formatJson({ ...joined, ...proof }));
  });

  app.post('/leave', { config }, async (request, reply) => {
    const { nodeId: leaving = identity.nodeId } = readBody(leaveBody, request.body);
    checkMember(node, leaving);
    await orders.remove(leaving).catch(async (error: unknown) => {
      // A leader that removes itself may be gone before it has answered.
      if (!(await comesTrue(() => !isMember(node, leaving)))) throw error;
    });
    return sendJson(reply, JSON.stringify({ left: leaving }));
  });

  app.post('/transfer-leadership', { config }, async (request, reply) => {
    const { nodeId: heir } = readBody(leaveBody, request.body);
    if (heir !== undefined) checkMember(node, heir);
    const before = node.leader()?.nodeId;
    await orders.transferLeadership(heir);
    const isChanged = (leaderId: string | undefined): boolean =>
      leaderId !== undefined && (heir === undefined ? leaderId !== before : leaderId === heir);
    await comesTrue(() => isChanged(node.leader()?.nodeId));
    return sendJson(reply, JSON.stringify({ leaderId: node.leader()?.nodeId ?? null }));
  });
}

/** What the leader has done shows here a moment later. */
async function comesTrue(condition: () => boolean): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < SHOWN_MS; waitedMs += LOOK_MS) {
    if (condition()) return true;
    await wait(LOOK_MS);
  }
  return condition();
}

function isMember(node: Node, nodeId: string): boolean {
  return node.members().some((member) => member.nodeId === nodeId);
}

/** Only with --drills: messages to other nodes come late or not at all, so that an operator can see what that does. The last order counts. */
function drillRoutes(app: App, node: Node): void {
  app.post('/drills/delay', { config }, (request, reply) => {
    const { nodeId: to, ...fault } = readBody(delayBody, request.body);
    return sendJson(reply, JSON.stringify({ ...fault, nodeIds: putFault(node, to, fault) }));
  });

  app.post('/drills/cut', { config }, (request, reply) => {
    const { nodeId: to, ...fault } = readBody(cutBody, request.body);
    return sendJson(reply, JSON.stringify({ ...fault, nodeIds: putFault(node, to, fault) }));
  });
}

/** Between this node and another one, or all of them. */
function putFault(node: Node, to: string | undefined, fault: Fault): readonly string[] {
  if (to !== undefined) checkMember(node, to);
  const others = node.members().filter((member) => member.nodeId !== node.identity.nodeId);
  const chosen = others.map((member) => member.nodeId).filter((name) => to === undefined || name === to);
  for (const name of chosen) node.orders.setFault(name, fault);
  return chosen;
}

function describeMembers(node: Node): unknown {
  const members = node.members().map((member) => ({
    nodeId: member.nodeId,
    nodeKey: encodeHex(member.nodeKey),
    raftAddr: member.raftAddr,
    httpAddr: member.httpAddr,
    mgmtAddr: member.mgmtAddr,
    isVoter: member.isVoter,
    isLeader: member.isLeader,
    roundTripMs: member.roundTripMs ?? null,
    matchIndex: member.matchIndex ?? null,
  }));
  const { term, committedIndex } = node.status();
  return {
    nodeId: node.identity.nodeId,
    leaderId: node.leader()?.nodeId ?? null,
    term,
    committedIndex,
    version: node.version ?? null,
    members,
  };
}

function checkMember(node: Node, wanted: string): void {
  const names = node.members().map((member) => member.nodeId);
  if (names.includes(wanted)) return;
  throw new QedError('not-found', `there is no member ${wanted}`, {
    hint: `Members are ${names.join(', ')}.`,
  });
}

/** Loopback addresses are good only while all nodes are on one machine. */
function checkReachable(node: Node, raftAddr: string, ip: string): void {
  const newcomer = parseAddress(raftAddr, 'raftAddr');
  if (reachableHost(newcomer, '') === '')
    throw new QedError('bad-request', `others cannot reach a node at ${raftAddr}: it has to name its host`);
  const members = node.members().map((member) => ({
    ...member,
    address: parseAddress(member.raftAddr, 'raftAddr'),
  }));
  const isFar = !isOfThisMachine(ip) || members.some(({ address: { host = '' } }) => !isOfThisMachine(host));
  const near = isLoopback(newcomer)
    ? { nodeId: 'the node that joins', raftAddr }
    : members.find(({ address }) => isLoopback(address));
  if (!isFar || !near) return;
  throw new QedError(
    'node-mismatch',
    `${near.nodeId} is known at ${near.raftAddr}, where other machines cannot reach it`,
    {
      hint: 'Start it with --raft-addr, --http-addr and --mgmt-addr at an address that they can, or on all interfaces.',
    },
  );
}

/** No body is an empty one. */
function readBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  return checkForm(schema, body === undefined || body === null ? {} : parseJson(bytesOf(body)));
}

export async function buildMetrics(
  node: Node,
  options: AppOptions & { readonly metrics: Metrics },
): Promise<App> {
  const { registry } = options.metrics;
  const app = await createApp(options);
  app.get('/metrics', { config: { scope: 'anyone' } }, async (_request, reply) => {
    const text = await registry.metrics();
    return reply.header('content-type', registry.contentType).header('cache-control', 'no-store').send(text);
  });
  healthRoute(app, node);
  return app;
}
