// Opens gossip over the network. libp2p is loaded here and not before, and a port that is taken is replaced or refused, as for all listeners.
import { QedError } from '../errors.ts';
import { type Gossip } from './gossip.ts';
import { type Libp2pOptions } from './libp2p.ts';

export interface OpenGossipOptions extends Libp2pOptions {
  /** Where the address was written, for messages. */
  readonly flag: string;
  /** Nobody asked for this very port: when it is taken, another one does as well. */
  readonly isPortFree: boolean;
}

export async function openGossip({ flag, isPortFree, ...options }: OpenGossipOptions): Promise<Gossip> {
  const { openLibp2pGossip } = await loadLibp2p();
  try {
    return await openLibp2pGossip(options);
  } catch (cause) {
    if (isPortFree && isTaken(cause)) return openLibp2pGossip({ ...options, port: 0 });
    const where = `${options.host ?? ''}:${options.port}`;
    const why = isTaken(cause) ? 'is taken by another process' : `cannot be used: ${String(cause)}`;
    throw new QedError('address-taken', `${flag}: ${where} ${why}`, {
      hint: `Stop what listens there, or name another address with ${flag}.`,
      cause,
    });
  }
}

/** The port that gossip listens on. */
export function portOf(gossip: Gossip): number {
  return Number(/\/tcp\/(\d+)/.exec(gossip.addresses()[0] ?? '')?.[1] ?? 0);
}

async function loadLibp2p() {
  definePromiseWithResolvers();
  return import('./libp2p.ts');
}

/** Node 20 lacks it, and libp2p uses it while it loads. */
function definePromiseWithResolvers(): void {
  if ('withResolvers' in Promise) return;
  Object.defineProperty(Promise, 'withResolvers', {
    configurable: true,
    writable: true,
    value<Value>() {
      let settle: { resolve?: (value: Value) => void; reject?: (reason: unknown) => void } = {};
      const promise = new Promise<Value>((resolve, reject) => (settle = { resolve, reject }));
      return { promise, ...settle };
    },
  });
}

/** libp2p wraps what the system said, at a depth that depends on how many addresses were asked for. */
function isTaken(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || depth > 4) return false;
  if (('code' in error && error.code === 'EADDRINUSE') || error.message.includes('EADDRINUSE')) return true;
  const inner: unknown[] = error instanceof AggregateError ? error.errors : [error.cause];
  return inner.some((one) => isTaken(one, depth + 1));
}
