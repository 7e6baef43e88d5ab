// What pages of other origins may do in a browser. Nothing, unless the operator names them: then they may ask, so that a page can check proofs by
// itself, and still not add. Where no API key is needed to add, a page's attempt to do so blindly is refused.
import { type FastifyInstance, type FastifyRequest } from 'fastify';
import { type IncomingHttpHeaders } from 'node:http';
import { QedError } from '../errors.ts';

/** A day: browsers ask again whether they may. */
const MAY_ASK = {
  'access-control-allow-methods': 'GET, HEAD, POST',
  'access-control-allow-headers': 'content-type, api-key, authorization',
  'access-control-max-age': '86400',
};

type Hooks = Pick<FastifyInstance, 'addHook'>;

/** `origins` as browsers write them, such as `https://example.org`; or `*` for all. To be called before there are routes. */
export function letPagesAsk(app: Hooks, origins: readonly string[]): void {
  const questions = new Set<string>();
  app.addHook('onRoute', ({ method, url, config }) => {
    if (method === 'POST' && config?.scope === 'read') questions.add(url);
  });
  const isAll = origins.includes('*');
  app.addHook('onRequest', (request, reply, done) => {
    const { origin } = request.headers;
    if (!isAll) reply.header('vary', 'origin');
    if (origin === undefined || !(isAll || origins.includes(origin)) || !isQuestion(request, questions)) {
      done();
      return;
    }
    reply.header('access-control-allow-origin', isAll ? '*' : origin);
    reply.header('access-control-expose-headers', 'retry-after');
    if (isPreflight(request)) void reply.code(204).headers(MAY_ASK).send();
    else done();
  });
}

/** The request itself, or for a preflight the one that would follow. */
function isQuestion(request: FastifyRequest, questions: ReadonlySet<string>): boolean {
  const method = isPreflight(request) ? request.headers['access-control-request-method'] : request.method;
  return method === 'GET' || method === 'HEAD' || questions.has(request.url.split('?', 1)[0]!);
}

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

/** A page can send some requests without asking, and without seeing the answer. */
export function refusePage({ origin, host }: IncomingHttpHeaders): void {
  if (origin === undefined || (URL.canParse(origin) && new URL(origin).host === host)) return;
  throw new QedError('forbidden', 'a page of another origin may not write here', {
    hint: 'With an API key, programs may.',
  });
}
