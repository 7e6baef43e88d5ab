// Kills a real server (SIGKILL) under full load, starts it again, and does so many times; then asks a stranger's questions. Every acknowledged
// event must be provable at the version that was told, no acknowledged event may be in the log twice, and every checkpoint that was ever
// answered must agree with all others. `npx tsx testutils/crash-server.ts --rounds 20 --seed 1`
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type SignedSnapshot } from '../src/balloon/proof.ts';
import { checkSignedSnapshot, verifyIncremental } from '../src/balloon/verify.ts';
import { equalBytes } from '../src/crypto/encoding.ts';
import { nativeVerify } from '../src/crypto/ed25519-node.ts';
import { nativeHash } from '../src/crypto/hash-node.ts';
import { parseVkey } from '../src/crypto/vkey.ts';
import { createClient } from '../src/client/client.ts';
import { nodeTransport } from '../src/client/transport-node.ts';
import { placesOfDigests } from './places.ts';
import { seededRandom } from './random.ts';
import { freePort } from './temp.ts';

const QED = new URL('../dist/cmd/qed.js', import.meta.url).pathname;
/** How many of the acknowledged events are asked for by a proof. */
const PROOFS = 500;
const native = { hash: nativeHash, verify: nativeVerify };

export interface ServerCrashReport {
  readonly kills: number;
  readonly acknowledged: number;
  readonly size: number;
  readonly checkpoints: number;
  readonly problems: readonly string[];
}

export async function crashServer(rounds: number, seed: number, lifeMs: number): Promise<ServerCrashReport> {
  const random = seededRandom(seed);
  const directory = mkdtempSync(join(tmpdir(), 'qed-crash-'));
  const endpoint = `http://127.0.0.1:${await freePort()}`;
  let server = await start(directory, endpoint);
  const vkey = (await createClient({ endpoints: [endpoint] }).info()).vkey;
  const load = startLoad(endpoint, vkey);
  try {
    for (let round = 0; round < rounds; round++) {
      await new Promise((resolve) => setTimeout(resolve, lifeMs / 2 + random.below(lifeMs)));
      await ended(server, 'SIGKILL');
      server = await start(directory, endpoint);
    }
    await load.stop();
    const problems = [...load.problems, ...(await judge(endpoint, vkey, load.acknowledged, load.snapshots))];
    const size = ((await createClient({ endpoints: [endpoint] }).info()).version ?? -1) + 1;
    return {
      kills: rounds,
      acknowledged: load.acknowledged.size,
      size,
      checkpoints: load.snapshots.size,
      problems,
    };
  } finally {
    await load.stop();
    await ended(server, 'SIGTERM');
    rmSync(directory, { recursive: true, force: true });
  }
}

/** 32 clients that add one event after the other, each with a key of its own, and repeat until there is an answer. */
function startLoad(endpoint: string, vkey: string) {
  const acknowledged = new Map<string, number>();
  const snapshots = new Map<number, SignedSnapshot>();
  const problems: string[] = [];
  let stopped = false;
  let number = 0;
  const road = nodeTransport({ connections: 32 });
  const client = createClient({
    endpoints: [endpoint],
    trust: vkey,
    primitives: native,
    transport: road.transport,
    proveAdds: false,
    deadlineMs: 60_000,
  });
  const worker = async (): Promise<void> => {
    while (!stopped) {
      const event = `event ${number++}`;
      try {
        const { version, signedSnapshot } = await client.add(event);
        acknowledged.set(event, version);
        const before = snapshots.get(signedSnapshot.snapshot.version);
        if (before && !equalBytes(before.snapshot.historyDigest, signedSnapshot.snapshot.historyDigest)) {
          problems.push(`two checkpoints of version ${version}`);
        }
        snapshots.set(signedSnapshot.snapshot.version, signedSnapshot);
      } catch (error) {
        problems.push(`${event}: ${String(error)}`);
      }
    }
  };
  const workers = Array.from({ length: 32 }, worker);
  let ending: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped = true;
    ending ??= Promise.all(workers).then(() => road.close());
    return ending;
  };
  return { acknowledged, snapshots, problems, stop };
}

async function judge(
  endpoint: string,
  vkey: string,
  acknowledged: ReadonlyMap<string, number>,
  snapshots: ReadonlyMap<number, SignedSnapshot>,
): Promise<string[]> {
  const problems: string[] = [];
  const client = createClient({ endpoints: [endpoint], trust: vkey, primitives: native });
  const places = await placesOfDigests(endpoint, ((await client.info()).version ?? -1) + 1);
  // Where everything is, anybody can read; that the log also proves it is asked of some.
  const step = Math.max(1, Math.floor(acknowledged.size / PROOFS));
  for (const [i, [event, version]] of [...acknowledged].entries()) {
    const digest = createHash('sha256').update(event).digest('hex');
    const found = places.get(digest)?.join() ?? 'none';
    if (found !== String(version)) problems.push(`${event} was told version ${version} and is at ${found}`);
    if (i % step !== 0) continue;
    const proven = await client.membership({ event });
    if (proven.version !== version)
      problems.push(`${event} is proven at ${String(proven.version)}, not ${version}`);
  }
  const trust = { log: parseVkey(vkey) };
  const ordered = [...snapshots.values()].sort((a, b) => a.snapshot.version - b.snapshot.version);
  for (const [i, later] of ordered.entries()) {
    const end = checkSignedSnapshot(later, trust, native).snapshot;
    const earlier = ordered[i - 1];
    if (earlier === undefined) continue;
    const start = checkSignedSnapshot(earlier, trust, native).snapshot;
    const answer = await fetch(`${endpoint}/proofs/incremental`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ start: start.version, end: end.version }),
    });
    try {
      verifyIncremental(await answer.json(), { start, end }, native);
    } catch (error) {
      problems.push(`versions ${start.version} and ${end.version} contradict each other: ${String(error)}`);
    }
  }
  return problems;
}

function start(directory: string, endpoint: string): Promise<ChildProcess> {
  const address = endpoint.slice('http://'.length);
  const others = ['--mgmt-addr', '127.0.0.1:0', '--metrics-addr', '127.0.0.1:0'];
  const args = [QED, 'start', '--path', directory, '--http-addr', address, ...others, '-l', 'error'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes('Try next')) resolve(child);
    });
    child.on('exit', (code) => reject(new Error(`the server ended with ${String(code)}: ${output}`)));
  });
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.on('exit', () => resolve());
    child.kill(signal);
  });
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '20' },
      seed: { type: 'string', default: '1' },
      life: { type: 'string', default: '1500' },
    },
  });
  const report = await crashServer(Number(values.rounds), Number(values.seed), Number(values.life));
  console.log(JSON.stringify({ ...report, problems: report.problems.slice(0, 20) }, null, 2));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
}
