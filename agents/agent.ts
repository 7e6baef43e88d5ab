// What every agent is made of, whatever it then does: a key, a place in gossip, a way to the log, state, alerts, metrics and a status. A role (publisher,
// auditor, monitor) is built on an `Agent` and waits for `log`: from then on it knows whose signatures count.
//
// Any order of start will do: what is not there yet is tried again in the background, and said once.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FastifyBaseLogger } from 'fastify';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { type Trust, type Primitives } from '../src/balloon/verify.ts';
import { nativeVerify } from '../src/crypto/ed25519-node.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { type Verifier } from '../src/crypto/vkey.ts';
import { describeMembersEvent, registerGossipFigures } from '../src/gossip/figures.ts';
import { type Gossip } from '../src/gossip/gossip.ts';
import { keepMembers, type Member, type Members } from '../src/gossip/members.ts';
import { openGossip, portOf } from '../src/gossip/open.ts';
import { joinSnapshots, type Received, type Snapshots } from '../src/gossip/snapshots.ts';
import { nodeTransport } from '../src/client/transport-node.ts';
import { type Transport } from '../src/client/transport.ts';
import { type App } from '../src/server/http.ts';
import { formatAddress, listen, type Wanted } from '../src/server/listen.ts';
import { requestSeconds } from '../src/server/metrics.ts';
import { openLevelStore } from '../src/storage/level.ts';
import { openMemoryStore } from '../src/storage/memory.ts';
import { type Store } from '../src/storage/store.ts';
import { openAlerts, type Alert, type AlertInput, type Alerts } from './alerts.ts';
import { buildFigures } from './figures.ts';
import { openAgentIdentity, type AgentIdentity } from './identity.ts';
import { openKnowledge, type KnownLog, type LogKnowledge } from './known-log.ts';
import { createSource, gossipAddressOf, type Source } from './source.ts';

export interface AgentOptions {
  readonly role: 'publisher' | 'auditor' | 'monitor';
  /** `publisher0`: for people, logs and alerts. */
  readonly name: string;
  readonly bind: Wanted;
  readonly join: readonly string[];
  readonly metrics: Wanted;
  /** Nodes of the log. */
  readonly qedUrls: readonly string[];
  readonly apiKey?: string | undefined;
  readonly vkey?: Verifier | undefined;
  readonly alertsUrls: readonly string[];
  /** Without it, state is kept in memory and forgotten. */
  readonly statePath?: string | undefined;
  readonly identityPath?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly logger: FastifyBaseLogger;
  readonly software: string;
}

export interface Agent {
  readonly name: string;
  readonly identity: AgentIdentity;
  readonly knowledge: LogKnowledge;
  readonly source: Source;
  readonly transport: Transport;
  /** Of the agent alone. The parts here use keys that begin with a, c, j, k, p and v; those of a role begin with x. */
  readonly state: Store;
  readonly registry: Registry;
  readonly logger: FastifyBaseLogger;
  readonly primitives: Primitives;
  readonly metricsAddr: string;
  readonly gossipAddr: string;
  readonly alert: (input: AlertInput) => void;
  /** It is over: the next time it is an alert again. */
  readonly clearAlert: Alerts['clear'];
  /** Hears and carries the snapshots of the log. */
  readonly listen: (log: KnownLog, receive: (received: Received) => void) => Snapshots;
  /** Calls back when more URLs of the log have become known. */
  readonly onUrls: (tell: () => void) => void;
  /** What a role adds to GET /status. */
  readonly setStatus: (look: () => Readonly<Record<string, unknown>>) => void;
  readonly close: () => Promise<void>;
}

