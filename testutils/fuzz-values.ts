// What the fuzzer feeds to a verifier: valid values with a few steps of mutation, random JSON, and values that no JSON holds: objects that
// throw, lie, change or never end. All from one seeded source.
import { types } from 'node:util';
import { children, replacements, withChild } from './alterations.ts';
import { type Random } from './random.ts';

const NAMES = [
  ...['snapshot', 'audit', 'checkpoint', 'version', 'eventDigest', 'historyDigest', 'hyperDigest', 'time'],
  ...['exists', 'hyper', 'path', 'leaf', 'entry', 'history', 'signedSnapshot', 'start', 'end', 'hashes'],
  ...['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'toJSON', 'then', 'length', '', '0'],
];
const NUMBERS = [
  ...[0, 1, 2, 255, 256, 257, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1, 2 ** 53, 2 ** 64],
  ...[-0, -1, 0.1, 1e-7, 1e21, 1e308, 5e-324, NaN, Infinity, -Infinity],
];
const TEXTS = [
  '',
  '0',
  '1',
  'null',
  '\0',
  '\n',
  '\ud800',
  '\u2028',
  '￿',
  '🌲',
  '0x',
  'A'.repeat(64),
  'g'.repeat(64),
];

/** A value with some random changes, mostly one, each in a random place of it. */
export function mutated(random: Random, valid: unknown, others: readonly unknown[]): unknown {
  let value = valid;
  for (let steps = random.pick([1, 1, 1, 2, 3]); steps > 0; steps--)
    value = mutateOnce(random, value, others);
  return value;
}

function mutateOnce(random: Random, value: unknown, others: readonly unknown[]): unknown {
  if (!isPlain(value)) return value;
  const below = children(value);
  if (below.length > 0 && random.chance(0.85)) {
    const [name, child] = random.pick(below);
    return withChild(value, name, mutateOnce(random, child, others));
  }
  if (random.chance(0.15)) return partOf(random, random.pick(others));
  if (random.chance(0.15)) return randomValue(random);
  const all = [...replacements(value)];
  // Values of the right form get further into a verifier than those that its parser turns away.
  const formed = random.chance(0.7) ? all.filter(([how]) => FORMED.includes(how)) : all;
  return formed.length === 0 ? value : random.pick(formed)[1];
}

const FORMED: readonly string[] = ['flip', 'shift', 'list', 'fill'];

/** A value that an earlier step put there may bite, or take for ever, when it is read and copied. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'string') return value.length < 2000;
  if (typeof value !== 'object' || value === null) return true;
  if (types.isProxy(value) || (Array.isArray(value) && value.length > 1000)) return false;
  if (Object.keys(value).length > 1000) return false;
  const fields = Object.getOwnPropertyDescriptors(value);
  const isData = Object.values(fields).every((field: PropertyDescriptor) => field.get === undefined);
  return isData && !(Symbol.iterator in fields);
}

/** Some part of a valid value: true, but in the wrong place. */
function partOf(random: Random, value: unknown): unknown {
  const below = children(value);
  return below.length === 0 || random.chance(0.2) ? value : partOf(random, random.pick(below)[1]);
}

export function randomValue(random: Random, depth = 0): unknown {
  const kind = random.below(depth > 4 ? 6 : 12);
  if (kind === 0) return random.pick([null, undefined, true, false]);
  if (kind === 1) return random.chance(0.5) ? random.pick(NUMBERS) : random.below(1000);
  if (kind === 2)
    return random.chance(0.5) ? random.pick(TEXTS) : hex(random.bytes(random.pick([32, 32, 31, 33, 1])));
  if (kind === 3) return randomText(random);
  if (kind === 4) return random.pick(HOSTILE)(random);
  if (kind === 5) return huge(random);
  const count = random.below(8);
  if (kind < 8) return Array.from({ length: count }, () => randomValue(random, depth + 1));
  const name = (): string => (random.chance(0.9) ? random.pick(NAMES) : randomText(random));
  return Object.fromEntries(Array.from({ length: count }, () => [name(), randomValue(random, depth + 1)]));
}

export function randomText(random: Random): string {
  return String.fromCharCode(...Array.from({ length: random.below(40) }, () => random.below(0x300)));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Rarely, since they take their time. */
function huge(random: Random): unknown {
  if (random.chance(0.95)) return random.below(2 ** 32);
  const size = 1 + random.below(20_000);
  switch (random.below(5)) {
    case 0:
      return 'a'.repeat(size * 50);
    case 1:
      return new Array<string>(size).fill('00'.repeat(32));
    case 2:
      return Object.fromEntries(Array.from({ length: size }, (_, i) => [`field${i}`, i]));
    case 3:
      return new Array<unknown>(2 ** 32 - 1);
    default:
      return nested(size);
  }
}

function nested(depth: number): unknown {
  let value: unknown = {};
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { hyper: value };
  return value;
}

const fail = (): never => {
  throw new Error('this object does not want to be read');
};

/** Throws a text, not an error. */
const failOddly = (): never => {
  AbortSignal.abort('a text').throwIfAborted();
  return fail();
};

const HOSTILE: readonly ((random: Random) => unknown)[] = [
  (random) => Object.defineProperty({}, random.pick(NAMES), { enumerable: true, get: fail }),
  (random) => Object.fromEntries(NAMES.map((name) => [name, random.pick(TEXTS)])),
  () => new Proxy({}, { ownKeys: fail }),
  () => new Proxy([], { get: fail }),
  () => new Proxy({}, { get: fail, has: fail, getOwnPropertyDescriptor: fail, getPrototypeOf: fail }),
  () => new Proxy({}, { ownKeys: failOddly }),
  () => agreeable(),
  () => revoked(),
  (random) => longer(random.pick([64, 65, 256, 1e9, -1, NaN])),
  () => Object.assign([], { [Symbol.iterator]: endless }),
  () => Object.assign([], { map: fail, length: 3, toJSON: fail }),
  () => cyclic(),
  () => Symbol('event'),
  (random) => BigInt(random.below(1000)),
  () => fail,
  () => Uint8Array,
  (random) => random.bytes(32),
  (random) => new Float64Array(random.below(70)),
  () => new ArrayBuffer(64),
  () => new Map([['version', 1]]),
  () => new Date(0),
  () => new String('00'.repeat(32)),
  () => new Number(1),
  () => /./,
  () => new WeakMap(),
  () => ({ toString: fail, valueOf: fail, [Symbol.toPrimitive]: fail }),
  () => Object.create(null) as unknown,
  () => Object.create({ version: 1, exists: true, path: [] }) as unknown,
  () => Object.freeze([]),
];

/** Has every field there is, all of them itself. */
function agreeable(): unknown {
  const self: object = new Proxy(function agree() {}, {
    get: () => self,
    has: () => true,
    apply: () => self,
  });
  return self;
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
}

function longer(length: number): unknown {
  return new Proxy([], {
    get: (list, name): unknown => (name === 'length' ? length : Reflect.get(list, name)),
  });
}

function* endless(): Generator<string> {
  for (;;) yield '00'.repeat(32);
}

function cyclic(): unknown {
  const self: Record<string, unknown> = {};
  for (const name of NAMES) if (name !== '__proto__') self[name] = self;
  return self;
}

/** Reads as one value now and as another then, in every place. */
export function flickering(random: Random, one: unknown, other: unknown): unknown {
  if (typeof one !== 'object' || one === null || typeof other !== 'object' || other === null) {
    return random.chance(0.5) ? one : other;
  }
  return new Proxy(one, {
    get(target, name): unknown {
      const [left, right] = [Reflect.get(target, name) as unknown, Reflect.get(other, name) as unknown];
      return typeof name === 'symbol' ? left : flickering(random, left, right ?? left);
    },
  });
}

/** Another note or key: pieces cut, doubled, exchanged or inserted, also from the others; lines in another order; single digits changed. */
export function mutatedText(random: Random, valid: string, others: readonly string[]): string {
  let text = valid;
  for (let steps = random.pick([1, 1, 1, 2, 3]); steps > 0; steps--) text = mutateText(random, text, others);
  return text;
}

function mutateText(random: Random, text: string, others: readonly string[]): string {
  const lines = text.split('\n');
  const [line, at] = [random.below(lines.length), random.below(text.length + 1)];
  switch (random.below(7)) {
    case 0:
      return lines.toSpliced(line, 1).join('\n');
    case 1:
      return lines.toSpliced(line, 0, random.pick(lines)).join('\n');
    case 2:
      return lines.with(line, random.pick(random.pick(others).split('\n'))).join('\n');
    case 3:
      return lines.with(line, lines[0]!).with(0, lines[line]!).join('\n');
    case 4:
      return (
        text.slice(0, at) + text.slice(at).replace(/[A-Za-z0-9]/, random.pick(Array.from('0123456789AZaz')))
      );
    default:
      return (
        text.slice(0, at) + piece(random, others) + text.slice(at + random.below(random.pick([1, 2, 10, 90])))
      );
  }
}

function piece(random: Random, others: readonly string[]): string {
  if (random.chance(0.4))
    return random.pick(['\n', '\n\n', '— ', ' ', '=', '+', '0', '\0', '\r', '\ud800', '']);
  if (random.chance(0.4)) return randomText(random).slice(0, 3);
  const [text, at] = [random.pick(others), random.below(100)];
  return text.slice(at, at + random.below(60));
}

export function mutatedBytes(random: Random, text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  for (let flips = random.below(3); flips > 0 && bytes.length > 0; flips--) {
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
  }
  return random.chance(0.9) ? bytes : bytes.subarray(random.below(bytes.length));
}
