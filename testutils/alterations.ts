// Every way to alter a JSON value by one step, at every place of it. A verifier that takes any of them for the value it came from
// reads more than one spelling of a proof, or does not look at all of it.

export interface Alteration {
  /** Names and indexes down to the altered place, joined by dots; empty for the value itself. */
  readonly path: string;
  readonly how: How;
  readonly json: unknown;
}

/**
 * flip: bits of a digest, a character of a text, true for false. shift: another number of the right kind. odd: a number of no right kind.
 * list: elements dropped, doubled, swapped, added. fields: one dropped or added. spelling: the same text, written otherwise.
 * fill: something in the place of null. type: a value of another type.
 */
export type How = 'flip' | 'shift' | 'odd' | 'list' | 'fields' | 'spelling' | 'fill' | 'type';

export const ZEROS = '00'.repeat(32);
const SOME = 'c3'.repeat(32);

export function* alterations(json: unknown, path: readonly string[] = []): Generator<Alteration> {
  for (const [how, altered] of replacements(json)) {
    if (!same(altered, json)) yield { path: path.join('.'), how, json: altered };
  }
  for (const [name, child] of children(json)) {
    for (const one of alterations(child, [...path, name])) {
      yield { ...one, json: withChild(json, name, one.json) };
    }
  }
}

/** What can stand in the place of a value, the value itself sometimes among it. */
export function* replacements(json: unknown): Generator<readonly [How, unknown]> {
  if (typeof json === 'boolean') yield ['flip', !json];
  if (typeof json === 'number') yield* numbers(json);
  if (typeof json === 'string') yield* /^[0-9a-f]{64}$/.test(json) ? digests(json) : texts(json);
  if (Array.isArray(json)) yield* lists(json);
  else if (isFields(json)) yield* fields(json);
  if (json !== null) yield* otherTypes(json);
  else for (const value of [0, SOME, ZEROS, [], {}, false, undefined]) yield ['fill', value];
}

export function children(json: unknown): [string, unknown][] {
  return typeof json === 'object' && json !== null ? Object.entries(json) : [];
}

/** A copy with another value in one place. */
export function withChild(json: unknown, name: string, child: unknown): unknown {
  return Array.isArray(json) ? json.with(Number(name), child) : { ...fieldsOf(json), [name]: child };
}

function* numbers(value: number): Generator<readonly [How, unknown]> {
  const shifted = [
    value + 1,
    value - 1,
    2 * value,
    2 * value + 1,
    value + 256,
    value + 2 ** 31,
    value + 2 ** 32,
  ];
  for (const other of [...shifted, Number.MAX_SAFE_INTEGER]) if (other >= 0) yield ['shift', other];
  const odd = [-1, -value, -0, value + 0.5, 2 ** 53, 2 ** 53 + value, 1e300, NaN, Infinity, -Infinity];
  // A zero without its sign is the good one.
  for (const other of odd) if (!Object.is(other, value)) yield ['odd', other];
}

function* digests(hex: string): Generator<readonly [How, unknown]> {
  // A bit of each of the eight groups of 32, another one in each.
  for (let group = 0; group < 8; group++) {
    const at = group * 8 + ((group * 3) % 8);
    const digit = parseInt(hex[at]!, 16) ^ (1 << (group % 4));
    yield ['flip', hex.slice(0, at) + digit.toString(16) + hex.slice(at + 1)];
  }
  yield ['flip', ZEROS];
  yield ['flip', SOME];
  const spellings = [hex.toUpperCase(), `0x${hex}`, ` ${hex}`, `${hex}\n`, hex.slice(0, -1), hex.slice(2)];
  const lengths = [
    `${hex}0`,
    `${hex}00`,
    '',
    `${hex}${hex}`,
    hex.replace(/.$/, 'g'),
    hex.replace(/^./, '０'),
  ];
  for (const other of [...spellings, ...lengths]) yield ['spelling', other];
}

function* texts(text: string): Generator<readonly [How, unknown]> {
  for (let at = 0; at < text.length; at++) {
    const flipped = String.fromCharCode(text.charCodeAt(at) ^ (1 << (at % 7)));
    yield ['flip', text.slice(0, at) + flipped + text.slice(at + 1)];
    yield ['flip', text.slice(0, at) + text.slice(at + 1)];
  }
  yield ['flip', ''];
  const spellings = [text.trimEnd(), `${text}\n`, ` ${text}`, `\ufeff${text}`, `${text}\0`];
  const lines = [text.replace('\n', '\r\n'), text.replaceAll('\n', '\r\n'), text.replace('\n', '\n\n')];
  for (const other of [...spellings, ...lines, text.toUpperCase()]) yield ['spelling', other];
}

function* lists(list: readonly unknown[]): Generator<readonly [How, unknown]> {
  for (const [at, item] of list.entries()) {
    // In a run of equal items it makes no difference which one goes or comes.
    if (at > 0 && item === list[at - 1]) continue;
    yield ['list', list.toSpliced(at, 1)];
    yield ['list', list.toSpliced(at, 0, item)];
    if (at > 0) yield ['list', list.with(at, list[at - 1]).with(at - 1, item)];
  }
  for (const added of [SOME, ZEROS]) {
    yield ['list', [...list, added]];
    yield ['list', [added, ...list]];
  }
  yield ['list', []];
  yield ['list', list.toReversed()];
  yield ['type', [...list, undefined]];
  yield ['type', new Array<unknown>(list.length + 1)];
  yield ['type', Array.from({ length: 300 }, () => SOME)];
}

function* fields(object: Readonly<Record<string, unknown>>): Generator<readonly [How, unknown]> {
  for (const name of Object.keys(object)) {
    const { [name]: value, ...rest } = object;
    yield ['fields', rest];
    yield ['fields', { ...rest, [name.toUpperCase()]: value }];
    yield ['fields', Object.assign(Object.create({ [name]: value }) as object, rest)];
  }
  for (const name of ['extra', '__proto__', 'constructor', 'toString', '', '0', 'eventdigest']) {
    yield ['fields', Object.fromEntries([...Object.entries(object), [name, null]])];
  }
}

function* otherTypes(json: unknown): Generator<readonly [How, unknown]> {
  const simple = [null, undefined, true, false, 0, 1, 1n, '', 'null', SOME, {}, Symbol('proof')];
  const around = [
    [json],
    { json },
    typeof json === 'number' || typeof json === 'boolean' ? String(json) : 'a text',
    () => json,
    new Map(children(json)),
    Object(json) as unknown,
  ];
  for (const other of [...simple, ...around]) {
    // A value of the same type is an alteration of another kind.
    if (kindOf(other) !== kindOf(json)) yield ['type', other];
  }
  if (Array.isArray(json)) yield ['type', { ...Object.fromEntries(children(json)), length: json.length }];
  else yield ['type', []];
}

function kindOf(value: unknown): string {
  if (value === null || Array.isArray(value)) return value === null ? 'null' : 'list';
  return typeof value;
}

function isFields(json: unknown): json is Readonly<Record<string, unknown>> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function fieldsOf(json: unknown): Readonly<Record<string, unknown>> {
  return isFields(json) ? json : {};
}

function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b) || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b))
    return false;
  const [left, right] = [children(a), children(b)];
  return left.length === right.length && left.every(([name, child], i) => sameChild(name, child, right[i]!));
}

function sameChild(name: string, child: unknown, [otherName, other]: [string, unknown]): boolean {
  return name === otherName && same(child, other);
}
