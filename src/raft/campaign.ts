// Elections: asking for votes, giving one's own, and counting.
//
// With pre-vote, an election has two rounds. The first only asks whether the second could be won; it changes nothing on either side.
import { assert } from '../errors.ts';
import { noBytes, nobody, type Message } from './message.ts';
import { voteResult, voterIds, type VoteResult } from './quorum.ts';
import { hex, isPromotable, send, type Raft } from './raft.ts';
import { becomeCandidate, becomePreCandidate } from './roles.ts';

/** A `transfer` is asked for by the leader itself, so voters grant it although the leader is alive. */
export type CampaignKind = 'pre-election' | 'election' | 'transfer';

const transferContext = new TextEncoder().encode('CampaignTransfer');

export function isTransfer(m: Message): boolean {
  return m.context.length === transferContext.length && m.context.every((b, at) => b === transferContext[at]);
}

/** Starts an election, unless this node is leader already or must not become it now. */
export function startCampaign(raft: Raft, kind: CampaignKind): void {
  const { id, term, say } = raft;
  if (raft.role === 'leader') {
    say('debug', `${hex(id)} ignoring MsgHup because already leader`);
  } else if (!isPromotable(raft)) {
    say('warn', `${hex(id)} is unpromotable and can not campaign`);
  } else if (hasUnappliedConfChange(raft)) {
    say(
      'warn',
      `${hex(id)} cannot campaign at term ${term} since there are still pending configuration changes to apply`,
    );
  } else {
    say('info', `${hex(id)} is starting a new election at term ${term}`);
    campaign(raft, kind);
  }
}

/** Who does not yet live in the latest committed membership does not know whose votes to ask for. */
function hasUnappliedConfChange(raft: Raft): boolean {
  const { log } = raft;
  for (let from = log.applied + 1; from <= log.committed;) {
    const page = log.slice(from, log.committed + 1, raft.options.maxApplyingSize);
    const last = page?.at(-1);
    assert(page !== undefined && last !== undefined, `entry ${from} was compacted before it was applied`);
    if (page.some((entry) => entry.type !== 'EntryNormal')) return true;
    from = last.index + 1;
  }
  return false;
}

export function campaign(raft: Raft, kind: CampaignKind): void {
  if (kind === 'pre-election') becomePreCandidate(raft);
  else becomeCandidate(raft);
  const type = kind === 'pre-election' ? 'MsgPreVote' : 'MsgVote';
  // A pre-vote is asked for the term that the election would have.
  const term = kind === 'pre-election' ? raft.term + 1 : raft.term;
  const last = raft.log.last();
  const context = kind === 'transfer' ? transferContext : noBytes;
  for (const to of voterIds(raft.membership)) {
    if (to === raft.id) {
      // The own vote counts once it is on disk, like everybody's.
      send(raft, { type: `${type}Resp`, to, term });
      continue;
    }
    raft.say(
      'info',
      `${hex(raft.id)} [logterm: ${last.term}, index: ${last.index}] sent ${type} request to ${hex(to)} at term ${raft.term}`,
    );
    send(raft, { type, to, term, index: last.index, logTerm: last.term, context });
  }
}

/**
 * Answers a request for a vote of this term, or for a pre-vote. Learners answer as well: one that was promoted may not
 * have heard of it yet, and its vote may be the one that is needed.
 */
export function answerVote(raft: Raft, m: Message): void {
  const type = m.type === 'MsgVote' ? 'MsgVoteResp' : 'MsgPreVoteResp';
  const free =
    raft.vote === m.from ||
    (raft.vote === nobody && raft.lead === nobody) ||
    (m.type === 'MsgPreVote' && m.term > raft.term);
  if (!free || !raft.log.isUpToDate({ term: m.logTerm, index: m.index })) {
    raft.say('info', `${describeVoter(raft)} rejected ${describeRequest(m)} at term ${raft.term}`);
    send(raft, { type, to: m.from, term: raft.term, reject: true });
    return;
  }
  raft.say('info', `${describeVoter(raft)} cast ${describeGranted(m)} at term ${raft.term}`);
  // The answer to a pre-vote carries the asker's term: with the lower one of this node it would be dropped as outdated.
  send(raft, { type, to: m.from, term: m.term });
  if (m.type === 'MsgVote') {
    raft.electionElapsed = 0;
    raft.vote = m.from;
  }
}

export function describeVoter(raft: Raft): string {
  const last = raft.log.last();
  return `${hex(raft.id)} [logterm: ${last.term}, index: ${last.index}, vote: ${hex(raft.vote)}]`;
}

export function describeRequest(m: Message): string {
  return `${m.type} from ${hex(m.from)} [logterm: ${m.logTerm}, index: ${m.index}]`;
}

function describeGranted(m: Message): string {
  return `${m.type} for ${hex(m.from)} [logterm: ${m.logTerm}, index: ${m.index}]`;
}

/** Counts a vote; the first one of each voter stands. */
export function countVote(raft: Raft, m: Message): VoteResult {
  const { id, votes, say } = raft;
  const refusal = m.reject ? ' rejection' : '';
  say('info', `${hex(id)} received ${m.type}${refusal} from ${hex(m.from)} at term ${raft.term}`);
  if (!votes.has(m.from)) votes.set(m.from, !m.reject);
  let granted = 0;
  let rejected = 0;
  for (const [member, progress] of raft.progress) {
    if (progress.learner) continue;
    if (votes.get(member) === true) granted += 1;
    if (votes.get(member) === false) rejected += 1;
  }
  say('info', `${hex(id)} has received ${granted} ${m.type} votes and ${rejected} vote rejections`);
  return voteResult(raft.membership, votes);
}
