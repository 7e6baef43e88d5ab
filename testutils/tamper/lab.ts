// The tamper lab: real agents, as processes, before a log server that begins to lie. For each lie it tells which agent raised which alert, and what the evidence
// that was kept proves to a stranger who has the vkey and nothing else.
//
//   node --import tsx testutils/tamper/lab.ts                    every lie, one after the other, as a table
//   node --import tsx testutils/tamper/lab.ts omission rewritten   these
//   node --import tsx testutils/tamper/lab.ts failover           an honest cluster under load, whose leader is killed
//   node --import tsx testutils/tamper/lab.ts serve omission 8800  the lying server alone: honest for twenty seconds, then the lie
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { verifyEvidence, type CheckedEvidence } from '../../src/balloon/evidence-check.ts';
import { parseVkey } from '../../src/crypto/vkey.ts';
import { QedError } from '../../src/errors.ts';
import { qedProcesses, untilAnswers } from '../qed-process.ts';
import { NATIVE } from '../signed-log.ts';
import { freePort } from '../temp.ts';
import { until } from '../until.ts';
import { failover, falseAlarms } from './failover.ts';
import { serveLies, serverLies, type ServerLie } from './lying-server.ts';
import { noticedAt, type Noticed } from './noticed.ts';

type Role = 'auditor' | 'monitor';

/** What must be noticed, and by whom at least. `proof`: whether the evidence convicts the log; undefined where there is none to keep. */
export interface Expected {
  readonly kind: string;
  readonly by: readonly Role[];
  readonly proof?: boolean;
}

export const expected: Readonly<Record<ServerLie | 'nothing', Expected>> = {
  nothing: { kind: 'none', by: [] },
  'split-view': { kind: 'tampering', by: ['auditor', 'monitor'], proof: true },
  rewritten: { kind: 'tampering', by: ['auditor', 'monitor'], proof: true },
  rollback: { kind: 'stale', by: ['auditor', 'monitor'] },
  omission: { kind: 'tampering', by: ['auditor'], proof: true },
  'wrong-version': { kind: 'tampering', by: ['auditor'], proof: true },
  'extra-key': { kind: 'tampering', by: ['auditor'], proof: true },
  'misplaced-leaf': { kind: 'tampering', by: ['auditor'], proof: true },
  'other-digest': { kind: 'inconsistent', by: ['auditor', 'monitor'] },
  'false-answers': { kind: 'inconsistent', by: ['auditor'], proof: false },
  'damaged-entries': { kind: 'inconsistent', by: ['auditor'] },
  'refuses-proofs': { kind: 'outage', by: ['auditor', 'monitor'] },
  'busy-proofs': { kind: 'outage', by: ['auditor', 'monitor'] },
  silence: { kind: 'outage', by: ['auditor', 'monitor'] },
};

export interface Outcome {
  /** What was said before there was anything to say. */
  readonly early: readonly Noticed[];
  readonly alerts: readonly Noticed[];
  /** What each evidence file proves. */
  readonly evidence: readonly CheckedEvidence[];
}

const status = z.looseObject({ verified: z.looseObject({ version: z.int().nullable() }) });

/** So long after a lie, and under an honest log, nothing false may have been said. */
const QUIET_MS = 6_000;
const DEADLINE_MS = 45_000;

