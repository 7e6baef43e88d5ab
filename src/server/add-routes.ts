// The routes that add events. All of them are one: read the body into digests, add, answer with the record's signed snapshot.
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { REQUEST_KEY_BYTES } from '../balloon/record.ts';
import { decodeHex } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type Added } from './batcher.ts';
import {
  bytesOf,
  checkMedia,
  oneEvent,
  parseJson,
  readBulk,
  readDigests,
  readEvent,
  readLines,
  type Events,
  type ReadOptions,
} from './bodies.ts';
import { JSON_TYPE, NDJSON, OCTETS, sendJson, type App } from './http.ts';
import { type Node } from './node.ts';
import { addedAnswer, addedBulkAnswer, bulkBody, eventBody, octets, refusals } from './schemas.ts';

const KEY_HEADER = 'idempotency-key';

const config = { scope: 'append' } as const;
const headers = z.object({
  [KEY_HEADER]: z
    .string()
    .optional()
    .describe('16 random bytes as 32 lower-case hex digits, to make repeating safe'),
});

export function addRoutes(app: App, node: Node, options: ReadOptions): void {
  function add(request: FastifyRequest, { eventDigests, events }: Events): Promise<Added> {
    return node.add({ key: requestKey(request), eventDigests, events });
  }

  async function addOne(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const events = oneEvent(eventOf(request), options);
    const { kind, versionFirst, snapshotVersion } = await add(request, events);
    checkAdded(kind);
    const digest = hexOf(events.eventDigests);
    const { json } = node.signed(snapshotVersion);
    return created(reply, `{"eventDigest":"${digest}","version":${versionFirst},"signedSnapshot":${json}}`);
  }

  async function addMany(
    request: FastifyRequest,
    reply: FastifyReply,
    events: Events,
  ): Promise<FastifyReply> {
    const { kind, versionFirst, count, snapshotVersion } = await add(request, events);
    checkAdded(kind);
    const versions = `[${versionFirst},${versionFirst + count - 1}]`;
    const digests = digestsJson(events.eventDigests);
    const { json } = node.signed(snapshotVersion);
    return created(reply, `{"versions":${versions},"eventDigests":${digests},"signedSnapshot":${json}}`);
  }

  app.post(
    '/events',
    {
      config,
      schema: {
        tags: ['add'],
        summary: 'Add an event',
        description: 'The event as JSON, or its bytes as they are. Answers when it is durable and provable.',
        headers,
        body: { content: { [JSON_TYPE]: { schema: eventBody }, [OCTETS]: { schema: octets } } },
        response: { 201: addedAnswer, ...refusals },
      },
    },
    addOne,
  );
  app.post(
    '/events/bulk',
    {
      config,
      schema: {
        tags: ['add'],
        summary: 'Add up to 10,000 events at once',
        description:
          'As one JSON document, or as NDJSON: a line for each event, as POST /events takes it. All or nothing.',
        headers,
        body: { content: { [JSON_TYPE]: { schema: bulkBody }, [NDJSON]: { schema: octets } } },
        response: { 201: addedBulkAnswer, ...refusals },
      },
    },
    (request, reply) => addMany(request, reply, bulkOf(request, options)),
  );
  app.post(
    '/events/bulk/digests',
    {
      config,
      schema: {
        tags: ['add'],
        summary: 'Add up to 10,000 events by their digests',
        description:
          'The SHA-256 of each event, 32 bytes one after the other. The events never leave the caller.',
        headers,
        body: { content: { [OCTETS]: { schema: octets } } },
        response: { 201: addedBulkAnswer, ...refusals },
      },
    },
    (request, reply) => addMany(request, reply, digestsOf(request)),
  );
}

function checkAdded(kind: Added['kind']): void {
  if (kind === 'conflict')
    throw new QedError('key-reused', 'this idempotency key was used before, for other events');
}

function eventOf(request: FastifyRequest): string | Uint8Array {
  checkMedia(request.mediaType, [JSON_TYPE, OCTETS]);
  const event = bytesOf(request.body);
  if (request.mediaType === JSON_TYPE) return readEvent(parseJson(event));
  if (event.length > 0) return event;
  throw new QedError('bad-request', 'the body is empty', {
    hint: 'To add the empty event on purpose: {"event":""}',
  });
}

function bulkOf(request: FastifyRequest, options: ReadOptions): Events {
  checkMedia(request.mediaType, [JSON_TYPE, NDJSON]);
  const bytes = bytesOf(request.body);
  return request.mediaType === NDJSON ? readLines(bytes, options) : readBulk(parseJson(bytes), options);
}

function digestsOf(request: FastifyRequest): Events {
  checkMedia(request.mediaType, [OCTETS]);
  return readDigests(bytesOf(request.body));
}

function requestKey(request: FastifyRequest): Uint8Array | undefined {
  const text = request.headers[KEY_HEADER];
  if (text === undefined) return undefined;
  const key = typeof text === 'string' ? decodeHex(text, REQUEST_KEY_BYTES) : undefined;
  if (key?.some((byte) => byte !== 0)) return key;
  throw new QedError(
    'bad-request',
    'the idempotency key is not 16 bytes, not all zero, as 32 lower-case hex digits',
  );
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

/** A list of hex strings, written in one go. */
function digestsJson(digests: Uint8Array): string {
  const hex = hexOf(digests);
  const list: string[] = [];
  for (let at = 0; at < hex.length; at += 2 * DIGEST_BYTES) list.push(hex.slice(at, at + 2 * DIGEST_BYTES));
  return `["${list.join('","')}"]`;
}

function created(reply: FastifyReply, json: string): FastifyReply {
  return sendJson(reply.code(201), json);
}
