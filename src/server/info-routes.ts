// Who the node is and how it is. Nothing here needs a key to look at; nothing here is secret.
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { errorTable } from '../errors.ts';
import { sendJson, type App } from './http.ts';
import { type Node } from './node.ts';
import { healthAnswer, infoAnswer, shardsAnswer } from './schemas.ts';

/** Where the parts of a node listen: host and port, or only `:port` for all interfaces; null where nothing does. */
export interface Addresses {
  readonly httpAddr: string | null;
  readonly mgmtAddr: string | null;
  readonly raftAddr: string | null;
  readonly metricsAddr: string | null;
  readonly gossipAddr: string | null;
}

export interface InfoOptions {
  /** Asked when somebody wants to know: ports are only known once they are open. */
  readonly addresses: () => Addresses;
  readonly isTls: boolean;
  readonly software: string;
}

const config = { scope: 'anyone' } as const;

export function infoRoutes(app: App, node: Node, { addresses, isTls, software }: InfoOptions): void {
  const { identity } = node;
  app.get(
    '/info',
    { config, schema: { tags: ['node'], summary: 'Who the node is', response: { 200: infoAnswer } } },
    (_request, reply) => {
      const { role, leaderId, term } = node.status();
      const { origin, nodeId, signer, cosigner } = identity;
      const who = { nodeId, origin, vkey: signer.vkey, nodeVkey: cosigner.vkey };
      const state = { role, leaderId: leaderId ?? null, term, version: node.version ?? null };
      return sendJson(reply, JSON.stringify({ ...who, ...state, ...addresses(), software }));
    },
  );
  app.get(
    '/info/shards',
    {
      config,
      schema: {
        tags: ['node'],
        summary: 'Where the nodes of the cluster answer',
        response: { 200: shardsAnswer },
      },
    },
    (_request, reply) => {
      const { nodeId } = identity;
      const uriScheme = isTls ? 'https' : 'http';
      const leaderId = node.leader()?.nodeId ?? '';
      const shards = Object.fromEntries(
        node.members().map(({ nodeId: id, httpAddr }) => [id, { nodeId: id, httpAddr }]),
      );
      return sendJson(reply, JSON.stringify({ nodeId, leaderId, uriScheme, shards }));
    },
  );
  healthRoute(app, node);
}

/** 200 while the node takes events and answers questions; otherwise 503 and why. */
export function healthRoute(app: App, node: Node): void {
  app.get(
    '/healthcheck',
    {
      config,
      schema: {
        tags: ['node'],
        summary: 'Whether the node does its work',
        response: { 200: healthAnswer, 503: healthAnswer },
      },
    },
    (_request: FastifyRequest, reply: FastifyReply) => {
      const { error } = node.health();
      if (error === undefined) return sendJson(reply, '{"status":"ready"}');
      const { code, message } = error;
      const reason =
        errorTable[code].kind === 'bug' ? 'an internal error; the log of the node tells more' : message;
      return sendJson(reply.code(503), JSON.stringify({ status: 'not ready', code, reason }));
    },
  );
}
