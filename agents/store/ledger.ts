// What a snapshot store holds: signed snapshots by version, alerts, and what is wrong: gaps and conflicts. Append-only; over a Store in memory or on disk.
//
// The first snapshot of a version stays. The same state again, from whomever, changes nothing; another one, signed by the same log, is the proof that the log
// shows two histories: it is kept beside the first and never in its place.
// Who delivers says which snapshot he knows to come before his own. Where that one never arrives there is a gap.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives, type Trust } from '../../src/balloon/verify.ts';
import {
  concat,
  decodeUtf8,
  encodeU64,
  encodeUtf8,
  equalBytes,
  readU64,
  U64_BYTES,
} from '../../src/crypto/encoding.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { QedError } from '../../src/errors.ts';
import { formatLine, parseLine } from '../../src/gossip/snapshots.ts';
import { type Store, type Write } from '../../src/storage/store.ts';

export interface LedgerOptions {
  /** It is closed with the ledger. */
  readonly store: Store;
  /** With it nothing is taken that the log has not signed, and the ledger belongs to that log for good. */
  readonly trust?: Trust | undefined;
  /** The oldest go when there are more. */
  readonly snapshotsMax?: number | undefined;
  readonly alertsMax?: number | undefined;
}

export interface Added {
  readonly stored: number;
  /** They were there. */
  readonly known: number;
  /** Versions of which another snapshot is there. */
  readonly conflicts: readonly number[];
}

export interface Gap {
  /** The version of the snapshot that is said to be missing. */
  readonly missing: number;
  /** The version of the snapshot that comes behind it. */
  readonly before: number;
}

export interface Conflict {
  readonly version: number;
  readonly stored: string;
  readonly refused: string;
}

export interface LedgerFigures {
  readonly snapshots: number;
  readonly alerts: number;
  readonly gaps: number;
  readonly conflicts: number;
  readonly versionLast: number | undefined;
}

export interface Ledger {
  /** `previous`: the version of the snapshot before the first of these; null when none is known. All are checked before any is stored. */
  readonly add: (snapshots: readonly SignedSnapshot[], previous: number | null) => Promise<Added>;
  /** The first stored snapshot that covers the version, as one JSON line. */
  readonly covering: (version: number) => Promise<string | undefined>;
  readonly list: (from: number, limit: number) => Promise<readonly string[]>;
  readonly gaps: () => readonly Gap[];
  readonly conflicts: () => Promise<readonly Conflict[]>;
  readonly addAlert: (json: string) => Promise<void>;
  /** Newest last. */
  readonly alerts: () => Promise<readonly string[]>;
  readonly figures: () => LedgerFigures;
  readonly close: () => Promise<void>;
}

const SNAPSHOT = 0x73; // s
const CONFLICT = 0x63; // c
const ALERT = 0x61; // a
const GAP = 0x67; // g
const OWNER = Uint8Array.of(0x6f); // o
/** More than this proves nothing more. */
const CONFLICTS_MAX = 1_000;
const GAPS_MAX = 10_000;
const primitives: Primitives = { hash: nativeHash, verify: nativeVerify };

