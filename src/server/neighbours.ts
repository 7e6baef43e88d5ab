// What the nodes of a cluster ask each other beside what the log needs: where gossip of the other is, an event that it kept, a cosignature. The
// questions go over the connections between nodes, so they come from members and are answered by members.
import { decodeUtf8, encodeHex, encodeUtf8 } from '../crypto/encoding.ts';
import { type ClusterLog } from '../replication/cluster-log.ts';
import { EVENT_BYTES_MAX } from './bodies.ts';
import { type Cosigning } from './cosigning.ts';
import { formatAddress, isLoopback, parseAddress, reachableHost } from './listen.ts';
import { type Payloads } from './payloads.ts';

export interface NeighboursOptions {
  readonly log: () => ClusterLog | undefined;
  readonly payloads: Payloads | undefined;
  readonly cosigning: Pick<Cosigning, 'answer'>;
}

export interface Neighbours {
  /** The answer to a question of another node; undefined for paths that are not known here. */
  readonly answer: (path: string) => Promise<Uint8Array | undefined>;
  /** Known only when gossip runs. */
  readonly setGossipAddr: (address: string) => void;
  /** Where gossip of the others is, as far as they answer. */
  readonly gossip: () => Promise<readonly string[]>;
  /** Asks each of the others for the event of a digest. */
  readonly event: (eventDigest: Uint8Array) => readonly Promise<Uint8Array | undefined>[];
}

const EVENT_PATH = 'event/';
const EVENT_LIMITS = { bytesMax: EVENT_BYTES_MAX, timeoutMs: 5_000 } as const;
const GOSSIP_PATH = 'gossip';
const GOSSIP_LIMITS = { bytesMax: 300, timeoutMs: 2_000 } as const;

export function createNeighbours({ log, payloads, cosigning }: NeighboursOptions): Neighbours {
  let gossipAddr: string | undefined;
  return {
    async answer(path) {
      if (path.startsWith(EVENT_PATH)) return payloads?.answer(path.slice(EVENT_PATH.length));
      if (path === GOSSIP_PATH) return gossipAddr === undefined ? undefined : encodeUtf8(gossipAddr);
      return cosigning.answer(path);
    },
    setGossipAddr(address) {
      gossipAddr = address;
    },
    async gossip() {
      const opened = log();
      return opened ? gossipOfPeers(opened) : [];
    },
    event(eventDigest) {
      const path = EVENT_PATH + encodeHex(eventDigest);
      const peers = log()?.peers() ?? [];
      return peers.map((peer) => peer.fetch(path, EVENT_LIMITS).catch(() => undefined));
    },
  };
}

/** A gossip address on this machine alone is of no use to another one, and one without a host is on that of the node. */
async function gossipOfPeers(log: ClusterLog): Promise<readonly string[]> {
  const hosts = new Map(
    log.members().map(({ nodeId, raftAddr }) => [nodeId, parseAddress(raftAddr, 'raftAddr').host]),
  );
  const own = hosts.get(log.status().nodeId);
  const found = log.peers().map(async (peer) => {
    const bytes = await peer.fetch(GOSSIP_PATH, GOSSIP_LIMITS).catch(() => undefined);
    const text = bytes && decodeUtf8(bytes);
    if (text === undefined) return [];
    const address = parseAddress(text, '--gossip-addr');
    const host = hosts.get(peer.nodeId);
    if (isLoopback(address) && host !== own) return [];
    return [formatAddress({ host: reachableHost(address, host ?? '127.0.0.1'), port: address.port })];
  });
  return (await Promise.all(found)).flat();
}
