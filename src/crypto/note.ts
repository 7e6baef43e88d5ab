// Signed notes, C2SP signed-note v1.0.0: a text, an empty line, and lines with signatures of the text.
//
//   <text, ends in a newline>
//   <empty line>
//   — <key name> base64(key id ‖ signature)
//
// The last empty line ends the text. `openNote` gives the text only after a trusted key was found to have signed exactly it; nothing of the text
// is interpreted before. Lines of unknown keys are skipped. A line that names a trusted key (name and id) must verify, or the
// note is refused: such a line is damage or forgery. That holds for every line, so a key that occurs twice must be right twice;
// it counts once.
import { QedError } from '../errors.ts';
import {
  concat,
  decodeBase64,
  decodeUtf8,
  encodeBase64,
  encodeDecimal,
  encodeUtf8,
  isUnicode,
  readU64,
  U64_BYTES,
} from './encoding.ts';
import { portableVerify, SIGNATURE_BYTES, type Verify } from './ed25519.ts';
import { idBytes, isName, LOG_KEY, type Verifier } from './vkey.ts';

export const NOTE_BYTES_MAX = 1024 * 1024;
export const SIGNATURES_MAX = 100;
export const COSIGNATURE_BYTES = U64_BYTES + SIGNATURE_BYTES;

/** One signature line, taken apart. Nothing is known about it until it has been verified. */
export interface NoteSignature {
  readonly name: string;
  readonly id: number;
  /** For a log key 64 bytes; for a cosigner key 72: u64(time) before the Ed25519 signature. */
  readonly signature: Uint8Array;
}

export interface Note {
  readonly text: string;
  /** In the order of their lines. */
  readonly signatures: readonly NoteSignature[];
}

/** The note with only those signatures that are by the given keys: at least one, and each verified. */
export function openNote(
  note: string | Uint8Array,
  verifiers: readonly Verifier[],
  verify: Verify = portableVerify,
): Note {
  const { text, signatures } = parseNote(note);
  const verified = verifySignatures(text, signatures, verifiers, verify);
  if (verified.length === 0) {
    throw new QedError('note-unsigned', `none of the ${verifiers.length} trusted keys has signed the note`);
  }
  return { text, signatures: verified };
}

/** The signatures by the given keys, each verified; keys that did not sign are left out. One that is wrong refuses the note. */
export function verifySignatures(
  text: string,
  signatures: readonly NoteSignature[],
  verifiers: readonly Verifier[],
  verify: Verify,
): readonly NoteSignature[] {
  const known = new Map(verifiers.map((verifier) => [lineKey(verifier), verifier]));
  if (known.size !== verifiers.length) {
    throw new QedError('key-malformed', 'two of the trusted keys have the same name and id', {
      hint: 'List every key once. Two keys that share name and id by accident need another name.',
    });
  }
  return signatures.filter((signature) => {
    const verifier = known.get(lineKey(signature));
    if (verifier === undefined) return false;
    const message = signedMessage(verifier, text, signature.signature);
    const bare = signature.signature.subarray(-SIGNATURE_BYTES);
    if (message !== undefined && verify(verifier.publicKey, message, bare)) return true;
    throw new QedError('signature-invalid', `the signature of ${verifier.name} does not verify`);
  });
}

/** What `signature` must sign, or undefined if it does not have the form that the key's type asks for. */
function signedMessage({ type }: Verifier, text: string, signature: Uint8Array): Uint8Array | undefined {
  if (type === LOG_KEY) return signature.length === SIGNATURE_BYTES ? encodeUtf8(text) : undefined;
  const time = signature.length === COSIGNATURE_BYTES ? readU64(signature) : undefined;
  return time === undefined ? undefined : cosignedMessage(text, time);
}

/** What a cosigner signs (C2SP tlog-cosignature v1.0.1): the header keeps it apart from everything that a log key signs. */
export function cosignedMessage(text: string, timeSeconds: number): Uint8Array {
  return encodeUtf8(`cosignature/v1\ntime ${encodeDecimal(timeSeconds)}\n${text}`);
}

export function formatNote(text: string, signatures: readonly NoteSignature[]): string {
  const note = `${text}\n${signatures.map(formatSignature).join('')}`;
  // Our own reader is the judge of our own writer: it sees a text without its last newline, and limits.
  parseNote(note);
  return note;
}

/**
 * The note with further signature lines, as `formatSignature` writes them and witnesses send them. A line replaces the earlier one of the same
 * name and id. Nothing is verified here: verify with `openCosignatures` what comes from others, before passing it on.
 */
export function addSignatures(note: string, lines: string): string {
  const { text, signatures } = parseNote(note);
  const merged = new Map(signatures.map((signature) => [lineKey(signature), signature]));
  for (const signature of parseSignatures(lines)) merged.set(lineKey(signature), signature);
  return formatNote(text, [...merged.values()]);
}

/** One signature line with its newline. */
export function formatSignature({ name, id, signature }: NoteSignature): string {
  return `— ${name} ${encodeBase64(concat(idBytes(id), signature))}\n`;
}

/** Takes a note apart and checks its form, with all its signatures. The text must not be used before its signatures are verified. */
export function parseNote(note: string | Uint8Array): Note {
  const whole = noteText(note);
  const end = whole.lastIndexOf('\n\n');
  if (end < 0) throw malformed('it has no empty line before its signatures');
  return { text: whole.slice(0, end + 1), signatures: parseSignatures(whole.slice(end + 2)) };
}

function noteText(note: string | Uint8Array): string {
  // A caller in JavaScript hands on what a server sent, of whatever type.
  const isBytes = ArrayBuffer.isView(note) && note.BYTES_PER_ELEMENT === 1;
  if (typeof note !== 'string' && !isBytes) throw malformed('it is neither text nor bytes');
  // A string never has fewer UTF-8 bytes than UTF-16 units, so this keeps us from encoding a huge one.
  if (note.length > NOTE_BYTES_MAX) throw malformed(`it has more than ${NOTE_BYTES_MAX} bytes`);
  const text = typeof note === 'string' ? note : decodeUtf8(note);
  if (text === undefined || !isUnicode(text)) throw malformed('it is not UTF-8');
  const bytes = typeof note === 'string' ? encodeUtf8(note) : note;
  if (bytes.length > NOTE_BYTES_MAX) throw malformed(`it has more than ${NOTE_BYTES_MAX} bytes`);
  if (bytes.some((byte) => byte < 0x20 && byte !== 0x0a)) throw malformed('it holds a control character');
  return text;
}

function parseSignatures(block: string): readonly NoteSignature[] {
  if (!block.endsWith('\n')) throw malformed('its last line has no newline');
  const lines = block.slice(0, -1).split('\n');
  if (lines.length > SIGNATURES_MAX) throw malformed(`it has more than ${SIGNATURES_MAX} signatures`);
  return lines.map(parseSignature);
}

function parseSignature(line: string): NoteSignature {
  const [dash, name, base64, ...rest] = line.split(' ');
  const bytes = base64 === undefined ? undefined : decodeBase64(base64);
  // Four bytes of key id, and a signature of at least one.
  if (dash !== '—' || name === undefined || !isName(name) || !bytes || bytes.length < 5 || rest.length > 0) {
    throw malformed('a line is not of the form "— name base64"');
  }
  const id = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return { name, id, signature: bytes.subarray(4) };
}

/** A name holds no space, so that no two pairs of name and id give the same key. */
function lineKey({ name, id }: { readonly name: string; readonly id: number }): string {
  return `${name} ${id}`;
}

function malformed(why: string): QedError {
  return new QedError('note-malformed', `the signed note is malformed: ${why}`);
}
