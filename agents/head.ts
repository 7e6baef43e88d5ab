// The newest state that an agent has found to belong to the one history of the log, kept across restarts.
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { checkSignedSnapshot, type Primitives } from '../src/balloon/verify.ts';
import { decodeUtf8, encodeUtf8 } from '../src/crypto/encoding.ts';
import { type Verifier } from '../src/crypto/vkey.ts';
import { QedError } from '../src/errors.ts';
import { formatLine, parseLine } from '../src/gossip/snapshots.ts';
import { type Store } from '../src/storage/store.ts';

const HEAD = Uint8Array.of(0x78, 0x68); // x h

/** The head that was kept. */
export function readHead(state: Store, log: Verifier, primitives: Primitives): SignedSnapshot | undefined {
  const bytes = state.get(HEAD);
  if (bytes === undefined) return undefined;
  try {
    const signed = parseLine(decodeUtf8(bytes) ?? '');
    checkSignedSnapshot(signed, { log }, primitives);
    return signed;
  } catch (cause) {
    throw new QedError('store-corrupt', 'the head in the state of this agent is damaged', { cause });
  }
}

export function keepHead(state: Store, head: SignedSnapshot): Promise<void> {
  return state.write([{ type: 'put', key: HEAD, value: encodeUtf8(formatLine(head)) }], { durable: false });
}
