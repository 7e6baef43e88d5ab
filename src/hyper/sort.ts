// Orders leaves by key. Keys are hashes, so their first bits decide nearly every comparison: those bits and the leaf's position
// go into one double, the doubles are sorted natively, and only runs that agree in those bits are compared in full.
import type { Arena } from './arena.ts';

/** A double counts exactly to 2^53. */
const EXACT_BITS = 53;

/** The leaves `from`..`to` in key order; equal keys in the order in which they came. */
export function leavesByKey(arena: Arena, from: number, to: number): Int32Array {
  const count = to - from;
  if (count < 2) return Int32Array.from({ length: count }, () => from);
  const positionRange = 2 ** Math.max(1, Math.ceil(Math.log2(count)));
  const prefixBits = Math.min(32, EXACT_BITS - Math.log2(positionRange));
  const prefixDivisor = 2 ** (32 - prefixBits);
  const sortable = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    sortable[i] = Math.floor(arena.keyPrefix(from + i) / prefixDivisor) * positionRange + i;
  }
  sortable.sort();
  const order = new Int32Array(count);
  for (let i = 0; i < count; i++) order[i] = from + (sortable[i]! % positionRange);

  let runStart = 0;
  for (let i = 1; i <= count; i++) {
    if (i < count && samePrefix(sortable[i]!, sortable[runStart]!, positionRange)) continue;
    if (i - runStart > 1) order.subarray(runStart, i).sort((a, b) => compareLeaves(arena, a, b));
    runStart = i;
  }
  return order;
}

function samePrefix(a: number, b: number, positionRange: number): boolean {
  return Math.floor(a / positionRange) === Math.floor(b / positionRange);
}

function compareLeaves(arena: Arena, a: number, b: number): number {
  const bit = arena.firstDifference(a, b);
  if (bit === 256) return a - b;
  return arena.keyBit(a, bit) - arena.keyBit(b, bit);
}
