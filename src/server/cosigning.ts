// Cosigning: the nodes of a cluster vouch for what it publishes. Each cosigns with its own key a checkpoint that it has made itself, from the digests that it has
// computed itself; so a quorum of cosignatures says that so many machines, not only so many copies of a message, have come to the same log.
//
// It promises: this node never cosigns two roots of one size, since it cosigns only ends of batches that it has applied. Collecting takes a bounded time and
// delays nobody who adds: a peer that was silent the last time is asked, and not waited for. What a peer answers is checked against its pinned key
// and the checkpoint before it is passed on.
//
//   cosign/<size>/<root>   a peer's question: the cosignature line of the checkpoint of that size. Who has another root answers with `diverged`.
import { setTimeout as wait } from 'node:timers/promises';
import { openCosignatures, parseCheckpoint, type Checkpoint } from '../crypto/checkpoint.ts';
import { nativeVerify } from '../crypto/ed25519-node.ts';
import {
  decodeDecimal,
  decodeHex,
  decodeUtf8,
  encodeHex,
  encodeUtf8,
  equalBytes,
} from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { addSignatures, formatSignature, parseNote } from '../crypto/note.ts';
import { type Cosigner } from '../crypto/signer.ts';
import { COSIGNER_KEY, createVerifier, type Verifier } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { type SignedSnapshot } from '../balloon/proof.ts';
import { type MemberRecord } from '../replication/members.ts';
import { type Peer } from '../replication/transport.ts';
import { nodeName } from './identity.ts';

export interface CosigningOptions {
  readonly origin: string;
  readonly cosigner: Cosigner;
  /** The history digest of this node at the size, if one of its batches ends there; undefined if none does, or not yet. */
  readonly rootAt: (size: number) => Promise<Uint8Array | undefined>;
  readonly peers: () => readonly Peer[];
  readonly members: () => readonly Pick<MemberRecord, 'nodeId' | 'nodeKey'>[];
  /** A peer has come to another root than this node; undefined: a peer says so of this one. Said once, until they agree again. */
  readonly onDisagreement: (nodeId: string | undefined, size: number) => void;
  readonly onCollected?: (collected: { readonly cosignatures: number; readonly seconds: number }) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** How long a publication waits for its cosignatures. */
  readonly waitMs?: number | undefined;
}

export interface Collected {
  /** The cosignatures of this node and of the peers that answered in time, a line each. */
  readonly lines: string;
  /** Whether all answered that answered the last time. If not, they may do so in a moment. */
  readonly isComplete: boolean;
}

export interface Cosigning {
  readonly collect: (signedSnapshot: SignedSnapshot) => Promise<Collected>;
  /** The answer to a peer's question; undefined where it is none for us. */
  readonly answer: (path: string) => Promise<Uint8Array | undefined>;
  /** The cosignatures by nodes of this cluster, and by these others, that a published snapshot carries, each verified. */
  readonly known: (signedSnapshot: SignedSnapshot, others?: readonly Verifier[]) => string;
  /** More is applied: who waits for a size looks again. */
  readonly notify: () => void;
}

const WAIT_MS = 100;
const LINE_BYTES_MAX = 1_024;

