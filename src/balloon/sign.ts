// Signing happens here, at the edge: after a batch is committed and applied, never inside replicated state.
import { type Balloon } from './balloon.ts';
import { type SignedSnapshot } from './proof.ts';

export interface CheckpointSigner {
  readonly signCheckpoint: (head: { readonly size: number; readonly root: Uint8Array }) => string;
}

/** The signed snapshot of the batch that ends with `version`. Only for versions at which a batch ends: others were never a state of the log. */
export function signSnapshot(
  balloon: Pick<Balloon, 'snapshotAt'>,
  version: number,
  signer: CheckpointSigner,
): SignedSnapshot {
  const { snapshot, audit } = balloon.snapshotAt(version);
  const checkpoint = signer.signCheckpoint({ size: version + 1, root: snapshot.historyDigest });
  return { snapshot, audit, checkpoint };
}
