// Where an agent asks the log, or a store: what was published, which key the log has, where gossip is. URLs may be learned later. Nothing that
// comes from here is believed before it was verified.
import { parseSignedSnapshot, type SignedSnapshot } from '../src/balloon/proof.ts';
import { QedError } from '../src/errors.ts';
import { createCaller, type Caller } from '../src/client/call.ts';
import { type Transport } from '../src/client/transport.ts';
import { pause } from './delivery.ts';

export interface SourceOptions {
  readonly urls: readonly string[];
  readonly apiKey?: string | undefined;
  readonly transport: Transport;
  /** Finds the other nodes of the cluster, for when those that were named are gone. */
  readonly discover?: boolean;
  readonly now: () => number;
  readonly jitter: () => number;
}

/** What one node says about itself; `url` is where it was asked. */
export interface NodeInfo {
  readonly url: string;
  readonly vkey: string | undefined;
  readonly gossipAddr: string | undefined;
  /** The last version of the log there; undefined while it is empty. */
  readonly version: number | undefined;
}

export interface Source {
  readonly urls: readonly string[];
  /** Adds what is not known yet, up to a limit. */
  readonly learn: (urls: readonly string[]) => void;
  /** Asks all of them at once; those that do not answer are left out. */
  readonly infos: () => Promise<readonly NodeInfo[]>;
  /** Published snapshots from a version on, in order. Rejects when nobody answers in time. Not verified. */
  readonly published: (from: number, limit: number, timeoutMs: number) => Promise<readonly SignedSnapshot[]>;
  /** For questions of roles; undefined while no URL is known. */
  readonly caller: () => Caller | undefined;
}

const URLS_MAX = 16;
const INFO_MS = 3_000;

export function createSource(options: SourceOptions): Source {
  const { apiKey, transport, now, jitter } = options;
  const never = new AbortController().signal;
  let urls: readonly string[] = [];
  let caller: Caller | undefined;

  function callerOf(endpoints: readonly string[], discover = false): Caller {
    const sleep = (milliseconds: number, signal = never): Promise<void> => pause(milliseconds, signal);
    return createCaller({ endpoints, apiKey, transport, now, jitter, sleep, attemptMs: 2_000, discover });
  }

  function learn(more: readonly string[]): void {
    const fresh = more.filter((url) => !urls.includes(url) && isUrl(url)).slice(0, URLS_MAX - urls.length);
    if (fresh.length === 0) return;
    urls = [...urls, ...fresh];
    caller = callerOf(urls, options.discover);
  }

  async function info(url: string): Promise<NodeInfo | undefined> {
    try {
      const json = await callerOf([url]).callJson(
        { method: 'GET', path: '/info', once: true },
        now() + INFO_MS,
      );
      const fields = new Map<string, unknown>(
        typeof json === 'object' && json !== null ? Object.entries(json) : [],
      );
      const [vkey, gossipAddr, version] = [
        fields.get('vkey'),
        fields.get('gossipAddr'),
        fields.get('version'),
      ];
      return {
        url,
        vkey: typeof vkey === 'string' && vkey.length < 512 ? vkey : undefined,
        gossipAddr: typeof gossipAddr === 'string' && gossipAddr.length < 512 ? gossipAddr : undefined,
        version: typeof version === 'number' && Number.isSafeInteger(version) ? version : undefined,
      };
    } catch {
      return undefined;
    }
  }

  learn(options.urls);

  return {
    get urls() {
      return urls;
    },
    learn,
    async infos() {
      const found = await Promise.all(urls.map(info));
      return found.flatMap((one) => (one === undefined ? [] : [one]));
    },
    async published(from, limit, timeoutMs) {
      if (caller === undefined) throw new QedError('unreachable', 'no URL of the log is known');
      const path = `/snapshots?from=${from}&limit=${limit}`;
      return readPublished(await caller.callJson({ method: 'GET', path }, now() + timeoutMs), from, limit);
    },
    caller: () => caller,
  };
}

/** Another member's gossip, as seen from where its server was asked: `:8400` is a port of that host. */
export function gossipAddressOf({ url, gossipAddr }: NodeInfo): string | undefined {
  if (gossipAddr === undefined) return undefined;
  return gossipAddr.startsWith(':') ? `${new URL(url).hostname}${gossipAddr}` : gossipAddr;
}

function readPublished(json: unknown, from: number, limit: number): readonly SignedSnapshot[] {
  const list: unknown =
    typeof json === 'object' && json !== null && 'snapshots' in json ? json.snapshots : undefined;
  if (!Array.isArray(list) || list.length > limit) {
    throw new QedError('server-failed', 'the list of published snapshots is not of the documented form');
  }
  const snapshots = list.map(parseSignedSnapshot);
  let last = from;
  for (const { snapshot } of snapshots) {
    // Two of one version may be the two sides of a contradiction: they are for whoever looks at them.
    if (snapshot.version < last) {
      throw new QedError('proof-malformed', 'the list of published snapshots is not in order');
    }
    last = snapshot.version;
  }
  return snapshots;
}

function isUrl(text: string): boolean {
  return /^https?:\/\/[^/\s?#@]+(?:\/[^\s?#]*)?$/.test(text) && URL.canParse(text);
}
