// What all HTTP listeners of a node share: limits, the one shape of errors, security headers, access, request figures.
// A route says what it needs in its `config.scope`; a route that says nothing is for administrators.
import rateLimit from '@fastify/rate-limit';
import Fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { createServer, STATUS_CODES, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type Socket } from 'node:net';
import { errorTable, QedError } from '../errors.ts';
import { checkAccess, type Access, type Scope } from './auth.ts';
import { letPagesAsk, refusePage } from './cors.ts';
import { type Metrics } from './metrics.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller must be allowed to do; `anyone` needs no key at all. */
    scope?: Scope | 'anyone';
    /** The schema of the route, as the documents tell it (openapi.ts). */
    schema?: FastifySchema | undefined;
  }
}

export interface Tls {
  readonly cert: string;
  readonly key: string;
}

export interface AppOptions {
  /** Asked for each request, so that keys can be exchanged while the node runs. */
  readonly access: () => Access;
  readonly metrics: Pick<Metrics, 'requestSeconds'>;
  readonly logger: FastifyBaseLogger;
  readonly tls?: Tls | undefined;
  readonly limits?: Partial<HttpLimits>;
  /** Origins whose pages may ask questions; none unless said otherwise (cors.ts). */
  readonly corsOrigins?: readonly string[] | undefined;
}

export interface HttpLimits {
  readonly bodyBytesMax: number;
  readonly headerBytesMax: number;
  readonly connectionsMax: number;
  /** For the headers, and for the whole request. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** Requests a second from one address; 0 is no limit. */
  readonly rateMax: number;
}

export const httpLimits: HttpLimits = {
  bodyBytesMax: 4 * 1024 * 1024,
  headerBytesMax: 16 * 1024,
  connectionsMax: 4096,
  headersMs: 15_000,
  requestMs: 60_000,
  rateMax: 0,
};

export const JSON_TYPE = 'application/json';
export const NDJSON = 'application/x-ndjson';
export const OCTETS = 'application/octet-stream';
const MEDIA_TYPES = [JSON_TYPE, NDJSON, OCTETS];

/** For answers that no browser should show as a page. The one page there is has all that helmet knows (openapi.ts). */
const plainHeaders = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
};

/** The longest path of a tile has 60 characters. */
const PARAM_CHARS_MAX = 100;

export type App = Awaited<ReturnType<typeof createApp>>;

export async function createApp(options: AppOptions) {
  const limits = { ...httpLimits, ...options.limits };
  const { logger, metrics } = options;
  const app = Fastify({
    serverFactory: (listener) => createListener(listener, options.tls, limits),
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    // One logger for all requests: what is logged names the request itself, and a child for each costs more than the rest.
    childLoggerFactory: (parent) => parent,
    // No log line and no answer names a request by a number.
    genReqId: () => '',
    bodyLimit: limits.bodyBytesMax,
    routerOptions: { maxParamLength: PARAM_CHARS_MAX },
    // No route shows fastify a schema (see below); its compilers for them would only cost time at every start.
    schemaController: { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } },
    return503OnClosing: false,
    frameworkErrors: sendError,
    clientErrorHandler: refuseConnection,
  });
  // Bodies come to the routes as bytes and are checked there, once (bodies.ts). The schemas of routes are for the documents alone:
  // where fastify sees one, it spends a part of every request on checks.
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, schema: route.schema };
    delete route.schema;
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser([...MEDIA_TYPES], { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.setErrorHandler(sendError);
  app.setNotFoundHandler(() => {
    throw new QedError('not-found', 'there is nothing at this path and method', {
      hint: 'GET /docs lists what there is.',
    });
  });
  if (options.corsOrigins) letPagesAsk(app, options.corsOrigins);
  const headers = {
    ...plainHeaders,
    ...(options.tls ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  };
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(headers);
    const scope = request.is404 ? 'anyone' : (request.routeOptions.config.scope ?? 'admin');
    const access = options.access();
    if (scope !== 'anyone') checkAccess(access, scope, request.headers);
    if (access.keys.length === 0 && (scope === 'append' || scope === 'admin')) refusePage(request.headers);
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    const seconds = reply.elapsedTime / 1000;
    metrics.requestSeconds.observe({ route, method: request.method, status: reply.statusCode, seconds });
    done();
  });
  if (limits.rateMax > 0) {
    await app.register(rateLimit, {
      max: limits.rateMax,
      timeWindow: 1000,
      errorResponseBuilder: () =>
        new QedError('rate-limited', `more than ${limits.rateMax} requests in a second`),
    });
  }
  closeIdleWhileClosing(app.server, (hook) => app.addHook('preClose', hook));
  return app;
}

