// What a workload asks: for each kind an endless source of requests, with the check of their answers. Bodies are made once and changed in place; every
// event is a new one, as random as those of real users, so that the trees grow as theirs do.
import { randomFillSync } from 'node:crypto';
import {
  verifyIncremental,
  verifyMembership,
  verifySignedSnapshot,
  type Primitives,
  type Trust,
} from '../../src/balloon/verify.ts';
import { type Snapshot } from '../../src/balloon/proof.ts';
import { type Client } from '../../src/client/client.ts';
import { encodeUtf8 } from '../../src/crypto/encoding.ts';
import { type Sent } from './connection.ts';

export const KINDS = ['add', 'bulk', 'digests', 'membership', 'incremental', 'mixed'] as const;
export type Kind = (typeof KINDS)[number];

export interface Ask extends Sent {
  /** What it adds. */
  readonly events: number;
  /** Throws a refusal when the answer does not prove what it should. Undefined without trust. */
  readonly check: ((json: unknown) => void) | undefined;
}

/** The next request of one connection. Its body is used again for the one after. */
export type Asker = () => Ask;

export interface KindOptions {
  readonly client: Client;
  readonly trust: Trust | undefined;
  readonly primitives: Primitives;
  readonly apiKey: string | undefined;
  /** Events in a bulk. */
  readonly batch: number;
  readonly eventBytes: number;
  /** Events that are added before, to ask about. */
  readonly preload: number;
}

const DIGEST_BYTES = 32;
const PRELOAD_CHUNK = 5_000;

/** Does what has to be done before the clock runs, and gives each connection its source of requests. */
export async function prepare(kind: Kind, options: KindOptions): Promise<() => Asker> {
  const isAsking = kind === 'membership' || kind === 'incremental' || kind === 'mixed';
  const known = isAsking ? await preload(options) : { digests: new Uint8Array(0), snapshots: [] };
  const makers: Record<Exclude<Kind, 'mixed'>, () => Asker> = {
    add: () => addAsker(options),
    bulk: () => bulkAsker(options),
    digests: () => digestsAsker(options),
    membership: () => membershipAsker(options, known.digests),
    incremental: () => incrementalAsker(options, known.snapshots),
  };
  if (kind !== 'mixed') return makers[kind];
  return () => mixed(makers);
}

/** Of ten requests: six adds, one bulk, two memberships, one increment. */
function mixed(makers: Record<Exclude<Kind, 'mixed'>, () => Asker>): Asker {
  const [add, bulk, membership, incremental] = [
    makers.add(),
    makers.bulk(),
    makers.membership(),
    makers.incremental(),
  ];
  const turns = [add, add, membership, add, incremental, add, membership, add, bulk, add];
  let turn = randomBelow(turns.length);
  return () => {
    turn = (turn + 1) % turns.length;
    return turns[turn]!();
  };
}

interface Known {
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  readonly snapshots: readonly Snapshot[];
}

async function preload({ client, preload: count }: KindOptions): Promise<Known> {
  const digests = randomFillSync(new Uint8Array(count * DIGEST_BYTES));
  const snapshots: Snapshot[] = [];
  for (let from = 0; from < count; from += PRELOAD_CHUNK) {
    const chunk = Array.from({ length: Math.min(PRELOAD_CHUNK, count - from) }, (_, i) =>
      digests.subarray((from + i) * DIGEST_BYTES, (from + i + 1) * DIGEST_BYTES),
    );
    snapshots.push((await client.addDigests(chunk)).signedSnapshot.snapshot);
  }
  return { digests, snapshots };
}

/** Raw octets: a text that begins with random hex digits. */
function addAsker(options: KindOptions): Asker {
  const body = encodeUtf8('x'.repeat(options.eventBytes));
  const headers = headersFor('application/octet-stream', options);
  const check = checkAdded(options);
  return () => {
    writeRandomHex(body, 0, Math.min(body.length, RANDOM_DIGITS));
    return { path: '/events', headers, body, events: 1, check };
  };
}

