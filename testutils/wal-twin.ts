// A slow, obvious twin of the log on disk, and seeded changes for both. A twin is a value: each change makes a new one, so a test can hold
// the states after every change and ask which of them a crash left behind.
import { type Wal, type WalRecord } from '../src/replication/wal.ts';
import { type HardState, type Position } from '../src/replication/segment.ts';
import { type Random } from './random.ts';

export type WalChange =
  | {
      readonly kind: 'append';
      readonly records: readonly WalRecord[];
      readonly hardState?: HardState;
      readonly note?: Uint8Array;
    }
  | { readonly kind: 'compact'; readonly index: number }
  | { readonly kind: 'reset'; readonly position: Position; readonly note?: Uint8Array };

export interface WalTwin {
  /** Behind the last reset; nothing is ever dropped here. */
  readonly start: Position;
  readonly records: readonly WalRecord[];
  readonly compacted: number;
  readonly hardState: HardState;
  readonly note: Uint8Array | undefined;
}

export const emptyTwin: WalTwin = {
  start: { index: 0, term: 0 },
  records: [],
  compacted: 0,
  hardState: { term: 0, vote: 0, commit: 0 },
  note: undefined,
};

export function lastOf({ start, records }: WalTwin): Position {
  const last = records.at(-1) ?? start;
  return { index: last.index, term: last.term };
}

export function changeTwin(twin: WalTwin, change: WalChange): WalTwin {
  if (change.kind === 'compact') return { ...twin, compacted: Math.max(twin.compacted, change.index) };
  if (change.kind === 'reset') {
    const { position, note = twin.note } = change;
    return { ...twin, start: position, records: [], compacted: position.index, note };
  }
  const first = change.records[0]?.index ?? Infinity;
  const records = [...twin.records.filter((record) => record.index < first), ...change.records];
  return {
    ...twin,
    records,
    hardState: change.hardState ?? twin.hardState,
    note: change.note ?? twin.note,
  };
}

export function applyChange(wal: Wal, change: WalChange): Promise<void> {
  if (change.kind === 'append') return wal.append(change.records, change.hardState, change.note);
  return change.kind === 'compact' ? wal.compact(change.index) : wal.reset(change.position, change.note);
}

/** How the log differs from the twin, or undefined. The log may still hold what was compacted, and nothing else that the twin has not. */
export function difference(wal: Wal, twin: WalTwin): string | undefined {
  const show = JSON.stringify;
  const last = lastOf(twin);
  if (show(wal.last) !== show(last)) return `ends at ${show(wal.last)}, not ${show(last)}`;
  if (show(wal.hardState) !== show(twin.hardState))
    return `hard state ${show(wal.hardState)}, not ${show(twin.hardState)}`;
  if (String(wal.note) !== String(twin.note)) return `notes ${String(wal.note)}, not ${String(twin.note)}`;
  if (wal.firstIndex <= twin.start.index) return `begins at ${wal.firstIndex}, before the reset`;
  if (wal.firstIndex > twin.compacted + 1)
    return `begins at ${wal.firstIndex}, compacted was ${twin.compacted}`;
  const expected = twin.records.filter((record) => record.index >= wal.firstIndex);
  const found = readAll(wal, wal.firstIndex);
  if (describe(found) !== describe(expected)) return `holds ${describe(found)}, not ${describe(expected)}`;
  if (found.some(({ index, term }) => wal.termAt(index) !== term)) return 'answers another term';
  return;
}

export function readAll(wal: Wal, from: number): WalRecord[] {
  const records: WalRecord[] = [];
  for (let next = from; next <= wal.last.index; next = records.at(-1)!.index + 1)
    records.push(...wal.read(next, wal.last.index, 1000));
  return records;
}

function describe(records: readonly WalRecord[]): string {
  return records
    .map(
      ({ index, term, type, payload }) => `${index}/${term}/${type}/${Buffer.from(payload).toString('hex')}`,
    )
    .join(' ');
}

/** A change such as Raft makes: it replaces nothing that is committed, and compacts nothing else. */
export function nextChange(twin: WalTwin, random: Random): WalChange {
  const { hardState } = twin;
  const last = lastOf(twin);
  const dice = random.below(20);
  if (dice === 0) {
    const position = { index: last.index + random.below(3), term: last.term };
    return { kind: 'reset', position, ...(random.chance(0.5) ? { note: random.bytes(9) } : {}) };
  }
  const compactTo = Math.min(hardState.commit, last.index);
  if (dice <= 4 && compactTo > twin.compacted)
    return { kind: 'compact', index: twin.compacted + 1 + random.below(compactTo - twin.compacted) };
  const mayReplace = Math.max(hardState.commit, twin.compacted, twin.start.index);
  const first = dice <= 7 ? mayReplace + 1 + random.below(last.index + 1 - mayReplace) : last.index + 1;
  const before = twin.records.find((record) => record.index === first - 1)?.term ?? twin.start.term;
  const term = Math.max(before, hardState.term) + (random.chance(0.2) ? 1 : 0);
  const records = Array.from({ length: random.below(4) }, (_, at) => ({
    ...{ type: random.below(3), index: first + at, term },
    payload: random.bytes(random.pick([0, 1, 20, 90])),
  }));
  if (records.length > 0 && random.chance(0.5)) return { kind: 'append', records };
  const end = records.at(-1)?.index ?? last.index;
  const commit = Math.max(hardState.commit, end - random.below(4));
  const vote = random.below(4);
  return {
    kind: 'append',
    records,
    hardState: { term: Math.max(term, hardState.term), vote, commit: Math.min(commit, end) },
    ...(random.chance(0.2) ? { note: random.bytes(random.below(30)) } : {}),
  };
}
