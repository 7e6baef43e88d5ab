// qed client membership: whether an event is in the log, since when, and the check of the proof.
import { formatMembership } from '../../src/balloon/proof.ts';
import { nativeHash } from '../../src/crypto/hash-node.ts';
import { decodeHex, encodeHex } from '../../src/crypto/encoding.ts';
import { type Membership } from '../../src/client/ask.ts';
import {
  eventOptions,
  formatJson,
  once,
  printVerified,
  quoted,
  readEvent,
  readVersion,
  usage,
  type ClientCommand,
} from './command.ts';
import { connect, connectionOptions, readOptions } from './connect.ts';
import { saveMembership, saveOptions } from './save.ts';
import { type World } from './world.ts';

export const digestOption = {
  'event-digest': { alias: 'digest', type: 'string', describe: 'SHA-256 of the event, 64 hex digits' },
} as const;

const options = {
  ...eventOptions,
  ...digestOption,
  version: {
    type: 'number',
    describe: 'Ask about the log as it was at this version',
    defaultDescription: 'the latest',
  },
  ...saveOptions,
  ...readOptions,
  ...connectionOptions,
} as const;

export const membership: ClientCommand<typeof options> = {
  command: 'membership',
  describe: 'Prove that an event is in the log, or that it is not',
  options,
  examples: [
    ['$0 client membership --event "event 0" --verify', 'is it there now?'],
    ['$0 client membership --event "event 0" --version 3', 'was it there at version 3?'],
    ['$0 client membership --file report.pdf --save report.qed.json', 'keep the proof'],
  ],
  async run(flags, world) {
    const eventDigest = await readQuestion(flags, world);
    const version = readVersion(flags.version, 'version');
    const { client, vkey, close } = await connect(flags, world);
    try {
      if (!flags.json) {
        const when = version === undefined ? 'latest version' : `version [ ${version} ]`;
        world.out(`\nQuerying ${quoted(flags.event, eventDigest)} with ${when}\n`);
      }
      const found = await client.membership({ eventDigest, version }, flags);
      if (flags.json) world.out(formatJson(membershipJson(found)));
      else printMembership(found, world);
      saveMembership(flags, found, vkey, world);
    } finally {
      await close();
    }
  },
};

/** The digest of the event that the flags name. */
export async function readQuestion(
  flags: { event?: string | undefined; file?: string | undefined; 'event-digest'?: string | undefined },
  world: World,
): Promise<Uint8Array> {
  const hex = flags['event-digest'];
  if (hex === undefined) return nativeHash.digest(await readEvent(flags, world));
  if (flags.event !== undefined || flags.file !== undefined) {
    throw usage('give the event or its digest, not both');
  }
  const digest = decodeHex(once(hex, 'event-digest').toLowerCase(), 32);
  if (digest === undefined) throw usage('--event-digest: not 64 hex digits');
  return digest;
}

function membershipJson(found: Membership): unknown {
  const { exists, version, versionAsked, verified, eventDigest } = found;
  const membership = formatMembership(found);
  return { exists, version, versionAsked, verified, eventDigest: encodeHex(eventDigest), membership };
}

function printMembership(found: Membership, world: World): void {
  const lines = [
    `Exists: ${found.exists}`,
    `Hyper audit path: <TRUNCATED>`,
    `History audit path: <TRUNCATED>`,
    `CurrentVersion: ${found.signedSnapshot.snapshot.version}`,
    `QueryVersion: ${found.versionAsked}`,
    `ActualVersion: ${found.version ?? 'none'}`,
    `KeyDigest: ${encodeHex(found.eventDigest)}`,
  ];
  world.out(`Received membership proof:\n\n${lines.map((line) => ` ${line}`).join('\n')}\n`);
  printVerified(found.verified, world);
}
