// Stores that show something else than the log has signed or gossip brought, drop snapshots, are late, or are gone: threat 21.
import { parseSignedSnapshot, type SignedSnapshot } from '../src/balloon/proof.ts';
import { QedError } from '../src/errors.ts';
import { type AlertInput } from './alerts.ts';
import { watchStore, type StoreWatch } from './store-watch.ts';
import { NATIVE } from '../testutils/signed-log.ts';
import { logOf } from '../testutils/stub-log.ts';
import { until } from '../testutils/until.ts';

const log = logOf(40);
const other = logOf(40, 7);
const snapshotOf = (version: number, of = log): SignedSnapshot =>
  parseSignedSnapshot(of.signedSnapshot(version));
const range = (from: number, to: number): SignedSnapshot[] =>
  Array.from({ length: to - from }, (_, at) => snapshotOf(from + at));

interface World {
  holds: SignedSnapshot[];
  fails: QedError | undefined;
  turns: number;
  skewMs: number;
  readonly signed: number[];
  readonly alerts: AlertInput[];
  readonly cleared: string[];
}

const open: StoreWatch[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

function start(holds: SignedSnapshot[]): { at: World; watch: StoreWatch } {
  const at: World = { holds, fails: undefined, turns: 0, skewMs: 0, signed: [], alerts: [], cleared: [] };
  const watch = watchStore({
    url: 'http://store',
    store: {
      published(from, limit) {
        at.turns += 1;
        if (at.fails) return Promise.reject(at.fails);
        return Promise.resolve(at.holds.filter(({ snapshot }) => snapshot.version >= from).slice(0, limit));
      },
    },
    log: log.trust.log,
    primitives: NATIVE,
    onSigned: ({ snapshot }) => void at.signed.push(snapshot.version),
    raise(alert) {
      if (!at.alerts.some(({ kind, subject }) => kind === alert.kind && subject === alert.subject))
        at.alerts.push(alert);
    },
    clear: (kind, subject) => void at.cleared.push(`${kind} ${subject}`),
    now: () => performance.now() + at.skewMs,
    timing: { everyMs: 2 },
  });
  open.push(watch);
  return { at, watch };
}

const turnsOn = async (at: World): Promise<void> => {
  const before = at.turns;
  await until('three looks', () => at.turns >= before + 3);
};
const kinds = ({ alerts }: World): string[] =>
  alerts.map(({ kind, subject, code }) => `${kind} ${subject} ${code}`);

it('finds nothing in a store that has what gossip brought, in whatever order it came', async () => {
  const { at, watch } = start(range(0, 10));
  for (const one of range(5, 20)) watch.heard(one);
  await turnsOn(at);
  at.holds = range(0, 30);
  await turnsOn(at);
  at.skewMs += 30_000;
  await turnsOn(at);
  expect([kinds(at), at.signed.length]).toEqual([[], 30]);
});

it('hands every signed state to the audit, also one that contradicts gossip', async () => {
  const { at, watch } = start([...range(0, 5), snapshotOf(5, other)]);
  for (const one of range(0, 6)) watch.heard(one);
  await turnsOn(at);
  expect(at.signed).toEqual([0, 1, 2, 3, 4, 5]);
  at.skewMs += 30_000;
  await turnsOn(at);
  expect(kinds(at)).toEqual(['inconsistent store http://store version 5 snapshot-mismatch']);
});

it('finds a state that the log has not signed', async () => {
  const forged = snapshotOf(3);
  const { at } = start([
    ...range(0, 3),
    { ...forged, snapshot: { ...forged.snapshot, time: forged.snapshot.time + 1 } },
    snapshotOf(4),
  ]);
  await turnsOn(at);
  expect(kinds(at)).toEqual(['inconsistent store http://store version 3 snapshot-mismatch']);
  expect(at.signed).toEqual([0, 1, 2, 4]);
});

it('finds what is missing, but not what came late, nor what is older than the store', async () => {
  const { at, watch } = start([...range(10, 14), ...range(15, 20)]);
  for (const one of range(5, 20)) watch.heard(one);
  await turnsOn(at);
  at.holds = range(10, 20);
  at.skewMs += 30_000;
  await turnsOn(at);
  expect(kinds(at)).toEqual([]);
  at.holds = [...range(10, 22), ...range(23, 25)];
  for (const one of range(20, 25)) watch.heard(one);
  await turnsOn(at);
  at.skewMs += 30_000;
  await until('it is missed', () => at.alerts.length > 0);
  expect(kinds(at)).toEqual(['inconsistent store http://store snapshot-mismatch']);
  expect(at.alerts[0]?.message).toContain('version 22');
});

it('calls a store that is late behind, until it is not', async () => {
  const { at, watch } = start(range(0, 3));
  for (const one of range(0, 6)) watch.heard(one);
  at.skewMs += 30_000;
  await until('it is behind', () => at.alerts.length > 0);
  expect(kinds(at)).toEqual(['lag store http://store undefined']);
  at.cleared.splice(0);
  at.holds = range(0, 6);
  await until('it is not', () => at.cleared.includes('lag store http://store'));
});

it.each([
  ['gone', 'unreachable', 'outage'],
  ['broken', 'store-failed', 'outage'],
  ['talking nonsense', 'proof-malformed', 'inconsistent'],
] as const)('says what a store is that is %s', async (_name, code, kind) => {
  const { at } = start(range(0, 3));
  await turnsOn(at);
  at.fails = new QedError(code, 'no');
  await turnsOn(at);
  if (kind === 'outage') expect(kinds(at)).toEqual([]);
  at.skewMs += 30_000;
  await until('it is said', () => at.alerts.length > 0);
  expect(kinds(at)).toEqual([`${kind} store http://store ${code}`]);
  at.fails = undefined;
  if (kind === 'outage') await until('it is over', () => at.cleared.includes('outage store http://store'));
});
