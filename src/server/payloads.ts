// The events themselves, where the operator asked for them to be kept: by their digest, in a store of their own, written durably before the
// record that logs them is proposed. So an event that was acknowledged is there; one whose record was then refused is there too, and does
// no harm. Read back, an event must hash to its digest. Only digests go through the replicated log: a node that is asked for an event that
// another one took asks the others, and keeps it from then on.
import { DIGEST_BYTES, type Hash } from '../crypto/hash.ts';
import { decodeHex, encodeHex, equalBytes } from '../crypto/encoding.ts';
import { QedError } from '../errors.ts';
import { type Store, type Write } from '../storage/store.ts';
import { type AddRequest } from './batcher.ts';

export interface Payloads {
  readonly keep: (requests: readonly AddRequest[]) => Promise<void>;
  /** Undefined when it was never kept. */
  readonly read: (eventDigest: Uint8Array) => Uint8Array | undefined;
  /** What a peer is told that asks for the event of a digest, 64 hex digits. */
  readonly answer: (digest: string) => Uint8Array | undefined;
  /** The first of these that is the event; it is kept. */
  readonly fetch: (
    eventDigest: Uint8Array,
    ask: (eventDigest: Uint8Array) => readonly Promise<Uint8Array | undefined>[],
  ) => Promise<Uint8Array | undefined>;
  readonly close: () => Promise<void>;
}

export function openPayloads(store: Store, hash: Hash): Payloads {
  const isEvent = (event: Uint8Array, eventDigest: Uint8Array): boolean =>
    equalBytes(hash.digest(event), eventDigest);

  async function keep(requests: readonly AddRequest[]): Promise<void> {
    const writes = requests.flatMap(writesOf);
    if (writes.length > 0) await store.write(writes);
  }

  function read(eventDigest: Uint8Array): Uint8Array | undefined {
    const event = store.get(eventDigest);
    if (event === undefined || isEvent(event, eventDigest)) return event;
    throw new QedError('store-corrupt', `the event kept for ${encodeHex(eventDigest)} has another digest`);
  }

  return {
    keep,
    read,
    answer(digest) {
      const eventDigest = decodeHex(digest, DIGEST_BYTES);
      return eventDigest && read(eventDigest);
    },
    async fetch(eventDigest, ask) {
      for (const asked of ask(eventDigest)) {
        const event = await asked;
        if (!event || !isEvent(event, eventDigest)) continue;
        await keep([{ key: undefined, eventDigests: eventDigest, events: [event] }]);
        return event;
      }
      return undefined;
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
