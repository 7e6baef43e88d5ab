// The page at /docs: the OpenAPI document for people. One static text without scripts or anything from elsewhere, so that it works offline and
// under a policy that allows only its own style.
import { hash as nodeHash } from 'node:crypto';
import { z } from 'zod';

const schemaRef = z.looseObject({ $ref: z.string().optional(), examples: z.array(z.unknown()).optional() });
const content = z.record(z.string(), z.looseObject({ schema: schemaRef.optional() }));
const operation = z.looseObject({
  tags: z.array(z.string()).default([]),
  summary: z.string().default(''),
  description: z.string().default(''),
  parameters: z
    .array(z.looseObject({ name: z.string(), in: z.string(), description: z.string().default('') }))
    .default([]),
  requestBody: z.looseObject({ content }).optional(),
  responses: z.record(z.string(), z.looseObject({ content: content.optional() })),
});
type Operation = z.output<typeof operation>;

const openApi = z.looseObject({
  info: z.looseObject({ title: z.string(), version: z.string(), description: z.string() }),
  paths: z.record(z.string(), z.record(z.string(), operation)),
  components: z.looseObject({ schemas: z.record(z.string(), schemaRef).default({}) }),
});

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; background: #fff }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccd } h3 { margin-bottom: .3rem }
code, pre { font: 14px/1.4 ui-monospace, monospace } pre { background: #f4f5f8; padding: .7rem; overflow-x: auto; border-radius: 4px }
h3 code { background: #e6ecf7; padding: .2rem .4rem; border-radius: 4px } table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
summary { cursor: pointer; color: #345 }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16191f } pre { background: #22262e } h3 code { background: #2a3547 } summary { color: #9bc } }
`;

/** What a content security policy must allow for the page to look as it should. */
export const docsStyleHash = `sha256-${nodeHash('sha256', STYLE, 'base64')}`;

export function docsPage(document: unknown): string {
  const { info, paths, components } = openApi.parse(document);
  const rows = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => ({ path, method: method.toUpperCase(), about })),
  );
  const tags = [...new Set(rows.flatMap(({ about }) => about.tags))];
  const sections = tags.map((tag) => {
    const operations = rows.filter(({ about }) => about.tags.includes(tag));
    return `<h2>${escape(tag)}</h2>\n${operations.map(({ path, method, about }) => describe(path, method, about, components.schemas)).join('\n')}`;
  });
  const schemas = Object.entries(components.schemas).map(
    ([name, schema]) =>
      `<details id="${escape(name)}"><summary><code>${escape(name)}</code></summary><pre>${escape(JSON.stringify(schema, undefined, 2))}</pre></details>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(info.title)}: HTTP API</title><style>${STYLE}</style></head><body>
<h1>${escape(info.title)}: HTTP API</h1>
<p>${escape(info.description)} Version ${escape(info.version)}. The same as a machine reads it: <a href="openapi.json">openapi.json</a>.</p>
<p>An API key travels in the header <code>Api-Key</code>, or as <code>Authorization: Bearer</code>. Every error is
<code>{"code", "message", "hint"?}</code>; answers with status 503 or 429 say in <code>Retry-After</code> when to try again.</p>
${sections.join('\n')}
<h2>forms</h2>
${schemas.join('\n')}
</body></html>
`;
}

type Schemas = z.output<typeof openApi>['components']['schemas'];

function describe(path: string, method: string, about: Operation, schemas: Schemas): string {
  const parameters = about.parameters.map(
    ({ name, in: place, description }) =>
      `<tr><td><code>${escape(name)}</code> (${escape(place)})</td><td>${escape(description)}</td></tr>`,
  );
  const answers = Object.entries(about.responses).map(
    ([status, answer]) => `<tr><td>${escape(status)}</td><td>${forms(answer.content ?? {})}</td></tr>`,
  );
  const example = exampleOf(about, schemas);
  return [
    `<h3><code>${method} ${escape(path)}</code></h3>`,
    `<p><b>${prose(about.summary)}.</b> ${prose(about.description)}</p>`,
    parameters.length > 0 ? `<table>${parameters.join('')}</table>` : '',
    about.requestBody ? `<p>Body: ${forms(about.requestBody.content)}</p>` : '',
    example === undefined ? '' : `<pre>${escape(JSON.stringify(example))}</pre>`,
    `<table>${answers.join('')}</table>`,
  ].join('\n');
}

function forms(types: z.output<typeof content>): string {
  return Object.entries(types)
    .map(([type, { schema }]) => {
      const name = nameOf(schema?.$ref);
      return name === undefined
        ? escape(type)
        : `<a href="#${escape(name)}">${escape(name)}</a> (${escape(type)})`;
    })
    .join(', or ');
}

function exampleOf(about: Operation, schemas: Schemas): unknown {
  const schema = about.requestBody?.content['application/json']?.schema;
  const name = nameOf(schema?.$ref);
  return (name === undefined ? schema : schemas[name])?.examples?.[0];
}

function nameOf(ref: string | undefined): string | undefined {
  return ref?.split('/').at(-1);
}

/** Text with names in backticks. */
function prose(text: string): string {
  return escape(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
