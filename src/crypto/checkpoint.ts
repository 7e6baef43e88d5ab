// Checkpoints, C2SP tlog-checkpoint v1.0.0: a signed note that fixes a whole log in three lines.
//
//   <origin>
//   <size, decimal>
//   <root, base64>
//
// The standard allows further lines, which no witness vouches for. Our logs never write them and we refuse them: what is
// signed is what is checked. Verify, then parse: size and root are read only from a text that the log's key has signed.
// Cosignatures (C2SP tlog-cosignature v1.0.1, type 0x04) say that a node or witness saw this checkpoint at a time.
import { QedError } from '../errors.ts';
import { decodeBase64, decodeDecimal, encodeBase64, encodeDecimal, isSize, readU64 } from './encoding.ts';
import { portableVerify, type Verify } from './ed25519.ts';
import { DIGEST_BYTES } from './hash.ts';
import { openNote, parseNote, verifySignatures } from './note.ts';
import { checkName, COSIGNER_KEY, isName, LOG_KEY, type Verifier } from './vkey.ts';

export interface Checkpoint {
  /** The name of the log, and of its key. */
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

export interface Cosignature {
  /** The name and id of the cosigner's key. */
  readonly name: string;
  readonly id: number;
  /** Unix time in seconds. */
  readonly time: number;
}

/** The checkpoint in a note, once the log's key is found to have signed it and its origin is the log's name. */
export function openCheckpoint(
  note: string | Uint8Array,
  log: Verifier,
  verify: Verify = portableVerify,
): Checkpoint {
  if (log.type !== LOG_KEY) {
    throw new QedError('key-malformed', `${log.name} is the key of a cosigner, not of a log`);
  }
  const checkpoint = parseCheckpoint(openNote(note, [log], verify).text);
  if (checkpoint.origin !== log.name) {
    throw new QedError('origin-mismatch', `the checkpoint is not of ${log.name}, whose key signed it`);
  }
  return checkpoint;
}

/**
 * Which of the cosigners have cosigned, each once, with the latest time if it did so more than once. Says nothing about the log: that is for
 * `openCheckpoint`. A cosignature that names a known key and does not verify refuses the note.
 */
export function openCosignatures(
  note: string | Uint8Array,
  cosigners: readonly Verifier[],
  verify: Verify = portableVerify,
): readonly Cosignature[] {
  const log = cosigners.find(({ type }) => type !== COSIGNER_KEY);
  if (log) throw new QedError('key-malformed', `${log.name} is the key of a log, not of a cosigner`);
  const { text, signatures } = parseNote(note);
  const latest = new Map<string, Cosignature>();
  for (const { name, id, signature } of verifySignatures(text, signatures, cosigners, verify)) {
    const key = `${name} ${id}`;
    latest.set(key, { name, id, time: Math.max(readU64(signature)!, latest.get(key)?.time ?? 0) });
  }
  return [...latest.values()];
}

/** The text that is signed. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  checkName(origin);
  if (!isSize(size))
    throw new QedError('version-malformed', 'the size of a checkpoint is an integer from 0 to 2^53 - 1');
  if (root.length !== DIGEST_BYTES) {
    throw new QedError('digest-malformed', `the root of a checkpoint has 32 bytes, not ${root.length}`);
  }
  return `${origin}\n${encodeDecimal(size)}\n${encodeBase64(root)}\n`;
}

/** Reads the text of a note that has been verified. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, decimal, base64, end, ...rest] = text.split('\n');
  const size = decodeDecimal(decimal ?? '');
  const root = decodeBase64(base64 ?? '');
  if (origin === undefined || !isName(origin))
    throw malformed('its origin is empty or holds spaces or plus signs');
  if (size === undefined) throw malformed('its size is not a canonical decimal below 2^53');
  if (root?.length !== DIGEST_BYTES) throw malformed('its root is not the canonical base64 of 32 bytes');
  if (end !== '' || rest.length > 0) throw malformed('it has not exactly three lines');
  return { origin, size, root };
}

function malformed(why: string): QedError {
  return new QedError('note-malformed', `the checkpoint is malformed: ${why}`);
}
