// The network between the nodes of a fault round, and how it breaks. Where the machine allows it, each node lives in a network namespace of its own behind
// a bridge, and packets really vanish or crawl; clients stay outside and reach all nodes whatever happens between them. Elsewhere the nodes' own transport
// is told to drop messages (`qed start --drills`).
import { execFileSync } from 'node:child_process';
import { type Cluster, type ClusterNode, type Launcher, type Program } from '../cmd/cluster/layout.ts';
import { lookAt } from '../cmd/cluster/processes.ts';
import { order } from '../cmd/cluster/views.ts';

export interface FaultNetwork {
  /** For the report: how faults are made, and why not better. */
  readonly name: string;
  /** Where the nodes listen; undefined for this machine's own loopback. */
  readonly hosts: readonly string[] | undefined;
  readonly launcher: Launcher;
  /** What `from` sends to `to` is lost from now on. */
  readonly cut: (cluster: Cluster, from: ClusterNode, to: ClusterNode) => Promise<void>;
  /** All that the node sends goes through a thin line; undefined where that cannot be done. */
  readonly throttle: ((node: ClusterNode, kilobits: number) => void) | undefined;
  readonly heal: (cluster: Cluster) => Promise<void>;
  readonly close: () => void;
}

export function openNetwork(program: Program, count: number, isPlain: boolean): FaultNetwork {
  if (isPlain) return transportNetwork(program, 'faults by the transport, as asked');
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return transportNetwork(program, 'faults by the transport: namespaces need Linux and root');
  try {
    return namespaces(program, count);
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return transportNetwork(program, `faults by the transport: namespaces do not work here (${why ?? ''})`);
  }
}

// --- by the transport

function transportNetwork(program: Program, name: string): FaultNetwork {
  const cuts = new Map<string, { cutTo: boolean; cutFrom: boolean }>();
  return {
    name,
    hosts: undefined,
    launcher: () => program,
    // The sender drops what it sends; what is on its way already arrives.
    async cut(cluster, from, to) {
      const before = cuts.get(`${from.nodeId} ${to.nodeId}`) ?? { cutTo: false, cutFrom: false };
      const cut = { ...before, cutTo: true };
      cuts.set(`${from.nodeId} ${to.nodeId}`, cut);
      await order(cluster, from, '/drills/cut', { nodeId: to.nodeId, ...cut });
    },
    throttle: undefined,
    async heal(cluster) {
      cuts.clear();
      for (const node of cluster.nodes) {
        if (lookAt(cluster, node).state !== 'running') continue;
        await order(cluster, node, '/drills/cut', { cutTo: false, cutFrom: false });
      }
    },
    close: () => undefined,
  };
}

// --- by namespaces

/** The range for tests of networks, RFC 2544: nobody's real network. */
const PREFIX = `198.18.${process.pid % 256}`;
const FIRST_HOST = 11;

function namespaces(program: Program, count: number): FaultNetwork {
  const bridge = `qedb${process.pid}`;
  const names = Array.from({ length: count }, (_, at) => `qed${process.pid}n${at + 1}`);
  const hosts = names.map((_, at) => `${PREFIX}.${FIRST_HOST + at}`);
  const close = (): void => {
    for (const name of names) attempt(() => ip('netns', 'del', name));
    attempt(() => ip('link', 'del', bridge));
  };
  const nameOf = ({ host }: ClusterNode): string => names[hosts.indexOf(host)] ?? '';
  try {
    ip('link', 'add', bridge, 'type', 'bridge');
    ip('addr', 'add', `${PREFIX}.1/24`, 'dev', bridge);
    ip('link', 'set', bridge, 'up');
    for (const [at, name] of names.entries()) addNamespace(name, bridge, `${hosts[at] ?? ''}/24`);
  } catch (error) {
    close();
    throw error;
  }
  return {
    name: 'each node in a network namespace of its own',
    hosts,
    launcher: (node) => ['ip', 'netns', 'exec', nameOf(node), ...program],
    cut(_cluster, from, to) {
      ip('-n', nameOf(from), 'route', 'replace', 'blackhole', `${to.host}/32`);
      return Promise.resolve();
    },
    throttle(node, kilobits) {
      const queue = ['burst', '16kb', 'latency', '400ms'];
      run(
        'tc',
        '-n',
        nameOf(node),
        'qdisc',
        'replace',
        'dev',
        'eth0',
        'root',
        'tbf',
        'rate',
        `${kilobits}kbit`,
        ...queue,
      );
    },
    heal() {
      for (const name of names) {
        ip('-n', name, 'route', 'flush', 'type', 'blackhole');
        attempt(() => run('tc', '-n', name, 'qdisc', 'del', 'dev', 'eth0', 'root'));
      }
      return Promise.resolve();
    },
    close,
  };
}

function addNamespace(name: string, bridge: string, address: string): void {
  const outer = `${name}v`;
  ip('netns', 'add', name);
  ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  ip('link', 'set', outer, 'master', bridge, 'up');
  ip('-n', name, 'addr', 'add', address, 'dev', 'eth0');
  ip('-n', name, 'link', 'set', 'eth0', 'up');
  ip('-n', name, 'link', 'set', 'lo', 'up');
}

const ip = (...args: readonly string[]): void => run('ip', ...args);

function run(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // It was not there, or is gone already.
  }
}
