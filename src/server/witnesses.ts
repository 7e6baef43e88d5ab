// Asks outside witnesses to cosign what is about to be published: the client's side of C2SP tlog-witness. A policy says who they are, where they are asked, and
// how many have to vouch.
//
// It promises: a cosignature is passed on only after it was verified against the witness's key and this checkpoint. Without a quorum of the policy nothing is
// published, unless the operator has said that publishing goes on then (fail-open). Everything is bounded: the time, the requests to each witness, and
// how often one is asked that does not answer well. Adds never wait for any of it.
//
// A witness keeps the size that it cosigned last and wants the proof from there. What it was is remembered; where it is not known, or another leader was
// faster, the witness says so (409) and is asked again.
import { setTimeout as wait } from 'node:timers/promises';
import { type IncrementalProof, type SignedSnapshot } from '../balloon/proof.ts';
import { nativeVerify } from '../crypto/ed25519-node.ts';
import { decodeDecimal, decodeUtf8, encodeBase64, encodeUtf8 } from '../crypto/encoding.ts';
import { addSignatures } from '../crypto/note.ts';
import { checkPolicy, type Policy } from '../crypto/policy.ts';
import { formatVkey, type Verifier } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { knownLines, withLines } from './cosigning.ts';

/** Sends a POST and reads the whole answer, of which it takes some kilobytes only; follows no redirection. Rejects when there is no answer. */
export type Post = (
  url: string,
  body: Uint8Array,
  signal: AbortSignal,
) => Promise<{ readonly status: number; readonly bytes: Uint8Array }>;

export interface WitnessesOptions {
  readonly policy: Policy;
  readonly post: Post;
  readonly incremental: (start: number, end: number) => IncrementalProof;
  /** Publishes without a quorum as well. */
  readonly isOpen: boolean;
  readonly onAnswer: (name: string, outcome: WitnessOutcome) => void;
  readonly onQuorum: (outcome: 'reached' | 'missed') => void;
  /** A witness that did well does so no more; and each time that one refuses. */
  readonly onTrouble: (name: string, error: QedError) => void;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** From 0 up to 1. */
  readonly jitter: () => number;
  readonly waitMs?: number | undefined;
}

/** silent: no usable answer; refused: it answered that it does not cosign, or with what is no cosignature. */
export type WitnessOutcome = 'cosigned' | 'refused' | 'silent';

export interface Witnesses {
  /** More lines for a snapshot that carries `lines` already. `cosignatures-missing` where a quorum is needed and there is none. */
  readonly ask: (signedSnapshot: SignedSnapshot, lines: string) => Promise<string>;
}

interface Witness {
  readonly verifier: Verifier;
  readonly url: string;
  /** What it cosigned last, as far as is known. */
  size: number;
  isBusy: boolean;
  failures: number;
  notBefore: number;
}

const WAIT_MS = 5_000;
const BACKOFF_MS = 1_000;
const BACKOFF_MS_MAX = 60_000;
/** Once for the size that is remembered, once for the one that it names, once more if that changed meanwhile. */
const TRIES = 3;

/** Refuses a policy that could never be met: one about other logs, or whose witnesses cannot be asked. */
export function checkWitnessPolicy(policy: Policy, log: Verifier): void {
  const vkeys = policy.logs.map(({ verifier }) => formatVkey(verifier));
  if (vkeys.length > 0 && !vkeys.includes(formatVkey(log)))
    throw new QedError('option-malformed', `--witness-policy: it is not about this log, ${formatVkey(log)}`);
  for (const { verifier, url } of policy.witnesses) {
    if (url === undefined || (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol))) continue;
    throw new QedError('option-malformed', `--witness-policy: ${url} of ${verifier.name} is not an http URL`);
  }
}

