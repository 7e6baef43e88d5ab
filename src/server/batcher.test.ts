// The batcher over a log that answers when the test says so.
import { setImmediate as turn } from 'node:timers/promises';
import { decodeRecord, type Record } from '../balloon/record.ts';
import { QedError } from '../errors.ts';
import { type Applied } from '../storage/durable-balloon.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import {
  batcherLimits,
  createBatcher,
  type AddRequest,
  type Batcher,
  type BatcherLimits,
} from './batcher.ts';

interface Proposal {
  readonly record: Record;
  readonly apply: () => void;
  readonly fail: (error: QedError) => void;
}

interface Bench {
  readonly batcher: Batcher;
  readonly proposals: Proposal[];
  /** Records that are on their way. */
  readonly open: () => number;
}

function openBench(limits: Partial<BatcherLimits> = {}): Bench {
  const proposals: Proposal[] = [];
  let size = 0;
  let open = 0;
  const batcher = createBatcher({
    limits: { ...batcherLimits, recordsMax: 1, ...limits },
    now: () => 7,
    onRecord: () => undefined,
    propose: (payload) =>
      new Promise((resolve, reject) => {
        open += 1;
        const record = decodeRecord(payload);
        proposals.push({
          record,
          apply() {
            open -= 1;
            resolve(applied(record));
          },
          fail(error) {
            open -= 1;
            reject(error);
          },
        });
      }),
  });
  function applied({ time, requests }: Record): Applied {
    const outcomes = requests.map(({ eventDigests }) => {
      const count = eventDigests.length / 32;
      size += count;
      return { versionFirst: size - count, count, kind: 'logged' } as const;
    });
    const digest = new Uint8Array(32);
    const snapshot = {
      version: size - 1,
      eventDigest: digest,
      historyDigest: digest,
      hyperDigest: digest,
      time,
    };
    return { snapshot, outcomes };
  }
  return { batcher, proposals, open: () => open };
}

function request(count: number, mark = 1): AddRequest {
  return { key: undefined, eventDigests: new Uint8Array(count * 32).fill(mark) };
}

it('sends the first request at once, and gathers what comes while it is on its way', async () => {
  const { batcher, proposals } = openBench();
  const first = batcher.add(request(1));
  await turn();
  expect(proposals).toHaveLength(1);
  const later = [1, 2, 3].map((mark) => batcher.add(request(2, mark)));
  await turn();
  expect(proposals).toHaveLength(1);
  proposals[0]!.apply();
  expect(await first).toMatchObject({ versionFirst: 0, count: 1, snapshotVersion: 0 });
  // Who was answered may go with them, within a turn.
  await turn();
  expect(proposals).toHaveLength(1);
  later.push(batcher.add(request(1, 4)));
  await turn();
  expect(proposals).toHaveLength(2);
  expect(proposals[1]!.record).toMatchObject({ time: 7 });
  expect(proposals[1]!.record.requests.map(({ eventDigests }) => eventDigests[0])).toEqual([1, 2, 3, 4]);
  proposals[1]!.apply();
  const answers = await Promise.all(later);
  expect(answers.map(({ versionFirst }) => versionFirst)).toEqual([1, 3, 5, 7]);
  expect(answers.map(({ snapshotVersion }) => snapshotVersion)).toEqual([7, 7, 7, 7]);
});

it('sends together what arrives together', async () => {
  const { batcher, proposals } = openBench();
  const answers = [1, 2, 3].map((mark) => batcher.add(request(1, mark)));
  await turn();
  expect(proposals.map(({ record }) => record.requests.length)).toEqual([3]);
  proposals[0]!.apply();
  await Promise.all(answers);
});

it('has no more records on their way than it may', async () => {
  const { batcher, proposals, open } = openBench({ recordsMax: 2 });
  const answers: Promise<unknown>[] = [];
  for (let mark = 1; mark <= 5; mark++) {
    answers.push(batcher.add(request(10_000, mark)));
    await turn();
    expect(open()).toBe(Math.min(mark, 2));
  }
  for (let next = 0; next < 5; next++) {
    proposals[next]!.apply();
    await turn();
    await turn();
  }
  await Promise.all(answers);
  expect(proposals.map(({ record }) => record.requests[0]!.eventDigests[0])).toEqual([1, 2, 3, 4, 5]);
});

it('answers a full queue with busy, and takes nothing of the request', async () => {
  const { batcher, proposals } = openBench({ eventsMax: 3 });
  const first = batcher.add(request(1));
  await turn();
  const second = batcher.add(request(3, 2));
  expect(batcher.waiting).toEqual({ events: 3, bytes: 3 * 32 + 16 });
  expect(await codeOfPromise(batcher.add(request(1, 3)))).toBe('busy');
  proposals[0]!.apply();
  await first;
  await turn();
  await turn();
  expect(proposals[1]!.record.requests).toHaveLength(1);
  proposals[1]!.apply();
  expect(await second).toMatchObject({ versionFirst: 1, count: 3 });
});

it('says busy after the time limit when the request still waits, and outcome-unknown when it was proposed', async () => {
  const { batcher, proposals } = openBench({ waitMs: 30 });
  const proposed = codeOfPromise(batcher.add(request(1)));
  await turn();
  const waiting = codeOfPromise(batcher.add(request(1, 2)));
  expect(await proposed).toBe('outcome-unknown');
  expect(await waiting).toBe('busy');
  // The record goes its way; what gave up is not in the next one.
  proposals[0]!.apply();
  await turn();
  const last = batcher.add(request(1, 3));
  await turn();
  expect(proposals[1]!.record.requests.map(({ eventDigests }) => eventDigests[0])).toEqual([3]);
  proposals[1]!.apply();
  expect(await last).toMatchObject({ versionFirst: 1 });
});

it('gives everybody of a refused record its reason, and goes on with the next', async () => {
  const { batcher, proposals } = openBench();
  const refused = [1, 2].map((mark) => codeOfPromise(batcher.add(request(1, mark))));
  await turn();
  proposals[0]!.fail(new QedError('store-full', 'no space'));
  expect(await Promise.all(refused)).toEqual(['store-full', 'store-full']);
  const next = batcher.add(request(1));
  await turn();
  proposals[1]!.apply();
  expect(await next).toMatchObject({ versionFirst: 0 });
});

it('answers everybody before it is closed, and takes nothing more', async () => {
  const { batcher, proposals } = openBench();
  const first = batcher.add(request(1));
  await turn();
  const second = batcher.add(request(1, 2));
  let isClosed = false;
  const closed = batcher.close().then(() => (isClosed = true));
  expect(await codeOfPromise(batcher.add(request(1, 3)))).toBe('store-closed');
  proposals[0]!.apply();
  await first;
  await turn();
  await turn();
  expect(isClosed).toBe(false);
  proposals[1]!.apply();
  await second;
  await closed;
});
