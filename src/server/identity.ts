// Who a node is: the origin and key of its log, and the id and key of its own. Settled at the first start and kept in node.json; a later start
// that asks for something else is refused, because two logs must never share a name, nor one log have two keys.
import { type KeyObject } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { encodeHex } from '../crypto/encoding.ts';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { createKeyFiles, readPrivateKey } from '../crypto/keys.ts';
import { createCosigner, createLogSigner, type Cosigner, type LogSigner } from '../crypto/signer.ts';
import { COSIGNER_KEY, LOG_KEY } from '../crypto/vkey.ts';
import { QedError } from '../errors.ts';
import { createSeal, type Seal } from './join-seal.ts';

export interface Identity {
  readonly origin: string;
  readonly nodeId: string;
  readonly signer: LogSigner;
  readonly cosigner: Cosigner;
  /** Proves to its peers who it is. */
  readonly nodeKey: KeyObject;
  /** Proves to nodes of the same log that it is one. */
  readonly seal: Seal;
  /** By which name or address of its machine it became a member, if that had to be found out. */
  readonly host: string | undefined;
}

export interface IdentityOptions {
  /** The data directory of the node, which must be there. */
  readonly path: string;
  /** Undefined: a key of the node's own making, in the data directory. */
  readonly logKeyPath?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly origin?: string | undefined;
  readonly nodeId?: string | undefined;
  /** Remembered from the first start. */
  readonly host?: string | undefined;
  /** The log of the cluster that the node is about to join: it must have that key, and takes the origin. */
  readonly cluster?: ClusterLogName | undefined;
}

export interface ClusterLogName {
  readonly origin: string;
  readonly vkey: string;
  readonly url: string;
}

const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const nodeFile = z.strictObject({
  format: z.literal('qed node v1'),
  origin: z.string(),
  vkey: z.string(),
  nodeId: z.string().regex(NODE_ID),
  nodeVkey: z.string(),
  host: z.string().optional(),
});
type NodeFile = z.output<typeof nodeFile>;

/** Reads who the node is, or finds out: then it is to be settled. The caller holds the lock of the data directory. */
export function openIdentity(options: IdentityOptions): Identity {
  const { path, passphrase, cluster } = options;
  if (options.nodeId !== undefined && !NODE_ID.test(options.nodeId)) {
    throw new QedError(
      'option-malformed',
      `the node id ${JSON.stringify(options.nodeId.slice(0, 80))} cannot be used`,
      {
        hint: 'Use up to 64 letters, digits, dots, dashes and underscores.',
      },
    );
  }
  const filePath = join(path, 'node.json');
  const known = existsSync(filePath) ? readNodeFile(filePath) : undefined;
  const logKey = openLogKey(options, known);
  const origin = options.origin ?? known?.origin ?? cluster?.origin ?? defaultOrigin(publicKeyOf(logKey));
  const signer = createLogSigner(origin, logKey);
  if (cluster) checkLogKey(cluster.vkey, signer.vkey, cluster.url);
  const nodeKeyPath = join(path, 'node_key.pem');
  if (known === undefined && !existsSync(nodeKeyPath)) {
    const name = (publicKey: Uint8Array): string =>
      nodeName(origin, options.nodeId ?? defaultNodeId(publicKey));
    createKeyFiles(nodeKeyPath, { name, type: COSIGNER_KEY, passphrase });
  }
  const nodeKey = readPrivateKey(nodeKeyPath, passphrase);
  const nodeId = options.nodeId ?? known?.nodeId ?? defaultNodeId(publicKeyOf(nodeKey));
  const cosigner = createCosigner(nodeName(origin, nodeId), nodeKey);
  const host = known === undefined ? options.host : known.host;
  const identity = { origin, nodeId, signer, cosigner, nodeKey, seal: createSeal(logKey), host };
  if (known !== undefined) checkSame(path, known, fileOf(identity));
  return identity;
}

/** Whether the data directory is that of a node already. */
export function isSettled(path: string): boolean {
  return existsSync(join(path, 'node.json'));
}

/** From now on the data directory is that of this node. */
export function settleIdentity(path: string, identity: Identity): void {
  if (isSettled(path)) return;
  // A name that a cluster refused may have been tried with this key before.
  writeFileSync(join(path, 'node_key.pem.pub'), `${identity.cosigner.vkey}\n`);
  writeNodeFile(join(path, 'node.json'), fileOf(identity));
}

/** Whether both have the same log key and origin. */
export function checkLogKey(theirs: string, ours: string, url: string): void {
  if (theirs === ours) return;
  throw new QedError(
    'node-mismatch',
    `the cluster at ${url} serves the log ${theirs}, this node has ${ours}`,
    {
      hint: 'Name the log key of the cluster with --private-key, and a --path that is empty or of that log.',
    },
  );
}

function fileOf({ origin, signer, nodeId, cosigner, host }: Identity): NodeFile {
  return {
    format: 'qed node v1',
    origin,
    vkey: signer.vkey,
    nodeId,
    nodeVkey: cosigner.vkey,
    ...(host === undefined ? {} : { host }),
  };
}

function openLogKey(
  { path, logKeyPath, passphrase, origin, cluster }: IdentityOptions,
  known: NodeFile | undefined,
): KeyObject {
  if (logKeyPath !== undefined) return readPrivateKey(logKeyPath, passphrase);
  const ownPath = join(path, 'log_key.pem');
  if (existsSync(ownPath)) return readPrivateKey(ownPath, passphrase);
  if (cluster !== undefined && known === undefined) {
    throw new QedError('key-missing', `the cluster at ${cluster.url} serves the log ${cluster.vkey}`, {
      hint: 'Name the key file of that log with --private-key: all nodes of a cluster sign with the same key.',
    });
  }
  if (known !== undefined) {
    throw new QedError(
      'key-missing',
      `the data in ${path} is of the log ${known.vkey}, whose key is not there`,
      {
        hint: 'Name its key file with --private-key, as when the node was started first.',
      },
    );
  }
  return createKeyFiles(ownPath, { name: origin ?? defaultOrigin, type: LOG_KEY, passphrase }).privateKey;
}

export function defaultOrigin(publicKey: Uint8Array): string {
  return `qed.local/${encodeHex(publicKey.subarray(0, 4))}`;
}

function defaultNodeId(publicKey: Uint8Array): string {
  return `node-${encodeHex(publicKey.subarray(0, 4))}`;
}

/** The name under which a node cosigns. */
export function nodeName(origin: string, nodeId: string): string {
  return `${origin}/${nodeId}`;
}

function checkSame(path: string, known: NodeFile, found: NodeFile): void {
  const rows = [
    ['origin', known.origin, found.origin],
    ['log key', known.vkey, found.vkey],
    ['node id', known.nodeId, found.nodeId],
    ['node key', known.nodeVkey, found.nodeVkey],
  ] as const;
  for (const [what, before, now] of rows) {
    if (before === now) continue;
    throw new QedError('node-mismatch', `the data in ${path} has the ${what} ${before}, not ${now}`, {
      hint: 'Start with what it was made with, or name another --path for another log.',
    });
  }
}

function readNodeFile(filePath: string): NodeFile {
  try {
    return nodeFile.parse(JSON.parse(readFileSync(filePath, 'utf8')));
  } catch (cause) {
    throw new QedError('store-corrupt', `${filePath} does not hold what qed writes there`, { cause });
  }
}

/** In one step: the file is whole or not there. */
function writeNodeFile(filePath: string, content: NodeFile): void {
  const file = openSync(`${filePath}.new`, 'w', 0o644);
  try {
    writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${filePath}.new`, filePath);
}