/** Shows the agents an honest log until they have verified it, then lies, and waits for what is expected. */
export async function mount(lie: ServerLie | 'nothing'): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'qed-tamper-'));
  const processes = qedProcesses();
  const server = await serveLies();
  try {
    const ports = new Set<number>();
    while (ports.size < 6) ports.add(await freePort());
    const [store, storeMetrics, auditor, auditorMetrics, monitor, monitorMetrics] = Array.from(
      ports,
      (port) => `127.0.0.1:${port}`,
    );
    processes.start(`notifierstore --http-addr ${store} --metrics-addr ${storeMetrics}`);
    const agent = `agent --alertsUrls http://${store}`;
    const common = (role: Role): string =>
      `-k my-key --vkey ${server.vkey} --node ${role}0 -l error --state ${join(directory, role)}`;
    processes.start(`${agent} auditor ${common('auditor')} --bind ${auditor} --join ${auditor}
      --qedUrls ${server.url} --ask-every 0.2 --metrics-addr ${auditorMetrics}`);
    processes.start(`${agent} monitor ${common('monitor')} --bind ${monitor} --join ${auditor}
      --endpoints ${server.url} --every 0.5 --max-outage 3 --max-lag 5 --metrics-addr ${monitorMetrics}`);
    const version = server.shown.log.balloon.size - 1;
    const hasVerified = (json: unknown): boolean => status.safeParse(json).data?.verified.version === version;
    await untilAnswers(`http://${store}/alert`);
    for (const address of [auditorMetrics, monitorMetrics])
      await untilAnswers(`http://${address}/status`, hasVerified);

    const raised = (): Promise<Noticed[]> => noticedAt(store!);
    const early = await raised();
    if (lie === 'nothing') await wait(QUIET_MS);
    else {
      serverLies[lie](server.shown);
      const { by, kind } = expected[lie];
      const isNoticed = async (): Promise<boolean> => {
        const found = await raised();
        return by.every((role) => found.some((one) => one.by === role && one.kind === kind));
      };
      await until(`${lie} is noticed`, isNoticed, DEADLINE_MS);
    }
    return { early, alerts: await raised(), evidence: judge(directory, server.vkey) };
  } catch (error) {
    throw new Error(`${String(error)}\n${processes.outputs()}`, { cause: error });
  } finally {
    await processes.killAll();
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** As a stranger would, with the files and the vkey. */
function judge(directory: string, vkey: string): CheckedEvidence[] {
  return (['auditor', 'monitor'] as const).flatMap((role) => {
    const folder = join(directory, role, 'evidence');
    return namesIn(folder).flatMap((name) => {
      const json: unknown = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      try {
        return [verifyEvidence(json, { log: parseVkey(vkey) }, NATIVE)];
      } catch (error) {
        // What an agent keeps of answers that are no evidence is for people.
        if (error instanceof QedError && error.code === 'proof-malformed') return [];
        throw error;
      }
    });
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** What is wrong with an outcome, in words; nothing when all is as it should be. */
export function faultsOf(lie: ServerLie | 'nothing', { early, alerts, evidence }: Outcome): string[] {
  const { kind, by, proof } = expected[lie];
  const faults = by
    .filter((role) => !alerts.some((one) => one.by === role && one.kind === kind))
    .map((role) => `the ${role} did not raise ${kind}`);
  if (early.length > 0 || (lie === 'nothing' && alerts.length > 0))
    faults.push('an honest log raised an alert');
  if (kind !== 'tampering' && alerts.some((one) => one.kind === 'tampering'))
    faults.push('tampering was said where it cannot be proven');
  const isConvicted = evidence.some(({ conclusive }) => conclusive);
  if (proof !== undefined && isConvicted !== proof)
    faults.push(`the evidence ${isConvicted ? 'convicts' : 'does not convict'} the log`);
  return faults;
}

export async function runLab(lies: readonly (ServerLie | 'nothing')[]): Promise<boolean> {
  let isGood = true;
  for (const lie of lies) {
    const from = performance.now();
    const outcome = await mount(lie);
    const faults = faultsOf(lie, outcome);
    isGood &&= faults.length === 0;
    console.log(
      `\n${lie}: ${faults.length === 0 ? 'as expected' : faults.join('; ')} (${Math.round(performance.now() - from)} ms)`,
    );
    for (const { by, kind, code = '', message } of outcome.alerts)
      console.log(`  ${by}: ${kind} ${code}: ${message}`);
    for (const { kind, conclusive } of outcome.evidence)
      console.log(`  evidence: ${kind}, ${conclusive ? 'proven' : 'not proven'}`);
  }
  return isGood;
}

function isLie(name: string): name is ServerLie | 'nothing' {
  return Object.hasOwn(expected, name);
}

async function runFailover(): Promise<void> {
  const outcome = await failover();
  const { events, verified, alerts } = outcome;
  console.log(`${events} events acknowledged; the agents have verified version ${verified}`);
  for (const { by, kind, code = '', message } of alerts) console.log(`  ${by}: ${kind} ${code}: ${message}`);
  const wrong = falseAlarms(outcome);
  console.log(wrong.length === 0 ? 'no false alarm' : `${wrong.length} false alarms`);
  if (wrong.length > 0) process.exitCode = 1;
}

async function serve(lie: string, port: number): Promise<void> {
  const server = await serveLies(port);
  console.log(`${server.url}, vkey ${server.vkey}: honest for twenty seconds`);
  await wait(20_000);
  if (isLie(lie) && lie !== 'nothing') serverLies[lie](server.shown);
  console.log(`from now on: ${lie}`);
}

if (process.argv[1] === import.meta.filename) {
  const [first, ...rest] = process.argv.slice(2);
  if (first === 'serve') await serve(rest[0] ?? 'nothing', Number(rest[1] ?? 8800));
  else if (first === 'failover') await runFailover();
  else {
    const wanted = [first, ...rest].filter((name) => name !== undefined);
    const lies = (wanted.length > 0 ? wanted : Object.keys(expected)).filter(isLie);
    process.exitCode = (await runLab(lies)) ? 0 : 1;
  }
}
