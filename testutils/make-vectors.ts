// Writes testutils/vectors/trees.json: batches with their digests, proofs that hold, and proofs that must be refused, for verifiers in
// any language. Run with `npm run vectors`; the result is the same every time.
import { writeFileSync } from 'node:fs';
import {
  formatMembershipProof,
  formatSnapshot,
  type MembershipProofJson,
  type Snapshot,
} from '../src/balloon/proof.ts';
import { decodeHex, encodeHex } from '../src/crypto/encoding.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { inclusionProof, rootAt } from '../src/history/view.ts';
import { HyperTree } from '../src/hyper/tree.ts';
import { memoryBalloon } from './memory-balloon.ts';
import { seededRandom } from './random.ts';
import { OWN_VECTORS, type TreeVectors } from './tree-vectors.ts';

const random = seededRandom(20_251_101);
const { balloon, apply } = memoryBalloon(nativeHash);
const vectors: TreeVectors = {
  about:
    'batches applied in order to an empty log; membership cases that must hold or be refused against the given snapshot; RFC 9162 inclusion ' +
    'and consistency proofs over the same entries; hyper roots after hand-made keys, added one by one',
  emptyHyperDigest: encodeHex(new HyperTree(nativeHash).root),
  emptyHistoryDigest: encodeHex(rootAt(balloon.view, 0)),
  batches: [],
  membership: [],
  inclusion: [],
  consistency: [],
  hyper: [],
};

const known: string[] = [];
let time = 1_750_000_000_000;
for (const count of [1, 1, 2, 3, 5, 1, 40, 200, 7, 256, 3]) {
  addBatch(count);
}
addHistoryProofs();
addHyperRoots();
writeFileSync(OWN_VECTORS, `${JSON.stringify(vectors, null, 1)}\n`);
console.log(
  `${OWN_VECTORS}: ${vectors.batches.length} batches, ${vectors.membership.length} membership cases`,
);

function addBatch(count: number): void {
  // Some events come again, within a batch and later.
  const digests = Array.from({ length: count }, () =>
    known.length > 0 && random.chance(0.1) ? random.pick(known) : encodeHex(random.bytes(32)),
  );
  known.push(...digests);
  time += random.below(3) * 500;
  const index = vectors.batches.length + 1;
  const snapshot = apply({ index, time, eventDigests: decodeHex(digests.join('')) ?? new Uint8Array(0) });
  vectors.batches.push({ digests, time, snapshot: formatSnapshot(snapshot) });
  const present = Array.from({ length: 4 }, () => random.pick(known));
  const absent = Array.from({ length: 3 }, () => encodeHex(random.bytes(32)));
  for (const eventDigest of [...present, ...absent]) addMembership(eventDigest, snapshot);
}

function addMembership(eventDigest: string, snapshot: Snapshot): void {
  const proof = formatMembershipProof(balloon.membership(decodeHex(eventDigest) ?? new Uint8Array(0)).proof);
  const add = (why: string, changed: MembershipProofJson, asked = eventDigest): void => {
    vectors.membership.push({
      why,
      eventDigest: asked,
      proof: changed,
      snapshot: formatSnapshot(snapshot),
      holds: why === 'holds',
    });
  };
  add('holds', proof);
  add('asked for another event', proof, encodeHex(random.bytes(32)));
  add('says the contrary', { ...proof, exists: !proof.exists });
  const { path, leaf } = proof.hyper;
  add('a sibling too many', { ...proof, hyper: { path: [...path, null], leaf } });
  if (path.length > 0) {
    add('a sibling missing', { ...proof, hyper: { path: path.slice(1), leaf } });
    add('a sibling changed', { ...proof, hyper: { path: path.with(0, encodeHex(random.bytes(32))), leaf } });
  }
  if (proof.entry && proof.history && proof.version !== null) {
    add('another version', { ...proof, version: proof.version + 1 });
    add('another time', { ...proof, entry: { ...proof.entry, time: proof.entry.time + 1 } });
    add('the history part left out', { ...proof, entry: null, history: null });
    add('a history hash too many', { ...proof, history: [...proof.history, eventDigest] });
    const claimed = { ...proof, exists: false, version: null, entry: null, history: null };
    add("absence by the event's own leaf", {
      ...claimed,
      hyper: { path, leaf: { eventDigest, version: proof.version } },
    });
    add('absence by an empty place with the real path', claimed);
    add('absence by an empty proof', { ...claimed, hyper: { path: [], leaf: null } });
  } else if (leaf) {
    add('absence by another leaf with another version', {
      ...proof,
      hyper: { path, leaf: { ...leaf, version: leaf.version + 1 } },
    });
    add('absence by an empty place where a leaf stands', { ...proof, hyper: { path, leaf: null } });
  }
}

function addHistoryProofs(): void {
  for (let i = 0; i < 30; i++) {
    const size = 1 + random.below(balloon.size);
    const index = random.below(size);
    const proof = inclusionProof(balloon.view, index, size).map(encodeHex);
    vectors.inclusion.push({ index, size, root: encodeHex(rootAt(balloon.view, size)), proof });
    const start = random.below(size);
    vectors.consistency.push({
      start,
      end: size - 1,
      startDigest: encodeHex(rootAt(balloon.view, start + 1)),
      endDigest: encodeHex(rootAt(balloon.view, size)),
      hashes: balloon.incremental(start, size - 1).hashes.map(encodeHex),
    });
  }
}

/** Keys that share 0, 255, 254, 128 and 7 bits with the first. */
function addHyperRoots(): void {
  const tree = new HyperTree(nativeHash);
  for (const [version, bit] of [undefined, 255, 254, 128, 7, 0].entries()) {
    const key = new Uint8Array(32);
    if (bit !== undefined) key[bit >> 3] = 0x80 >> (bit & 7);
    tree.stage(key, version);
    tree.commit();
    vectors.hyper.push({ key: encodeHex(key), version, root: encodeHex(tree.root) });
  }
}
