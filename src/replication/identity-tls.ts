// Who is at the other end: TLS 1.3 between nodes, where both sides show a certificate that they made from their node key themselves.
// Nobody signs for it and nothing in it counts but the key: TLS proves that the peer holds it, and the caller compares it with the one it expects.
import 'reflect-metadata';
import { webcrypto, type KeyObject } from 'node:crypto';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { X509CertificateGenerator } from '@peculiar/x509';
import { encodeHex, equalBytes } from '../crypto/encoding.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { QedError } from '../errors.ts';

export interface Credentials {
  readonly cert: string;
  readonly key: string;
}

const ALGORITHM = { name: 'Ed25519' };
const EVER = { notBefore: new Date('2020-01-01T00:00:00Z'), notAfter: new Date('9999-12-31T23:59:59Z') };

/** The certificate ends never: a key goes out of use by leaving the membership. */
export async function createCredentials(nodeKey: KeyObject): Promise<Credentials> {
  const pkcs8 = nodeKey.export({ format: 'der', type: 'pkcs8' });
  const publicKey = publicKeyOf(nodeKey);
  const keys = {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('raw', publicKey, ALGORITHM, true, ['verify']),
  };
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      ...EVER,
      name: `CN=qed node ${encodeHex(publicKey).slice(0, 16)}`,
      serialNumber: '01',
      signingAlgorithm: ALGORITHM,
      keys,
    },
    webcrypto,
  );
  return {
    cert: certificate.toString('pem'),
    key: nodeKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

/** The Ed25519 key that the peer has proven to hold, if it showed one. */
export function keyOfPeer(socket: TLSSocket): Uint8Array | undefined {
  const key = socket.getPeerX509Certificate()?.publicKey;
  if (key?.asymmetricKeyType !== 'ed25519') return undefined;
  const { x } = key.export({ format: 'jwk' });
  return x === undefined ? undefined : new Uint8Array(Buffer.from(x, 'base64url'));
}

export interface Target {
  /** host:port */
  readonly raftAddr: string;
  readonly nodeKey: Uint8Array;
}

/** The settings of either side. The certificate chain is not looked at, because there is none: see `keyOfPeer`. */
export function tlsOptions({ cert, key }: Credentials) {
  return { cert, key, rejectUnauthorized: false, minVersion: 'TLSv1.3' } as const;
}

/** A connection to the holder of the target's key; not a byte is sent to anybody else. */
export function connectTo(
  { raftAddr, nodeKey }: Target,
  credentials: Credentials,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<TLSSocket> {
  const { host, port } = parseAddress(raftAddr);
  const options: ConnectionOptions = { host, port, ...tlsOptions(credentials), ALPNProtocols: ['http/1.1'] };
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    const fail = (why: string, cause?: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      socket.destroy();
      reject(new QedError('unreachable', `no connection to the node at ${raftAddr}: ${why}`, { cause }));
    };
    const abort = (): void => fail('given up');
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) fail('given up');
    socket.once('error', (cause: Error) => fail(cause.message, cause));
    socket.once('secureConnect', () => {
      const found = keyOfPeer(socket);
      if (!found || !equalBytes(found, nodeKey)) {
        fail('it holds another key than the member');
        return;
      }
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      // From now on errors are for the user of the connection; without one they must not end the process.
      socket.on('error', () => undefined);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** The parts of host:port; an empty host stands for all interfaces, brackets around an IPv6 host go. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, Math.max(0, at)).replace(/^\[(.*)\]$/, '$1');
  return { host, port: Number(address.slice(at + 1)) };
}
