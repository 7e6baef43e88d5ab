// What a node that asks for votes, or for pre-votes, does with a message of its own term.
import { broadcastAppend } from './append.ts';
import { campaign, countVote } from './campaign.ts';
import { hearLeader } from './follower.ts';
import { nobody, type Message } from './message.ts';
import { describeRole } from './describe.ts';
import { hex, type Answers, type Raft, type Refused } from './raft.ts';
import { becomeFollower, becomeLeader } from './roles.ts';

export const candidateAnswers: Answers = {
  MsgApp: yieldToLeader,
  MsgHeartbeat: yieldToLeader,
  MsgSnap: yieldToLeader,
  MsgVoteResp: hearVote,
  MsgPreVoteResp: hearVote,
  MsgTimeoutNow: (raft, m) =>
    raft.say(
      'debug',
      `${hex(raft.id)} [term ${raft.term} state ${describeRole(raft.role)}] ignored MsgTimeoutNow from ${hex(m.from)}`,
    ),
};

export function dropProposal(raft: Raft): Refused {
  raft.say('info', `${hex(raft.id)} no leader at term ${raft.term}; dropping proposal`);
  return 'proposal-dropped';
}

/** Somebody else has won this term. */
function yieldToLeader(raft: Raft, m: Message): void {
  becomeFollower(raft, m.term, m.from);
  hearLeader(raft, m);
}

function hearVote(raft: Raft, m: Message): void {
  // Late answers to the pre-vote must not count in the election.
  if (m.type !== (raft.role === 'pre-candidate' ? 'MsgPreVoteResp' : 'MsgVoteResp')) return;
  const result = countVote(raft, m);
  if (result === 'VoteLost') becomeFollower(raft, raft.term, nobody);
  if (result !== 'VoteWon') return;
  if (raft.role === 'pre-candidate') {
    campaign(raft, 'election');
  } else {
    becomeLeader(raft);
    broadcastAppend(raft);
  }
}
