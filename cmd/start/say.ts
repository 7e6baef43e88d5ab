// What an operator reads of a node: the greeting, and a line for what happens to it.
import { resolve } from 'node:path';
import type { Logger } from 'pino';
import type { MemberStatus } from '../../src/replication/cluster-log.ts';
import type { NodeEvent } from '../../src/server/node.ts';
import type { Server } from '../../src/server/server.ts';
import { software } from '../version.ts';
import type { StartFlags } from './flags.ts';

const TOLD_AGAIN_MS = 60_000;
const TOLD_MAX = 100;

/** What fails again and again, or is done by a stranger, fills no log: the same is told once in so long. */
export function sparingly(tell: (event: NodeEvent) => void): (event: NodeEvent) => void {
  const told = new Map<string, number>();
  return (event) => {
    const subject = subjectOf(event);
    const now = performance.now();
    if (subject !== undefined && now - (told.get(subject) ?? -Infinity) < TOLD_AGAIN_MS) return;
    if (told.size >= TOLD_MAX) told.clear();
    if (subject !== undefined) told.set(subject, now);
    tell(event);
  };
}

function subjectOf(event: NodeEvent): string | undefined {
  if (event.kind === 'catch-up-failed' || event.kind === 'duty-failed')
    return `${event.kind} ${String(event.error)}`;
  if (event.kind === 'peer-refused') return `${event.kind} ${event.why} ${event.remote}`;
  return undefined;
}

export function logEvent(logger: Logger, event: NodeEvent): void {
  switch (event.kind) {
    case 'rebuilding':
      if (event.of > 0) logger.info(`reading the log: ${event.versions} of ${event.of} events`);
      return;
    case 'image-damaged':
      logger.warn(
        `the image of the hyper tree is damaged and made anew (${event.why}); the old one is ${event.aside}`,
      );
      return;
    case 'image-failed':
      logger.warn(
        { err: event.error },
        'the image of the hyper tree cannot be written; the next start takes longer',
      );
      return;
    case 'log-repaired':
      logger.warn(`the replicated log was mended: ${event.repair}`);
      return;
    case 'join-ignored':
      logger.info('--join-addr is not needed: this node is a member of its cluster already');
      return;
    case 'set-aside':
      logger.warn(`the data of this node was set aside: ${event.places.join(', ') || 'there was none'}`);
      return;
    case 'join-retried':
      logger.warn(`could not join, try ${event.tries}: ${event.why}; trying again`);
      return;
    case 'join-accepted':
      logger.info(`joined the cluster of ${event.members.join(', ')}`);
      return;
    case 'raft':
      // What matters of it to an operator is told in other words.
      logger.debug(event.line);
      return;
    case 'members':
      if (event.members.length > 0) logger.info(`members: ${event.members.map(describeMember).join(', ')}`);
      return;
    case 'leader':
      if (event.leaderId === undefined) logger.warn('no node leads, as far as this one knows');
      else logger.info(`${event.leaderId} leads, in term ${event.term}`);
      return;
    case 'peer-refused':
      logger.warn(`a connection from ${event.remote} was refused: ${event.why}`);
      return;
    case 'catching-up':
      logger.info('too far behind for the logs of the others: fetching entries from them');
      return;
    case 'fetched':
      logger.debug(`fetched ${event.versions} of ${event.of} events`);
      return;
    case 'caught-up':
      logger.info('caught up with the others');
      return;
    case 'catch-up-failed':
      logger.warn({ err: event.error }, 'could not catch up; trying again');
      return;
    case 'disagreement':
      logger.error(
        `${event.nodeId ?? 'this node'} has another history digest at size ${event.size} than ${event.nodeId === undefined ? 'the leader' : 'this node'}: who is wrong is found out now`,
      );
      return;
    case 'duty-failed':
      logger.warn({ err: event.error }, 'what a leader does by the clock did not work out; trying again');
      return;
    case 'failed':
      logger.error(
        { err: event.error },
        event.error.kind === 'refused'
          ? 'THIS NODE DOES NOT SERVE ANY MORE: its data is not to be trusted'
          : 'the node takes no more events until it is started again',
      );
      return;
  }
}

function describeMember({ nodeId, raftAddr, isVoter }: MemberStatus): string {
  return `${nodeId} at ${raftAddr}${isVoter ? '' : ', not a voter yet'}`;
}

export function greeting({ node, addresses }: Server, flags: StartFlags, isTls: boolean): string {
  const { origin, nodeId, signer } = node.identity;
  const url = (address: string | null, scheme: string): string =>
    `${scheme}://${address?.replace(/^:/, 'localhost:') ?? ''}`;
  const api = url(addresses.httpAddr, isTls ? 'https' : 'http');
  const key = flags['api-key'] === undefined && flags['api-keys-file'] === undefined ? '' : ' -k <api key>';
  const rows = [
    ['api', `${api}   (${api}/docs)`],
    ['management', url(addresses.mgmtAddr, isTls ? 'https' : 'http')],
    ['metrics', `${url(addresses.metricsAddr, 'http')}/metrics`],
    ['raft', addresses.raftAddr ?? ''],
    ['gossip', addresses.gossipAddr ?? 'off'],
    ['data', resolve(flags.path)],
    ['node', nodeId],
    ['origin', origin],
    ['vkey', signer.vkey],
  ] as const;
  const lines = rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`);
  const tryNext = `qed client add --event "hello" --endpoint ${api}${key}`;
  return [
    `${software} serves the log ${origin}`,
    ...lines,
    'Try next, in another terminal:',
    `  ${tryNext}`,
  ].join('\n');
}
