// A stranger's check of a stored log: reads the rows of the store and derives everything again from the entries, from docs/architecture.md
// and docs/spec.md alone. It shares no line with the code that wrote them, and says what is wrong in words.
import { createHash } from 'node:crypto';
import { HyperTwin } from './hyper-twin.ts';

export interface StrangerReport {
  readonly size: number;
  readonly appliedIndex: number;
  readonly eventDigests: readonly string[];
  /** Last version of each batch. */
  readonly batchEnds: readonly number[];
  readonly historyDigest: string;
  readonly problems: readonly string[];
}

type Row = readonly [key: Uint8Array, value: Uint8Array];

const ENTRY = 72;
const WIDTH = 256;

/** `hyperEvery`: the hyper tree is compared at every so many batches (it is slow), and always at the last. */
export function checkAsStranger(rows: readonly Row[], hyperEvery = 1): StrangerReport {
  const problems: string[] = [];
  const stored = new Map(rows.map(([key, value]) => [Buffer.from(key).toString('hex'), Buffer.from(value)]));
  const take = (prefix: string, number?: number): Buffer | undefined => {
    const name = Buffer.from(prefix).toString('hex') + (number === undefined ? '' : u64(number));
    const value = stored.get(name);
    stored.delete(name);
    return value;
  };

  const state = take('bs');
  const size = state ? Number(state.readBigUInt64BE(8)) : 0;
  const entries = Buffer.concat(takeEntries(take, size, problems));
  if (entries.length !== size * ENTRY) problems.push(`${entries.length} bytes of entries for ${size} events`);
  const leaves = chunks(entries, ENTRY).map((entry) => sha256(Buffer.of(0), entry));
  const historyDigest = checkTiles(leaves, stored, problems).toString('hex');
  if (state && state.subarray(16).toString('hex') !== historyDigest)
    problems.push('the stored history digest is another');

  const batchEnds = takeBatchEnds(stored, state, problems);
  if (size > 0 && batchEnds.at(-1) !== size - 1)
    problems.push('the last batch does not end where the log ends');
  checkBatches(entries, batchEnds, hyperEvery, problems);
  for (const key of stored.keys())
    if (!key.startsWith('6272')) problems.push(`a row that should not be there: ${key}`);
  return {
    size,
    appliedIndex: state ? Number(state.readBigUInt64BE(0)) : 0,
    eventDigests: chunks(entries, ENTRY).map((entry) => entry.toString('hex', 0, 32)),
    batchEnds,
    historyDigest,
    problems,
  };
}

function takeEntries(
  take: (prefix: string, number: number) => Buffer | undefined,
  size: number,
  problems: string[],
) {
  const parts: Buffer[] = [];
  for (let bundle = 0; bundle < Math.floor(size / WIDTH); bundle++) {
    const value = take('he', bundle);
    if (value?.length !== WIDTH * ENTRY) problems.push(`bundle ${bundle} has ${String(value?.length)} bytes`);
    else parts.push(value);
  }
  for (let version = size - (size % WIDTH); version < size;) {
    const value = take('hp', version);
    if (!value || value.length === 0 || value.length % ENTRY !== 0) {
      problems.push(`no piece at version ${version}`);
      break;
    }
    parts.push(value);
    version += value.length / ENTRY;
  }
  return parts;
}

/** Compares the stored tiles with the hashes of the entries and returns the root over them (RFC 9162, section 2.1.1). */
function checkTiles(leaves: readonly Buffer[], stored: Map<string, Buffer>, problems: string[]): Buffer {
  let level = leaves;
  for (let height = 0; height < 7; height++) {
    const above: Buffer[] = [];
    for (let tile = 0; tile * WIDTH < level.length; tile++) {
      const hashes = level.slice(tile * WIDTH, (tile + 1) * WIDTH);
      const name = Buffer.of(0x68, height).toString('hex') + u64(tile);
      const value = stored.get(name);
      stored.delete(name);
      const expected = Buffer.concat(hashes);
      const growing = hashes.length < WIDTH;
      if (!(growing && height === 0) && !value?.subarray(0, expected.length).equals(expected)) {
        problems.push(`tile ${tile} of level ${height} is not what the entries give`);
      }
      if (!growing) above.push(root(hashes));
    }
    level = above;
  }
  return root(leaves);
}

function takeBatchEnds(stored: Map<string, Buffer>, state: Buffer | undefined, problems: string[]): number[] {
  const ends: number[] = [];
  let lastIndex = 0n;
  for (const [key, value] of [...stored].filter(([name]) => name.startsWith('6262')).sort()) {
    stored.delete(key);
    ends.push(Number(BigInt(`0x${key.slice(4)}`)));
    if (value.readBigUInt64BE() <= lastIndex)
      problems.push(`the records of the batches are out of order at ${key}`);
    lastIndex = value.readBigUInt64BE();
  }
  if (state && lastIndex !== state.readBigUInt64BE(0))
    problems.push('the last batch is not of the applied record');
  return ends;
}

function checkBatches(
  entries: Buffer,
  batchEnds: readonly number[],
  hyperEvery: number,
  problems: string[],
): void {
  const twin = new HyperTwin();
  let version = 0;
  let time = 0n;
  for (const [batch, end] of batchEnds.entries()) {
    const shared = entries.subarray(end * ENTRY + 32, (end + 1) * ENTRY);
    for (; version <= end; version++) {
      const entry = entries.subarray(version * ENTRY, (version + 1) * ENTRY);
      twin.add(entry.toString('hex', 0, 32), version);
      if (!entry.subarray(32).equals(shared))
        problems.push(`entry ${version} differs from the rest of its batch`);
    }
    if (shared.readBigUInt64BE(32) < time) problems.push(`time goes back in batch ${batch}`);
    time = shared.readBigUInt64BE(32);
    const due = batch % hyperEvery === 0 || batch === batchEnds.length - 1;
    if (due && twin.root() !== shared.toString('hex', 0, 32))
      problems.push(`the hyper digest of batch ${batch} is wrong`);
  }
}

function root(hashes: readonly Buffer[]): Buffer {
  if (hashes.length === 0) return sha256();
  if (hashes.length === 1) return hashes[0]!;
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return sha256(Buffer.of(1), root(hashes.slice(0, split)), root(hashes.slice(split)));
}

function sha256(...parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function chunks(bytes: Buffer, length: number): Buffer[] {
  return Array.from({ length: Math.floor(bytes.length / length) }, (_, i) =>
    bytes.subarray(i * length, (i + 1) * length),
  );
}

function u64(number: number): string {
  return number.toString(16).padStart(16, '0');
}
