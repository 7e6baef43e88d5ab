// Addresses: how people write them, and what happens when a port is taken.
import type { FastifyInstance } from 'fastify';
import { QedError } from '../errors.ts';

export interface Address {
  /** Undefined: all interfaces. */
  readonly host: string | undefined;
  readonly port: number;
}

/** `host:port`, `[v6]:port`, or `:port` for all interfaces. `flag` says in messages where it was written. */
export function parseAddress(text: string, flag: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new QedError(
      'option-malformed',
      `${flag}: ${JSON.stringify(text.slice(0, 80))} is not an address`,
      {
        hint: 'Write host:port, such as 127.0.0.1:8800, or :8800 for all interfaces.',
      },
    );
  }
  return { host: match[1] ?? (match[2] === '' ? undefined : match[2]), port };
}

export function formatAddress({ host = '', port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

export function isLoopback({ host }: Address): boolean {
  return host !== undefined && (host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host));
}

/** An address that somebody asked for. */
export interface Wanted {
  readonly address: Address;
  /** Where it was written, for messages. */
  readonly flag: string;
  /** Nobody asked for this very port: when it is taken, another one does as well. */
  readonly isPortFree: boolean;
}

/** Starts listening; resolves with the address that it really is. */
export async function listen(app: FastifyInstance, { address, flag, isPortFree }: Wanted): Promise<Address> {
  try {
    return await listenAt(app, address);
  } catch (cause) {
    if (isPortFree && codeOf(cause) === 'EADDRINUSE') return listenAt(app, { ...address, port: 0 });
    throw unusable(address, flag, cause);
  }
}

async function listenAt(app: FastifyInstance, { host, port }: Address): Promise<Address> {
  try {
    await app.listen({ host: host ?? '::', port });
  } catch (error) {
    // A machine without IPv6.
    if (host !== undefined || codeOf(error) !== 'EAFNOSUPPORT') throw error;
    await app.listen({ host: '0.0.0.0', port });
  }
  const bound = app.server.address();
  return { host, port: typeof bound === 'object' && bound !== null ? bound.port : port };
}

function unusable(address: Address, flag: string, cause: unknown): QedError {
  const where = formatAddress(address);
  const code = codeOf(cause);
  const why = new Map<unknown, string>([
    ['EADDRINUSE', 'is taken by another process'],
    ['EADDRNOTAVAIL', 'is not an address of this machine'],
    ['EACCES', 'needs more rights: ports below 1024 are for administrators'],
    ['ENOTFOUND', 'has an unknown host name'],
  ]);
  return new QedError(
    'address-taken',
    `${flag}: ${where} ${why.get(code) ?? `cannot be used: ${String(code)}`}`,
    {
      hint: `Stop what listens there, or name another address with ${flag}.`,
      cause,
    },
  );
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
