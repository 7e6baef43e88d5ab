// The applier between a log and a database that do what the test says: whoever proposed a record learns what it led to, in every order of events.
import { setImmediate as turn } from 'node:timers/promises';
import { encodeRecord } from '../balloon/record.ts';
import { QedError } from '../errors.ts';
import { type NextRecord } from '../storage/durable-balloon.ts';
import { type CommittedRecord } from '../replication/replicated-log.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { startApplier, type Applier, type ApplierOptions } from './applier.ts';

interface Bench {
  readonly applier: Applier;
  /** Lets the append with that number, from 0 on, be committed at an index; or fail. */
  readonly settleAppend: (number: number, outcome: number | QedError) => void;
  /** Hands a group to the applier. */
  readonly commit: (...indexes: number[]) => void;
  /** What happened, in order. */
  readonly steps: string[];
  readonly failures: QedError[];
}

const payload = encodeRecord({ time: 1, requests: [{ key: undefined, eventDigests: new Uint8Array(32) }] });

function openBench(
  more: Pick<ApplierOptions, 'syncBytes'> = {},
  { failAt, writeFails = false }: { failAt?: number; writeFails?: boolean } = {},
): Bench {
  const steps: string[] = [];
  const failures: QedError[] = [];
  const appends: { resolve: (index: number) => void; reject: (error: QedError) => void }[] = [];
  const groups: (readonly CommittedRecord[])[] = [];
  let wake = (): void => undefined;
  let appliedIndex = 0;
  const digest = new Uint8Array(32);
  const options = {
    log: {
      append: () => new Promise<number>((resolve, reject) => appends.push({ resolve, reject })),
      async *committed(_from: number, { signal }: { signal?: AbortSignal } = {}) {
        signal?.addEventListener('abort', () => wake());
        while (!signal?.aborted) {
          const group = groups.shift();
          if (group) yield group;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      },
      compact: (index: number) => Promise.resolve(void steps.push(`compact ${index}`)),
    },
    durable: {
      // Two at a time, as far as there is no trouble with them.
      applyAll: (records: readonly NextRecord[]) => {
        const fit = records.slice(0, 2).filter(({ index }) => index !== failAt);
        if (records[0]?.index === failAt) return Promise.reject(new QedError('store-full', 'no space'));
        return Promise.resolve(
          fit.map(({ index }) => {
            appliedIndex = index;
            steps.push(`apply ${index}`);
            const digests = { eventDigest: digest, historyDigest: digest, hyperDigest: digest };
            return { snapshot: { version: index, ...digests, time: 1 }, outcomes: [] };
          }),
        );
      },
      flush: ({ durable } = { durable: false }) => {
        if (durable) steps.push('sync');
        return writeFails ? Promise.reject(new QedError('store-full', 'no space')) : Promise.resolve();
      },
      balloon: {
        get appliedIndex() {
          return appliedIndex;
        },
      },
    },
    onFailure: (error: QedError) => void failures.push(error),
  };
  return {
    applier: startApplier({ ...options, ...more }),
    steps,
    failures,
    settleAppend(number, outcome) {
      if (typeof outcome === 'number') appends[number]!.resolve(outcome);
      else appends[number]!.reject(outcome);
    },
    commit(...indexes) {
      groups.push(indexes.map((index) => ({ index, term: 1, payload })));
      wake();
    },
  };
}

const versionOf = (proposal: ReturnType<Applier['propose']>) =>
  proposal.then(({ snapshot }) => snapshot.version);

it('answers when the append is known before its record is applied, and the other way round', async () => {
  const { applier, settleAppend, commit } = openBench();
  const first = versionOf(applier.propose(payload));
  const second = versionOf(applier.propose(payload));
  settleAppend(0, 3);
  await turn();
  commit(1, 2, 3, 5);
  expect(await first).toBe(3);
  await turn();
  settleAppend(1, 5);
  expect(await second).toBe(5);
  await applier.close();
});

it('passes on why an append was refused, and goes on', async () => {
  const { applier, settleAppend, commit } = openBench();
  const refused = codeOfPromise(applier.propose(payload));
  settleAppend(0, new QedError('busy', 'full'));
  expect(await refused).toBe('busy');
  const next = versionOf(applier.propose(payload));
  commit(1);
  settleAppend(1, 1);
  expect(await next).toBe(1);
  await applier.close();
});

it('says that the outcome is unknown to all who wait when a record cannot be applied, and proposes nothing more', async () => {
  const { applier, settleAppend, commit, failures } = openBench({}, { failAt: 2 });
  const answers = [0, 1, 2].map(() => codeOfPromise(applier.propose(payload)));
  const reached = codeOfPromise(applier.reach(3));
  settleAppend(0, 1);
  settleAppend(1, 2);
  await turn();
  commit(1, 2, 3);
  expect(await answers[0]).toBe('accepted');
  expect(await answers[1]).toBe('outcome-unknown');
  settleAppend(2, 3);
  expect(await answers[2]).toBe('outcome-unknown');
  expect(await reached).toBe('store-full');
  expect(await codeOfPromise(applier.propose(payload))).toBe('store-closed');
  expect(failures.map(({ code }) => code)).toEqual(['store-full']);
  expect(applier.failure?.code).toBe('store-full');
  await applier.close();
});

it('answers what is applied, and stops when it cannot be written to the database a moment later', async () => {
  const { applier, settleAppend, commit, failures } = openBench({}, { writeFails: true });
  const answer = versionOf(applier.propose(payload));
  const waiting = codeOfPromise(applier.propose(payload));
  settleAppend(0, 1);
  settleAppend(1, 2);
  commit(1);
  expect(await answer).toBe(1);
  expect(await waiting).toBe('outcome-unknown');
  expect(failures.map(({ code }) => code)).toEqual(['store-full']);
  expect(await codeOfPromise(applier.propose(payload))).toBe('store-closed');
  await applier.close();
});

it('lets the log forget only what was made durable before', async () => {
  const { applier, commit, steps } = openBench({ syncBytes: 3 * payload.length });
  commit(1, 2);
  await applier.reach(2);
  commit(3);
  await applier.reach(3);
  await turn();
  commit(4);
  await applier.reach(4);
  expect(steps).toEqual(['apply 1', 'apply 2', 'apply 3', 'sync', 'compact 3', 'apply 4']);
  await applier.close();
});

it('leaves nobody waiting when it is closed', async () => {
  const { applier, settleAppend } = openBench();
  const waiting = codeOfPromise(applier.propose(payload));
  const reached = codeOfPromise(applier.reach(9));
  settleAppend(0, 1);
  await turn();
  await applier.close();
  expect([await waiting, await reached]).toEqual(['outcome-unknown', 'store-closed']);
});

it('jumps over records that the database got from elsewhere, and leaves nobody waiting for them', async () => {
  const { applier, settleAppend, commit } = openBench();
  const [waiting, late, next] = [0, 1, 2].map(() => codeOfPromise(applier.propose(payload)));
  const reached = codeOfPromise(applier.reach(8));
  settleAppend(0, 5);
  await turn();
  applier.moved(8);
  expect([await waiting, await reached]).toEqual(['outcome-unknown', 'accepted']);
  settleAppend(1, 7);
  expect(await late).toBe('outcome-unknown');
  settleAppend(2, 9);
  commit(9);
  expect(await next).toBe('accepted');
  applier.moved(3);
  await applier.reach(9);
  await applier.close();
});
