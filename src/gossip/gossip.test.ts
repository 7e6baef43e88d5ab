// Both implementations pass the same suite.
import { generateKeyPairSync } from 'node:crypto';
import { gossipSuite } from '../../testutils/gossip-suite.ts';
import { memoryNetwork } from './memory.ts';
import { openGossip } from './open.ts';

const network = memoryNetwork();
gossipSuite('in memory', (options) => Promise.resolve(network.open(options)));

gossipSuite('over libp2p', ({ limits } = {}) => {
  const { privateKey } = generateKeyPairSync('ed25519');
  return openGossip({ privateKey, host: '127.0.0.1', port: 0, limits, flag: 'test', isPortFree: false });
});
