// The image of the hyper tree on disk: its leaves, in the order in which their keys were first logged, appended segment by segment.
// Leaves never change, so the image only grows, a segment at a time, behind the adds. It saves reading every entry when a log is
// opened; it is never the truth: what is loaded must lead to the hyper digest of the last entry.
//
//   file      "qed hyper image 1\n" segment…
//   segment   u64 number of leaves before it ‖ u32 count ‖ leaf records, 40 bytes each ‖ SHA-256 of all that
import { closeSync, existsSync, fstatSync, openSync, readSync, renameSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { encodeUtf8, equalBytes, readU64, writeU64 } from '../crypto/encoding.ts';
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { LEAF_BYTES } from '../hyper/arena.ts';

/** Leaves in a segment: 640 KiB, gathered and hashed in about a millisecond. */
export const SEGMENT_LEAVES = 16_384;

const HEADER = encodeUtf8('qed hyper image 1\n');
const HEAD_BYTES = 12;

export interface ImageRead {
  /** Leaves of whole segments that were found good and belong to the log. */
  readonly leaves: number;
  /** Where the next segment goes; 0 when the file has to be begun. */
  readonly end: number;
  /** Why the file cannot be trusted, if it cannot. A segment that is cut off at the end is no damage: it is written again. */
  readonly damage: string | undefined;
}

/**
 * Hands out the leaf records of the image, segment by segment, and returns what was found. Segments with versions of `size` and more are left
 * out: the image may be ahead of a store that lost its last writes. Records are good until the next are asked for.
 */
export function* readImage(path: string, hash: Hash, size: number): Generator<Uint8Array, ImageRead> {
  if (!existsSync(path)) return { leaves: 0, end: 0, damage: undefined };
  const file = openSync(path, 'r');
  try {
    const bytes = fstatSync(file).size;
    const header = readAt(file, 0, HEADER.length);
    if (!equalBytes(header, HEADER.subarray(0, header.length))) return damaged(0, 0, 'it is no image');
    let leaves = 0;
    let end = HEADER.length;
    const buffer = new Uint8Array(HEAD_BYTES + SEGMENT_LEAVES * LEAF_BYTES + DIGEST_BYTES);
    while (end + HEAD_BYTES < bytes) {
      const head = readAt(file, end, HEAD_BYTES, buffer);
      const count = new DataView(head.buffer).getUint32(8);
      if (readU64(head) !== leaves || count === 0 || count > SEGMENT_LEAVES) {
        return damaged(leaves, end, `the segment at byte ${end} does not follow`);
      }
      const length = HEAD_BYTES + count * LEAF_BYTES + DIGEST_BYTES;
      if (end + length > bytes) break;
      const segment = readAt(file, end, length, buffer);
      if (!equalBytes(hash.digest(segment.subarray(0, -DIGEST_BYTES)), segment.subarray(-DIGEST_BYTES))) {
        return damaged(leaves, end, `the checksum of the segment at byte ${end} is wrong`);
      }
      const records = segment.subarray(HEAD_BYTES, -DIGEST_BYTES);
      const last = readU64(records, records.length - LEAF_BYTES);
      if (last === undefined || last >= size) break;
      yield records;
      leaves += count;
      end += length;
    }
    return { leaves, end: leaves === 0 ? 0 : end, damage: undefined };
  } finally {
    closeSync(file);
  }
}

function damaged(leaves: number, end: number, damage: string): ImageRead {
  return { leaves, end, damage };
}

function readAt(file: number, position: number, length: number, buffer = new Uint8Array(length)): Uint8Array {
  return buffer.subarray(0, readSync(file, buffer, 0, length, position));
}

/** Puts a damaged image out of the way, for whoever wants to know what happened to it. */
export function setImageAside(path: string): string {
  const aside = `${path}.damaged`;
  renameSync(path, aside);
  return aside;
}

export interface ImageWriter {
  /** Leaves that are in the file or on their way. */
  readonly leaves: number;
  /** Appends whole segments in the background while there are enough leaves. Returns at once. */
  readonly follow: (tree: {
    readonly size: number;
    leafRecords: (from: number, to: number) => Uint8Array;
  }) => void;
  /** Waits for what is under way. */
  readonly close: () => Promise<void>;
}

/** Carries on an image behind what `readImage` found. Failing is no danger to the log: the image stops growing, and `onError` is told. */
export function openImageWriter(
  path: string,
  hash: Hash,
  found: ImageRead,
  onError: (error: unknown) => void,
): ImageWriter {
  let leaves = found.leaves;
  let end = found.end;
  let file: FileHandle | undefined;
  let failed = false;
  let underWay: Promise<void> | undefined;

  async function append(records: Uint8Array, before: number): Promise<void> {
    if (file === undefined) {
      file = await open(path, found.end === 0 ? 'w' : 'r+');
      await file.truncate(end);
      if (end === 0) await file.write(HEADER, 0, HEADER.length, 0);
      end = Math.max(end, HEADER.length);
    }
    const segment = encodeSegment(records, before, hash);
    await file.write(segment, 0, segment.length, end);
    await file.datasync();
    end += segment.length;
  }

  return {
    get leaves() {
      return leaves;
    },
    follow(tree) {
      if (failed || underWay !== undefined || tree.size - leaves < SEGMENT_LEAVES) return;
      const before = leaves;
      leaves += SEGMENT_LEAVES;
      underWay = append(tree.leafRecords(before, leaves), before)
        .catch((error: unknown) => {
          failed = true;
          onError(error);
        })
        .finally(() => {
          underWay = undefined;
          this.follow(tree);
        });
    },
    async close() {
      failed = true;
      await underWay;
      await file?.close();
    },
  };
}

function encodeSegment(records: Uint8Array, leavesBefore: number, hash: Hash): Uint8Array {
  const segment = new Uint8Array(HEAD_BYTES + records.length + DIGEST_BYTES);
  writeU64(segment, 0, leavesBefore);
  new DataView(segment.buffer).setUint32(8, records.length / LEAF_BYTES);
  segment.set(records, HEAD_BYTES);
  segment.set(hash.digest(segment.subarray(0, -DIGEST_BYTES)), segment.length - DIGEST_BYTES);
  return segment;
}
