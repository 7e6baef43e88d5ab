// Who an agent is: an Ed25519 key, in a file of its own or made for this run, under which it is known in gossip and signs its alerts.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { publicKeyOf } from '../src/crypto/ed25519-node.ts';
import { encodeHex } from '../src/crypto/encoding.ts';
import { createKeyFiles, readPrivateKey } from '../src/crypto/keys.ts';
import { createVerifier, formatVkey, LOG_KEY, type Verifier } from '../src/crypto/vkey.ts';

export interface AgentIdentity {
  readonly privateKey: KeyObject;
  /** Checks what the agent signs. */
  readonly verifier: Verifier;
  readonly vkey: string;
}

/** Reads the key, or makes it where there is none. Without a path it is gone with the process. */
export function openAgentIdentity(
  path: string | undefined,
  agentName: string,
  passphrase?: string,
): AgentIdentity {
  if (path !== undefined && !existsSync(path)) {
    createKeyFiles(path, { name: (publicKey) => keyName(agentName, publicKey), type: LOG_KEY, passphrase });
  }
  const privateKey =
    path === undefined ? generateKeyPairSync('ed25519').privateKey : readPrivateKey(path, passphrase);
  const publicKey = publicKeyOf(privateKey);
  const verifier = createVerifier(keyName(agentName, publicKey), LOG_KEY, publicKey);
  return { privateKey, verifier, vkey: formatVkey(verifier) };
}

/** Two agents of one name are told apart. */
function keyName(agentName: string, publicKey: Uint8Array): string {
  return `qed.agent/${agentName}/${encodeHex(publicKey.subarray(0, 4))}`;
}
