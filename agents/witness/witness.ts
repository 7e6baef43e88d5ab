// A witness: cosigns checkpoints of one log, each only if it grew out of the one that it cosigned before (C2SP tlog-witness v1.0.0).
//
// It promises: it never cosigns two checkpoints that contradict each other, nor a smaller one after a larger one, through crashes as well. For that
// every request is judged and stored before the next one is looked at, and what is answered lies on the disk. A crash in between has cost the answer and
// nothing else: the log asks again, is told the size, and gets its cosignature.
import { type Primitives } from '../../src/balloon/verify.ts';
import { openCheckpoint, type Checkpoint } from '../../src/crypto/checkpoint.ts';
import {
  concat,
  decodeBase64,
  decodeDecimal,
  decodeUtf8,
  encodeUtf8,
  equalBytes,
} from '../../src/crypto/encoding.ts';
import { DIGEST_BYTES } from '../../src/crypto/hash.ts';
import { openNote, parseNote, formatNote } from '../../src/crypto/note.ts';
import { type Cosigner } from '../../src/crypto/signer.ts';
import { type Verifier } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { checkConsistency } from '../../src/history/check.ts';
import { emptyRoot } from '../../src/history/merkle.ts';
import { type Store } from '../../src/storage/store.ts';

/** A checkpoint that the log has signed, and the note that says so, without the signatures of others. */
export interface SignedCheckpoint extends Checkpoint {
  readonly note: string;
}

export interface WitnessOptions {
  /** Undefined while it is not known: then the witness knows no log. */
  readonly log: () => Verifier | undefined;
  readonly cosigner: Cosigner;
  /** It must be durable. Keys begin with w. */
  readonly store: Store;
  readonly primitives: Primitives;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Asked before a checkpoint is cosigned that grew out of the last one. Without it that is enough. */
  readonly vouch?: Vouch | undefined;
  /** Every checkpoint that the log has signed, before it is judged: anybody may bring one. */
  readonly onSigned?: ((checkpoint: SignedCheckpoint) => void) | undefined;
  /** The log has signed two trees of one size. */
  readonly onConflict: (known: SignedCheckpoint, other: SignedCheckpoint) => void;
}

/** `later`: it may yet be found good; `never`: it was found false. */
export type Vouch = (checkpoint: Checkpoint) => Promise<'yes' | 'later' | 'never'>;

export type WitnessAnswer =
  | { readonly status: 200; readonly lines: string }
  /** The size that was cosigned last, which the request should have named. */
  | { readonly status: 409; readonly size: number }
  | { readonly status: 400 | 403 | 404 | 409 | 422 | 503; readonly why: string };

export interface Witness {
  readonly addCheckpoint: (body: Uint8Array) => Promise<WitnessAnswer>;
  /** The size that was cosigned last, by this process or one before it; 0 before the first. */
  readonly size: () => number;
}

interface AddCheckpoint {
  readonly oldSize: number;
  readonly proof: readonly Uint8Array[];
  readonly note: string;
}

const PREFIX = 0x77; // w
const PROOF_LINES_MAX = 63;