/** What was opened is closed again when a later part cannot be. */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  const opened: (() => Promise<void> | void)[] = [];
  async function close(): Promise<void> {
    for (const closePart of opened.splice(0).reverse()) await closePart();
  }
  try {
    return { ...(await composeAgent(options, (part) => void opened.push(part))), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function composeAgent(
  options: AgentOptions,
  closeLater: (close: () => Promise<void> | void) => void,
): Promise<Omit<Agent, 'close'>> {
  const { name, role, logger } = options;
  const state = await openState(options);
  closeLater(() => state.close());
  const identity = openAgentIdentity(options.identityPath, name, options.passphrase);
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const { transport, close: closeTransport } = nodeTransport();
  closeLater(closeTransport);
  const clock = { now: Date.now, jitter: Math.random };
  const source = createSource({
    ...clock,
    urls: options.qedUrls,
    apiKey: options.apiKey,
    transport,
    discover: true,
  });
  const knowledge = await openKnowledge({
    store: state,
    given: options.vkey,
    onLearned: (log) => sayLearned(logger, log),
  });
  const alerts = await openAlerts({
    ...clock,
    store: state,
    urls: options.alertsUrls,
    transport,
    identity,
    name,
    role,
    log: () => knowledge.log?.verifier.name ?? null,
    onRaised: (alert) => raised(alert, options),
    onFailure: (url, error) =>
      logger.warn({ err: error }, `an alert could not be delivered to ${url}; trying again`),
  });
  closeLater(alerts.close);
  const { bind } = options;
  const gossip = await openGossip({
    ...bind,
    privateKey: identity.privateKey,
    ...bind.address,
    host: bind.address.host,
  });
  closeLater(gossip.close);
  registerGossipFigures(registry, gossip);
  registerAgentFigures(registry, alerts);
  const urlListeners: (() => void)[] = [];
  const members = joinMembers({ options, gossip, source, knowledge, alerts, urlListeners });
  closeLater(members.close);
  let roleStatus: () => Readonly<Record<string, unknown>> = () => ({});
  const status = (): unknown => ({
    ...statusOf({ options, identity, knowledge, gossip, members, alerts, source }),
    ...roleStatus(),
  });
  const app = await serveFigures(options, registry, status);
  closeLater(() => app.app.close());
  const gossipAddr = formatAddress({ host: bind.address.host, port: portOf(gossip) });
  logger.info(
    `${role} ${name}: gossip at ${gossipAddr} as ${gossip.id}, metrics and status at http://${app.address}`,
  );
  return {
    name,
    identity,
    knowledge,
    source,
    transport,
    state,
    registry,
    logger,
    primitives: { hash: nativeHash, verify: nativeVerify },
    metricsAddr: app.address,
    gossipAddr,
    alert: alerts.raise,
    clearAlert: alerts.clear,
    listen(log, receive) {
      const trust: Trust = { log: log.verifier };
      const snapshots = joinSnapshots(gossip, {
        trust,
        primitives: { hash: nativeHash, verify: nativeVerify },
        now: () => performance.now(),
        receive(received) {
          const { kind, signedSnapshot } = received;
          logger.debug(`gossip brought version ${signedSnapshot.snapshot.version}, ${kind}`);
          receive(received);
        },
      });
      members.announce();
      closeLater(snapshots.close);
      return snapshots;
    },
    onUrls: (tell) => void urlListeners.push(tell),
    setStatus(look) {
      roleStatus = look;
    },
  };
}

async function openState({ statePath, logger }: AgentOptions): Promise<Store> {
  if (statePath === undefined) {
    logger.warn('no --state: what this agent verifies is forgotten when it stops');
    return openMemoryStore();
  }
  mkdirSync(statePath, { recursive: true, mode: 0o700 });
  return openLevelStore(join(statePath, 'db'), {
    cacheBytes: 8 * 1024 * 1024,
    writeBufferBytes: 4 * 1024 * 1024,
  });
}

interface Joined {
  readonly options: AgentOptions;
  readonly gossip: Gossip;
  readonly source: Source;
  readonly knowledge: LogKnowledge;
  readonly alerts: Alerts;
  readonly urlListeners: readonly (() => void)[];
}

/** Gossip, by way of the addresses that were named and of those that QED URLs give. What both say about the log is heard here. */
function joinMembers({ options, gossip, source, knowledge, alerts, urlListeners }: Joined): Members {
  const { logger, role, name } = options;

  function hear(
    vkey: string,
    how: 'first seen at a QED URL' | 'first heard from a joined member',
    who: string,
  ): void {
    if (knowledge.hear(vkey, how)) return;
    logger.warn(`${who} is about another log: ${vkey}`);
    if (knowledge.log === undefined) return;
    alerts.raise({
      kind: 'inconsistent',
      subject: `vkey of ${who}`,
      message: `${who} shows the vkey ${vkey}, but this agent watches ${knowledge.log.vkey}`,
    });
  }

  async function discover(): Promise<readonly string[]> {
    const infos = await source.infos();
    for (const { vkey, url } of infos) if (vkey !== undefined) hear(vkey, 'first seen at a QED URL', url);
    return infos.flatMap((info) => gossipAddressOf(info) ?? []);
  }

  function onMember(member: Member, isNamed: boolean): void {
    if (!isNamed) return;
    const [vkey, ...others] = member.vkeys;
    // A member that knows several logs leaves open which one is meant.
    if (vkey !== undefined && others.length === 0)
      hear(vkey, 'first heard from a joined member', `the joined member ${member.name}`);
    const before = source.urls.length;
    if (knowledge.log !== undefined && member.vkeys.includes(knowledge.log.vkey))
      source.learn(member.qedUrls);
    if (source.urls.length === before) return;
    logger.info(`the joined member ${member.name} says where the log answers: ${source.urls.join(', ')}`);
    for (const tell of urlListeners) tell();
  }

  const members = keepMembers({
    gossip,
    join: options.join,
    discover,
    announcement: () => ({
      name,
      vkeys: knowledge.log === undefined ? [] : [knowledge.log.vkey],
      qedUrls: source.urls.slice(0, 8),
    }),
    onEvent(event) {
      const line = describeMembersEvent(event);
      if (line) logger[line.level](`${role} ${name}: ${line.text}`);
    },
    onMember,
    now: () => performance.now(),
    jitter: Math.random,
  });
  return members;
}

function sayLearned(logger: FastifyBaseLogger, { vkey, how }: KnownLog): void {
  logger.warn(`no --vkey was given: the one ${how} is trusted from now on: ${vkey}`);
}

/** Tampering is kept in a file of its own, for whoever comes to look. */
function raised(alert: Alert, { logger, statePath }: AgentOptions): void {
  const { kind, subject, message, evidence } = alert;
  logger.error({ kind, subject }, `ALERT ${kind}: ${message}`);
  if (statePath === undefined || evidence === undefined) return;
  const directory = join(statePath, 'evidence');
  try {
    mkdirSync(directory, { recursive: true });
    const path = join(
      directory,
      `${alert.time}-${kind}-${subject.replace(/[^A-Za-z0-9.-]+/g, '_').slice(0, 80)}.json`,
    );
    writeFileSync(path, `${JSON.stringify(evidence, undefined, 2)}\n`, { flag: 'wx', flush: true });
    logger.error(`the evidence is kept in ${path}`);
  } catch (error) {
    logger.error({ err: error }, 'the evidence could not be written to a file; it is in the alert');
  }
}

function registerAgentFigures(registry: Registry, alerts: Alerts): void {
  const registers = [registry];
  const raisedTotal = new Counter({
    name: 'qed_agent_alerts_total',
    help: 'Alerts that were raised, by kind.',
    labelNames: ['kind'] as const,
    registers,
    collect() {
      raisedTotal.reset();
      for (const [kind, count] of Object.entries(alerts.figures().raised)) raisedTotal.inc({ kind }, count);
    },
  });
  const waiting: Gauge = new Gauge({
    name: 'qed_agent_alerts_waiting',
    help: 'Alerts that the slowest receiver does not have yet.',
    registers,
    collect: () => waiting.set(alerts.figures().waiting),
  });
}

interface StatusParts extends Omit<Joined, 'urlListeners'> {
  readonly identity: AgentIdentity;
  readonly members: Members;
}

function statusOf({ options, identity, knowledge, gossip, members, alerts, source }: StatusParts) {
  const { log } = knowledge;
  return {
    role: options.role,
    name: options.name,
    software: options.software,
    vkey: identity.vkey,
    log: log === undefined ? null : { origin: log.verifier.name, vkey: log.vkey, how: log.how },
    qedUrls: source.urls,
    gossip: {
      id: gossip.id,
      addresses: gossip.addresses(),
      peers: gossip.peers().map(({ id, address }) => {
        return { id, address, name: members.members().find((one) => one.id === id)?.name ?? null };
      }),
      messages: gossip.figures(),
    },
    alerts: alerts.figures(),
  };
}

async function serveFigures(
  { metrics, logger }: AgentOptions,
  registry: Registry,
  status: () => unknown,
): Promise<{ app: App; address: string }> {
  const figures = { requestSeconds: requestSeconds([registry]) };
  const app = await buildFigures(
    { access: () => ({ keys: [], readsNeedKey: false }), metrics: figures, logger },
    registry,
    status,
  );
  try {
    return { app, address: formatAddress(await listen(app, metrics)) };
  } catch (error) {
    await app.close();
    throw error;
  }
}
