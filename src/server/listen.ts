// Addresses: how people write them, and what happens when a port is taken.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
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

/** Where to ask a server that somebody named as host:port or by its URL; a port alone is one of this machine. */
export function urlOf(
  text: string,
  { flag, isTls }: { readonly flag: string; readonly isTls: boolean },
): string {
  if (/^https?:\/\/[^/\s]+\/?$/.test(text) && URL.canParse(text)) return new URL(text).origin;
  const { host = '127.0.0.1', port } = parseAddress(text, flag);
  return `${isTls ? 'https' : 'http'}://${formatAddress({ host, port })}`;
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

/** A port that is kept for somebody who listens there later. */
export interface Reserved {
  readonly wanted: Wanted;
  /** To be called right before. */
  readonly release: () => Promise<void>;
}

/** Finds out now which port it will be, so that others can be told before anything listens there. Who connects meanwhile is cut off. */
export async function reserve({ address, flag, isPortFree }: Wanted): Promise<Reserved> {
  const server = createServer((socket) => socket.destroy());
  const listenAt = async ({ host, port }: Address): Promise<void> => {
    server.listen(port, host);
    await once(server, 'listening');
  };
  try {
    await listenAt(address).catch(async (error: unknown) => {
      if (!isPortFree || codeOf(error) !== 'EADDRINUSE') throw error;
      await listenAt({ ...address, port: 0 });
    });
  } catch (cause) {
    throw unusable(address, flag, cause);
  }
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  return {
    wanted: { address: { ...address, port }, flag, isPortFree: false },
    release: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** The host of an address for others: where it is none in particular, `fallback`. */
export function reachableHost({ host }: Address, fallback: string): string {
  return host === undefined || host === '0.0.0.0' || host === '::' ? fallback : host;
}

/** Whether a URL leads to what listens at an address of this machine. */
export function leadsTo(url: string, { host, port }: Address): boolean {
  const { protocol, hostname, port: named } = new URL(url);
  if (Number(named || (protocol === 'https:' ? 443 : 80)) !== port) return false;
  const asked = hostname.replace(/^\[(.*)\]$/, '$1');
  if (host !== undefined && !isLoopback({ host, port })) return asked === host;
  return isLoopback({ host: asked, port }) || (host === undefined && isOfThisMachine(asked));
}

/** Whether it is an address of this machine; names are not looked up. */
export function isOfThisMachine(host: string): boolean {
  const plain = host.replace(/^::ffff:/, '');
  const own = Object.values(networkInterfaces()).flatMap((list = []) => list);
  return isLoopback({ host: plain, port: 0 }) || own.some(({ address }) => address === plain);
}

/** An address of this machine that others may know; its own if it is on no network. */
export function ownHost(): string {
  const outward = Object.values(networkInterfaces())
    .flatMap((list = []) => list)
    .find(({ family, internal }) => family === 'IPv4' && !internal);
  return outward?.address ?? '127.0.0.1';
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
