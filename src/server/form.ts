// Values from outside, held to a zod schema. A refusal names the field, what was expected there and what came.
import { type z } from 'zod';
import { QedError } from '../errors.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** What the schema makes of the value, or `bad-request` with the place of the first mistake. */
export function checkForm<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new QedError('bad-request', explain(result.error.issues, value, []));
}

function explain([issue]: readonly Issue[], value: unknown, above: Path): string {
  if (issue === undefined) return 'the body: not of the documented form';
  const path = [...above, ...issue.path];
  if (issue.code === 'invalid_union') return explainUnion(issue.errors, value, path);
  if (issue.code === 'unrecognized_keys')
    return `${nameOf([...path, issue.keys[0]!.slice(0, NAME_CHARS)])}: not expected here`;
  if (issue.code === 'custom') return `${nameOf(path)}: ${issue.message}`;
  return `${nameOf(path)}: ${expectation(issue.message)}, got ${describe(valueAt(value, path))}`;
}

/** Of several forms, the one that was meant is the one with the fewest mistakes. Where that does not tell, all that may be are named. */
function explainUnion(forms: readonly Issue[][], value: unknown, path: Path): string {
  const mistakes = forms.map(countOf);
  const fewest = Math.min(...mistakes);
  const meant = forms.filter((_form, at) => mistakes[at] === fewest);
  return [...new Set(meant.map((issues) => explain(issues, value, path)))].join('; or ');
}

/** A value of another kind altogether was not meant at all. */
function countOf(issues: readonly Issue[]): number {
  const weights = issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') return issue.keys.length;
    return issue.path.length === 0 ? Infinity : 1;
  });
  return weights.reduce((sum, weight) => sum + weight, 0);
}

/** Of a name that a stranger chose. */
const NAME_CHARS = 40;

function nameOf(path: Path): string {
  return path.length === 0 ? 'the body' : JSON.stringify(path.join('.'));
}

/** zod says what came by its type alone. */
function expectation(message: string): string {
  return message.replace(/^Invalid (?:input|string): /, '').replace(/, received .*$/, '');
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (outer, name) => (typeof outer === 'object' && outer !== null ? Reflect.get(outer, name) : undefined),
    value,
  );
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return value === '' ? 'an empty text' : 'a text';
  return Array.isArray(value) ? 'a list' : 'an object';
}
