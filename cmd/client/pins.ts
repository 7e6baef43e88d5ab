// What this user trusts from earlier visits: for each endpoint the vkey of the log that was seen there first, and for each vkey the newest head that
// was verified. One JSON file, replaced as a whole:
//
//   { "format": "qed-pins/v1", "vkeys": { "<endpoint>": "<vkey>" }, "heads": { "<vkey>": <signed snapshot> } }
//
// It is trusted as its owner's files are. A file that cannot be read is an error: starting over silently would trust a stranger.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseSignedSnapshot } from '../../src/balloon/proof.ts';
import { type HeadStore } from '../../src/client/head.ts';
import { QedError } from '../../src/errors.ts';

export interface Pins {
  readonly path: string;
  /** The vkeys that are pinned for these endpoints, each once. */
  readonly vkeys: (endpoints: readonly string[]) => readonly string[];
  readonly pin: (endpoints: readonly string[], vkey: string) => void;
  /** Forgets the endpoints, and the heads of what was pinned for them. */
  readonly forget: (endpoints: readonly string[], vkey: string | undefined) => void;
  readonly headStore: (vkey: string) => HeadStore;
}

const FORMAT = 'qed-pins/v1';

interface Content {
  readonly vkeys: ReadonlyMap<string, string>;
  readonly heads: ReadonlyMap<string, unknown>;
}

/** Every step reads the file again, since other commands may have changed it. */
export function openPins(path: string): Pins {
  const change = (edit: (content: Content) => Content): void => writePins(path, edit(readPins(path)));
  return {
    path,
    vkeys(endpoints) {
      const { vkeys } = readPins(path);
      return [...new Set(endpoints.flatMap((endpoint) => vkeys.get(endpoint) ?? []))];
    },
    pin(endpoints, vkey) {
      change(({ vkeys, heads }) => {
        const pinned = endpoints.map((endpoint) => [endpoint, vkey] as const);
        return { vkeys: new Map([...vkeys, ...pinned]), heads };
      });
    },
    forget(endpoints, vkey) {
      change(({ vkeys, heads }) => {
        const forgotten = new Set([vkey, ...endpoints.map((endpoint) => vkeys.get(endpoint))]);
        return {
          vkeys: new Map([...vkeys].filter(([endpoint]) => !endpoints.includes(endpoint))),
          heads: new Map([...heads].filter(([of]) => !forgotten.has(of))),
        };
      });
    },
    headStore: (vkey) => ({
      load: () => Promise.resolve(readPins(path).heads.get(vkey)),
      save(head) {
        change(({ vkeys, heads }) => {
          // Two commands at once: the newer head stays, whoever comes last.
          const isOlder = versionOf(heads.get(vkey)) > head.snapshot.version;
          return { vkeys, heads: isOlder ? heads : new Map([...heads, [vkey, head]]) };
        });
        return Promise.resolve();
      },
    }),
  };
}

function versionOf(head: unknown): number {
  return head === undefined ? -1 : parseSignedSnapshot(head).snapshot.version;
}

function readPins(path: string): Content {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    if (isMissing(cause)) return { vkeys: new Map(), heads: new Map() };
    throw unreadable(path, cause);
  }
  const fields = object(json);
  const [vkeys, heads] = [object(fields?.['vkeys']), object(fields?.['heads'])];
  if (fields?.['format'] !== FORMAT || vkeys === undefined || heads === undefined) throw unreadable(path);
  const texts = Object.entries(vkeys).map(([endpoint, vkey]) => {
    if (typeof vkey !== 'string') throw unreadable(path);
    return [endpoint, vkey] as const;
  });
  return { vkeys: new Map(texts), heads: new Map(Object.entries(heads)) };
}

function writePins(path: string, { vkeys, heads }: Content): void {
  const json = { format: FORMAT, vkeys: Object.fromEntries(vkeys), heads: Object.fromEntries(heads) };
  const beside = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(beside, `${JSON.stringify(json, null, 2)}\n`, { mode: 0o600 });
    renameSync(beside, path);
  } catch (cause) {
    throw new QedError('store-failed', `the pins could not be written to ${path}: ${String(cause)}`, {
      cause,
      hint: 'Name another file with --pins, or give the vkey with --vkey.',
    });
  }
}

function isMissing(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT';
}

function object(json: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? { ...json } : undefined;
}

function unreadable(path: string, cause?: unknown): QedError {
  return new QedError('store-failed', `the pins in ${path} cannot be read`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'Repair the file, or remove it and compare the vkey that is then pinned with the operator.',
  });
}
