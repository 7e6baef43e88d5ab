// How a node that lags too far gets what it missed: not a database, but the entries, 72 bytes an event, from any peer. What a peer sends counts for
// nothing by itself. The peer's signed head must verify under the log's key, what is here already must be a beginning of it, and every
// piece is tied to it by a consistency proof before any of it is adopted; then the batches go through the same trees as ever and must lead to
// the hyper digests in their entries. So a lying peer costs time and nothing else: another one is asked, and what was adopted stays.
//
// Two things rest on the peer's word, as the order of the log rests on the quorum's: which record brought a batch, and the table of request keys.
//
//   head/<index>          the state once record <index> is applied: u32 length ‖ JSON of the signed snapshot, or nothing ‖ request rows
//   ends/<from>/<to>      the batches that end in versions from … to - 1, a number of them: u64 version ‖ u64 index each
//   entries/<from>/<to>   the entries of versions from … to - 1, 72 bytes each
//   proof/<start>/<end>   the consistency proof between two sizes: 32 bytes each
//   digests/<version>     history digest ‖ hyper digest after that version, for compare.ts
import {
  readU64,
  U64_BYTES,
  concat,
  decodeDecimal,
  decodeUtf8,
  encodeU64,
  encodeUtf8,
} from '../crypto/encoding.ts';
import { type Verify } from '../crypto/ed25519.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { type Verifier } from '../crypto/vkey.ts';
import { REQUEST_ROW_BYTES, REQUESTS_MAX } from '../balloon/requests.ts';
import { formatSignedSnapshot, type SignedSnapshot, type Snapshot } from '../balloon/proof.ts';
import { verifySignedSnapshot } from '../balloon/verify.ts';
import { QedError } from '../errors.ts';
import { appendEntries } from '../history/append.ts';
import { checkConsistency } from '../history/check.ts';
import { ENTRY_BYTES } from '../history/entry.ts';
import { consistencyProof, entryRuns } from '../history/view.ts';
import {
  GROUP_EVENTS,
  type BatchEnd,
  type DurableBalloon,
  type ForeignBatch,
} from '../storage/durable-balloon.ts';
import { type Peer } from './transport.ts';

/** Entries asked for at a time: more than any batch holds. */
const PIECE_ENTRIES = 16_384;
const ENTRIES_MAX = 65_536;
const ENDS_MAX = 65_536;
const END_BYTES = 2 * U64_BYTES;
const PROOF_BYTES_MAX = 128 * DIGEST_BYTES;
const HEAD_JSON_BYTES_MAX = 64 * 1024;
const LENGTH_BYTES = 4;

// --- answering

export interface AnswersOptions {
  readonly durable: Pick<
    DurableBalloon,
    'balloon' | 'batchEnds' | 'requestRows' | 'isAdopting' | 'divergence'
  >;
  /** The signed snapshot of the batch that ends with the version. */
  readonly sign: (version: number) => SignedSnapshot;
  /** Resolves when all records up to the index are applied. */
  readonly reach: (index: number) => Promise<void>;
}

/** The answers to a peer's questions, to be given to the transport as `serve`. */
export function createCatchUpAnswers(
  options: AnswersOptions,
): (path: string, signal: AbortSignal) => Promise<Uint8Array | undefined> {
  const { durable } = options;
  const { balloon } = durable;
  return async (path) => {
    const [what, ...rest] = path.split('/');
    const [from = -1, to = -1, ...more] = rest.map((text) => decodeDecimal(text) ?? -1);
    if (more.length > 0 || from < 0) return undefined;
    // What this node says while it is no whole node itself would only mislead.
    if (durable.divergence) throw durable.divergence;
    if (durable.isAdopting) throw new QedError('busy', 'this node is catching up itself');
    if (what === 'head' && rest.length === 1) return answerHead(options, from);
    if (what === 'digests' && rest.length === 1) return digestsAt(balloon, from);
    if (to < from || to > balloon.size || rest.length !== 2) return undefined;
    if (what === 'ends') return encodeEnds(await durable.batchEnds(from, to, ENDS_MAX));
    if (what === 'entries' && to - from <= ENTRIES_MAX)
      return concat(...Array.from(entryRuns(balloon.view, from, to), ({ entries }) => entries));
    return what === 'proof' && from > 0 ? concat(...consistencyProof(balloon.view, from, to)) : undefined;
  };
}

