// The signed snapshots that a node shows.
import { type Balloon } from '../balloon/balloon.ts';
import { formatSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { signSnapshot } from '../balloon/sign.ts';
import { withLines } from './cosigning.ts';
import { type Identity } from './identity.ts';

/** A signed snapshot, and the JSON that all who ask for it get. */
export interface Signed {
  readonly signedSnapshot: SignedSnapshot;
  readonly json: string;
}

export function signedOf(signedSnapshot: SignedSnapshot): Signed {
  // The dash of a note is its only character beyond ASCII. Escaped, and copied since an engine keeps the width that a string once needed, answers
  // have one byte a character: they take half the memory, and a third of the time to send.
  const escaped = JSON.stringify(formatSignedSnapshot(signedSnapshot)).replaceAll('—', '\\u2014');
  const json = Buffer.from(escaped, 'latin1').toString('latin1');
  return { signedSnapshot, json };
}

export interface SignedCache {
  /** The snapshot of the record that ends with the version. */
  readonly at: (version: number) => Signed;
  /** From now on the snapshot, where it is the present one, is shown with these cosignatures. */
  readonly cosigned: (version: number, lines: string) => void;
}

/** Remembers the latest one: all waiters of a record, and all who ask until the next one, share a signature. */
export function createSignedCache(
  balloon: Omit<Balloon, 'plan' | 'commit' | 'discard'>,
  { signer }: Identity,
): SignedCache {
  let latest: Signed | undefined;
  function at(version: number): Signed {
    if (latest?.signedSnapshot.snapshot.version === version) return latest;
    const made = signedOf(signSnapshot(balloon, version, signer));
    if (version === balloon.size - 1) latest = made;
    return made;
  }
  return {
    at,
    cosigned(version, lines) {
      if (version === balloon.size - 1) latest = signedOf(withLines(at(version).signedSnapshot, lines));
    },
  };
}
