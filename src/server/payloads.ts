// The events themselves, where the operator asked for them to be kept: by their digest, in a store of their own, written durably before the
// record that logs them is proposed. So an event that was acknowledged is there; one whose record was then refused is there too, and does
// no harm. Read back, an event must hash to its digest.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { encodeHex, equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { type Store, type Write } from '../storage/store.ts';
import { type AddRequest } from './batcher.ts';

export interface Payloads {
  readonly keep: (requests: readonly AddRequest[]) => Promise<void>;
  /** Undefined when it was never kept. */
  readonly read: (eventDigest: Uint8Array) => Uint8Array | undefined;
  readonly close: () => Promise<void>;
}

export function openPayloads(store: Store, hash: Hash): Payloads {
  return {
    async keep(requests) {
      const writes = requests.flatMap(writesOf);
      if (writes.length > 0) await store.write(writes);
    },
    read(eventDigest) {
      const event = store.get(eventDigest);
      if (event !== undefined && !equalBytes(hash.digest(event), eventDigest)) {
        throw new QedError(
          'store-corrupt',
          `the event kept for ${encodeHex(eventDigest)} has another digest`,
        );
      }
      return event;
    },
    close: () => store.close(),
  };
}

function writesOf({ eventDigests, events = [] }: AddRequest): Write[] {
  return events.map((value, at) => {
    const key = eventDigests.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES);
    return { type: 'put', key, value };
  });
}
