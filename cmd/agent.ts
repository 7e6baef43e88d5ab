// qed agent: the processes that check the log, run by others than the log. The agents are in agent/, a file each.
import { type Argv } from 'yargs';
import { alertsOption } from './agent/flags.ts';
import { addAuditor } from './agent/auditor.ts';
import { addMonitor } from './agent/monitor.ts';
import { addPublisher } from './agent/publisher.ts';
import { addStatus } from './agent/status.ts';

export function addAgent(main: Argv): Argv {
  return main.command(
    'agent',
    'Run an agent that checks the log, or ask one how it is',
    (agent) => {
      agent.options(alertsOption);
      addMonitor(agent);
      addPublisher(agent);
      addAuditor(agent);
      addStatus(agent);
      return agent.demandCommand(1, 'Name the agent.');
    },
    () => undefined,
  );
}
