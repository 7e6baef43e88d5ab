// A small seeded random source for tests, simulations and load: the same seed gives the same run everywhere.
// It is no source of secrets.

export interface Random {
  /** From 0 (inclusive) to `below` (exclusive), a whole number. */
  below(below: number): number;
  chance(probability: number): boolean;
  bytes(length: number): Uint8Array;
  pick<Item>(items: readonly Item[]): Item;
}

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  // mulberry32: 32 bits of state, every one of them used.
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (limit: number): number => Math.floor((next() / 0x100000000) * limit);
  return {
    below,
    chance: (probability) => next() / 0x100000000 < probability,
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = next() & 0xff;
      return bytes;
    },
    pick(items) {
      if (items.length === 0) throw new Error('nothing to pick from');
      return items[below(items.length)]!;
    },
  };
}
