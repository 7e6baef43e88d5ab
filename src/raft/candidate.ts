// What a node that asks for votes, or for pre-votes, does with a message of its own term.
import { broadcastAppend } from './append.ts';
import { campaign, countVote } from './campaign.ts';
import { hearLeader } from './follower.ts';
import { nobody, type Message } from './message.ts';
import { describeRole } from './describe.ts';
import { hex, type Raft } from './raft.ts';
import { becomeFollower, becomeLeader } from './roles.ts';
import type { Refused } from './step.ts';

export function stepCandidate(raft: Raft, m: Message): Refused | undefined {
  switch (m.type) {
    case 'MsgProp':
      raft.say('info', `${hex(raft.id)} no leader at term ${raft.term}; dropping proposal`);
      return 'proposal-dropped';
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      // Somebody else has won this term.
      becomeFollower(raft, m.term, m.from);
      hearLeader(raft, m);
      return undefined;
    case 'MsgVoteResp':
    case 'MsgPreVoteResp':
      hearVote(raft, m);
      return undefined;
    case 'MsgTimeoutNow':
      raft.say(
        'debug',
        `${hex(raft.id)} [term ${raft.term} state ${describeRole(raft.role)}] ignored MsgTimeoutNow from ${hex(m.from)}`,
      );
      return undefined;
    default:
      return undefined;
  }
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
