// qed generate: a key for a log, or certificates for TLS. Nothing that exists is overwritten.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Argv } from 'yargs';
import { createKeyFiles } from '../src/crypto/keys.ts';
import { LOG_KEY } from '../src/crypto/vkey.ts';
import { QedError } from '../src/errors.ts';
import { defaultOrigin } from '../src/server/identity.ts';
import { withSettings } from './settings.ts';

const keypairOptions = {
  out: { alias: 'o', type: 'string', default: './log_key.pem', describe: 'File for the private key' },
  origin: { type: 'string', describe: 'Name of the log', defaultDescription: 'qed.local/<key>' },
} as const;

const certsOptions = {
  out: { alias: 'o', type: 'string', default: './certs', describe: 'Directory for the files' },
  host: {
    type: 'string',
    array: true,
    default: ['localhost', '127.0.0.1', '::1'],
    describe: 'Name or IP address of the server; may be repeated',
  },
  days: { type: 'number', default: 825, describe: 'Days that the certificates are valid' },
} as const;

function buildKeypair(command: Argv) {
  return withSettings(command, keypairOptions)
    .example(
      '$0 generate keypair --origin example.org/audit -o audit.pem',
      'then: qed start -y audit.pem --origin example.org/audit',
    )
    .epilogue('With QED_KEY_PASSPHRASE set, the private key is encrypted; qed start needs the same then.');
}

function buildCerts(command: Argv) {
  return withSettings(command, certsOptions).example(
    '$0 generate certs --host qed.example.org --host 192.0.2.7',
    'then: qed start --tls-cert certs/server.pem --tls-key certs/server_key.pem',
  );
}

export function addGenerate(main: Argv): Argv {
  return main.command('generate', 'Make keys and certificates', (command) =>
    command
      .command('keypair', 'Make the Ed25519 key of a log', buildKeypair, generateKeypair)
      .command(
        'certs',
        'Make a small authority, and certificates for a server and a client',
        buildCerts,
        generateCerts,
      )
      .demandCommand(1, 'Say what to generate: keypair or certs.'),
  );
}

function generateKeypair({
  out,
  origin,
}: {
  readonly out: string;
  readonly origin: string | undefined;
}): void {
  const passphrase = process.env['QED_KEY_PASSPHRASE'];
  const { vkey, vkeyPath } = createKeyFiles(out, {
    name: origin ?? defaultOrigin,
    type: LOG_KEY,
    passphrase,
  });
  console.log(`private key  ${out}   (keep it secret; back it up: the log cannot go on without it)`);
  console.log(`vkey         ${vkeyPath}   (give it to everybody who checks the log)`);
  console.log(vkey);
}

interface CertsFlags {
  readonly out: string;
  readonly host: readonly string[];
  readonly days: number;
}

async function generateCerts({ out, host, days }: CertsFlags): Promise<void> {
  if (!Number.isInteger(days) || days < 1)
    throw new QedError('option-malformed', '--days is not a number of days');
  const names = ['ca', 'server', 'client'] as const;
  const paths = names.flatMap((name) => [join(out, `${name}.pem`), join(out, `${name}_key.pem`)]);
  const there = paths.find((path) => existsSync(path));
  if (there !== undefined) {
    throw new QedError('key-exists', `${there} exists and is not overwritten`, {
      hint: 'Name another directory with --out.',
    });
  }
  // Loaded here: no other command needs it, and it takes a while.
  const { makeCertificates } = await import('../src/server/certificates.ts');
  const { authority, server, client } = await makeCertificates({ hosts: host, days, now: Date.now() });
  try {
    mkdirSync(out, { recursive: true, mode: 0o700 });
    for (const [name, { key, certificate }] of [
      ['ca', authority],
      ['server', server],
      ['client', client],
    ] as const) {
      writeFileSync(join(out, `${name}_key.pem`), `${key}\n`, { flag: 'wx', mode: 0o600 });
      writeFileSync(join(out, `${name}.pem`), `${certificate}\n`, { flag: 'wx', mode: 0o644 });
    }
  } catch (cause) {
    throw new QedError('key-file-failed', `the certificates cannot be written to ${out}: ${String(cause)}`, {
      cause,
    });
  }
  console.log(
    `${out}: ca.pem, server.pem, client.pem, each with its _key.pem; valid for ${days} days, for ${host.join(', ')}`,
  );
  console.log(
    `server       qed start --tls-cert ${join(out, 'server.pem')} --tls-key ${join(out, 'server_key.pem')}`,
  );
  console.log(`clients      trust ${join(out, 'ca.pem')}, for example with curl --cacert`);
}
