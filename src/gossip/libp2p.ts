// Gossip over the network: libp2p with TCP, noise (encrypted, every peer proves its Ed25519 key), yamux, and gossipsub, which signs what is published.
// Nobody but open.ts imports this file, and only when gossip is wanted: libp2p takes a second to load, and 75 to 135 MB.
import { type KeyObject } from 'node:crypto';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import { gossipsub, TopicValidatorResult } from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { publicKeyOf } from '../crypto/ed25519-node.ts';
import { concat } from '../crypto/encoding.ts';
import { assert, QedError } from '../errors.ts';
import { dialAddress, listenAddresses } from './address.ts';
import { MESSAGE_BYTES_MAX, type Gossip, type Verdict } from './gossip.ts';
import { openInbox, type InboxLimits } from './inbox.ts';

export interface Libp2pOptions {
  /** Ed25519. */
  readonly privateKey: KeyObject;
  /** Undefined: all interfaces. */
  readonly host: string | undefined;
  /** 0: any that is free. */
  readonly port: number;
  readonly limits?: Partial<InboxLimits> | undefined;
}

const CONNECTIONS_MAX = 256;
const DIAL_MS = 5_000;
const HEARTBEAT_MS = 300;

const results: Readonly<Record<Verdict, TopicValidatorResult>> = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
};

/** Rejects as the system does when the port cannot be had (`code` is EADDRINUSE, say). */
export async function openLibp2pGossip(options: Libp2pOptions): Promise<Gossip> {
  const inbox = openInbox({
    limits: options.limits,
    now: () => performance.now(),
    onMute(peerId) {
      const peer = node.getPeers().find((one) => one.toString() === peerId);
      if (peer) void node.hangUp(peer).catch(() => undefined);
    },
  });
  const isMuted = (peer: { toString: () => string }): boolean => inbox.isMuted(peer.toString());
  const node = await createLibp2p({
    privateKey: libp2pKey(options.privateKey),
    addresses: { listen: [...listenAddresses(options.host, options.port)] },
    transports: [tcp({ maxConnections: CONNECTIONS_MAX })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: {
      maxConnections: CONNECTIONS_MAX,
      // The default of 5 a second from one host resets agents that run on one machine.
      inboundConnectionThreshold: 200,
      maxIncomingPendingConnections: 64,
      reconnectRetries: 0,
      dialTimeout: DIAL_MS,
    },
    connectionGater: {
      denyInboundEncryptedConnection: isMuted,
      denyOutboundEncryptedConnection: isMuted,
      // Members of one machine or one house find each other at private addresses.
      denyDialMultiaddr: () => false,
    },
    services: {
      identify: identify({ protocolPrefix: 'qed' }),
      pubsub: gossipsub({
        allowPublishToZeroTopicPeers: true,
        fallbackToFloodsub: false,
        // Whoever comes is in the mesh within a third of a second; messages can be asked for again for five seconds, as usual.
        heartbeatInterval: HEARTBEAT_MS,
        mcacheLength: 16,
        mcacheGossip: 10,
        // Of all that neighbours send at once; the limit of one message is the inbox's.
        maxInboundDataLength: 16 * MESSAGE_BYTES_MAX,
        // Many agents of one address are usual here, not an attack.
        scoreParams: { IPColocationFactorWeight: 0 },
      }),
    },
    start: false,
  });
  const { pubsub } = node.services;
  try {
    await node.start();
  } catch (error) {
    await node.stop();
    throw error;
  }
  node.addEventListener('peer:disconnect', ({ detail }) => inbox.forget(detail.toString()));

  return {
    id: node.peerId.toString(),
    async publish(topic, data) {
      assert(data.length <= MESSAGE_BYTES_MAX, `a message of ${data.length} bytes`);
      inbox.countPublished();
      return (await pubsub.publish(topic, data)).recipients.length;
    },
    subscribe(topic, subscriber) {
      const forget = inbox.subscribe(topic, subscriber);
      pubsub.topicValidators.set(topic, async (peer, message) => {
        if (message.type !== 'signed') return TopicValidatorResult.Reject;
        const { data, from } = message;
        return results[await inbox.take(topic, { data, author: from.toString(), via: peer.toString() })];
      });
      pubsub.subscribe(topic);
      return () => {
        forget();
        pubsub.unsubscribe(topic);
        pubsub.topicValidators.delete(topic);
      };
    },
    async dial(address) {
      const to = multiaddr(dialAddress(address, 'gossip'));
      try {
        return (await node.dial(to, { signal: AbortSignal.timeout(DIAL_MS) })).remotePeer.toString();
      } catch (cause) {
        if (isSelf(cause)) return node.peerId.toString();
        throw new QedError('unreachable', `no gossip member answers at ${address}: ${reason(cause)}`, {
          cause,
        });
      }
    },
    peers() {
      const seen = new Map(
        node.getConnections().map((one) => [one.remotePeer.toString(), one.remoteAddr.toString()]),
      );
      return Array.from(seen, ([id, address]) => ({ id, address }));
    },
    addresses: () => node.getMultiaddrs().map((address) => address.toString()),
    onListener(tell) {
      pubsub.addEventListener('subscription-change', ({ detail }) => tell(detail.peerId.toString()));
    },
    figures: inbox.figures,
    close: async () => node.stop(),
  };
}

function libp2pKey(privateKey: KeyObject) {
  const seed = privateKey.export({ format: 'jwk' }).d;
  assert(seed !== undefined, 'an Ed25519 private key without its seed');
  return privateKeyFromRaw(concat(new Uint8Array(Buffer.from(seed, 'base64url')), publicKeyOf(privateKey)));
}

function isSelf(error: unknown): boolean {
  return error instanceof Error && error.name === 'InvalidPeerIdError';
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
