// How the two sides of a join show each other that they hold the log key, of which everybody knows the public half: by a seal that is made with it. A seal is
// no signature and can never be taken for one: it is an HMAC under a secret that comes from the private key and is good for nothing else. The asking
// side picks a nonce, so that an answer fits one question alone.
import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';
import { decodeHex } from '../crypto/encoding.ts';
import { formatJson, type Joined, type NodeRecord } from '../replication/members.ts';

export interface Seal {
  /** 64 hex digits. */
  readonly ofRequest: (nonce: string, record: NodeRecord) => string;
  readonly ofAnswer: (nonce: string, joined: Joined) => string;
}

const SEAL_BYTES = 32;

export function createSeal(logKey: KeyObject): Seal {
  const secret = createHmac('sha256', logKey.export({ format: 'der', type: 'pkcs8' }))
    .update('qed join v1')
    .digest();
  const seal = (what: string, nonce: string, content: unknown): string =>
    createHmac('sha256', secret)
      .update(`${what}\n${nonce}\n${formatJson(content)}`)
      .digest('hex');
  return {
    ofRequest: (nonce, record) => seal('request', nonce, fieldsOf(record)),
    ofAnswer: (nonce, { id, members }) =>
      seal('answer', nonce, [id, members.map((member) => [member.id, ...fieldsOf(member)])]),
  };
}

/** In constant time. */
export function isSeal(found: string, wanted: string): boolean {
  const bytes = decodeHex(found, SEAL_BYTES);
  return bytes !== undefined && timingSafeEqual(bytes, Buffer.from(wanted, 'hex'));
}

/** In one order, whatever order they came in. */
function fieldsOf({ nodeId, nodeKey, raftAddr, httpAddr, mgmtAddr }: NodeRecord): readonly unknown[] {
  return [nodeId, nodeKey, raftAddr, httpAddr, mgmtAddr];
}
