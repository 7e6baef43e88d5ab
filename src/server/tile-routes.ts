// The log as C2SP tlog-tiles has it: a checkpoint, tiles of hashes, bundles of entries, and POST /add. Public tools work with these alone.
// The checkpoint is of the present committed state, and tiles are read from that state too: what a checkpoint needs is always there.
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { z } from 'zod';
import { QedError } from '../errors.ts';
import { parseTilePath } from '../history/served.ts';
import { bytesOf, oneEvent, type ReadOptions } from './bodies.ts';
import { OCTETS, type App } from './http.ts';
import { type Node } from './node.ts';
import { octets, refusals } from './schemas.ts';

const TEXT = 'text/plain; charset=utf-8';
/** A year: a tile of a width never changes. */
const FOR_EVER = 'max-age=31536000, immutable';
const compress = promisify(gzip);

export interface TileOptions {
  /** Whether shared caches may keep what is read. */
  readonly isPublic: boolean;
}

export function tileRoutes(app: App, node: Node, { isPublic }: TileOptions): void {
  const caching = `${isPublic ? 'public' : 'private'}, ${FOR_EVER}`;
  const config = { scope: 'read' } as const;

  app.get(
    '/checkpoint',
    {
      config,
      schema: {
        tags: ['tlog-tiles'],
        summary: 'The present checkpoint: a signed note',
        response: { 200: { content: { 'text/plain': { schema: z.string() } } }, ...refusals },
      },
    },
    (_request, reply) => {
      const { checkpoint } = node.latest().signedSnapshot;
      return reply.header('content-type', TEXT).header('cache-control', 'no-cache').send(checkpoint);
    },
  );
  app.get(
    '/tile/*',
    {
      config,
      schema: {
        tags: ['tlog-tiles'],
        summary:
          'A tile of hashes, tile/<level>/<index>[.p/<width>], or a bundle of entries, tile/entries/<index>[.p/<width>]',
        response: { 200: { content: { [OCTETS]: { schema: octets } } }, ...refusals },
      },
    },
    sendTile,
  );

  async function sendTile(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    // The path as it was sent: an escaped or doubled character makes it another path.
    const path = request.url.split('?', 1)[0]!.slice(1);
    const name = parseTilePath(path);
    if (name === undefined) throw new QedError('not-found', 'this is not the path of a tile');
    const bytes = node.tile(name);
    reply.header('content-type', OCTETS).header('cache-control', caching);
    if (name.level !== 'entries') return reply.send(bytes);
    reply.header('vary', 'accept-encoding');
    if (!acceptsGzip(request.headers['accept-encoding'])) return reply.send(bytes);
    return reply.header('content-encoding', 'gzip').send(await compress(bytes));
  }
}

/** Takes any body of any type as an event, and answers with its index alone. */
export function rawAddRoute(app: App, node: Node, options: ReadOptions): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.post(
    '/add',
    {
      config: { scope: 'append' },
      schema: {
        tags: ['tlog-tiles'],
        summary: 'Add the body, whatever its type, as an event; answers with its version in decimal',
        body: { content: { [OCTETS]: { schema: octets } } },
        response: { 200: { content: { 'text/plain': { schema: z.string() } } }, ...refusals },
      },
    },
    async (request, reply) => {
      const event = bytesOf(request.body);
      if (event.length === 0) throw new QedError('bad-request', 'the body is empty');
      const added = await node.add({ key: undefined, ...oneEvent(event, options) });
      return reply
        .header('content-type', TEXT)
        .header('cache-control', 'no-store')
        .send(String(added.versionFirst));
    },
  );
}

function acceptsGzip(accepted: string | string[] | undefined): boolean {
  const codings = String(accepted ?? '')
    .split(',')
    .map((coding) => coding.trim().split(/\s*;\s*/));
  return codings.some(([name, quality]) => name === 'gzip' && !/^q=0(\.0*)?$/.test(quality ?? ''));
}
