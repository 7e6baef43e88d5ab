// Opens the hyper tree of a log from what is stored: the image as far as it goes, and the entries behind it. An image that is damaged, or does not lead to the
// digest that the last entry carries, is set aside, and the entries alone have to.
import { rebuildHyper } from '../balloon/rebuild.ts';
import { QedError } from '../errors.ts';
import { type HistoryView } from '../history/view.ts';
import { type HyperTree } from '../hyper/tree.ts';
import { openImageWriter, readImage, setImageAside, type ImageRead, type ImageWriter } from './image.ts';

/** What an operator should know. */
export type BalloonEvent =
  | { readonly kind: 'rebuilding'; readonly versions: number; readonly of: number }
  | { readonly kind: 'image-damaged'; readonly why: string; readonly aside: string }
  | { readonly kind: 'image-failed'; readonly error: unknown };

export interface OpenedHyper {
  readonly hyper: HyperTree;
  /** Undefined where no image is kept. */
  readonly image: ImageWriter | undefined;
}

export function openHyper(
  view: HistoryView,
  imagePath: string | undefined,
  onEvent: (event: BalloonEvent) => void,
): OpenedHyper {
  const { hash, history } = view;
  let found: ImageRead = { leaves: 0, end: 0, damage: undefined };

  function rebuild(segments: Iterable<Uint8Array>): HyperTree {
    return rebuildHyper(view, segments, (versions) => {
      onEvent({ kind: 'rebuilding', versions, of: history.size });
    });
  }

  /** Passes the segments on and keeps what the reader found in the end. */
  function* remember(segments: Generator<Uint8Array, ImageRead>): Generator<Uint8Array> {
    found = { leaves: 0, end: 1, damage: undefined };
    found = yield* segments;
  }

  function rebuildFromImage(path: string): HyperTree {
    try {
      const tree = rebuild(remember(readImage(path, hash, history.size)));
      if (found.damage === undefined) return tree;
      throw new QedError('store-corrupt', found.damage);
    } catch (error) {
      if (found.end === 0 && found.damage === undefined) throw error;
      const why = error instanceof Error ? error.message : String(error);
      onEvent({ kind: 'image-damaged', why, aside: setImageAside(path) });
      found = { leaves: 0, end: 0, damage: undefined };
      return rebuild([]);
    }
  }

  if (imagePath === undefined) return { hyper: rebuild([]), image: undefined };
  const hyper = rebuildFromImage(imagePath);
  const image = openImageWriter(imagePath, hash, found, (error) => {
    onEvent({ kind: 'image-failed', error });
  });
  image.follow(hyper);
  return { hyper, image };
}
