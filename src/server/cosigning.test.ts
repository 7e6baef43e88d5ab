// Cosigning between nodes in one process, whose ways to each other can be cut, slowed and lied on.
import { digestOf } from '../../testutils/balloon-twin.ts';
import { codeOfPromise } from '../../testutils/code-of.ts';
import { memoryBalloon } from '../../testutils/memory-balloon.ts';
import { batchOf, keyOfSeed } from '../../testutils/signed-log.ts';
import { checkSignedSnapshot } from '../balloon/verify.ts';
import { signSnapshot } from '../balloon/sign.ts';
import { type SignedSnapshot } from '../balloon/proof.ts';
import { openCosignatures } from '../crypto/checkpoint.ts';
import { nativeVerify, publicKeyOf } from '../crypto/ed25519-node.ts';
import { decodeUtf8, encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { nativeHash } from '../crypto/hash-node.ts';
import { thresholdPolicy } from '../crypto/policy.ts';
import { createCosigner, createLogSigner } from '../crypto/signer.ts';
import { QedError } from '../errors.ts';
import { type Peer } from '../replication/transport.ts';
import { createCosigning, knownLines, verifierOf, withLines, type Cosigning } from './cosigning.ts';

const origin = 'example.org/log';
const signer = createLogSigner(origin, keyOfSeed(1));
const NOW = 1_700_000_000_500;
const batches = [['a', 'b'], ['c'], ['d', 'e', 'f']].map((names) => names.map(digestOf));

interface Place {
  readonly nodeId: string;
  readonly cosigning: Cosigning;
  readonly grow: () => void;
  readonly signed: (version: number) => SignedSnapshot;
  readonly disagreements: (string | undefined)[];
}

type Way = (peer: Place, path: string) => Promise<Uint8Array>;

/** So many nodes of one log, node i with a key of its own, each with what `logs` says it holds. */
function cluster(
  count: number,
  way: Way = straight,
  logs: readonly (readonly Uint8Array[])[][] = [],
): readonly Place[] {
  const places: Place[] = [];
  const names = Array.from({ length: count }, (_, at) => `node${at}`);
  const members = names.map((nodeId, at) => ({ nodeId, nodeKey: publicKeyOf(keyOfSeed(100 + at)) }));
  for (const [at, nodeId] of names.entries()) {
    const { balloon, apply } = memoryBalloon(nativeHash);
    const log = logs[at] ?? batches;
    const ends = new Set<number>();
    const disagreements: (string | undefined)[] = [];
    let applied = 0;
    const cosigning = createCosigning({
      origin,
      cosigner: createCosigner(`${origin}/${nodeId}`, keyOfSeed(100 + at)),
      rootAt: (size) =>
        Promise.resolve(ends.has(size) ? balloon.snapshotAt(size - 1).snapshot.historyDigest : undefined),
      members: () => members,
      peers: () =>
        names
          .filter((name) => name !== nodeId)
          .map((name): Peer => ({
            nodeId: name,
            fetch: (path) =>
              way(
                places.find((place) => place.nodeId === name)!,
                path,
              ),
          })),
      onDisagreement: (other) => disagreements.push(other),
      now: () => NOW,
      waitMs: 50,
    });
    function grow(): void {
      apply(batchOf(applied + 1, log[applied]!));
      applied += 1;
      ends.add(balloon.size);
      cosigning.notify();
    }
    places.push({
      nodeId,
      cosigning,
      grow,
      disagreements,
      signed: (version) => signSnapshot(balloon, version, signer),
    });
  }
  return places;
}

async function straight(peer: Place, path: string): Promise<Uint8Array> {
  const bytes = await peer.cosigning.answer(path);
  if (bytes === undefined) throw new QedError('not-found', `nothing at ${path}`);
  return bytes;
}

const namesIn = ({ lines }: { readonly lines: string }): string[] =>
  Array.from(lines.matchAll(/^— \S+\/(node\d)/gm), ([, name]) => name!).sort();
const growAll = (places: readonly Place[], times = 1): void => {
  for (let i = 0; i < times; i++) for (const place of places) place.grow();
};

it('carries the cosignatures of all, which a verifier with a policy takes', async () => {
  const places = cluster(3);
  growAll(places, 3);
  const signed = places[0]!.signed(5);
  const collected = await places[0]!.cosigning.collect(signed);
  const { lines } = collected;
  expect(namesIn(collected)).toEqual(['node0', 'node1', 'node2']);
  const verifiers = [0, 1, 2].map((at) =>
    verifierOf(origin, { nodeId: `node${at}`, nodeKey: publicKeyOf(keyOfSeed(100 + at)) }),
  );
  const policy = thresholdPolicy(verifiers, 3);
  const found = checkSignedSnapshot(
    withLines(signed, lines),
    { log: signer.verifier, policy },
    { hash: nativeHash, verify: nativeVerify },
  );
  expect(found.quorumTime).toBe(1_700_000_000);
  expect(namesIn({ lines: places[1]!.cosigning.known(withLines(signed, lines)) })).toEqual([
    'node0',
    'node1',
    'node2',
  ]);
});

it('carries its own where it is alone', async () => {
  const places = cluster(1);
  growAll(places);
  expect(namesIn(await places[0]!.cosigning.collect(places[0]!.signed(1)))).toEqual(['node0']);
});

it('waits for a peer that is a moment behind, not for one that stays behind', async () => {
  const [a, b, c] = cluster(3) as [Place, Place, Place];
  growAll([a, b, c]);
  a.grow();
  const collecting = a.cosigning.collect(a.signed(2));
  b.grow();
  expect(namesIn(await collecting)).toEqual(['node0', 'node1']);
  expect(
    await codeOfPromise(c.cosigning.answer(`cosign/3/${encodeHex(a.signed(2).snapshot.historyDigest)}`)),
  ).toBe('busy');
});

it('does not wait again for a peer that was silent, and takes it back when it answers', async () => {
  let isSilent = true;
  const places = cluster(3, (peer, path) =>
    isSilent && peer.nodeId === 'node2' ? new Promise(() => undefined) : straight(peer, path),
  );
  growAll(places, 3);
  const collect = async () => {
    const from = performance.now();
    const collected = await places[0]!.cosigning.collect(places[0]!.signed(5));
    const took = performance.now() - from;
    return { names: namesIn(collected), isComplete: collected.isComplete, took };
  };
  const first = await collect();
  expect(first.names).toEqual(['node0', 'node1']);
  expect(first.took).toBeGreaterThan(40);
  expect(first.isComplete).toBe(false);
  const second = await collect();
  expect(second.names).toEqual(['node0', 'node1']);
  expect(second.isComplete).toBe(true);
  isSilent = false;
  await collect();
  expect((await collect()).names).toEqual(['node0', 'node1', 'node2']);
});

it('says so when a peer has another root, and neither cosigns what the other has', async () => {
  const other = [batches[0]!, [digestOf('x')], batches[2]!];
  const [a, b, c] = cluster(3, straight, [batches, other, batches]) as [Place, Place, Place];
  growAll([a, b, c], 2);
  expect(namesIn(await a.cosigning.collect(a.signed(2)))).toEqual(['node0', 'node2']);
  expect(a.disagreements).toEqual(['node1']);
  expect(b.disagreements).toEqual([undefined]);
  // It is said once.
  await a.cosigning.collect(a.signed(2));
  expect([a.disagreements.length, b.disagreements.length]).toEqual([1, 1]);
  // Where they agree they go on.
  expect(namesIn(await a.cosigning.collect(a.signed(1)))).toEqual(['node0', 'node1', 'node2']);
});

it('never cosigns two roots of one size, nor what is not the end of a batch', async () => {
  const [a, b] = cluster(2) as [Place, Place];
  growAll([a, b], 3);
  const cosigned = new Map<number, Set<string>>();
  for (let size = 1; size <= 7; size++) {
    for (const root of [a.signed(0), a.signed(1), a.signed(2), a.signed(5)].map(({ snapshot }) =>
      encodeHex(snapshot.historyDigest),
    )) {
      const bytes = await b.cosigning.answer(`cosign/${size}/${root}`).catch(() => undefined);
      if (bytes !== undefined) cosigned.set(size, (cosigned.get(size) ?? new Set()).add(root));
    }
  }
  expect([...cosigned.keys()]).toEqual([2, 3, 6]);
  for (const roots of cosigned.values()) expect(roots.size).toBe(1);
});

describe('what a peer answers', () => {
  const root = 'ab'.repeat(32);
  it.each([
    'cosign',
    'cosign/',
    'cosign/0/',
    `cosign/0/${root}`,
    `cosign/01/${root}`,
    `cosign/1/${root.toUpperCase()}`,
    `cosign/1/${root}/x`,
    'head/1',
    '',
  ])('is no cosignature for %j', async (path) => {
    const places = cluster(1);
    growAll(places);
    expect(await places[0]!.cosigning.answer(path)).toBeUndefined();
  });

  it.each<[string, (line: string, at: Place) => string]>([
    ['nothing', () => ''],
    ['no line', () => 'x'],
    ['two lines', (line) => line + line],
    ['a line without its end', (line) => line.slice(0, -1)],
    [
      "another node's line",
      (_line, { signed }) =>
        createCosigner(`${origin}/node2`, keyOfSeed(102)).cosign(
          { origin, size: 6, root: signed(5).snapshot.historyDigest },
          1,
        ),
    ],
    [
      'a line of another checkpoint',
      (_line, { signed }) =>
        createCosigner(`${origin}/node1`, keyOfSeed(101)).cosign(
          { origin, size: 6, root: signed(2).snapshot.historyDigest },
          1,
        ),
    ],
    ['a signature of the log', (_line, { signed }) => signed(5).checkpoint.split('\n\n')[1]!],
  ])('is checked before it is passed on: %s', async (_name, lie) => {
    const places = cluster(2, async (peer, path) =>
      encodeUtf8(lie(decodeUtf8(await straight(peer, path))!, peer)),
    );
    growAll(places, 3);
    expect(namesIn(await places[0]!.cosigning.collect(places[0]!.signed(5)))).toEqual(['node0']);
    expect(places[0]!.disagreements).toEqual(['node1']);
  });
});

it('leaves lines of strangers, and false ones, out of what it keeps', () => {
  const places = cluster(2);
  growAll(places, 3);
  const signed = places[0]!.signed(5);
  const head = { origin, size: 6, root: signed.snapshot.historyDigest };
  const good = createCosigner(`${origin}/node1`, keyOfSeed(101)).cosign(head, 7);
  const stranger = createCosigner('example.net/stranger', keyOfSeed(9)).cosign(head, 7);
  const forged = createCosigner(`${origin}/node0`, keyOfSeed(100)).cosign({ ...head, size: 5 }, 7);
  const note = signed.checkpoint + stranger + forged + good;
  expect(places[0]!.cosigning.known({ ...signed, checkpoint: note })).toBe(good);
  expect(knownLines(note, [])).toBe('');
  const verifier = createCosigner(`${origin}/node1`, keyOfSeed(101)).verifier;
  expect(openCosignatures(withLines(signed, good).checkpoint, [verifier])).toHaveLength(1);
});
