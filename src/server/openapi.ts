// The OpenAPI document, made from the schemas of the routes, and the page at /docs, made from the document.
import helmet from '@fastify/helmet';
import swagger, { type SwaggerTransform } from '@fastify/swagger';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { docsPage, docsStyleHash } from './docs-page.ts';
import { sendJson, type App } from './http.ts';

/** Must be called before the routes are there. */
export async function documentApi(app: App, software: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'qed',
        version: software.replace(/^\S+ /, ''),
        description:
          'A verifiable append-only event log: signed snapshots, proofs of membership, absence and growth.',
      },
      components: {
        securitySchemes: {
          apiKey: { type: 'apiKey', in: 'header', name: 'Api-Key' },
          bearer: { type: 'http', scheme: 'bearer' },
        },
      },
    },
    transform: describeRoute,
    transformObject: jsonSchemaTransformObject,
  });
  const config = { scope: 'anyone' } as const;
  app.get('/openapi.json', { config, schema: { hide: true } }, (_request, reply) =>
    sendJson(reply, JSON.stringify(apiDocument(app))),
  );
  // In a scope of its own: helmet's hooks would run for every other request as well.
  await app.register(async (page) => {
    // The policy is ours, here and in every answer of the API; insisting on HTTPS is for those who have it (http.ts).
    await page.register(helmet, { contentSecurityPolicy: false, strictTransportSecurity: false });
    page.get('/docs', { config, schema: { hide: true } }, (_request, reply) =>
      reply
        .headers({ 'content-type': 'text/html; charset=utf-8', 'content-security-policy': docsPolicy })
        .send(docsPage(apiDocument(app))),
    );
  });
}

const docsPolicy = `default-src 'none'; style-src '${docsStyleHash}'; frame-ancestors 'none'`;

const openApi = z.looseObject({
  paths: z.unknown(),
  components: z.looseObject({ schemas: z.record(z.string(), z.unknown()) }),
});

/** The provider describes every named schema twice, as what comes in and as what goes out. What no route names is left out. */
function apiDocument(app: App): z.output<typeof openApi> {
  const document = openApi.parse(app.swagger());
  const { schemas } = document.components;
  const used = new Set<string>();
  function use(part: unknown): void {
    for (const [, name] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (name === undefined || used.has(name)) continue;
      used.add(name);
      use(schemas[name]);
    }
  }
  use(document.paths);
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)));
  return { ...document, components: { ...document.components, schemas: kept } };
}

/** The type provider knows bodies of one content type. Those of several are described one after the other. */
const describeRoute: SwaggerTransform = (route) => {
  const { schema: given = {}, scope } = route.route.config ?? {};
  const { body, ...others } = given;
  const needsKey = scope === 'append';
  const schema = { ...others, ...(needsKey ? { security: [{ apiKey: [] }, { bearer: [] }] } : {}) };
  if (!isContentBody(body)) return jsonSchemaTransform({ ...route, schema: { ...schema, body } });
  const described = jsonSchemaTransform({ ...route, schema });
  const content = Object.entries(body.content).map(([type, { schema: one }]) => {
    return [type, { schema: jsonSchemaTransform({ ...route, schema: { body: one } }).schema.body }] as const;
  });
  return { ...described, schema: { ...described.schema, body: { content: Object.fromEntries(content) } } };
};

interface ContentBody {
  readonly content: Readonly<Record<string, { readonly schema: unknown }>>;
}

function isContentBody(body: unknown): body is ContentBody {
  return typeof body === 'object' && body !== null && 'content' in body;
}
