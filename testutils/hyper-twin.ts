// The hyper tree straight from its definition: a map, and a recursion over its keys. Slow, obvious, and without a line of src/.
import { hash } from 'node:crypto';

export interface TwinProof {
  version: number | null;
  path: (string | null)[];
  leaf: { key: string; version: number } | null;
}

const EMPTY = '00'.repeat(32);
const TAG = Buffer.concat([Buffer.from('qed hyper tree leaf v1'), Buffer.alloc(2)]).toString('hex');

export class HyperTwin {
  readonly versions = new Map<string, number>();

  add(key: string, version: number): void {
    if (!this.versions.has(key)) this.versions.set(key, version);
  }

  root(): string {
    return this.#root([...this.versions.keys()], 0);
  }

  prove(key: string): TwinProof {
    const path: (string | null)[] = [];
    let keys = [...this.versions.keys()];
    let depth = 0;
    for (; keys.length > 1; depth++) {
      const here = keys.filter((other) => bit(other, depth) === bit(key, depth));
      const there = keys.filter((other) => bit(other, depth) !== bit(key, depth));
      path.unshift(there.length === 0 ? null : this.#root(there, depth + 1));
      keys = here;
    }
    const [met] = keys;
    if (met === undefined) return { version: null, path, leaf: null };
    const version = this.versions.get(met)!;
    return met === key ? { version, path, leaf: null } : { version: null, path, leaf: { key: met, version } };
  }

  #root(keys: string[], depth: number): string {
    if (keys.length === 0) return EMPTY;
    const [only] = keys;
    if (keys.length === 1) {
      return sha256(TAG + this.versions.get(only!)!.toString(16).padStart(16, '0') + only!);
    }
    const left = keys.filter((key) => bit(key, depth) === 0);
    const right = keys.filter((key) => bit(key, depth) === 1);
    return sha256(this.#root(left, depth + 1) + this.#root(right, depth + 1));
  }
}

function bit(key: string, i: number): number {
  return (parseInt(key[i >> 2]!, 16) >> (3 - (i & 3))) & 1;
}

function sha256(hex: string): string {
  return hash('sha256', Buffer.from(hex, 'hex'));
}
