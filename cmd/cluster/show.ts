// How a cluster is shown to a person: tables, times, and colours where a terminal shows them.
import { styleText } from 'node:util';
import { type Round, type Failover } from './failover.ts';
import { type NodeView } from './views.ts';

export type Colour = 'green' | 'yellow' | 'red' | 'bold';
export type Paint = (colour: Colour, text: string) => string;

/** `isTerminal`: of the stream that it is printed to. */
export function painter(isTerminal: boolean): Paint {
  const isWanted = isTerminal && (process.env['NO_COLOR'] ?? '') === '';
  return isWanted ? (colour, text) => styleText(colour, text) : (_colour, text) => text;
}

/** Columns that are as wide as their widest cell. Only the last one may be longer than a screen. */
export function table(
  rows: readonly (readonly string[])[],
  paintCell: (row: number, column: number, text: string) => string = (_row, _column, text) => text,
): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row, at) =>
      row
        .map((text, column) => paintCell(at, column, text) + ' '.repeat((widths[column] ?? 0) - text.length))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function describeStatus(views: readonly NodeView[], paint: Paint): string {
  const newest = Math.max(...views.map(({ version }) => version ?? -1));
  const rows = views.map((view) => [
    view.nodeId,
    stateOf(view),
    view.role === undefined ? '-' : view.isVoter === false ? 'learner' : view.role,
    view.term?.toLocaleString('en') ?? '-',
    view.version?.toLocaleString('en') ?? '-',
    view.role === undefined ? '-' : (newest - (view.version ?? -1)).toLocaleString('en'),
    roundTripsOf(view),
    view.pid?.toString() ?? '-',
    view.isStale ? 'its pid file names a process that is gone' : (view.reason ?? ''),
  ]);
  return table(
    [['node', 'state', 'role', 'term', 'version', 'lag', 'round trips', 'pid', ''], ...rows],
    (row, column, text) =>
      row === 0 ? paint('bold', text) : column === 1 ? paint(colourOf(text), text) : text,
  );
}

function stateOf({ process, isReady }: NodeView): string {
  return process !== 'running' || isReady ? process : 'not ready';
}

function colourOf(state: string): Colour {
  return state === 'running' ? 'green' : state === 'stopped' ? 'red' : 'yellow';
}

function roundTripsOf({ roundTrips }: NodeView): string {
  return [...roundTrips].map(([nodeId, ms]) => `${nodeId} ${milliseconds(ms)}`).join(', ') || '-';
}

/** From the row's node to the column's. */
export function describeDelays(views: readonly NodeView[]): string {
  const head = ['from \\ to', ...views.map(({ nodeId }) => nodeId)];
  const rows = views.map((from) => [
    from.nodeId,
    ...views.map((to) => {
      const ms = from.roundTrips.get(to.nodeId);
      return from === to ? '.' : ms === undefined ? '-' : milliseconds(ms);
    }),
  ]);
  return table([head, ...rows]);
}

export function describeRound(
  { way, leader, newLeader, term, leaderMs, stallMs, backMs, digests }: Round,
  number: number,
): string {
  const done = way === 'kill' ? 'killed' : 'paused';
  return (
    `round ${number}: ${done} the leader ${leader}; ${newLeader} leads after ${seconds(leaderMs)} (term ${term}); ` +
    `no add was answered for ${seconds(stallMs)}; ${leader} is back after ${seconds(backMs)}; ` +
    `all digests agree at version ${digests.version.toLocaleString('en')}`
  );
}

export function describeFailover({ rounds, verdict, unanswered }: Failover, paint: Paint): string {
  const { acknowledged, lost, doubled, checkpoints, problems } = verdict;
  const ways = [...new Set(rounds.map(({ way }) => way))].map((way) => {
    const times = rounds.filter((round) => round.way === way);
    return `new leader after a ${way}: ${spread(times.map(({ leaderMs }) => leaderMs))}; no answers for ${spread(times.map(({ stallMs }) => stallMs))}`;
  });
  const isWell = problems.length === 0;
  return [
    ...ways,
    `${acknowledged.toLocaleString('en')} events acknowledged, ${doubled} of them in the log twice; ${unanswered} got no answer; ` +
      `${checkpoints.toLocaleString('en')} signed snapshots ${isWell ? 'agree with one log' : 'checked'}`,
    ...problems.map((problem) => paint('red', `problem: ${problem}`)),
    paint(isWell ? 'green' : 'red', `${lost} acknowledged events lost`),
  ].join('\n');
}

function spread(times: readonly number[]): string {
  return `median ${seconds(median(times))}, worst ${seconds(Math.max(...times))}`;
}

export function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}
