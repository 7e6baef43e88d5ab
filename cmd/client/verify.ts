// qed client verify: checks a saved proof without the log, against the vkey and the event that the caller brings.
import { type Argv } from 'yargs';
import { verifyBundle, vkeyRemark, type VerifiedBundle } from '../../src/client/bundle.ts';
import { TLOG_PROOF_MARK, verifyTlogProof } from '../../src/client/tlog-proof.ts';
import { nativeVerify } from '../../src/crypto/ed25519-node.ts';
import { decodeUtf8, encodeHex } from '../../src/crypto/encoding.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { type Trust } from '../../src/balloon/verify.ts';
import { QedError } from '../../src/errors.ts';
import { eventOptions, formatJson, readBytes, readVersion, usage, type ClientCommand } from './command.ts';
import { readTrust, trustOptions } from './connect.ts';
import { digestOption, readQuestion } from './membership.ts';

const options = {
  proof: { type: 'string', demandOption: true, describe: 'File that --save or --save-tlog-proof made' },
  ...eventOptions,
  ...digestOption,
  version: {
    type: 'number',
    describe: 'Was it there at this version?',
    defaultDescription: 'as in the file',
  },
  ...trustOptions,
} as const;

const PRIMITIVES = { hash: nativeHash, verify: nativeVerify };

interface Verdict {
  /** What was proven, a line each; also the fields of the JSON. */
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
  readonly isEventOfFile: boolean;
}

export const verify: ClientCommand<typeof options> = {
  command: 'verify <proof>',
  describe: 'Check a saved proof without the log',
  options,
  positional: (command: Argv) =>
    command.positional('proof', { type: 'string', describe: options.proof.describe }),
  examples: [
    [
      '$0 client verify report.qed.json --file report.pdf --vkey "$VKEY"',
      'this document is in the log of this key',
    ],
  ],
  async run(flags, world) {
    const text = decodeUtf8(readBytes(flags.proof, '<proof>'));
    if (text === undefined) throw malformed('it is no text');
    const isTlogProof = text.startsWith(TLOG_PROOF_MARK);
    const json: unknown = isTlogProof ? undefined : parse(text);
    const trust = readTrust(flags, world, vkeyRemark(json));
    const isNamed = [flags.event, flags.file, flags['event-digest']].some((flag) => flag !== undefined);
    const eventDigest = isNamed ? await readQuestion(flags, world) : undefined;
    const version = readVersion(flags.version, 'version');
    if (isNamed && isWithoutEvent(json)) throw usage('the saved proof is about no single event');
    const verdict = isTlogProof
      ? checkTlogProof(text, eventDigest, version, trust)
      : toVerdict(verifyBundle(json, { eventDigest, version }, trust, PRIMITIVES), !isNamed);
    if (flags.json) {
      world.out(formatJson({ verified: true, ...verdict.fields }));
      return;
    }
    const lines = Object.entries(verdict.fields).map(([name, value]) => ` ${name}: ${String(value)}`);
    world.out(`\n${lines.join('\n')}\n\nVerify: OK\n`);
    if (verdict.isEventOfFile) {
      world.err(
        'The event is the one that the file names. Give --event or --file to check that it is yours.',
      );
    }
  },
};

function checkTlogProof(
  text: string,
  eventDigest: Uint8Array | undefined,
  version: number | undefined,
  trust: Trust,
): Verdict {
  if (eventDigest === undefined)
    throw usage('a tlog-proof names no event: give --event, --file or --event-digest');
  const proven = verifyTlogProof(text, eventDigest, trust, PRIMITIVES);
  if (version !== undefined && version >= proven.size) {
    throw new QedError('proof-question', `the proof reaches version ${proven.size - 1}, not ${version}`);
  }
  const exists = version === undefined || proven.version <= version;
  const fields = { Exists: exists, ActualVersion: proven.version, KeyDigest: encodeHex(eventDigest) };
  return { fields: { Origin: trust.log.name, ...fields }, isEventOfFile: false };
}

function toVerdict(proven: VerifiedBundle, isEventOfFile: boolean): Verdict {
  switch (proven.kind) {
    case 'membership': {
      const fields = {
        Exists: proven.exists,
        CurrentVersion: proven.snapshot.version,
        QueryVersion: proven.versionAsked,
        ActualVersion: proven.version,
        KeyDigest: encodeHex(proven.eventDigest),
      };
      return { fields, isEventOfFile };
    }
    case 'incremental': {
      const { start, end } = proven;
      return {
        fields: { 'Start version': start.snapshot.version, 'End version': end.snapshot.version },
        isEventOfFile: false,
      };
    }
    case 'snapshot': {
      const { version, historyDigest, hyperDigest } = proven.snapshot;
      const fields = {
        HyperDigest: encodeHex(hyperDigest),
        HistoryDigest: encodeHex(historyDigest),
        Version: version,
      };
      return { fields, isEventOfFile: false };
    }
  }
}

/** An increment or a snapshot: an event that is named would not be looked at, and that must not pass for a check. */
function isWithoutEvent(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'kind' in json && json.kind !== 'membership';
}

function parse(text: string): unknown {
  try {
    const json: unknown = JSON.parse(text);
    return json;
  } catch {
    throw malformed('it is neither JSON nor a tlog-proof');
  }
}

function malformed(why: string): QedError {
  return new QedError('proof-malformed', `the saved proof is malformed: ${why}`);
}