async function answerHead({ durable, sign, reach }: AnswersOptions, index: number): Promise<Uint8Array> {
  await reach(index);
  // In one go from here on, so that the table and the head belong together.
  const { snapshot } = durable.balloon;
  const json = snapshot
    ? encodeUtf8(JSON.stringify(formatSignedSnapshot(sign(snapshot.version))))
    : new Uint8Array(0);
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, json.length);
  return concat(length, json, durable.requestRows());
}

function digestsAt(balloon: DurableBalloon['balloon'], version: number): Uint8Array | undefined {
  if (version >= balloon.size) return undefined;
  const { historyDigest, hyperDigest } = balloon.snapshotAt(version).snapshot;
  return concat(historyDigest, hyperDigest);
}

function encodeEnds(ends: readonly BatchEnd[]): Uint8Array {
  return concat(...ends.flatMap(({ version, index }) => [encodeU64(version), encodeU64(index)]));
}

// --- asking

export interface CatchUpOptions {
  readonly durable: DurableBalloon;
  readonly peers: readonly Peer[];
  /** Everything up to this record is wanted at least. */
  readonly index: number;
  readonly log: Verifier;
  readonly hash: Hash;
  readonly verify: Verify;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: { readonly versions: number; readonly of: number }) => void;
}

interface Head {
  /** Undefined while the log is empty. */
  readonly snapshot: Snapshot | undefined;
  readonly size: number;
  readonly requestRows: Uint8Array;
}

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly ends: readonly BatchEnd[];
  readonly entries: Uint8Array;
  /** From `to` to the head. */
  readonly proof: readonly Uint8Array[];
}

/** Brings the database up to some peer's state and resolves with the index of the last record that it then holds, durably. */
export async function catchUp(options: CatchUpOptions): Promise<number> {
  let last: unknown = new QedError('unreachable', 'there is no peer to catch up from');
  for (const peer of options.peers) {
    try {
      await catchUpFrom(peer, options);
      return options.durable.balloon.appliedIndex;
    } catch (error) {
      last = error;
      if (options.signal.aborted || options.durable.divergence) break;
    }
  }
  throw last;
}

async function catchUpFrom(peer: Peer, options: CatchUpOptions): Promise<void> {
  const { durable, onProgress = () => undefined } = options;
  const { balloon } = durable;
  const head = await fetchHead(peer, options);
  await checkBeginning(peer, head, options);
  let next = balloon.size < head.size ? fetchPiece(peer, balloon.size, head, options.signal) : undefined;
  while (next) {
    const piece = await next;
    checkPiece(piece, head, options);
    // The next piece is on its way while this one is adopted. A failure shows when its turn comes.
    next = piece.to < head.size ? fetchPiece(peer, piece.to, head, options.signal) : undefined;
    next?.catch(() => undefined);
    await adoptPiece(piece, durable, options.signal);
    onProgress({ versions: piece.to, of: head.size });
  }
  if (!(await durable.endAdoption(head.requestRows))) throw nonsense(peer, 'its table of request keys');
}

async function fetchHead(peer: Peer, { index, log, hash, verify, signal }: CatchUpOptions): Promise<Head> {
  const bytesMax = LENGTH_BYTES + HEAD_JSON_BYTES_MAX + REQUESTS_MAX * REQUEST_ROW_BYTES;
  const bytes = await peer.fetch(`head/${index}`, { bytesMax, signal });
  const length =
    bytes.length < LENGTH_BYTES ? Infinity : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  const rowsAt = LENGTH_BYTES + length;
  if (rowsAt > bytes.length || length > HEAD_JSON_BYTES_MAX) throw nonsense(peer, 'its head');
  const requestRows = bytes.subarray(rowsAt);
  if (length === 0) return { snapshot: undefined, size: 0, requestRows };
  const json = parseJson(bytes.subarray(LENGTH_BYTES, rowsAt));
  const { snapshot } = verifySignedSnapshot(json, { log }, { hash, verify });
  return { snapshot, size: snapshot.version + 1, requestRows };
}

