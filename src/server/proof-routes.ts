// The routes that answer questions about the log: proofs, snapshots, events. Each answer is made from one committed state.
import { type FastifyReply, type FastifyRequest, type onRequestHookHandler } from 'fastify';
import { z } from 'zod';
import { formatIncremental, formatMembershipProof } from '../balloon/proof.ts';
import { decodeDecimal, decodeHex, decodeUtf8, encodeBase64, encodeHex } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { base64Bytes, bytesOf, checkMedia, checkText, digestOf, parseJson } from './bodies.ts';
import { checkForm } from './form.ts';
import { JSON_TYPE, sendJson, type App } from './http.ts';
import { type Node } from './node.ts';
import {
  incrementalAnswer,
  incrementalBody,
  loggedEventAnswer,
  membershipAnswer,
  membershipBody,
  refusals,
  signedSnapshotAnswer,
} from './schemas.ts';

const config = { scope: 'read' } as const;
/** How long a question waits for this node to have seen what the others did. */
const LINEARIZE_MS = 10_000;
const freshness = z.object({
  linearizable: z
    .enum(['true', 'false'], 'expected true or false')
    .optional()
    .describe(
      'true: answer from a state that holds everything that any node acknowledged before the question, or with no-leader. ' +
        'Otherwise from what this node has applied.',
    ),
});
const byVersion = z.object({
  version: z.string().describe('0-based position of an event in the log, decimal'),
});

export function proofRoutes(app: App, node: Node): void {
  const onRequest: onRequestHookHandler = (request, _reply, done) => {
    const isPatient = checkForm(freshness, request.query).linearizable === 'true';
    if (!isPatient) done();
    else node.linearize(AbortSignal.timeout(LINEARIZE_MS)).then(() => done(), done);
  };
  app.post(
    '/proofs/membership',
    {
      config,
      onRequest,
      schema: {
        querystring: freshness,
        tags: ['prove'],
        summary: 'Prove that an event is in the log, or that it is not',
        description:
          'Answers from the present snapshot: an event was there at `version` exactly if its first version is not after it. ' +
          'A version that the log has not reached is an error.',
        body: membershipBody,
        response: { 200: membershipAnswer, ...refusals },
      },
    },
    (request, reply) => {
      const question = checkForm(membershipBody, questionOf(request));
      const { proof, signed } = node.membership(digestAsked(question), question.version);
      const json = JSON.stringify(formatMembershipProof(proof));
      return sendJson(reply, `${json.slice(0, -1)},"signedSnapshot":${signed.json}}`);
    },
  );
  app.post(
    '/proofs/incremental',
    {
      config,
      onRequest,
      schema: {
        querystring: freshness,
        tags: ['prove'],
        summary: 'Prove that the log at version `end` grew out of the log at version `start`',
        body: incrementalBody,
        response: { 200: incrementalAnswer, ...refusals },
      },
    },
    (request, reply) => {
      const { start, end } = checkForm(incrementalBody, questionOf(request));
      return sendJson(reply, JSON.stringify(formatIncremental(node.incremental(start, end))));
    },
  );
  app.get(
    '/snapshots/latest',
    {
      config,
      onRequest,
      schema: {
        querystring: freshness,
        tags: ['read'],
        summary: 'The present signed snapshot',
        response: { 200: signedSnapshotAnswer, ...refusals },
      },
    },
    (_request, reply) => sendJson(reply, node.latest().json),
  );
  app.get(
    '/snapshots/:version',
    {
      config,
      onRequest,
      schema: {
        querystring: freshness,
        tags: ['read'],
        summary: 'The first signed snapshot that covers a version',
        params: byVersion,
        response: { 200: signedSnapshotAnswer, ...refusals },
      },
    },
    async (request, reply) => sendJson(reply, (await node.covering(versionOf(request))).json),
  );
  app.get(
    '/events/:version',
    {
      config,
      onRequest,
      schema: {
        querystring: freshness,
        tags: ['read'],
        summary: 'What is logged at a version',
        description:
          'With the event itself where the nodes keep events (qed start --store-events): a node that lacks it asks the others.',
        params: byVersion,
        response: { 200: loggedEventAnswer, ...refusals },
      },
    },
    async (request, reply) => sendEvent(reply, await node.event(versionOf(request)), versionOf(request)),
  );
}

function sendEvent(
  reply: FastifyReply,
  { entry, event }: Awaited<ReturnType<Node['event']>>,
  version: number,
): FastifyReply {
  const text = event && decodeUtf8(event);
  const content = event && (text === undefined ? { eventBase64: encodeBase64(event) } : { event: text });
  const { eventDigest, hyperDigest, time } = entry;
  return sendJson(
    reply,
    JSON.stringify({
      version,
      eventDigest: encodeHex(eventDigest),
      hyperDigest: encodeHex(hyperDigest),
      time,
      ...content,
    }),
  );
}

function questionOf(request: FastifyRequest): unknown {
  checkMedia(request.mediaType, [JSON_TYPE]);
  return parseJson(bytesOf(request.body));
}

function digestAsked(body: z.output<typeof membershipBody>): Uint8Array {
  if ('eventDigest' in body) return decodeHex(body.eventDigest, DIGEST_BYTES)!;
  if ('event' in body) return digestOf(checkText(body.event, '"event"'));
  return digestOf(base64Bytes(body.eventBase64, '"eventBase64"'));
}

function versionOf({ params }: FastifyRequest): number {
  const version = decodeDecimal(checkForm(byVersion, params).version);
  if (version === undefined) {
    throw new QedError(
      'version-malformed',
      'a version in a path is an integer from 0 to 2^53 - 1, in plain decimal',
    );
  }
  return version;
}
