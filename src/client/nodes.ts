// The nodes of a log as its client knows them: those it was given, those that they name, and how each one did lately. It decides where a request
// goes first and where next; it sends nothing itself.
//
// Nothing that a node says about others is believed further than that it is worth a try: proofs are checked whoever sends them. Only the API key
// needs care: a node that was asked over TLS leads to no node without, and one elsewhere to none on this machine.

/** Where questions go: to all nodes in turn, to the leader, to the others, or to the node that answered last. Whoever is left is asked when these fail. */
export type ReadFrom = 'any' | 'leader' | 'followers' | 'stay';

export interface KnownNode {
  readonly url: string;
  readonly isGiven: boolean;
  /** Known once it, or another node, has told. */
  nodeId: string | undefined;
  /** In a row. */
  failures: number;
  restsUntil: number;
}

export interface Nodes {
  readonly count: number;
  /** Whom to ask, one after the other: those that are well, in the order of preference; or, where none is, those that will be soonest. */
  readonly round: (kind: 'write' | 'read') => readonly KnownNode[];
  readonly succeeded: (node: KnownNode) => void;
  /** It is asked last for a while: so long as it said itself, or ever longer. */
  readonly failed: (node: KnownNode, restMs?: number) => void;
  /** The node that answered last is not asked first again. */
  readonly turn: () => void;
  /** Takes over what `asked` answered at /info/shards; whatever is not of that form is ignored. */
  readonly learn: (asked: KnownNode, json: unknown) => void;
}

const REST_FIRST_MS = 250;
const REST_LAST_MS = 15_000;
/** More is no cluster, but somebody who sends us about. */
const NODES_MAX = 16;

export function createNodes(endpoints: readonly string[], readFrom: ReadFrom, now: () => number): Nodes {
  let nodes: readonly KnownNode[] = [...new Set(endpoints)].map((url) => newNode(url, true));
  let leaderId: string | undefined;
  let next = 0;

  function preferred(kind: 'write' | 'read'): readonly KnownNode[] {
    const start = next % nodes.length;
    if (kind === 'read' && readFrom === 'any') next = start + 1;
    const turned = [...nodes.slice(start), ...nodes.slice(0, start)];
    const leads = ({ nodeId }: KnownNode): boolean => nodeId !== undefined && nodeId === leaderId;
    if (kind === 'read' && (readFrom === 'any' || readFrom === 'stay')) return turned;
    const [leader, others] = [turned.filter(leads), turned.filter((node) => !leads(node))];
    return kind === 'read' && readFrom === 'followers' ? [...others, ...leader] : [...leader, ...others];
  }

  return {
    get count() {
      return nodes.length;
    },
    round(kind) {
      const all = preferred(kind);
      const well = all.filter(({ restsUntil }) => restsUntil <= now());
      return well.length > 0 ? well : [...all].sort((a, b) => a.restsUntil - b.restsUntil);
    },
    succeeded(node) {
      node.failures = 0;
      node.restsUntil = 0;
      if (readFrom !== 'any') next = Math.max(nodes.indexOf(node), 0);
    },
    failed(node, restMs = Math.min(REST_FIRST_MS * 2 ** Math.min(node.failures, 20), REST_LAST_MS)) {
      node.failures += 1;
      node.restsUntil = now() + restMs;
    },
    turn() {
      next += 1;
    },
    learn(asked, json) {
      const shards = readShards(json);
      if (shards === undefined) return;
      asked.nodeId = shards.nodeId;
      leaderId = shards.leaderId || leaderId;
      // A node that has not yet been told of its cluster.
      if (shards.addresses.size === 0) return;
      const found = [...shards.addresses].map(([nodeId, address]) => {
        const url = dialable(asked.url, shards.scheme, address);
        // The URL that was given may be another way to the same node, which is as good while it works.
        const isSame = (node: KnownNode): boolean =>
          node.url === url || (node.nodeId === nodeId && node.isGiven && node.failures === 0);
        const known = nodes.find(isSame);
        if (known) known.nodeId = nodeId;
        return known ?? (url === undefined ? [] : newNode(url, false, nodeId));
      });
      // Who was given stays, and who has left is forgotten.
      const given = nodes.filter(({ isGiven }) => isGiven);
      nodes = [...new Set([...given, ...found.flat()])].slice(0, Math.max(NODES_MAX, given.length));
    },
  };
}

function newNode(url: string, isGiven: boolean, nodeId?: string): KnownNode {
  return { url, isGiven, nodeId, failures: 0, restsUntil: 0 };
}

interface Shards {
  readonly nodeId: string;
  readonly leaderId: string;
  readonly scheme: string;
  /** By node id. */
  readonly addresses: ReadonlyMap<string, string>;
}

function readShards(json: unknown): Shards | undefined {
  const { nodeId, leaderId, uriScheme, shards } = fieldsOf(json);
  if (typeof nodeId !== 'string' || typeof leaderId !== 'string') return undefined;
  if (uriScheme !== 'http' && uriScheme !== 'https') return undefined;
  const addresses = Object.entries(fieldsOf(shards)).flatMap(([id, shard]) => {
    const { httpAddr } = fieldsOf(shard);
    return typeof httpAddr === 'string' ? [[id, httpAddr] as const] : [];
  });
  return { nodeId, leaderId, scheme: uriScheme, addresses: new Map(addresses.slice(0, NODES_MAX)) };
}

function fieldsOf(json: unknown): Readonly<Record<string, unknown>> {
  return typeof json === 'object' && json !== null ? { ...json } : {};
}

/** The URL of a node that another one names, if it is one to go to. */
function dialable(asked: string, scheme: string, address: string): string | undefined {
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$/.test(address)) return undefined;
  const url = `${asked.startsWith('https:') ? 'https' : scheme}://${address}`;
  if (!URL.canParse(url) || (isLoopback(url) && !isLoopback(asked))) return undefined;
  return url;
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.[0-9]+){3}$/.test(hostname);
}