function noCompiler(): never {
  throw new QedError('bug', 'a route has a schema that fastify would check');
}

function createListener(listener: RequestListener, tls: Tls | undefined, limits: HttpLimits): Server {
  const settings = {
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: Math.min(1000, limits.headersMs),
    keepAliveTimeout: 72_000,
  };
  const server = tls
    ? createHttpsServer({ ...settings, ...tls }, listener)
    : createServer(settings, listener);
  server.maxConnections = limits.connectionsMax;
  return server;
}

/** A connection that was busy when closing began would be kept open for the next request, which never comes. */
function closeIdleWhileClosing(server: Server, onClose: (hook: (done: () => void) => void) => void): void {
  onClose((done) => {
    if (server.listening) {
      const timer = setInterval(() => server.closeIdleConnections(), 20);
      server.once('close', () => clearInterval(timer));
    }
    done();
  });
}

/** Sends what is JSON already: nothing is serialised twice. */
export function sendJson(reply: FastifyReply, json: string): FastifyReply {
  return reply
    .header('content-type', 'application/json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(json);
}

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export function errorBody({ code, message, hint }: QedError): ErrorBody {
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

/** The one place where an error becomes an answer. What is our own fault says nothing about the inside. */
function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const known = toQedError(error);
  const { status, kind } = errorTable[known.code];
  if (status >= 500)
    request.log.error({ err: known, method: request.method, url: request.url }, 'request failed');
  if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', '1');
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  const shown =
    kind === 'bug' ? new QedError('bug', 'an internal error; the log of the node tells more') : known;
  // A request that has no route has met no hook.
  reply.headers(plainHeaders);
  void sendJson(reply.code(status), JSON.stringify(errorBody(shown)));
}

/** What fastify refuses by itself is the caller's mistake; whatever else is not ours to explain is a bug. */
function toQedError(error: unknown): QedError {
  if (error instanceof QedError) return error;
  const { code, statusCode, message } = fieldsOf(error);
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new QedError('body-too-large', 'the body is larger than the limit');
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new QedError('media-unsupported', 'the route does not take this content type', {
      hint: 'See GET /docs.',
    });
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new QedError('bad-request', message);
  return new QedError('bug', message, { cause: error });
}

function fieldsOf(error: unknown): { code: unknown; statusCode: number | undefined; message: string } {
  if (typeof error !== 'object' || error === null)
    return { code: '', statusCode: undefined, message: String(error) };
  return {
    code: 'code' in error ? error.code : '',
    statusCode: 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : undefined,
    message: 'message' in error ? String(error.message) : 'unknown error',
  };
}

const connectionErrors: ReadonlyMap<string, readonly [status: number, message: string]> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'the request took too long to arrive']],
  ['HPE_HEADER_OVERFLOW', [431, 'the headers are too large']],
]);

/** For what Node's parser refuses before there is a request: too slow, headers too large, no HTTP. */
function refuseConnection(error: { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const [status, message] = connectionErrors.get(error.code ?? '') ?? [
    400,
    'this is not HTTP as it should be',
  ];
  const body = JSON.stringify(errorBody(new QedError('bad-request', message)));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'content-type: application/json; charset=utf-8',
  ];
  socket.end(
    [...head, `content-length: ${Buffer.byteLength(body)}`, 'connection: close', '', body].join('\r\n'),
  );
}
