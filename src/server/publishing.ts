// From the node to the world: the outbox over its own small database, and the gossip that it speaks through once that is open.
import { join } from 'node:path';
import { type FastifyBaseLogger } from 'fastify';
import { type Policy } from '../crypto/policy.ts';
import { QedError } from '../errors.ts';
import { type LogStatus } from '../replication/replicated-log.ts';
import { openLevelStore } from '../storage/level.ts';
import { startGossip, urlsOf, type ServerGossip } from './gossip.ts';
import { formatAddress, type Address, type Wanted } from './listen.ts';
import { registerOutboxFigures, type Metrics } from './metrics.ts';
import { type Node } from './node.ts';
import { openOutbox, type Outbox } from './outbox.ts';
import { checkWitnessPolicy, createWitnesses, type Post, type WitnessesOptions } from './witnesses.ts';

export interface GossipWanted extends Wanted {
  /** Members to join: `host:port`, or multiaddrs. */
  readonly join: readonly string[];
}

export interface WitnessesWanted {
  readonly policy: Policy;
  /** Publishes without their quorum as well. */
  readonly isOpen: boolean;
  readonly post: Post;
}

export interface PublishingOptions {
  readonly node: Node;
  /** The data directory of the node. */
  readonly path: string;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
  /** Outside witnesses whose quorum has to vouch for what is published. */
  readonly witnesses?: WitnessesWanted | undefined;
}

export interface Publishing {
  readonly outbox: Outbox;
  /** Joins gossip; resolves with the address that it listens on. */
  readonly join: (wanted: GossipWanted, api: Address, scheme: 'http' | 'https') => Promise<Address>;
  readonly close: () => Promise<void>;
}

const SAY_AGAIN_MS = 60_000;
/** Outside witnesses are not asked ten times a second. */
const WITNESSED_CADENCE_MS = 1_000;
/** It holds a line for each publication. */
const OUTBOX_BYTES = 1024 * 1024;

export async function openPublishing({ node, path, ...options }: PublishingOptions): Promise<Publishing> {
  const { logger, metrics } = options;
  const stop = new AbortController();
  let gossip: ServerGossip | undefined;
  /** The term for which what this node publishes was found to continue what was published before. */
  let checkedTerm = node.status().role === 'leader' ? node.status().term : undefined;
  if (options.witnesses) checkWitnessPolicy(options.witnesses.policy, node.identity.signer.verifier);
  const witnesses =
    options.witnesses && createWitnesses({ ...options.witnesses, ...witnessHooks(node, options) });
  const outbox = await openOutbox({
    store: await openLevelStore(join(path, 'outbox'), {
      cacheBytes: OUTBOX_BYTES,
      writeBufferBytes: OUTBOX_BYTES,
    }),
    version: () => node.version,
    signed: (version) => node.signed(version).signedSnapshot,
    isLeader() {
      const { role, term } = node.status();
      return role === 'leader' && term === checkedTerm;
    },
    async cosign(signedSnapshot) {
      const own = await node.cosigning.collect(signedSnapshot);
      const lines = witnesses ? await witnesses.ask(signedSnapshot, own.lines) : own.lines;
      node.showCosigned(signedSnapshot.snapshot.version, lines);
      return { lines, isComplete: own.isComplete };
    },
    publish: async (signedSnapshot) => gossip?.publish(signedSnapshot),
    onFailure: sayNowAndThen((error) =>
      logger.error({ err: error }, 'a snapshot could not be published; trying again'),
    ),
    now: () => performance.now(),
    cadenceMs: witnesses && WITNESSED_CADENCE_MS,
  });
  registerOutboxFigures(metrics.registry, outbox);

  /** A new leader first gets to where the last one was. */
  async function enterOffice({ role, term }: LogStatus): Promise<void> {
    if (role !== 'leader' || term === checkedTerm) return;
    await node.linearize(stop.signal);
    try {
      outbox.check();
    } catch (error) {
      if (error instanceof QedError) node.distrust(error);
      throw error;
    }
    checkedTerm = term;
    outbox.notify();
  }
  function noteLeadership(status: LogStatus): void {
    enterOffice(status).catch((error: unknown) => {
      if (!stop.signal.aborted) logger.error({ err: error }, 'this node leads, but does not publish');
    });
  }
  const leave = node.onLeadership(noteLeadership);
  // It may have got its office while the outbox was opened.
  noteLeadership(node.status());

  return {
    outbox,
    async join(wanted, api, scheme) {
      gossip = await startGossip({
        node,
        nodeKey: node.identity.nodeKey,
        wanted,
        join: wanted.join,
        qedUrls: urlsOf(api, scheme),
        logger,
        registry: metrics.registry,
        async onPublished(signedSnapshot) {
          const others = options.witnesses?.policy.witnesses.map(({ verifier }) => verifier);
          const lines = node.cosigning.known(signedSnapshot, others);
          node.showCosigned(signedSnapshot.snapshot.version, lines);
          await outbox.note(signedSnapshot, lines);
        },
      });
      node.setGossipAddr(formatAddress(gossip.address));
      return gossip.address;
    },
    async close() {
      stop.abort();
      leave();
      await outbox.close();
      await gossip?.close();
    },
  };
}

/** The first time, and once a minute while it goes on: it is tried every second. */
function sayNowAndThen(say: (error: unknown) => void): (error: unknown) => void {
  let saidAt = -Infinity;
  return (error) => {
    if (performance.now() - saidAt < SAY_AGAIN_MS) return;
    saidAt = performance.now();
    say(error);
  };
}

function witnessHooks(
  node: Node,
  { metrics, logger }: Pick<PublishingOptions, 'metrics' | 'logger'>,
): Omit<WitnessesOptions, keyof WitnessesWanted> {
  return {
    incremental: node.incremental,
    onAnswer: (witness, outcome) => metrics.witnessAnswers.inc({ witness, outcome }),
    onQuorum: (outcome) => metrics.witnessQuorum.inc({ outcome }),
    onTrouble: (_name, error) => logger.warn(`${error.message} (${error.code})`),
    now: () => performance.now(),
    jitter: Math.random,
  };
}
