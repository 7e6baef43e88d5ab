// What a follower does with a message of its own term, and how any node takes entries, heartbeats and Raft snapshots from a leader.
import { startCampaign } from './campaign.ts';
import { checkMembership, memberIds } from './membership.ts';
import { nobody, type Message, type RaftSnapshot } from './message.ts';
import { hex, send, type Answers, type Raft, type Refused } from './raft.ts';
import { restoreMembership } from './reconfigure.ts';

export const followerAnswers: Answers = {
  MsgApp: followLeader,
  MsgHeartbeat: followLeader,
  MsgSnap: followLeader,
  MsgTransferLeader: (raft, m) => forward(raft, m, 'leader transfer msg'),
  MsgReadIndex: (raft, m) => forward(raft, m, 'index reading msg'),
  MsgReadIndexResp: takeReadState,
  MsgForgetLeader: forgetLeader,
  MsgTimeoutNow(raft, m) {
    raft.say(
      'info',
      `${hex(raft.id)} [term ${raft.term}] received MsgTimeoutNow from ${hex(m.from)} and starts an election to get leadership.`,
    );
    startCampaign(raft, 'transfer');
  },
};

function followLeader(raft: Raft, m: Message): void {
  raft.electionElapsed = 0;
  raft.lead = m.from;
  hearLeader(raft, m);
}

export function forwardProposal(raft: Raft, m: Message): Refused | undefined {
  const { id, lead, term, say } = raft;
  if (lead === nobody) {
    say('info', `${hex(id)} no leader at term ${term}; dropping proposal`);
    return 'proposal-dropped';
  }
  if (raft.options.disableProposalForwarding) {
    say('info', `${hex(id)} not forwarding to leader ${hex(lead)} at term ${term}; dropping proposal`);
    return 'proposal-dropped';
  }
  send(raft, { ...m, to: lead, term: 0 });
  return undefined;
}

function forward(raft: Raft, m: Message, what: string): void {
  if (raft.lead === nobody) {
    raft.say('info', `${hex(raft.id)} no leader at term ${raft.term}; dropping ${what}`);
    return;
  }
  const { type, from, entries } = m;
  send(raft, { type, from, entries, to: raft.lead });
}

function takeReadState(raft: Raft, m: Message): void {
  const entry = m.entries[0];
  if (entry === undefined || m.entries.length > 1) {
    raft.say(
      'error',
      `${hex(raft.id)} invalid format of MsgReadIndexResp from ${hex(m.from)}, entries count: ${m.entries.length}`,
    );
    return;
  }
  raft.readStates.push({ index: m.index, context: entry.data });
}

/** Lets this node vote for another leader although the present one may be alive. A lease would be broken by that. */
function forgetLeader(raft: Raft): void {
  if (raft.options.readOnly === 'lease-based') {
    raft.say('error', 'ignoring MsgForgetLeader due to ReadOnlyLeaseBased');
  } else if (raft.lead !== nobody) {
    raft.say('info', `${hex(raft.id)} forgetting leader ${hex(raft.lead)} at term ${raft.term}`);
    raft.lead = nobody;
  }
}

// --- from the leader

export function hearLeader(raft: Raft, m: Message): void {
  if (m.type === 'MsgApp') {
    takeEntries(raft, m);
  } else if (m.type === 'MsgHeartbeat') {
    raft.log.commitTo(m.commit);
    send(raft, { type: 'MsgHeartbeatResp', to: m.from, context: m.context });
  } else {
    takeSnapshot(raft, m);
  }
}

function takeEntries(raft: Raft, m: Message): void {
  const { id, log, say } = raft;
  if (m.index < log.committed) {
    send(raft, { type: 'MsgAppResp', to: m.from, index: log.committed });
    return;
  }
  const last = log.appendAfter({ term: m.logTerm, index: m.index }, m.entries, m.commit);
  if (last !== undefined) {
    send(raft, { type: 'MsgAppResp', to: m.from, index: last });
    return;
  }
  say(
    'debug',
    `${hex(id)} [logterm: ${log.term(m.index) ?? 0}, index: ${m.index}] rejected MsgApp [logterm: ${m.logTerm}, index: ${m.index}] from ${hex(m.from)}`,
  );
  // A guess where the logs agree. Entries here of a higher term than the leader's at m.index cannot be in the leader's log before it.
  const hint = log.findConflictByTerm(Math.min(m.index, log.lastIndex()), m.logTerm);
  send(raft, {
    type: 'MsgAppResp',
    to: m.from,
    index: m.index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

function takeSnapshot(raft: Raft, m: Message): void {
  const { id, log, say } = raft;
  const { index, term } = m.snapshot ?? { index: 0, term: 0 };
  const restored = m.snapshot !== undefined && restore(raft, m.snapshot);
  say(
    'info',
    `${hex(id)} [commit: ${log.committed}] ${restored ? 'restored' : 'ignored'} snapshot [index: ${index}, term: ${term}]`,
  );
  send(raft, { type: 'MsgAppResp', to: m.from, index: restored ? log.lastIndex() : log.committed });
}

/** Replaces log and membership by the Raft snapshot. Not if it is older than what is committed here, or no use. */
function restore(raft: Raft, snapshot: RaftSnapshot): boolean {
  const { id, log, say } = raft;
  const { index, term } = snapshot;
  if (index <= log.committed) return false;
  const membership = checkMembership(snapshot.membership);
  if (!memberIds(membership).includes(id)) {
    say(
      'warn',
      `${hex(id)} attempted to restore snapshot but it is not in the ConfState; should never happen`,
    );
    return false;
  }
  if (log.matches(snapshot)) {
    say('info', `${describeTail(raft)} fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`);
    log.commitTo(index);
    return false;
  }
  log.restore(snapshot);
  restoreMembership(raft, membership, index);
  say('info', `${describeTail(raft)} restored snapshot [index: ${index}, term: ${term}]`);
  return true;
}

function describeTail({ id, log }: Raft): string {
  const last = log.last();
  return `${hex(id)} [commit: ${log.committed}, lastindex: ${last.index}, lastterm: ${last.term}]`;
}
