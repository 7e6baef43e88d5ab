// Connections to peers that outlive a request for some seconds, for questions that are asked again and again: a TLS handshake costs more than all else about them.
// Each is to one member under one key and address; when either changes, or the member goes, its connections are closed.
import { Agent } from 'node:http';
import { connectTo, type Credentials } from './identity-tls.ts';
import { type MemberRecord } from './members.ts';

export interface KeptConnections {
  readonly agent: (to: MemberRecord) => Agent;
  /** Closes what is kept to others than these. */
  readonly retain: (members: readonly MemberRecord[]) => void;
  readonly close: () => void;
}

/** Shorter than the five seconds after which the other side closes, so that no question meets a connection that is just being closed. */
const IDLE_MS = 3_000;

export function keepConnections(credentials: Credentials, connectMs: number): KeptConnections {
  const kept = new Map<string, Agent>();
  const nameOf = ({ id, raftAddr }: MemberRecord): string => `${id} ${raftAddr}`;

  function agent(to: MemberRecord): Agent {
    const name = nameOf(to);
    const known = kept.get(name);
    if (known) return known;
    const made = new Agent({ keepAlive: true, maxSockets: 2, maxFreeSockets: 1, timeout: IDLE_MS });
    Object.assign(made, {
      createConnection(_options: unknown, done: (error: unknown, socket?: unknown) => void): void {
        connectTo(to, credentials, { timeoutMs: connectMs }).then(
          (socket) => done(null, socket),
          (error: unknown) => done(error),
        );
      },
    });
    kept.set(name, made);
    return made;
  }

  return {
    agent,
    retain(members) {
      const wanted = new Set(members.map(nameOf));
      for (const [name, one] of kept) {
        if (wanted.has(name)) continue;
        one.destroy();
        kept.delete(name);
      }
    },
    close() {
      for (const one of kept.values()) one.destroy();
      kept.clear();
    },
  };
}
