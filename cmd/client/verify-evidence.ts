// qed client verify-evidence: says what a file of evidence proves against a log, without the log, against the vkey that the caller brings.
//
// Exit codes: 0 the log is convicted; 1 the file does not show what it says; 2 it is only one party's word, or could not be checked.
import { type Argv } from 'yargs';
import { verifyEvidence as checkEvidence } from '../../src/balloon/evidence-check.ts';
import { EVIDENCE_BYTES_MAX } from '../../src/balloon/evidence.ts';
import { vkeyRemark } from '../../src/client/bundle.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { decodeUtf8 } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { QedError } from '../../src/errors.ts';
import { EXIT_UNCHECKED, formatJson, readBytes, type ClientCommand } from './command.ts';
import { readTrust, trustOptions } from './connect.ts';

const options = {
  evidence: { type: 'string', demandOption: true, describe: 'File that an agent or a client kept' },
  ...trustOptions,
} as const;

export const verifyEvidence: ClientCommand<typeof options> = {
  command: 'verify-evidence <evidence>',
  describe: 'Check without the log what evidence proves against it',
  options,
  positional: (command: Argv) =>
    command.positional('evidence', { type: 'string', describe: options.evidence.describe }),
  examples: [
    ['$0 client verify-evidence evidence.json --vkey "$VKEY"', 'is the log of this key convicted?'],
    ['$0 client verify-evidence evidence.json --vkey log.vkey --json && page', 'for other programs'],
  ],
  // eslint-disable-next-line @typescript-eslint/require-await -- all commands are asynchronous
  async run(flags, world) {
    const document = parse(readBytes(flags.evidence, '<evidence>'));
    const trust = readTrust(flags, world, vkeyRemark(document));
    const found = checkEvidence(document, trust, { hash: nativeHash, verify: nativeVerify });
    if (!found.conclusive) world.exit(EXIT_UNCHECKED);
    if (flags.json) {
      world.out(formatJson({ verified: true, ...found, log: trust.log.name }));
      return;
    }
    const verdict = found.conclusive
      ? 'PROVEN: anybody can check this with the vkey alone.'
      : 'NOT PROVEN: what the log signed is genuine, the rest is the word of whoever kept this file.';
    world.out(`\n ${found.kind}: ${found.statement}\n\n${verdict}\n`);
  },
};

function parse(bytes: Uint8Array): unknown {
  if (bytes.length > EVIDENCE_BYTES_MAX) {
    throw new QedError('proof-malformed', `the evidence has more than ${EVIDENCE_BYTES_MAX} bytes`);
  }
  try {
    const document: unknown = JSON.parse(decodeUtf8(bytes) ?? '');
    return document;
  } catch (cause) {
    throw new QedError('proof-malformed', 'the evidence is no JSON', { cause });
  }
}
