// The one history that the monitor has verified: its head, and what it has met on the way. Every signed state is held against it: of one size there may be one
// root, and of two sizes the larger must have grown out of the smaller, by a proof that any node of the log may give.
//
// It promises: a node that answers wrongly is told apart from a log that contradicts itself, and both from nodes that do not answer. One good proof is enough,
// whoever gave it and whatever others say: a proof cannot be good by mistake. Only when no node has one, and one has shown something that does not
// fit, is the log accused; with evidence that convicts it, if there is any to be had.
import { splitView, type Evidence } from '../../src/balloon/evidence.ts';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives } from '../../src/balloon/verify.ts';
import { equalBytes } from '../../src/crypto/encoding.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { type Store } from '../../src/storage/store.ts';
import { troubleOf, type AskLog } from '../ask.ts';
import { keepHead, readHead } from '../head.ts';
import { isConclusive, type Prove } from '../prove.ts';

/** A node that may be asked for proofs. */
export interface Prover {
  readonly url: string;
  readonly ask: Pick<AskLog, 'covering'>;
  readonly prove: Prove;
}

export interface HistoryOptions {
  readonly log: Verifier;
  readonly primitives: Primitives;
  /** Keeps the head. */
  readonly state: Store;
  /** Those that answered last come first. */
  readonly provers: () => readonly Prover[];
  /** The newest state up to a version that was met before, if any is kept. */
  readonly before: (version: number) => Promise<SignedSnapshot | undefined>;
}

export type Judgement =
  /** `liars` gave a proof that does not hold, where another node gave one that does. */
  | { readonly kind: 'agrees'; readonly liars: readonly string[] }
  | { readonly kind: 'contradicts'; readonly known: SignedSnapshot; readonly evidence: Evidence }
  /** No node has a proof, and none has shown anything that is false. */
  | { readonly kind: 'unproven'; readonly error: QedError };

export interface History {
  readonly head: SignedSnapshot | undefined;
  /** The signature must have been checked. */
  readonly judge: (signed: SignedSnapshot) => Promise<Judgement>;
  /** A state of that version that was judged before, if it is remembered. */
  readonly known: (version: number) => SignedSnapshot | undefined;
}

/** So many states are known again without being proven again. */
const KNOWN_MAX = 4_096;

export function openHistory(options: HistoryOptions): History {
  const { log, primitives, state } = options;
  let head = readHead(state, log, primitives);
  const known = new Map<number, SignedSnapshot>();
  let last: Promise<unknown> = Promise.resolve();
  if (head) remember(head);

  function remember(signed: SignedSnapshot): void {
    known.set(signed.snapshot.version, signed);
    if (known.size <= KNOWN_MAX) return;
    for (const oldest of known.keys()) {
      known.delete(oldest);
      return;
    }
  }

  async function take(signed: SignedSnapshot): Promise<void> {
    remember(signed);
    if (head && head.snapshot.version >= signed.snapshot.version) return;
    await keepHead(state, signed);
    head = signed;
  }

  async function judgeNow(signed: SignedSnapshot): Promise<Judgement> {
    const reference = known.get(signed.snapshot.version) ?? head;
    const judgement =
      reference === undefined
        ? { kind: 'agrees' as const, liars: [] }
        : await join(reference, signed, options);
    if (judgement.kind === 'agrees') await take(signed);
    const isAnswered = judgement.kind === 'unproven' && judgement.error.kind !== 'world';
    return isAnswered ? ((await judgeByEarlier(signed)) ?? judgement) : judgement;
  }

  /** Nodes that show less than the head cannot prove anything about it; about what lies before that they can. */
  async function judgeByEarlier(signed: SignedSnapshot): Promise<Judgement | undefined> {
    const { version } = signed.snapshot;
    for (const upTo of [version, version - 1]) {
      const earlier = await options.before(upTo);
      if (earlier === undefined) return undefined;
      const judgement = await join(earlier, signed, options);
      if (judgement.kind === 'contradicts') return judgement;
      if (earlier.snapshot.version < version) return undefined;
    }
    return undefined;
  }

  return {
    get head() {
      return head;
    },
    known: (version) => known.get(version),
    judge(signed) {
      // One after the other: each is held against the head that the one before left.
      const judged = last.then(() => judgeNow(signed));
      last = judged.catch(() => undefined);
      return judged;
    },
  };
}

function splitOf(log: Verifier, known: SignedSnapshot, other: SignedSnapshot): Judgement {
  return { kind: 'contradicts', known, evidence: splitView(log, known.checkpoint, other.checkpoint) };
}

/** Whether both are of one history, as the nodes prove it. */
async function join(
  known: SignedSnapshot,
  signed: SignedSnapshot,
  { log, primitives, provers }: HistoryOptions,
): Promise<Judgement> {
  const accusations: { readonly url: string; readonly evidence: Evidence }[] = [];
  let error = new QedError('unreachable', 'no node of the log is known that could prove anything');
  if (known.snapshot.version === signed.snapshot.version) {
    const isSame = equalBytes(known.snapshot.historyDigest, signed.snapshot.historyDigest);
    return isSame ? { kind: 'agrees', liars: [] } : splitOf(log, known, signed);
  }
  const asked = provers();
  for (const { url, prove } of asked) {
    const found = await unlessSilent(() => prove(known, signed));
    // What a node says about the question tells more than that another one is gone.
    if (found instanceof QedError) error = error.kind === 'world' ? found : error;
    else if (found === undefined) return { kind: 'agrees', liars: accusations.map((one) => one.url) };
    else accusations.push({ url, evidence: found });
  }
  const [accusation] = accusations;
  if (accusation === undefined) return { kind: 'unproven', error };
  const proven =
    accusations.find(({ evidence }) => isConclusive(evidence)) ??
    (await convict([known, signed], asked, log, primitives));
  return { kind: 'contradicts', known, evidence: (proven ?? accusation).evidence };
}

/** A proof that leads nowhere convicts nobody. What the log has signed around either state may. */
async function convict(
  states: readonly SignedSnapshot[],
  provers: readonly Prover[],
  log: Verifier,
  primitives: Primitives,
): Promise<{ readonly evidence: Evidence } | undefined> {
  for (const { ask, prove } of provers) {
    for (const one of states) {
      const found = await unlessSilent(async () => {
        const covering = await ask.covering(one.snapshot.version);
        checkSignedSnapshot(covering, { log }, primitives);
        return prove(one, covering);
      });
      if (found !== undefined && !(found instanceof QedError) && isConclusive(found))
        return { evidence: found };
    }
  }
  return undefined;
}

/** What a node fails to say is an error to be told of, unless it is ours. */
async function unlessSilent<Answer>(question: () => Promise<Answer>): Promise<Answer | QedError> {
  try {
    return await question();
  } catch (error) {
    troubleOf(error);
    if (error instanceof QedError) return error;
    throw error;
  }
}