export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { store, trust, snapshotsMax = Infinity, alertsMax = 100_000 } = options;
  try {
    await claim(store, trust);
  } catch (error) {
    await store.close();
    throw error;
  }
  const missing = new Map<number, number[]>();
  for await (const [key] of store.range(rangeOf(GAP)))
    noteGap(missing, readU64(key, 1)!, readU64(key, 1 + U64_BYTES)!);
  let snapshots = await countOf(store, SNAPSHOT);
  let conflictCount = await countOf(store, CONFLICT);
  const alerts = {
    first: await edgeOf(store, ALERT, false),
    next: ((await edgeOf(store, ALERT, true)) ?? -1) + 1,
  };
  let versionFirst = await edgeOf(store, SNAPSHOT, false);
  let versionLast = await edgeOf(store, SNAPSHOT, true);
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other: each sees what the one before has stored. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  }

  function read(version: number): string | undefined {
    const value = store.get(keyOf(SNAPSHOT, version));
    return value && lineOf(value);
  }

  async function addAll(list: readonly SignedSnapshot[], previous: number | null): Promise<Added> {
    const writes: Write[] = [];
    const fresh = new Map<number, SignedSnapshot>();
    const conflicts: number[] = [];
    let before = previous;
    let known = 0;
    for (const signedSnapshot of list) {
      const { version, historyDigest } = signedSnapshot.snapshot;
      const line = read(version);
      const other = fresh.get(version) ?? (line === undefined ? undefined : parseLine(line));
      if (other === undefined) {
        fresh.set(version, signedSnapshot);
        writes.push(...snapshotWrites(signedSnapshot, before, fresh));
      } else if (equalBytes(other.snapshot.historyDigest, historyDigest)) known += 1;
      else {
        conflicts.push(version);
        if (conflictCount < CONFLICTS_MAX) writes.push(conflictWrite(signedSnapshot));
        conflictCount = Math.min(conflictCount + 1, CONFLICTS_MAX);
      }
      before = version;
    }
    if (writes.length > 0) await store.write(writes);
    snapshots += fresh.size;
    for (const version of fresh.keys()) {
      missing.delete(version);
      versionLast = Math.max(versionLast ?? -1, version);
      versionFirst = Math.min(versionFirst ?? version, version);
    }
    if (snapshots > snapshotsMax) await drop(snapshots - snapshotsMax);
    return { stored: fresh.size, known, conflicts };
  }

  /** The snapshot, the gap that it shows, and the gap that it closes. */
  function snapshotWrites(
    signedSnapshot: SignedSnapshot,
    before: number | null,
    fresh: ReadonlyMap<number, SignedSnapshot>,
  ): readonly Write[] {
    const { version } = signedSnapshot.snapshot;
    const value = encodeUtf8(formatLine(signedSnapshot));
    const writes: Write[] = [{ type: 'put', key: keyOf(SNAPSHOT, version), value }];
    for (const later of missing.get(version) ?? []) writes.push({ type: 'del', key: gapKey(version, later) });
    const isGap =
      before !== null &&
      before < version &&
      before >= (versionFirst ?? 0) &&
      !fresh.has(before) &&
      read(before) === undefined;
    if (isGap && missing.size < GAPS_MAX) {
      noteGap(missing, before, version);
      writes.push({ type: 'put', key: gapKey(before, version), value: new Uint8Array(0) });
    }
    return writes;
  }

  function conflictWrite(signedSnapshot: SignedSnapshot): Write {
    const { version, historyDigest } = signedSnapshot.snapshot;
    // One for each history, so that a liar who repeats himself fills nothing.
    const key = concat(keyOf(CONFLICT, version), historyDigest);
    return { type: 'put', key, value: encodeUtf8(formatLine(signedSnapshot)) };
  }

  async function drop(count: number): Promise<void> {
    const keys: Uint8Array[] = [];
    for await (const [key] of store.range({ ...rangeOf(SNAPSHOT), limit: count })) keys.push(key);
    await store.write(keys.map((key) => ({ type: 'del', key })));
    snapshots -= keys.length;
    versionFirst = await edgeOf(store, SNAPSHOT, false);
    for (const version of missing.keys()) if (version < (versionFirst ?? 0)) missing.delete(version);
  }

  async function addAlert(json: string): Promise<void> {
    const writes: Write[] = [{ type: 'put', key: keyOf(ALERT, alerts.next), value: encodeUtf8(json) }];
    alerts.first ??= alerts.next;
    alerts.next += 1;
    if (alerts.next - alerts.first > alertsMax) {
      writes.push({ type: 'del', key: keyOf(ALERT, alerts.first) });
      alerts.first += 1;
    }
    await store.write(writes);
  }

  return {
    async add(list, previous) {
      if (trust) for (const one of list) checkSignedSnapshot(one, { log: trust.log }, primitives);
      return inTurn(() => addAll(list, previous));
    },
    async covering(version) {
      const exact = read(version);
      if (exact !== undefined) return exact;
      for await (const [, value] of store.range({ ...rangeOf(SNAPSHOT, version), limit: 1 }))
        return lineOf(value);
      return undefined;
    },
    async list(from, limit) {
      const lines: string[] = [];
      for await (const [, value] of store.range({ ...rangeOf(SNAPSHOT, from), limit }))
        lines.push(lineOf(value));
      return lines;
    },
    gaps: () =>
      [...missing]
        .sort(([a], [b]) => a - b)
        .flatMap(([version, list]) => list.map((before) => ({ missing: version, before }))),
    async conflicts() {
      const found: Conflict[] = [];
      for await (const [key, value] of store.range(rangeOf(CONFLICT))) {
        const version = readU64(key, 1)!;
        found.push({ version, stored: read(version) ?? '', refused: lineOf(value) });
      }
      return found;
    },
    addAlert: (json) => inTurn(() => addAlert(json)),
    async alerts() {
      const found: string[] = [];
      for await (const [, value] of store.range(rangeOf(ALERT))) found.push(lineOf(value));
      return found;
    },
    figures: () => ({
      snapshots,
      alerts: alerts.next - (alerts.first ?? alerts.next),
      gaps: missing.size,
      conflicts: conflictCount,
      versionLast,
    }),
    async close() {
      await last;
      await store.close();
    },
  };
}

/** A ledger that checks belongs to one log for good. */
async function claim(store: Store, trust: Trust | undefined): Promise<void> {
  if (trust === undefined) return;
  const { name, publicKey } = trust.log;
  const owner = concat(publicKey, encodeUtf8(name));
  const before = store.get(OWNER);
  if (before === undefined) await store.write([{ type: 'put', key: OWNER, value: owner }]);
  else if (!equalBytes(before, owner)) {
    throw new QedError(
      'node-mismatch',
      `the store holds snapshots of another log than ${name}, or of another key`,
      {
        hint: 'Name the vkey that it was made with, or another directory.',
      },
    );
  }
}

function keyOf(kind: number, number: number): Uint8Array {
  return concat(Uint8Array.of(kind), encodeU64(number));
}

function gapKey(missing: number, before: number): Uint8Array {
  return concat(keyOf(GAP, missing), encodeU64(before));
}

function rangeOf(kind: number, from = 0): { from: Uint8Array; to: Uint8Array } {
  return { from: keyOf(kind, from), to: Uint8Array.of(kind + 1) };
}

function noteGap(missing: Map<number, number[]>, version: number, before: number): void {
  const list = missing.get(version) ?? [];
  if (!list.includes(before)) list.push(before);
  missing.set(version, list);
}

async function countOf(store: Store, kind: number): Promise<number> {
  let count = 0;
  for await (const _row of store.range(rangeOf(kind))) count += 1;
  return count;
}

/** The first or last number of a kind. */
async function edgeOf(store: Store, kind: number, reverse: boolean): Promise<number | undefined> {
  for await (const [key] of store.range({ ...rangeOf(kind), reverse, limit: 1 })) return readU64(key, 1);
  return undefined;
}

function lineOf(value: Uint8Array): string {
  const line = decodeUtf8(value);
  if (line === undefined) throw new QedError('store-corrupt', 'the store holds a line that is no text');
  return line;
}
