// A log that answers the client in memory, for tests of those who ask: a Transport in front of a real balloon and a real key. It answers like an
// honest node; tests put lies, losses and delays around it.
import { formatIncremental, formatMembership, formatSignedSnapshot } from '../src/balloon/proof.ts';
import { signSnapshot } from '../src/balloon/sign.ts';
import { type Trust } from '../src/balloon/verify.ts';
import { type Transport, type TransportAnswer } from '../src/client/transport.ts';
import { concat, decodeHex, encodeHex, encodeUtf8 } from '../src/crypto/encoding.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { createLogSigner } from '../src/crypto/signer.ts';
import { errorTable, QedError } from '../src/errors.ts';
import { decodeEntry } from '../src/history/entry.ts';
import { entryAt } from '../src/history/view.ts';
import { memoryBalloon } from './memory-balloon.ts';
import { batchOf, keyOfSeed } from './signed-log.ts';

export interface LogTransport {
  readonly transport: Transport;
  readonly trust: Trust;
  readonly vkey: string;
  /** Logs one batch, as if others had added it. Returns its last version. */
  readonly log: (...events: readonly string[]) => number;
  /** Every request, as `METHOD path`. */
  readonly requests: string[];
  /** Events that others get into the same batch, behind those of each add. */
  companions: readonly string[];
  readonly size: () => number;
}

interface Ask {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export function logTransport({ origin = 'example.org/log', seed = 1 } = {}): LogTransport {
  const { balloon, apply } = memoryBalloon(nativeHash);
  const signer = createLogSigner(origin, keyOfSeed(seed));
  const batchEnds: number[] = [];
  const known = new Map<string, { first: number; last: number }>();
  const requests: string[] = [];

  function append(digests: readonly Uint8Array[]): { first: number; last: number } {
    const first = balloon.size;
    const others = log.companions.map(digestOf);
    batchEnds.push(apply(batchOf(batchEnds.length + 1, [...digests, ...others])).version);
    return { first, last: first + digests.length - 1 };
  }

  const signed = (version: number): unknown => formatSignedSnapshot(signSnapshot(balloon, version, signer));
  const latest = (): unknown => signed(present());

  function present(): number {
    if (balloon.size === 0) throw new QedError('log-empty', 'the log holds no event yet');
    return balloon.size - 1;
  }

  function addOnce({ headers }: Ask, digests: readonly Uint8Array[]): { first: number; last: number } {
    const key = headers['idempotency-key'] ?? '';
    const versions = known.get(key) ?? append(digests);
    known.set(key, versions);
    return versions;
  }

  function addOne(ask: Ask): unknown {
    const digest = nativeHash.digest(ask.body);
    const { first } = addOnce(ask, [digest]);
    return { eventDigest: encodeHex(digest), version: first, signedSnapshot: latest() };
  }

  function addMany(ask: Ask, digests: readonly Uint8Array[]): unknown {
    const { first, last } = addOnce(ask, digests);
    return { versions: [first, last], eventDigests: digests.map(encodeHex), signedSnapshot: latest() };
  }

  function membership({ body }: Ask): unknown {
    const { eventDigest, version } = JSON.parse(text(body)) as { eventDigest: string; version?: number };
    if (version !== undefined) balloon.checkVersion(version);
    const { proof, snapshot } = balloon.membership(decodeHex(eventDigest, 32)!);
    return formatMembership({ proof, signedSnapshot: signSnapshot(balloon, snapshot.version, signer) });
  }

  function incremental({ body }: Ask): unknown {
    const { start, end } = JSON.parse(text(body)) as { start: number; end: number };
    return formatIncremental(balloon.incremental(start, end));
  }

  function covering(version: number): unknown {
    balloon.checkVersion(version);
    return signed(batchEnds.find((end) => end >= version)!);
  }

  function event(version: number): unknown {
    balloon.checkVersion(version);
    const { eventDigest, hyperDigest, time } = decodeEntry(entryAt(balloon.view, version))!;
    return { version, eventDigest: encodeHex(eventDigest), hyperDigest: encodeHex(hyperDigest), time };
  }

  function answer(method: string, ask: Ask): unknown {
    const route = `${method} ${ask.path.replace(/[0-9]+$/, 'N')}`;
    const version = Number(/[0-9]+$/.exec(ask.path)?.[0] ?? 0);
    const routes: Record<string, () => unknown> = {
      'POST /events': () => addOne(ask),
      'POST /events/bulk/digests': () => addMany(ask, digestsIn(ask.body)),
      'POST /proofs/membership': () => membership(ask),
      'POST /proofs/incremental': () => incremental(ask),
      'GET /snapshots/latest': latest,
      'GET /snapshots/N': () => covering(version),
      'GET /events/N': () => event(version),
      'GET /info': () => ({ nodeId: 'node0', origin, vkey: signer.vkey, version: balloon.size - 1 }),
      'GET /healthcheck': () => ({ status: 'ready' }),
    };
    const found = routes[route];
    if (found === undefined) throw new QedError('bad-request', `no route ${route}`);
    return found();
  }

  const log: LogTransport = {
    requests,
    trust: { log: signer.verifier },
    vkey: signer.vkey,
    companions: [],
    size: () => balloon.size,
    log: (...events) => append(events.map(digestOf)).last,
    transport: async (method, url, headers, body = new Uint8Array(0)) => {
      await Promise.resolve();
      const path = new URL(url).pathname;
      requests.push(`${method} ${path}`);
      try {
        if (path === '/checkpoint') {
          const { historyDigest, version } = balloon.snapshotAt(present()).snapshot;
          const note = signer.signCheckpoint({ size: version + 1, root: historyDigest });
          return { status: 200, headers: {}, bytes: encodeUtf8(note) };
        }
        return jsonAnswer(200, answer(method, { path, headers, body }));
      } catch (error) {
        if (!(error instanceof QedError)) throw error;
        return jsonAnswer(errorTable[error.code].status, { code: error.code, message: error.message });
      }
    },
  };
  return log;
}

export function jsonAnswer(
  status: number,
  json: unknown,
  headers: Readonly<Record<string, string>> = {},
): TransportAnswer {
  const bytes = encodeUtf8(JSON.stringify(json));
  return { status, headers: { 'content-type': 'application/json', ...headers }, bytes };
}

export function digestOf(event: string): Uint8Array {
  return nativeHash.digest(encodeUtf8(event));
}

function digestsIn(body: Uint8Array): readonly Uint8Array[] {
  return Array.from({ length: body.length / 32 }, (_, i) => concat(body.subarray(i * 32, (i + 1) * 32)));
}

function text(body: Uint8Array): string {
  return new TextDecoder().decode(body);
}
