// The signing side: what a log key and a node key may say, and nothing else. Neither signs a text that it is handed as such.
import { type KeyObject } from 'node:crypto';
import { formatCheckpoint, type Checkpoint } from './checkpoint.ts';
import { publicKeyOf, sign } from './ed25519-node.ts';
import { concat, encodeU64, encodeUtf8 } from './encoding.ts';
import { cosignedMessage, formatNote, formatSignature } from './note.ts';
import { COSIGNER_KEY, createVerifier, formatVkey, LOG_KEY, type Verifier } from './vkey.ts';

export interface LogSigner {
  readonly verifier: Verifier;
  readonly vkey: string;
  /** The signed note of a checkpoint. It is for the caller to sign only what is committed and applied. */
  readonly signCheckpoint: (head: { readonly size: number; readonly root: Uint8Array }) => string;
}

export interface Cosigner {
  readonly verifier: Verifier;
  readonly vkey: string;
  /** The cosignature/v1 line of a checkpoint, for `addSignatures`. Takes the checkpoint, so that no other text can be cosigned. */
  readonly cosign: (checkpoint: Checkpoint, timeSeconds: number) => string;
}

/** The key of a log; its name is the log's origin. */
export function createLogSigner(origin: string, privateKey: KeyObject): LogSigner {
  const verifier = createVerifier(origin, LOG_KEY, publicKeyOf(privateKey));
  return {
    verifier,
    vkey: formatVkey(verifier),
    signCheckpoint({ size, root }) {
      const text = formatCheckpoint({ origin, size, root });
      return formatNote(text, [{ ...verifier, signature: sign(privateKey, encodeUtf8(text)) }]);
    },
  };
}

/** The key of a node or a witness. One key, one name: what a cosigner signs does not hold its name. */
export function createCosigner(name: string, privateKey: KeyObject): Cosigner {
  const verifier = createVerifier(name, COSIGNER_KEY, publicKeyOf(privateKey));
  return {
    verifier,
    vkey: formatVkey(verifier),
    cosign(checkpoint, timeSeconds) {
      const signature = sign(privateKey, cosignedMessage(formatCheckpoint(checkpoint), timeSeconds));
      return formatSignature({ ...verifier, signature: concat(encodeU64(timeSeconds), signature) });
    },
  };
}