/** What is here already must be how the peer's log begins. If all peers say no, it is this node that is wrong. */
async function checkBeginning(
  peer: Peer,
  head: Head,
  { durable, hash, signal }: CatchUpOptions,
): Promise<void> {
  const { size, root } = durable.balloon.view.history;
  if (size > head.size) throw new QedError('unreachable', `${peer.nodeId} is behind this node`);
  if (size === 0 || !head.snapshot) return;
  const proof = await fetchProof(peer, size, head.size, signal);
  if (checkConsistency(hash, size, root, head.size, head.snapshot.historyDigest, proof)) return;
  throw new QedError(
    'consistency-mismatch',
    `the ${size} events of this node are not how the log of ${peer.nodeId} begins`,
    {
      hint: 'If all peers say so, the data of this node is not that of its log: stop it, and qed rebuild.',
    },
  );
}

async function fetchPiece(peer: Peer, from: number, { size }: Head, signal: AbortSignal): Promise<Piece> {
  const ends = await fetchEnds(peer, from, size, signal);
  const to = ends.at(-1)!.version + 1;
  const bytesMax = (to - from) * ENTRY_BYTES;
  const [entries, proof] = await Promise.all([
    peer.fetch(`entries/${from}/${to}`, { bytesMax, signal }),
    fetchProof(peer, to, size, signal),
  ]);
  if (entries.length !== bytesMax) throw nonsense(peer, 'its entries');
  return { from, to, ends, entries, proof };
}

/** The batches of a piece: at least one ends within so many entries. */
async function fetchEnds(
  peer: Peer,
  from: number,
  size: number,
  signal: AbortSignal,
): Promise<readonly BatchEnd[]> {
  const to = Math.min(size, from + PIECE_ENTRIES);
  const bytes = await peer.fetch(`ends/${from}/${to}`, { bytesMax: PIECE_ENTRIES * END_BYTES, signal });
  const ends: BatchEnd[] = [];
  let before = { version: from - 1, index: 0 };
  for (let at = 0; at < bytes.length; at += END_BYTES) {
    const [version, index] = [readU64(bytes, at), readU64(bytes, at + U64_BYTES)];
    if (version === undefined || index === undefined) break;
    if (version <= before.version || version >= to || index <= before.index) break;
    before = { version, index };
    ends.push(before);
  }
  if (ends.length === 0 || ends.length * END_BYTES !== bytes.length) throw nonsense(peer, 'its batches');
  return ends;
}

async function fetchProof(
  peer: Peer,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  if (start === end) return [];
  const bytes = await peer.fetch(`proof/${start}/${end}`, { bytesMax: PROOF_BYTES_MAX, signal });
  const count = Math.ceil(bytes.length / DIGEST_BYTES);
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES));
}

/** Nothing of a piece is adopted unless all of it is under the signed head. */
function checkPiece(
  { from, to, entries, proof }: Piece,
  head: Head,
  { durable, hash }: CatchUpOptions,
): void {
  const { root } = appendEntries(hash, durable.balloon.view.history, entries).history;
  if (head.snapshot && checkConsistency(hash, to, root, head.size, head.snapshot.historyDigest, proof))
    return;
  throw new QedError(
    'history-mismatch',
    `the entries from version ${from} to ${to - 1} are not those of the signed head`,
  );
}

async function adoptPiece(
  { from, ends, entries }: Piece,
  durable: DurableBalloon,
  signal: AbortSignal,
): Promise<void> {
  const entriesOf = (start: number, end: number): Uint8Array =>
    entries.subarray((start - from) * ENTRY_BYTES, (end - from) * ENTRY_BYTES);
  let group: ForeignBatch[] = [];
  let [first, groupFirst] = [from, from];
  for (const { version, index } of ends) {
    group.push({ index, entries: entriesOf(first, version + 1) });
    first = version + 1;
    if (first - groupFirst < GROUP_EVENTS && version !== ends.at(-1)?.version) continue;
    signal.throwIfAborted();
    await durable.adopt(group);
    group = [];
    groupFirst = first;
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes) ?? '');
  } catch {
    return undefined;
  }
}

function nonsense({ nodeId }: Peer, what: string): QedError {
  return new QedError('server-failed', `${nodeId} sent something else than ${what}`);
}
