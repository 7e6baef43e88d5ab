// What became of a load: reads the entries back, rebuilds the history tree over them from its definition, and compares with everything that was
// acknowledged and signed. Every acknowledged event must be in the log exactly once, at the version that was told, and every snapshot that was ever
// signed must be the root of the log's beginning of that length, which also means that no two of them contradict each other.
import { hash as nodeHash } from 'node:crypto';
import { type SignedSnapshot } from '../../src/balloon/proof.ts';
import { checkSignedSnapshot } from '../../src/balloon/verify.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { encodeHex } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { createClient } from '../../src/client/client.ts';
import { QedError } from '../../src/errors.ts';
import { formatTilePath } from '../../src/history/served.ts';
import { urlOf, type Cluster, type ClusterNode } from './layout.ts';
import { type Load } from './load.ts';
import { signedOf } from './views.ts';

export interface Verdict {
  readonly acknowledged: number;
  /** Acknowledged and not in the log. */
  readonly lost: number;
  /** In the log more than once. */
  readonly doubled: number;
  /** Signed snapshots that were checked. */
  readonly checkpoints: number;
  readonly size: number;
  /** In words; empty when all is well. */
  readonly problems: readonly string[];
}

const WIDTH = 256;
const ENTRY = 72;
const PREFIX = 2;
const FETCH_MS = 30_000;
const SAID_MAX = 20;
/** How many of the acknowledged events each node is asked to prove. */
const PROOFS = 50;

/** `since`: a version before the load began. The nodes must have agreed on their digests before. */
export async function judge(
  cluster: Cluster,
  load: Pick<Load, 'acknowledged' | 'snapshots' | 'problems'>,
  since: number,
): Promise<Verdict> {
  const problems = [...load.problems];
  const [first] = cluster.nodes;
  const latest = await signedOf(cluster, first!, 'latest');
  const size = latest.version + 1;
  const wanted = new Map([[size, encodeHex(latest.historyDigest)]]);
  for (const [version, signed] of load.snapshots) {
    if (checkSigned(cluster, signed, problems))
      wanted.set(version + 1, encodeHex(signed.snapshot.historyDigest));
  }
  const places = await readLog(first!, Math.floor(since / WIDTH) * WIDTH, size, (at, root) => {
    const asked = wanted.get(at);
    wanted.delete(at);
    if (asked !== undefined && asked !== root())
      problems.push(`the snapshot signed at version ${at - 1} is not of this log`);
  });
  for (const at of wanted.keys())
    problems.push(`a snapshot was signed at version ${at - 1}; the log does not go so far`);
  let [lost, doubled] = [0, 0];
  for (const [digest, version] of load.acknowledged) {
    const found = places.get(digest) ?? [];
    if (found.length === 0) lost += 1;
    if (found.length > 1) doubled += 1;
    if (found.length !== 1 || found[0] !== version)
      problems.push(`event ${digest} was told version ${version} and is at ${found.join(' and ') || 'none'}`);
  }
  await Promise.all(cluster.nodes.map((node) => askForProofs(cluster, node, load.acknowledged, problems)));
  return {
    acknowledged: load.acknowledged.size,
    lost,
    doubled,
    checkpoints: load.snapshots.size,
    size,
    problems: problems.slice(0, SAID_MAX),
  };
}

/** Throws when the entries that the node hands out, or the digests that it signs, are not those that another node signs. */
export async function checkServed(cluster: Cluster, node: ClusterNode, other: ClusterNode): Promise<void> {
  const own = await signedOf(cluster, node, 'latest');
  const wanted = await signedOf(cluster, other, own.version);
  let served = '';
  await readLog(node, 0, own.version + 1, (size, root) => {
    if (size === own.version + 1) served = root();
  });
  const digests = [encodeHex(own.historyDigest), encodeHex(wanted.historyDigest), served];
  if (own.version === wanted.version && new Set(digests).size === 1) return;
  throw new QedError(
    'diverged',
    `${node.nodeId} serves another log than ${other.nodeId} up to version ${own.version}`,
  );
}

function checkSigned({ vkey }: Cluster, signed: SignedSnapshot, problems: string[]): boolean {
  try {
    checkSignedSnapshot(signed, { log: parseVkey(vkey) }, { hash: nativeHash, verify: nativeVerify });
    return true;
  } catch (error) {
    problems.push(`the snapshot of version ${signed.snapshot.version} does not verify: ${String(error)}`);
    return false;
  }
}