function bulkAsker(options: KindOptions): Asker {
  const event = 'x'.repeat(options.eventBytes);
  const body = encodeUtf8(JSON.stringify({ events: new Array<string>(options.batch).fill(event) }));
  const headers = headersFor('application/json', options);
  const check = checkAdded(options);
  const [first, step] = ['{"events":["'.length, options.eventBytes + '","'.length];
  return () => {
    // One write for all: a random start, and a count.
    const start = randomBelow(2 ** 47);
    for (let i = 0; i < options.batch; i++) {
      writeHex(body, first + i * step, Math.min(options.eventBytes, RANDOM_DIGITS), start + i);
    }
    return { path: '/events/bulk', headers, body, events: options.batch, check };
  };
}

function digestsAsker(options: KindOptions): Asker {
  const body = new Uint8Array(options.batch * DIGEST_BYTES);
  const headers = headersFor('application/octet-stream', options);
  const check = checkAdded(options);
  return () => {
    randomFillSync(body);
    return { path: '/events/bulk/digests', headers, body, events: options.batch, check };
  };
}

/** One of ten events is not there. */
function membershipAsker(options: KindOptions, digests: Uint8Array): Asker {
  const headers = headersFor('application/json', options);
  const { trust, primitives } = options;
  const strange = new Uint8Array(DIGEST_BYTES);
  return () => {
    const at = randomBelow(digests.length / DIGEST_BYTES) * DIGEST_BYTES;
    const isThere = randomBelow(10) > 0;
    const eventDigest = isThere ? digests.subarray(at, at + DIGEST_BYTES) : randomFillSync(strange).slice();
    const body = Buffer.from(`{"eventDigest":"${Buffer.from(eventDigest).toString('hex')}"}`);
    const check =
      trust &&
      ((json: unknown): void => {
        const { exists } = verifyMembership(json, { eventDigest }, trust, primitives);
        if (exists !== isThere) throw new Error(`the log says exists: ${exists} where it is ${isThere}`);
      });
    return { path: '/proofs/membership', headers, body, events: 0, check };
  };
}

function incrementalAsker(options: KindOptions, snapshots: readonly Snapshot[]): Asker {
  const headers = headersFor('application/json', options);
  const { trust, primitives } = options;
  return () => {
    const [a, b] = [randomBelow(snapshots.length), randomBelow(snapshots.length)];
    const [start, end] = [snapshots[Math.min(a, b)]!, snapshots[Math.max(a, b)]!];
    const body = Buffer.from(`{"start":${start.version},"end":${end.version}}`);
    const check = trust && ((json: unknown): void => verifyIncremental(json, { start, end }, primitives));
    return { path: '/proofs/incremental', headers, body, events: 0, check };
  };
}

/** That the log signed a state for what it took. */
function checkAdded({ trust, primitives }: KindOptions): ((json: unknown) => void) | undefined {
  if (trust === undefined) return undefined;
  return (json) => {
    const signed =
      typeof json === 'object' && json !== null && 'signedSnapshot' in json ? json.signedSnapshot : undefined;
    verifySignedSnapshot(signed, trust, primitives);
  };
}

function headersFor(type: string, { apiKey }: KindOptions): readonly string[] {
  return ['content-type', type, ...(apiKey === undefined ? [] : ['api-key', apiKey])];
}

// 12 hex digits are 48 bits: a whole number that JavaScript counts exactly.
const RANDOM_DIGITS = 12;
const HEX = encodeUtf8('0123456789abcdef');

function writeRandomHex(body: Uint8Array, at: number, digits: number): void {
  writeHex(body, at, digits, randomBelow(2 ** 48));
}

function writeHex(body: Uint8Array, at: number, digits: number, value: number): void {
  let left = value;
  for (let i = digits - 1; i >= 0; i--) {
    body[at + i] = HEX[left % 16]!;
    left = Math.floor(left / 16);
  }
}

/** Which events are asked about is no secret, so the cheap source will do. */
function randomBelow(below: number): number {
  return Math.floor(Math.random() * below);
}
