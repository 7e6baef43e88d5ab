// Addresses of gossip members: `host:port`, as people write them, or a multiaddr, as libp2p does. A host:port is dialled without knowing who
// answers there; a multiaddr may end with the peer id that must.
import { QedError } from '../errors.ts';

const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;

/** The multiaddr to dial. A port alone is one of this machine. */
export function dialAddress(text: string, flag: string): string {
  if (text.startsWith('/')) {
    if (/^\/(?:ip4|ip6|dns|dns4|dns6)\/[^/\s]+\/tcp\/\d{1,5}(?:\/p2p\/[A-Za-z0-9]{1,100})?$/.test(text))
      return text;
    throw malformed(text, flag);
  }
  const { host, port } = splitAddress(text, flag);
  return `${hostPart(host ?? '127.0.0.1')}/tcp/${port}`;
}

/** What to listen on; without a host on all interfaces. */
export function listenAddresses(host: string | undefined, port: number): readonly string[] {
  const hosts = host === undefined ? ['0.0.0.0', '::'] : host === 'localhost' ? ['127.0.0.1'] : [host];
  return hosts.map((one) => `${hostPart(one)}/tcp/${port}`);
}

/** `host:port`, `[v6]:port` or `:port`. */
export function splitAddress(text: string, flag: string): { host: string | undefined; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw malformed(text, flag);
  return { host: match[1] ?? (match[2] === '' ? undefined : match[2]), port };
}

function hostPart(host: string): string {
  if (host.includes(':')) return `/ip6/${host}`;
  return IPV4.test(host) ? `/ip4/${host}` : `/dns/${host}`;
}

function malformed(text: string, flag: string): QedError {
  return new QedError(
    'option-malformed',
    `${flag}: ${JSON.stringify(text.slice(0, 120))} is not the address of a gossip member`,
    { hint: 'Write host:port, such as 127.0.0.1:8400, or a multiaddr, such as /ip4/127.0.0.1/tcp/8400.' },
  );
}
