// How fast a publisher delivers, and that all its sinks hold the same: COUNT snapshots (10,000 unless said otherwise) of a log that is all there, into a
// file, an SQLite database and a WebSocket reader at once, as processes; then every snapshot in each of them is verified.
// Run: node --import tsx testutils/bench/publisher.ts [COUNT]
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { checkSink } from '../../agents/publisher/check.ts';
import { logOf, serveStubLog } from '../stub-log.ts';
import { freePort, withTempDir } from '../temp.ts';
import { until } from '../until.ts';

const COUNT = Number(process.argv[2] ?? 10_000);
const QED = fileURLToPath(new URL('../../cmd/qed.ts', import.meta.url));

await withTempDir(async (directory) => {
  const log = logOf(COUNT);
  const stub = await serveStubLog(log);
  const [gossip, metrics, port] = [await freePort(), await freePort(), await freePort()];
  const [file, database] = [join(directory, 'snapshots.jsonl'), join(directory, 'snapshots.db')];
  const args = [
    '--import',
    'tsx',
    QED,
    'agent',
    'publisher',
    '--qedUrls',
    stub.url,
    '--vkey',
    stub.vkey,
    '-l',
    'warn',
  ];
  const sinks = [`file:${file}`, `sqlite:${database}`, `ws:127.0.0.1:${port}`].flatMap((sink) => [
    '--sink',
    sink,
  ]);
  const places = [
    '--state',
    join(directory, 'state'),
    '--bind',
    `127.0.0.1:${gossip}`,
    '--metrics-addr',
    `127.0.0.1:${metrics}`,
  ];
  const child = spawn(process.execPath, [...args, ...sinks, ...places], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const lines: string[] = [];
  const status = async (): Promise<string> => (await fetch(`http://127.0.0.1:${metrics}/status`)).text();
  await until(
    'the publisher answers',
    () =>
      status().then(
        (text) => text.includes('"ws:'),
        () => false,
      ),
    60_000,
  );
  const from = performance.now();
  const socket = new WebSocket(`ws://127.0.0.1:${port}/?from=0`);
  socket.on('error', (error) => console.error(error.message));
  socket.on('message', (data: Buffer) => lines.push(data.toString()));
  const seen = { file: 0, websocket: 0 };
  await until(
    'all is delivered',
    async () => {
      if (lines.length >= COUNT) seen.websocket ||= performance.now() - from;
      const waiting = [...(await status()).matchAll(/"delivered":(\d+)/g)].map(([, count]) => Number(count));
      if (waiting.length === 2 && waiting.every((count) => count >= COUNT))
        seen.file ||= performance.now() - from;
      return seen.file > 0 && seen.websocket > 0;
    },
    600_000,
  );
  const memory = /process_resident_memory_bytes (\d+)/.exec(
    await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text(),
  );
  console.log(
    `file and database after ${(seen.file / 1000).toFixed(1)} s, WebSocket after ${(seen.websocket / 1000).toFixed(1)} s`,
  );
  console.log(`resident memory of the publisher: ${Math.round(Number(memory?.[1]) / 1e6)} MB`);
  socket.terminate();
  child.kill('SIGTERM');
  await new Promise((resolve) => child.on('close', resolve));
  const inFile = readFileSync(file, 'utf8').trimEnd().split('\n');
  console.log('file:', await checkSink({ kind: 'file', path: file }, log.trust));
  console.log('sqlite:', await checkSink({ kind: 'sqlite', path: database }, log.trust));
  console.log(`equal: file and WebSocket ${JSON.stringify(inFile) === JSON.stringify(lines)}`);
  await stub.close();
});
