// A hyper tree that is not derived from the log: it takes a batch for another one. Everything else about it is right, so a log over it signs
// whatever it comes to, and proves it.
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { concat } from '../../src/crypto/encoding.ts';
import { DIGEST_BYTES } from '../../src/crypto/hash.ts';
import { HyperTree } from '../../src/hyper/tree.ts';

export interface Staged {
  readonly keys: readonly Uint8Array[];
  readonly versionFirst: number;
}

/** Told what belongs into the tree, it answers with what goes there. */
export type Lie = (batch: Staged) => Staged;

export class LyingTree extends HyperTree {
  readonly #lie: Lie;

  constructor(lie: Lie) {
    super(nativeHash);
    this.#lie = lie;
  }

  override stage(bytes: Uint8Array, versionFirst: number): Uint8Array {
    const keys = Array.from({ length: bytes.length / DIGEST_BYTES }, (_, at) =>
      bytes.slice(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES),
    );
    const lie = this.#lie({ keys, versionFirst });
    return super.stage(concat(...lie.keys), lie.versionFirst);
  }
}

/** What can be wrong with a map, all from version `from` on. */
export const lies = {
  /** The last event of each batch is left out. */
  omission: (from) => (batch) => whenFrom(from, batch, { keys: batch.keys.slice(0, -1) }),
  /** Every event gets a later version than it has. */
  version: (from) => (batch) => whenFrom(from, batch, { versionFirst: batch.versionFirst + 1 }),
  /** An event that nobody logged stands in the place of the last one. */
  ghost: (from) => (batch) => whenFrom(from, batch, { keys: [...batch.keys.slice(0, -1), GHOST] }),
  /** An event that nobody logged is there as well. */
  extra: (from) => (batch) => whenFrom(from, batch, { keys: [...batch.keys, GHOST] }),
} as const satisfies Record<string, (from: number) => Lie>;

export const GHOST = new Uint8Array(DIGEST_BYTES).fill(0x67);

function whenFrom(from: number, batch: Staged, lie: Partial<Staged>): Staged {
  return batch.versionFirst < from ? batch : { ...batch, ...lie };
}