async function askForProofs(
  cluster: Cluster,
  node: ClusterNode,
  acknowledged: ReadonlyMap<string, number>,
  problems: string[],
): Promise<void> {
  const client = createClient({
    endpoints: [urlOf(node)],
    // This node is judged, not those that it names.
    discover: false,
    apiKey: cluster.apiKey,
    trust: cluster.vkey,
    primitives: { hash: nativeHash, verify: nativeVerify },
  });
  const step = Math.max(1, Math.floor(acknowledged.size / PROOFS));
  for (const [at, [digest, version]] of [...acknowledged].entries()) {
    if (at % step !== 0) continue;
    try {
      const proven = await client.membership({ eventDigest: Buffer.from(digest, 'hex') });
      if (proven.version !== version)
        problems.push(`${node.nodeId} proves event ${digest} at ${String(proven.version)}, not ${version}`);
    } catch (error) {
      problems.push(
        `${node.nodeId} does not prove event ${digest}: ${error instanceof QedError ? error.message : String(error)}`,
      );
    }
  }
}

/** Where each event digest is in the log from version `from` on. `onSize` hears of every size that the tree goes through, and may ask for its root. */
async function readLog(
  node: ClusterNode,
  from: number,
  size: number,
  onSize: (size: number, root: () => string) => void,
): Promise<Map<string, number[]>> {
  const places = new Map<string, number[]>();
  const peaks = await peaksBefore(node, from);
  for (let first = from; first < size; first += WIDTH) {
    const width = Math.min(WIDTH, size - first);
    const bundle = await fetchTile(node, 'entries', first / WIDTH, width, PREFIX + ENTRY);
    for (let i = 0; i < width; i++) {
      const entry = bundle.subarray(i * (PREFIX + ENTRY) + PREFIX, (i + 1) * (PREFIX + ENTRY));
      const digest = entry.toString('hex', 0, 32);
      places.set(digest, [...(places.get(digest) ?? []), first + i]);
      addPeak(peaks, { hash: sha256(Buffer.of(0), entry), size: 1 });
      onSize(first + i + 1, () => rootOf(peaks).toString('hex'));
    }
  }
  return places;
}

/** A full subtree at the right edge of the tree. */
interface Peak {
  readonly hash: Buffer;
  readonly size: number;
}

/** RFC 9162: two neighbours of the same size become one. */
function addPeak(peaks: Peak[], peak: Peak): void {
  let grown = peak;
  while (peaks.at(-1)?.size === grown.size) {
    const left = peaks.pop()!;
    grown = { hash: sha256(Buffer.of(1), left.hash, grown.hash), size: 2 * grown.size };
  }
  peaks.push(grown);
}

function rootOf(peaks: readonly Peak[]): Buffer {
  const [last, ...before] = peaks.map(({ hash }) => hash).reverse();
  return before.reduce((right, left) => sha256(Buffer.of(1), left, right), last ?? sha256());
}

/** `from` is a multiple of the width, so what lies before is whole tiles of the level above. */
async function peaksBefore(node: ClusterNode, from: number): Promise<Peak[]> {
  const peaks: Peak[] = [];
  const count = from / WIDTH;
  for (let first = 0; first < count; first += WIDTH) {
    const width = Math.min(WIDTH, count - first);
    const tile = await fetchTile(node, 1, first / WIDTH, width, 32);
    for (let i = 0; i < width; i++)
      addPeak(peaks, { hash: tile.subarray(i * 32, (i + 1) * 32), size: WIDTH });
  }
  return peaks;
}

async function fetchTile(
  node: ClusterNode,
  level: number | 'entries',
  index: number,
  width: number,
  each: number,
): Promise<Buffer> {
  const path = formatTilePath({ level, index, width });
  const answer = await fetch(`${urlOf(node)}/${path}`, { signal: AbortSignal.timeout(FETCH_MS) });
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (answer.ok && bytes.length === width * each) return bytes;
  throw new QedError(
    'server-failed',
    `${node.nodeId} answered ${answer.status} with ${bytes.length} bytes for ${path}`,
  );
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  return nodeHash('sha256', Buffer.concat(parts), 'buffer');
}
