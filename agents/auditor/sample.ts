// Light coverage (--sample): the heads of the log and nothing behind them. Each head must have grown out of the one before, by the log's own proof, and random
// events are asked for. Under load some heads in between are left out. That catches a rewritten history and two views of it, for a few kilobytes a minute. It does not catch a hyper tree that does not follow
// from the log, but by luck: an event that is missing there shows only when just that event is asked for.
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { type Primitives } from '../../src/balloon/verify.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { readEventAnswer } from '../../src/client/answers.ts';
import { type Store } from '../../src/storage/store.ts';
import { accusationOf } from '../accuse.ts';
import { type AlertInput } from '../alerts.ts';
import { type AskLog } from '../ask.ts';
import { keepHead, readHead } from '../head.ts';
import { type Copy, type Picked } from './copy.ts';
import { type Prove } from '../prove.ts';

export interface SampleOptions {
  readonly log: Verifier;
  readonly ask: AskLog;
  readonly prove: Prove;
  readonly state: Store;
  readonly primitives: Primitives;
  readonly raise: (alert: AlertInput) => void;
  readonly below: (below: number) => number;
  readonly now: () => number;
  /** Between one proof and the next. */
  readonly restMs?: number;
}

const REST_MS = 1_000;

export function openSample({
  log,
  ask,
  prove,
  state,
  primitives,
  raise,
  below,
  now,
  restMs = REST_MS,
}: SampleOptions): Copy {
  let head = readHead(state, log, primitives);
  let comparedAt = -Infinity;

  /** True when both are of one history. */
  async function join(signed: SignedSnapshot): Promise<boolean> {
    const evidence = head && (await prove(head, signed));
    if (evidence === undefined) return true;
    raise(accusationOf({ verifier: log }, evidence, [signed.snapshot.version]));
    return false;
  }

  async function pick(): Promise<Picked | undefined> {
    if (head === undefined) return undefined;
    const version = below(head.snapshot.version + 1);
    const { eventDigest } = readEventAnswer(await ask.event(version));
    return { eventDigest, version, isFirst: false };
  }

  return {
    get size() {
      return head === undefined ? 0 : head.snapshot.version + 1;
    },
    get head() {
      return head;
    },
    holdsAll: false,
    rootAt: () => undefined,
    restMs,
    async compare(signed) {
      if (now() - comparedAt < restMs) return true;
      comparedAt = now();
      return join(signed);
    },
    async advance(target) {
      if (!(await join(target))) return 'refused';
      await keepHead(state, target);
      head = target;
      return 'grown';
    },
    pick,
    figures: () => ({ coverage: 'sample' }),
    close: () => Promise.resolve(),
  };
}