export function createWitnesses(options: WitnessesOptions): Witnesses {
  const { policy, now, waitMs = WAIT_MS } = options;
  const witnesses = policy.witnesses.flatMap(({ verifier, url }): Witness[] =>
    url === undefined ? [] : [{ verifier, url, size: 0, isBusy: false, failures: 0, notBefore: -Infinity }],
  );

  async function submit(witness: Witness, { snapshot, checkpoint }: SignedSnapshot): Promise<string> {
    const { verifier } = witness;
    const url = `${witness.url.replace(/\/+$/, '')}/add-checkpoint`;
    for (let tries = 1; ; tries++) {
      const body = encodeUtf8(
        formatRequest(witness.size, snapshot.version + 1, checkpoint, options.incremental),
      );
      const signal = AbortSignal.timeout(waitMs);
      const answer = await options.post(url, body, signal);
      const text = decodeUtf8(answer.bytes) ?? '';
      if (answer.status === 200) {
        const lines = linesBy(verifier, checkpoint, text);
        witness.size = snapshot.version + 1;
        return lines;
      }
      const size = answer.status === 409 ? decodeDecimal(text.replace(/\n$/, '')) : undefined;
      if (size === undefined || size === witness.size || size > snapshot.version + 1 || tries === TRIES) {
        throw refusalOf(verifier, answer.status, text);
      }
      witness.size = size;
    }
  }

  async function askOne(witness: Witness, signedSnapshot: SignedSnapshot): Promise<string> {
    const { name } = witness.verifier;
    witness.isBusy = true;
    try {
      const lines = await submit(witness, signedSnapshot);
      witness.failures = 0;
      options.onAnswer(name, 'cosigned');
      return lines;
    } catch (thrown) {
      const error =
        thrown instanceof QedError
          ? thrown
          : new QedError('unreachable', `the witness ${name} did not answer: ${String(thrown)}`, {
              cause: thrown,
            });
      options.onAnswer(name, error.code === 'unreachable' ? 'silent' : 'refused');
      if (witness.failures === 0 || error.code !== 'unreachable') options.onTrouble(name, error);
      const backoff = Math.min(BACKOFF_MS * 2 ** witness.failures, BACKOFF_MS_MAX);
      witness.failures += 1;
      witness.notBefore = now() + backoff * (0.5 + options.jitter() / 2);
      return '';
    } finally {
      witness.isBusy = false;
    }
  }

  function hasQuorum(signedSnapshot: SignedSnapshot, lines: string): boolean {
    try {
      checkPolicy(withLines(signedSnapshot, lines).checkpoint, policy, nativeVerify);
      return true;
    } catch (error) {
      if (error instanceof QedError && error.code === 'cosignatures-missing') return false;
      throw error;
    }
  }

  return {
    async ask(signedSnapshot, lines) {
      let gathered = lines;
      const stop = new AbortController();
      const ready = witnesses.filter(({ isBusy, notBefore }) => !isBusy && now() >= notBefore);
      const asked = ready.map(async (witness) => {
        const more = await askOne(witness, signedSnapshot);
        gathered += more;
        if (hasQuorum(signedSnapshot, gathered)) stop.abort();
      });
      const timeout = wait(waitMs, undefined, { signal: stop.signal }).catch(() => undefined);
      await Promise.race([Promise.all(asked), timeout]);
      stop.abort();
      const isReached = hasQuorum(signedSnapshot, gathered);
      options.onQuorum(isReached ? 'reached' : 'missed');
      if (isReached || options.isOpen) return gathered;
      throw new QedError(
        'cosignatures-missing',
        `no quorum of witnesses has cosigned version ${signedSnapshot.snapshot.version}: it is not published yet`,
        { hint: 'It is tried again. --witness-fail-open publishes without them.' },
      );
    },
  };
}

function formatRequest(
  oldSize: number,
  size: number,
  note: string,
  incremental: WitnessesOptions['incremental'],
): string {
  const hashes = oldSize > 0 && oldSize < size ? incremental(oldSize - 1, size - 1).hashes : [];
  return `old ${oldSize}\n${hashes.map((hash) => `${encodeBase64(hash)}\n`).join('')}\n${note}`;
}

/** What a witness sent, as far as it is its cosignature of this note. Lines of others are no concern of ours. */
function linesBy(verifier: Verifier, note: string, answer: string): string {
  let lines = '';
  try {
    lines = knownLines(addSignatures(note, answer), [verifier]);
  } catch {
    // Then it is none.
  }
  if (lines !== '') return lines;
  throw new QedError(
    'signature-invalid',
    `${verifier.name} answered with something else than its cosignature`,
  );
}

function refusalOf({ name }: Verifier, status: number, text: string): QedError {
  const said = text
    .slice(0, 200)
    .replace(/\p{Control}/gu, ' ')
    .trim();
  const message = `the witness ${name} answered ${status}: ${said}`;
  return status >= 500 || status === 429
    ? new QedError('unreachable', message)
    : new QedError('server-failed', message);
}
