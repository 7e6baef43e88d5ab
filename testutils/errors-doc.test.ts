// docs/errors.md ends with a table of all codes, which is the one in src/errors.ts. UPDATE_DOCS=1 writes it anew.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorTable } from '../src/errors.ts';

const PAGE = join(import.meta.dirname, '..', 'docs', 'errors.md');
const HEAD = '| code | kind | HTTP | meaning |\n| --- | --- | --- | --- |\n';

function tableOfTheCode(): string {
  const rows = Object.entries(errorTable).map(
    ([code, { kind, status, meaning }]) => `| \`${code}\` | ${kind} | ${status} | ${meaning} |\n`,
  );
  return HEAD + rows.join('');
}

it('docs/errors.md holds the codes of src/errors.ts, in its order', () => {
  const page = readFileSync(PAGE, 'utf8');
  const [text = '', table = ''] = page.split(HEAD);
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(PAGE, text + tableOfTheCode());
  else expect(HEAD + table).toBe(tableOfTheCode());
});

it('a meaning is sentences that fit a cell of a table', () => {
  for (const { meaning } of Object.values(errorTable)) expect(meaning).toMatch(/^[A-Z][^|\n]*\.$/);
});

it('a caller, a refusal, the world and a bug answer with statuses of their own', () => {
  const fits = { caller: /^4/, refused: /^(422|500)$/, world: /^(429|5..)$/, bug: /^500$/ };
  for (const [code, { kind, status }] of Object.entries(errorTable)) {
    expect(`${code} ${fits[kind].test(String(status))}`).toBe(`${code} true`);
  }
});
