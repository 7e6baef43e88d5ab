// The balloon on a store: plan, one atomic write, commit. And recovery, which is the same path: open the trees from the stored bytes,
// load the image of the hyper tree, replay the entries after it, and compare with the digest that the last entry carries.
//
// It promises: when `apply` resolves, the record is written as the store promises, and visible; until then nobody sees a part of it.
// When a write fails its outcome is unknown: nothing of it is shown, and every later `apply` is refused until the log is opened again.
import { Balloon, batchKey, batchKeyVersion } from '../balloon/balloon.ts';
import { type Snapshot } from '../balloon/proof.ts';
import { rebuildHyper } from '../balloon/rebuild.ts';
import { type Record } from '../balloon/record.ts';
import { Requests, requestsFrom, requestsTo, type Outcome } from '../balloon/requests.ts';
import { type Hash } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';
import { type HistoryView } from '../history/view.ts';
import { type HyperTree } from '../hyper/tree.ts';
import { openImageWriter, readImage, setImageAside, type ImageRead, type ImageWriter } from './image.ts';
import { type Store, type Write } from './store.ts';

export interface DurableBalloonOptions {
  readonly store: Store;
  readonly hash: Hash;
  /** Where the image of the hyper tree is kept. Without it every opening replays all entries. */
  readonly imagePath?: string;
  /** False where the records can be had again from a log of one's own: then batches are written without waiting for the disk. */
  readonly durable?: boolean;
  /** What an operator should know: progress of a long opening, an image that is damaged or cannot be written. */
  readonly onEvent?: (event: BalloonEvent) => void;
}

export type BalloonEvent =
  | { readonly kind: 'rebuilding'; readonly versions: number; readonly of: number }
  | { readonly kind: 'image-damaged'; readonly why: string; readonly aside: string }
  | { readonly kind: 'image-failed'; readonly error: unknown };

export interface Applied {
  /** The state after the record. */
  readonly snapshot: Snapshot;
  /** What became of each request of the record. */
  readonly outcomes: readonly Outcome[];
}

export interface DurableBalloon {
  /** For questions. Only `apply` may change it. */
  readonly balloon: Omit<Balloon, 'plan' | 'commit' | 'discard'>;
  /** Applies the next record of the replicated log; one at a time. `alsoWrite` goes into the same atomic write. */
  readonly apply: (index: number, record: Record, alsoWrite?: readonly Write[]) => Promise<Applied>;
  /** The version that ends the batch of `version`: its snapshot is the first that covers it. */
  readonly batchEnd: (version: number) => Promise<number>;
  readonly close: () => Promise<void>;
}

export async function openDurableBalloon(options: DurableBalloonOptions): Promise<DurableBalloon> {
  const { store, hash } = options;
  const { balloon, image } = openTrees(options);
  const requests = new Requests(hash);
  for await (const [key, value] of store.range({ from: requestsFrom, to: requestsTo }))
    requests.load(key, value);
  let failure: unknown;

  async function apply(index: number, record: Record, alsoWrite: readonly Write[] = []): Promise<Applied> {
    if (failure !== undefined) {
      throw new QedError(
        'store-closed',
        'an earlier write failed, so its outcome is unknown; open the log again',
        {
          cause: failure,
        },
      );
    }
    const sorted = requests.sort(record.requests, balloon.size);
    const { snapshot: before } = balloon;
    if (before !== undefined && sorted.eventDigests.length === 0) {
      if (alsoWrite.length > 0) await write(alsoWrite);
      return { snapshot: before, outcomes: sorted.outcomes };
    }
    // A new leader's clock may be behind the last one's. Every node sees the same two times, so every node decides alike.
    const time = Math.max(record.time, before?.time ?? 0);
    const plan = balloon.plan({ index, time, eventDigests: sorted.eventDigests });
    try {
      await write([...plan.writes, ...sorted.writes, ...alsoWrite]);
    } catch (error) {
      balloon.discard();
      throw error;
    }
    balloon.commit(plan);
    requests.commit(sorted);
    image?.follow(balloon.hyper);
    return { snapshot: plan.snapshot, outcomes: sorted.outcomes };
  }

  async function write(writes: readonly Write[]): Promise<void> {
    try {
      await store.write(writes, { durable: options.durable ?? true });
    } catch (error) {
      failure = error;
      throw error;
    }
  }

  async function batchEnd(version: number): Promise<number> {
    balloon.checkVersion(version);
    for await (const [key] of store.range({ from: batchKey(version), limit: 1 })) {
      const end = batchKeyVersion(key);
      if (end !== undefined && end < balloon.size) return end;
    }
    throw new QedError(
      'store-corrupt',
      `the stored log is damaged: it does not say where the batch of ${version} ends`,
    );
  }

  return {
    balloon,
    apply,
    batchEnd,
    async close() {
      await image?.close();
      await store.close();
    },
  };
}

/** Opens both trees. When the image does not lead to the right digest it is set aside, and the entries alone have to. */
function openTrees(options: DurableBalloonOptions): { balloon: Balloon; image: ImageWriter | undefined } {
  const { store, hash, imagePath, onEvent = () => undefined } = options;
  let found: ImageRead = { leaves: 0, end: 0, damage: undefined };

  function rebuild(view: HistoryView): HyperTree {
    const progress = (versions: number): void => {
      onEvent({ kind: 'rebuilding', versions, of: view.history.size });
    };
    if (imagePath === undefined) return rebuildHyper(view, [], progress);
    try {
      const tree = rebuildHyper(view, remember(readImage(imagePath, hash, view.history.size)), progress);
      if (found.damage === undefined) return tree;
      throw new QedError('store-corrupt', found.damage);
    } catch (error) {
      if (found.end === 0 && found.damage === undefined) throw error;
      const why = error instanceof Error ? error.message : String(error);
      onEvent({ kind: 'image-damaged', why, aside: setImageAside(imagePath) });
      found = { leaves: 0, end: 0, damage: undefined };
      return rebuildHyper(view, [], progress);
    }
  }

  /** Passes the segments on and keeps what the reader found in the end. */
  function* remember(segments: Generator<Uint8Array, ImageRead>): Generator<Uint8Array> {
    found = { leaves: 0, end: 1, damage: undefined };
    found = yield* segments;
  }

  const balloon = Balloon.open(hash, store, rebuild);
  if (imagePath === undefined) return { balloon, image: undefined };
  const image = openImageWriter(imagePath, hash, found, (error) => {
    onEvent({ kind: 'image-failed', error });
  });
  image.follow(balloon.hyper);
  return { balloon, image };
}