export function createCosigning(options: CosigningOptions): Cosigning {
  const { origin, cosigner, rootAt, now, waitMs = WAIT_MS } = options;
  /** Peers whose last answer did not come in time. */
  const silent = new Set<string>();
  const disagreeing = new Set<string | undefined>();
  let growth = nextGrowth();

  const cosign = (checkpoint: Checkpoint): string => cosigner.cosign(checkpoint, Math.floor(now() / 1000));

  function noteDisagreement(nodeId: string | undefined, size: number): void {
    if (disagreeing.has(nodeId)) return;
    disagreeing.add(nodeId);
    options.onDisagreement(nodeId, size);
  }

  /** The followers learn a moment after the leader that a record is committed. */
  async function reached(size: number): Promise<Uint8Array | undefined> {
    const until = performance.now() + waitMs;
    for (;;) {
      // Taken before the look, so that nothing that is applied during it is missed.
      const { grown } = growth;
      const root = await rootAt(size);
      const left = until - performance.now();
      if (root !== undefined || left <= 0) return root;
      await within(left, grown);
    }
  }

  async function answer(path: string): Promise<Uint8Array | undefined> {
    const [what, decimal = '', hex = '', ...more] = path.split('/');
    const size = decodeDecimal(decimal);
    const asked = decodeHex(hex, DIGEST_BYTES);
    if (what !== 'cosign' || size === undefined || size === 0 || asked === undefined || more.length > 0)
      return undefined;
    const root = await reached(size);
    if (root === undefined)
      throw new QedError('busy', `no batch that ends with size ${size} is applied here`);
    if (equalBytes(root, asked)) {
      disagreeing.delete(undefined);
      return encodeUtf8(cosign({ origin, size, root }));
    }
    noteDisagreement(undefined, size);
    throw new QedError('diverged', `this node has another history digest at size ${size}`);
  }

  async function ask(
    peer: Peer,
    checkpoint: string,
    { size, root }: Checkpoint,
  ): Promise<string | undefined> {
    const member = options.members().find(({ nodeId }) => nodeId === peer.nodeId);
    try {
      const limits = { bytesMax: LINE_BYTES_MAX, timeoutMs: 10 * waitMs, isFrequent: true };
      const bytes = await peer.fetch(`cosign/${size}/${encodeHex(root)}`, limits);
      const line = member && checkedLine(bytes, checkpoint, verifierOf(origin, member));
      for (const set of [silent, disagreeing]) set.delete(peer.nodeId);
      return line;
    } catch (error) {
      const isOther = error instanceof QedError && /^(diverged|signature-invalid)$/.test(error.code);
      if (isOther) noteDisagreement(peer.nodeId, size);
      return undefined;
    }
  }

  /** Until all have answered that answered the last time, and not longer than the bound. */
  async function gather(checkpoint: string, head: Checkpoint): Promise<Collected> {
    let lines = cosign(head);
    let answered = 0;
    const peers = options.peers();
    const expected = peers.filter(({ nodeId }) => !silent.has(nodeId)).map(({ nodeId }) => nodeId);
    for (const { nodeId } of peers) silent.add(nodeId);
    const answers = peers.map(async (peer) => {
      const line = await ask(peer, checkpoint, head);
      if (line === undefined) return;
      lines += line;
      if (expected.includes(peer.nodeId)) answered += 1;
    });
    const timely = Promise.all(answers.filter((_, at) => expected.includes(peers[at]!.nodeId)));
    await within(waitMs, timely);
    return { lines, isComplete: answered === expected.length };
  }

  return {
    async collect(signedSnapshot) {
      const began = performance.now();
      const { checkpoint } = signedSnapshot;
      const head = parseCheckpoint(parseNote(checkpoint).text);
      const collected = await gather(checkpoint, head);
      const seconds = (performance.now() - began) / 1000;
      options.onCollected?.({ cosignatures: collected.lines.split('\n').length - 1, seconds });
      return collected;
    },
    answer,
    known({ checkpoint }, others = []) {
      const nodes = options.members().map((member) => verifierOf(origin, member));
      return knownLines(checkpoint, [...nodes, ...others]);
    },
    notify() {
      growth.tell();
      growth = nextGrowth();
    },
  };
}

/** The signed snapshot with further signature lines under its checkpoint. */
export function withLines(signedSnapshot: SignedSnapshot, lines: string): SignedSnapshot {
  if (lines === '') return signedSnapshot;
  return { ...signedSnapshot, checkpoint: addSignatures(signedSnapshot.checkpoint, lines) };
}

/** Those lines of a note that are cosignatures by one of these keys, each verified; others are left out. */
export function knownLines(note: string, verifiers: readonly Verifier[]): string {
  const { text, signatures } = parseNote(note);
  const lines = signatures.map((signature) => {
    const verifier = verifiers.find(({ name, id }) => name === signature.name && id === signature.id);
    const line = formatSignature(signature);
    return verifier && isBy(verifier, text, line) ? line : '';
  });
  return lines.join('');
}

/** The one line that a peer is to answer with. Whatever else it sends is refused. */
function checkedLine(bytes: Uint8Array, checkpoint: string, verifier: Verifier): string {
  const line = decodeUtf8(bytes) ?? '';
  const { text } = parseNote(checkpoint);
  if (line.indexOf('\n') === line.length - 1 && isBy(verifier, text, line)) return line;
  throw new QedError(
    'signature-invalid',
    `${verifier.name} answered with something else than its cosignature`,
  );
}

function isBy(verifier: Verifier, text: string, line: string): boolean {
  try {
    return openCosignatures(`${text}\n${line}`, [verifier], nativeVerify).length === 1;
  } catch {
    return false;
  }
}

/** The cosigner key of a member: its node key, under the name of its node. */
export function verifierOf(origin: string, member: Pick<MemberRecord, 'nodeId' | 'nodeKey'>): Verifier {
  return createVerifier(nodeName(origin, member.nodeId), COSIGNER_KEY, member.nodeKey);
}

function nextGrowth(): { readonly grown: Promise<void>; readonly tell: () => void } {
  let tell = (): void => undefined;
  const grown = new Promise<void>((resolve) => (tell = resolve));
  return { grown, tell };
}

/** Until it is there, or the time is up. */
async function within(milliseconds: number, what: Promise<unknown>): Promise<void> {
  const stop = new AbortController();
  const timeout = wait(milliseconds, undefined, { signal: stop.signal }).catch(() => undefined);
  await Promise.race([what, timeout]);
  stop.abort();
}
