// Comparing digests, as the leader does it now and then and when it is asked to. First it asks the others for theirs at its own last batch: when most
// voters agree with each other and not with it, it is the odd one out, and must not make the others stop. Otherwise its digests go
// through the log, and whoever reaches them with others of its own stops serving.
import { encodeComparison, type Comparison } from '../balloon/record.ts';
import { encodeHex, equalBytes } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { type DurableBalloon } from '../storage/durable-balloon.ts';
import { type ClusterLog } from './cluster-log.ts';
import { type Peer } from './transport.ts';

export interface CompareOptions {
  readonly log: Pick<ClusterLog, 'append' | 'peers' | 'members' | 'transferLeadership'>;
  readonly durable: Pick<DurableBalloon, 'balloon' | 'apply'>;
  readonly signal?: AbortSignal;
}

const DIGESTS_BYTES = 2 * DIGEST_BYTES;
const TIMEOUT_MS = 5_000;

/** Resolves when the comparison is in the log. Rejects with `diverged` when this node is the odd one out; then it has handed over. */
export async function compareDigests({ log, durable, signal }: CompareOptions): Promise<void> {
  const { snapshot } = durable.balloon;
  if (!snapshot) return;
  const voters = log
    .members()
    .filter(({ isVoter }) => isVoter)
    .map(({ nodeId }) => nodeId);
  const peers = log.peers().filter(({ nodeId }) => voters.includes(nodeId));
  const answers = await Promise.all(peers.map((peer) => askDigests(peer, snapshot.version, signal)));
  const others = majorityOf(answers, voters.length);
  if (!others || sameDigests(others, snapshot)) {
    await log.append(encodeComparison(snapshot), signal ? { signal } : {});
    return;
  }
  try {
    await durable.apply(durable.balloon.appliedIndex, others);
  } finally {
    await log.transferLeadership().catch(() => undefined);
  }
}

async function askDigests(
  peer: Peer,
  version: number,
  signal: AbortSignal | undefined,
): Promise<Comparison | undefined> {
  const limits = { bytesMax: DIGESTS_BYTES, timeoutMs: TIMEOUT_MS, signal };
  const bytes = await peer.fetch(`digests/${version}`, limits).catch(() => undefined);
  if (bytes?.length !== DIGESTS_BYTES) return undefined;
  return { version, historyDigest: bytes.slice(0, DIGEST_BYTES), hyperDigest: bytes.slice(DIGEST_BYTES) };
}

/** What more than half of all voters say alike. */
function majorityOf(answers: readonly (Comparison | undefined)[], voters: number): Comparison | undefined {
  const votes = new Map<string, Comparison[]>();
  for (const answer of answers) {
    if (!answer) continue;
    const key = encodeHex(answer.historyDigest) + encodeHex(answer.hyperDigest);
    votes.set(key, [...(votes.get(key) ?? []), answer]);
  }
  return [...votes.values()].find((same) => same.length * 2 > voters)?.[0];
}

function sameDigests(a: Comparison, b: Comparison): boolean {
  return equalBytes(a.historyDigest, b.historyDigest) && equalBytes(a.hyperDigest, b.hyperDigest);
}
