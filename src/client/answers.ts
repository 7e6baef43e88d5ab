// What the API answers with around its proofs, read once at the door. Proofs and signed snapshots have strict parsers of their own in
// balloon/proof.ts; here fields may be added later without breaking a client.
import { parseSignedSnapshot, type SignedSnapshot } from '../balloon/proof.ts';
import { decodeBase64, decodeHex, encodeUtf8, isSize } from '../crypto/encoding.ts';
import { DIGEST_BYTES } from '../crypto/hash.ts';
import { QedError } from '../errors.ts';

export interface AddAnswer {
  readonly eventDigest: Uint8Array;
  readonly version: number;
  readonly signedSnapshot: SignedSnapshot;
}

export interface BulkAnswer {
  readonly eventDigests: readonly Uint8Array[];
  readonly versionFirst: number;
  readonly versionLast: number;
  readonly signedSnapshot: SignedSnapshot;
}

/** What a node says about itself. None of it is verified. */
export interface Info {
  readonly nodeId: string;
  readonly origin: string;
  readonly vkey: string;
  readonly role: string;
  /** The last version; null while the log is empty. */
  readonly version: number | null;
  readonly software: string;
  /** Everything that the node said, as it said it. */
  readonly all: Readonly<Record<string, unknown>>;
}

export interface EventAnswer {
  readonly version: number;
  readonly eventDigest: Uint8Array;
  readonly hyperDigest: Uint8Array;
  readonly time: number;
  /** The bytes of the event, where the log keeps them. */
  readonly event: Uint8Array | undefined;
}

export function readAddAnswer(json: unknown): AddAnswer {
  const fields = readFields(json, 'an add');
  return {
    eventDigest: readDigest(fields['eventDigest'], 'eventDigest'),
    version: readVersion(fields['version'], 'version'),
    signedSnapshot: parseSignedSnapshot(fields['signedSnapshot']),
  };
}

export function readBulkAnswer(json: unknown): BulkAnswer {
  const fields = readFields(json, 'a bulk');
  const versions: unknown[] = Array.isArray(fields['versions']) ? fields['versions'] : [];
  const digests: unknown[] = Array.isArray(fields['eventDigests']) ? fields['eventDigests'] : [];
  if (versions.length !== 2) throw malformed('versions', 'is not a list of the first and the last version');
  const [versionFirst, versionLast] = [
    readVersion(versions[0], 'versions'),
    readVersion(versions[1], 'versions'),
  ];
  if (digests.length === 0 || versionLast - versionFirst + 1 !== digests.length) {
    throw malformed(
      'versions',
      `${versionFirst} to ${versionLast} do not fit ${digests.length} event digests`,
    );
  }
  return {
    eventDigests: digests.map((digest) => readDigest(digest, 'eventDigests')),
    versionFirst,
    versionLast,
    signedSnapshot: parseSignedSnapshot(fields['signedSnapshot']),
  };
}

export function readInfo(json: unknown): Info {
  const all = readFields(json, 'info');
  const text = (name: string): string => {
    const value = all[name];
    return typeof value === 'string' ? value : '';
  };
  const { version } = all;
  return {
    nodeId: text('nodeId'),
    origin: text('origin'),
    vkey: text('vkey'),
    role: text('role'),
    version: version === null || version === undefined ? null : readVersion(version, 'version'),
    software: text('software'),
    all,
  };
}

export function readEventAnswer(json: unknown): EventAnswer {
  const fields = readFields(json, 'an event');
  return {
    version: readVersion(fields['version'], 'version'),
    eventDigest: readDigest(fields['eventDigest'], 'eventDigest'),
    hyperDigest: readDigest(fields['hyperDigest'], 'hyperDigest'),
    time: readVersion(fields['time'], 'time'),
    event: readEventBytes(fields),
  };
}

function readEventBytes({ event, eventBase64 }: Fields): Uint8Array | undefined {
  if (typeof event === 'string') return encodeUtf8(event);
  if (typeof eventBase64 !== 'string') return undefined;
  const bytes = decodeBase64(eventBase64);
  if (bytes === undefined) throw malformed('eventBase64', 'is not base64');
  return bytes;
}

type Fields = Readonly<Record<string, unknown>>;

function readFields(json: unknown, what: string): Fields {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...json };
  throw malformed(what, 'is not an object');
}

function readDigest(json: unknown, what: string): Uint8Array {
  const digest = typeof json === 'string' ? decodeHex(json, DIGEST_BYTES) : undefined;
  if (digest === undefined) throw malformed(what, 'is not 64 lower-case hex digits');
  return digest;
}

function readVersion(json: unknown, what: string): number {
  if (!isSize(json)) throw malformed(what, 'is not an integer from 0 to 2^53 - 1');
  return json;
}

function malformed(what: string, why: string): QedError {
  return new QedError('server-failed', `the answer is not in the documented form: ${what} ${why}`);
}
