// Files of proofs: --save writes all that is needed to check an answer later, --save-tlog-proof the form of C2SP.
import { writeFileSync } from 'node:fs';
import { type Options } from 'yargs';
import { formatMembershipBundle } from '../../src/client/bundle.ts';
import { type Membership } from '../../src/client/ask.ts';
import { formatTlogProof, tlogProofOf } from '../../src/client/tlog-proof.ts';
import { QedError } from '../../src/errors.ts';
import { formatJson } from './command.ts';
import { type World } from './world.ts';

export const saveOption = {
  save: { type: 'string', describe: 'File to keep the proof in, for qed client verify' },
} as const satisfies Record<string, Options>;

export const saveOptions = {
  ...saveOption,
  'save-tlog-proof': { type: 'string', describe: 'File to keep the proof in, as C2SP tlog-proof' },
} as const satisfies Record<string, Options>;

interface SaveFlags {
  readonly save?: string | undefined;
  readonly 'save-tlog-proof'?: string | undefined;
}

export function wantsProof(flags: SaveFlags): boolean {
  return flags.save !== undefined || flags['save-tlog-proof'] !== undefined;
}

export function saveMembership(
  flags: SaveFlags,
  found: Membership,
  vkey: string | undefined,
  world: World,
): void {
  const tlogPath = flags['save-tlog-proof'];
  if (flags.save !== undefined) saveBundle(flags.save, formatMembershipBundle(found, vkey ?? null), world);
  if (tlogPath === undefined) return;
  const proof = tlogProofOf(found);
  if (proof === undefined) {
    throw new QedError('bad-request', 'a tlog-proof cannot tell that an event is not there', {
      hint: 'Use --save.',
    });
  }
  saveText(tlogPath, formatTlogProof(proof), world);
}

export function saveBundle(path: string, bundle: unknown, world: World): void {
  saveText(path, `${formatJson(bundle)}\n`, world);
}

function saveText(path: string, text: string, world: World): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new QedError('store-failed', `the proof could not be saved to ${path}: ${String(cause)}`, {
      cause,
    });
  }
  world.err(`Saved the proof to ${path}`);
}
