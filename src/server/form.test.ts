// What a caller reads who sent a body of another form: the field, what was expected there, and what came.
import { z } from 'zod';
import { QedError } from '../errors.ts';
import { checkForm } from './form.ts';
import { eventBody, incrementalBody, membershipBody } from './schemas.ts';

const VERSION = 'expected an integer from 0 to 2^53 - 1';
const HEX = 'expected 64 lower-case hex digits';
const nested = z.object({ list: z.array(z.union([z.string(), z.strictObject({ a: z.int() })])).max(2) });

const rows: readonly (readonly [z.ZodType, unknown, string])[] = [
  [eventBody, 5, 'the body: expected object, got 5'],
  [eventBody, null, 'the body: expected object, got null'],
  [eventBody, [], 'the body: expected object, got a list'],
  [eventBody, { event: 5 }, '"event": expected a text, got 5'],
  [eventBody, { event: ['x'] }, '"event": expected a text, got a list'],
  [eventBody, { eventBase64: true }, '"eventBase64": expected a text, got true'],
  [eventBody, { event: 'x', more: 1 }, '"more": not expected here'],
  [eventBody, { event: 5, more: 1 }, '"event": expected a text, got 5'],
  [eventBody, {}, '"event": expected a text, got nothing; or "eventBase64": expected a text, got nothing'],
  [
    eventBody,
    { event: 'x', eventBase64: 'eA==' },
    '"eventBase64": not expected here; or "event": not expected here',
  ],
  [membershipBody, { event: 'x', version: -1 }, `"version": ${VERSION}, got -1`],
  [membershipBody, { eventBase64: 'eA==', version: '0' }, `"version": ${VERSION}, got a text`],
  [membershipBody, { eventDigest: 'a', version: 0 }, `"eventDigest": ${HEX}, got a text`],
  [membershipBody, { eventDigest: '' }, `"eventDigest": ${HEX}, got an empty text`],
  [membershipBody, { event: 'x', version: 2 ** 53 }, `"version": ${VERSION}, got 9007199254740992`],
  [incrementalBody, { start: 0 }, `"end": ${VERSION}, got nothing`],
  [incrementalBody, { start: 0, end: 0, x: 1 }, '"x": not expected here'],
  [incrementalBody, { start: {}, end: 0 }, `"start": ${VERSION}, got an object`],
  // A form within a form, and names that strangers made up.
  [nested, { list: ['x', { a: 'y' }] }, '"list.1.a": expected number, got a text'],
  [nested, { list: ['x', 1] }, '"list.1": expected string, got 1; or "list.1": expected object, got 1'],
  [
    eventBody,
    { event: 'x', ['"\n'.repeat(50)]: 1 },
    `${JSON.stringify('"\n'.repeat(20))}: not expected here`,
  ],
];

it.each(rows)('%# tells the place of the first mistake', (schema, value, message) => {
  expect(() => checkForm(schema, value)).toThrow(new QedError('bad-request', message));
});

it('gives back what has the form', () => {
  expect(checkForm(incrementalBody, { start: 0, end: 1 })).toEqual({ start: 0, end: 1 });
});
