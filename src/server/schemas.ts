// The JSON that the API takes and gives, as zod schemas: they check the small bodies, and the OpenAPI document is made from all of them.
// Answers are not run through them: they are written by balloon/proof.ts, and the tests hold them to these schemas.
import { z } from 'zod';
import { BATCH_EVENTS_MAX } from '../balloon/balloon.ts';
import { errorTable } from '../errors.ts';

const HEX_EXPECTED = 'expected 64 lower-case hex digits';
const VERSION_EXPECTED = 'expected an integer from 0 to 2^53 - 1';
const TEXT_EXPECTED = 'expected a text';

const digest = z
  .string(HEX_EXPECTED)
  .regex(/^[0-9a-f]{64}$/, HEX_EXPECTED)
  .describe('SHA-256, 64 lower-case hex digits')
  .meta({ examples: ['2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'] });
const version = z
  .int(VERSION_EXPECTED)
  .min(0, VERSION_EXPECTED)
  .describe('0-based position of an event in the log');
const time = z.int().min(0).describe('milliseconds since 1970');
const text = z.string(TEXT_EXPECTED).describe('the event as text; its UTF-8 bytes are the event');
const base64 = z.string(TEXT_EXPECTED).describe('the event as bytes, in canonical base64 with padding');

/** An event in one of two forms, exactly one of them. */
export const eventBody = z
  .union([z.strictObject({ event: text }), z.strictObject({ eventBase64: base64 })])
  .meta({ id: 'Event', examples: [{ event: 'hello' }] });

export const bulkBody = z
  .strictObject({
    events: z
      .array(z.union([text, z.strictObject({ eventBase64: base64 })]))
      .min(1)
      .max(BATCH_EVENTS_MAX),
  })
  .meta({ id: 'Events', examples: [{ events: ['first', 'second'] }] });

export const membershipBody = z
  .union([
    z.strictObject({ event: text, version: version.optional() }),
    z.strictObject({ eventBase64: base64, version: version.optional() }),
    z.strictObject({ eventDigest: digest, version: version.optional() }),
  ])
  .meta({ id: 'MembershipQuestion', examples: [{ event: 'hello' }] });

export const incrementalBody = z
  .strictObject({ start: version, end: version })
  .meta({ id: 'IncrementalQuestion', examples: [{ start: 0, end: 0 }] });

export const octets = z.string().meta({ contentMediaType: 'application/octet-stream' });

const snapshot = z.strictObject({
  version,
  eventDigest: digest,
  historyDigest: digest,
  hyperDigest: digest,
  time,
});

export const signedSnapshotAnswer = z
  .strictObject({
    snapshot,
    audit: z
      .array(digest)
      .describe('inclusion proof of entry `version` in the tree of `version` + 1 entries'),
    checkpoint: z
      .string()
      .describe(
        'C2SP signed note: origin, size, root; signed by the log, and cosigned where there are cosignatures',
      ),
  })
  .meta({ id: 'SignedSnapshot' });

export const addedAnswer = z
  .strictObject({ eventDigest: digest, version, signedSnapshot: signedSnapshotAnswer })
  .meta({ id: 'Added' });

export const addedBulkAnswer = z
  .strictObject({
    versions: z.tuple([version, version]).describe('first and last version'),
    eventDigests: z.array(digest),
    signedSnapshot: signedSnapshotAnswer,
  })
  .meta({ id: 'AddedBulk' });

export const membershipAnswer = z
  .strictObject({
    eventDigest: digest,
    exists: z.boolean(),
    version: version.nullable().describe('the first version that logged the event'),
    hyper: z.strictObject({
      path: z.array(digest.nullable()).describe('siblings from the leaf up; null where one is empty'),
      leaf: z
        .strictObject({ eventDigest: digest, version })
        .nullable()
        .describe('the other leaf of an absence proof'),
    }),
    entry: z.strictObject({ hyperDigest: digest, time }).nullable(),
    history: z.array(digest).nullable().describe('inclusion proof of the entry in the tree of the snapshot'),
    signedSnapshot: signedSnapshotAnswer,
  })
  .meta({ id: 'Membership' });

export const incrementalAnswer = z
  .strictObject({ start: version, end: version, hashes: z.array(digest) })
  .meta({ id: 'Incremental' });

export const loggedEventAnswer = z
  .strictObject({
    version,
    eventDigest: digest,
    hyperDigest: digest,
    time,
    event: text.optional().describe('only where the node keeps events, and the event is text'),
    eventBase64: base64.optional().describe('only where the node keeps events, and the event is not text'),
  })
  .meta({ id: 'LoggedEvent' });

const address = z.string().nullable();

export const infoAnswer = z
  .strictObject({
    nodeId: z.string(),
    origin: z.string(),
    vkey: z.string().describe('what clients trust: the C2SP verifier key of the log'),
    nodeVkey: z.string(),
    role: z.enum(['leader', 'candidate', 'follower']),
    leaderId: z.string().nullable(),
    term: z.int(),
    version: version.nullable().describe('the last version; null while the log is empty'),
    httpAddr: address,
    mgmtAddr: address,
    raftAddr: address,
    metricsAddr: address,
    gossipAddr: address,
    software: z.string(),
  })
  .meta({ id: 'Info' });

export const shardsAnswer = z
  .strictObject({
    nodeId: z.string(),
    leaderId: z.string().describe('empty while nobody leads'),
    uriScheme: z.enum(['http', 'https']),
    shards: z
      .record(z.string(), z.strictObject({ nodeId: z.string(), httpAddr: z.string() }))
      .describe('every member, by its nodeId, and where clients reach it'),
  })
  .meta({ id: 'Shards' });

export const healthAnswer = z
  .strictObject({
    status: z.enum(['ready', 'not ready']),
    code: z.string().optional(),
    reason: z.string().optional(),
  })
  .meta({ id: 'Health' });

const codes = Object.keys(errorTable);

export const errorAnswer = z
  .strictObject({ code: z.enum(codes), message: z.string(), hint: z.string().optional() })
  .meta({ id: 'Error' });

/** What every route may answer instead. */
export const refusals = { '4xx': errorAnswer, '5xx': errorAnswer };