export function openWitness(options: WitnessOptions): Witness {
  const { store, primitives, vouch = () => Promise.resolve('yes' as const) } = options;
  let last: Promise<unknown> = Promise.resolve();

  function latestOf(log: Verifier): SignedCheckpoint | undefined {
    const value = store.get(keyOf(log));
    try {
      return value && openSigned(value, log, primitives);
    } catch (cause) {
      throw new QedError('store-corrupt', 'what this witness cosigned last was damaged or edited', { cause });
    }
  }

  /** One after the other: each sees what the one before has stored. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  }

  async function judge(log: Verifier, request: AddCheckpoint, signed: SignedCheckpoint) {
    const latest = latestOf(log);
    if (latest?.size === signed.size && !equalBytes(latest.root, signed.root))
      options.onConflict(latest, signed);
    const refusal = refusalOf(request, signed, latest, primitives);
    if (refusal) return refusal;
    const verdict = await vouch(signed);
    if (verdict === 'later') return refused(503, 'this witness has not checked that checkpoint yet');
    if (verdict === 'never') return refused(422, 'this witness has found that checkpoint to be false');
    await store.write([{ type: 'put', key: keyOf(log), value: encodeUtf8(signed.note) }]);
    const lines = options.cosigner.cosign(signed, Math.floor(options.now() / 1000));
    return { status: 200, lines } as const;
  }

  return {
    async addCheckpoint(body) {
      let request: AddCheckpoint;
      let signed: SignedCheckpoint;
      const log = options.log();
      try {
        request = parseAddCheckpoint(body);
        const [origin] = parseNote(request.note).text.split('\n', 1);
        if (log === undefined || origin !== log.name)
          return refused(404, 'this witness does not know that log');
        signed = openSigned(request.note, log, primitives);
      } catch (error) {
        return formRefusal(error);
      }
      options.onSigned?.(signed);
      if (request.oldSize > signed.size) return refused(400, 'the old size is larger than the checkpoint');
      return inTurn(() => judge(log, request, signed));
    },
    size() {
      const log = options.log();
      return (log && latestOf(log)?.size) ?? 0;
    },
  };
}

/** Takes a request apart; its note is not looked at. */
function parseAddCheckpoint(body: Uint8Array): AddCheckpoint {
  const text = decodeUtf8(body);
  const end = text?.indexOf('\n\n') ?? -1;
  if (text === undefined || end < 0) throw malformed('it has no empty line before the checkpoint');
  const [old = '', ...lines] = text.slice(0, end).split('\n');
  const oldSize = old.startsWith('old ') ? decodeDecimal(old.slice(4)) : undefined;
  if (oldSize === undefined) throw malformed('its first line is not "old" and a decimal size');
  if (lines.length > PROOF_LINES_MAX) throw malformed(`its proof has more than ${PROOF_LINES_MAX} lines`);
  const proof = lines.map((line) => {
    const hash = decodeBase64(line);
    if (hash?.length !== DIGEST_BYTES)
      throw malformed('a line of its proof is not the base64 of a hash of 32 bytes');
    return hash;
  });
  return { oldSize, proof, note: text.slice(end + 2) };
}

/** The checkpoint of a note that the log has signed; nothing of it is read before. */
function openSigned(note: string | Uint8Array, log: Verifier, { verify }: Primitives): SignedCheckpoint {
  const checkpoint = openCheckpoint(note, log, verify);
  const { text, signatures } = openNote(note, [log], verify);
  return { ...checkpoint, note: formatNote(text, signatures) };
}

/** What the protocol answers to a request that may not be cosigned. */
function refusalOf(
  { oldSize, proof }: AddCheckpoint,
  { size, root }: SignedCheckpoint,
  latest: SignedCheckpoint | undefined,
  { hash }: Primitives,
): WitnessAnswer | undefined {
  const known = latest?.size ?? 0;
  if (oldSize !== known) return { status: 409, size: known };
  if (latest && size === known && !equalBytes(latest.root, root))
    return refused(409, 'another tree of that size was cosigned');
  const isEmpty = size === 0 && !equalBytes(root, emptyRoot(hash));
  const follows = latest && known > 0 && size >= known;
  const holds = follows ? checkConsistency(hash, known, latest.root, size, root, proof) : proof.length === 0;
  return holds && !isEmpty
    ? undefined
    : refused(422, 'the consistency proof does not lead from the old tree to the new one');
}

/** A request that has not the documented form, or a checkpoint that the log has not signed. */
function formRefusal(error: unknown): WitnessAnswer {
  if (!(error instanceof QedError)) throw error;
  const isUnsigned = error.code === 'note-unsigned' || error.code === 'signature-invalid';
  if (isUnsigned) return refused(403, 'no signature on the checkpoint is by the log');
  if (error.kind === 'bug') throw error;
  return refused(400, error.message);
}

function refused(status: 400 | 403 | 404 | 409 | 422 | 503, why: string): WitnessAnswer {
  return { status, why };
}

function malformed(why: string): QedError {
  return new QedError('bad-request', `the request is malformed: ${why}`);
}

function keyOf({ name }: Verifier): Uint8Array {
  return concat(Uint8Array.of(PREFIX), encodeUtf8(name));
}
