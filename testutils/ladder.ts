// The house rules that can be read off the sources: who may import whom, what stays pure, what a browser can load.
// Parts are the folders below src, and cmd, agents and testutils beside it. A file imports from its own part or from a lower rung.

/** From the top down. Parts on one rung do not know each other. */
const RUNGS: readonly (readonly string[])[] = [
  ['cmd'],
  ['agents'],
  ['index'],
  ['client', 'server'],
  ['gossip'],
  ['replication'],
  ['storage', 'raft'],
  ['balloon'],
  ['history', 'hyper'],
  ['crypto'],
  ['errors'],
];

/** Parts that think and do nothing else: what they need of the world is handed to them. */
const PURE = ['history', 'hyper', 'balloon', 'raft'];
const OUTSIDE_WORLD =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|fetch\(|getRandomValues)/;

/** What a browser loads, together with everything that it imports. In client, a file named *-node.ts is for Node alone. */
const BROWSER_ENTRIES = ['src/client/index.ts', 'src/balloon/verify.ts'];
const NODE_GLOBAL = /\b(Buffer\b|setImmediate\b|process\.|__dirname\b)/;
const BROWSER_PACKAGE = /^@noble\//;

const IMPORT =
  /^(?:import|export)\b(?<type> type\b)?[^;'"]*?\bfrom '(?<from>[^']+)'|^import '(?<bare>[^']+)'|\bimport\('(?<dynamic>[^']+)'\)/gm;

interface Import {
  /** A path from the root for a file of ours, else the name as it is written. */
  readonly target: string;
  /** `import type` is gone at run time. */
  readonly typeOnly: boolean;
}
type Imports = ReadonlyMap<string, readonly Import[]>;

/** Everything that breaks a rule, a line each. Keys are paths from the root, values are sources. */
export function ladderViolations(sources: ReadonlyMap<string, string>): string[] {
  const imports = new Map([...sources].map(([file, source]) => [file, importsOf(file, source)]));
  const shipped = [...sources.keys()].filter((file) => !isTest(file));
  const pure = shipped.filter((file) => PURE.some((part) => part === partOf(file)));
  const client = shipped.filter((file) => partOf(file) === 'client' && !file.endsWith('-node.ts'));
  const loaded = reachable([...BROWSER_ENTRIES, ...pure, ...client], imports);
  return [
    ...[...imports].flatMap(([file, list]) =>
      list.flatMap(({ target }) => brokenImport(file, target, sources)),
    ),
    ...loaded.flatMap((file) => nodeOnly(file, sources.get(file) ?? '', imports.get(file) ?? [])),
    ...pure.flatMap((file) =>
      mentions(file, sources.get(file)!, OUTSIDE_WORLD, 'is pure and reaches for the world'),
    ),
    ...cycles(
      shipped.filter((file) => partOf(file) !== 'testutils'),
      imports,
    ),
  ];
}

function importsOf(file: string, source: string): Import[] {
  return Array.from(source.matchAll(IMPORT), ({ groups = {} }) => {
    const name = groups['from'] ?? groups['bare'] ?? groups['dynamic'] ?? '';
    const target = name.startsWith('.') ? new URL(name, `file:///${file}`).pathname.slice(1) : name;
    return { target, typeOnly: groups['type'] !== undefined };
  });
}

function brokenImport(file: string, target: string, sources: ReadonlyMap<string, string>): string[] {
  const [from, to] = [partOf(file), partOf(target)];
  if (target.startsWith('dist/')) return [`${file} imports ${target}: nothing imports what was built`];
  if (to === undefined) return [];
  if (!sources.has(target)) return [`${file} imports ${target}: there is no such file`];
  if (from === to || isTest(file) || from === 'testutils') return [];
  if (to === 'testutils') return from === 'cmd' ? [] : [`${file} imports ${target}: that is for tests`];
  const [above, below] = [rungOf(from), rungOf(to)];
  if (above === -1) return [`${file}: its folder stands on no rung`];
  return above < below ? [] : [`${file} imports ${target}: up the ladder`];
}

function nodeOnly(file: string, source: string, list: readonly Import[]): string[] {
  const packages = list.filter(({ target, typeOnly }) => partOf(target) === undefined && !typeOnly);
  return [
    ...packages
      .filter(({ target }) => !BROWSER_PACKAGE.test(target))
      .map(({ target }) => `${file} imports ${target}: a browser has no such thing`),
    ...mentions(file, source, NODE_GLOBAL, 'must load in a browser and uses'),
  ];
}

function mentions(file: string, source: string, pattern: RegExp, complaint: string): string[] {
  const code = source.replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '');
  const found = pattern.exec(code);
  return found ? [`${file} ${complaint}: ${found[0]}`] : [];
}

/** The files, and all that they import, directly or not. */
function reachable(entries: readonly string[], imports: Imports): string[] {
  const seen = new Set(entries);
  for (const file of seen) {
    for (const { target, typeOnly } of imports.get(file) ?? [])
      if (!typeOnly && imports.has(target)) seen.add(target);
  }
  return [...seen];
}

/** A line for each import that closes a circle, also one of types. */
function cycles(files: readonly string[], imports: Imports): string[] {
  const done = new Set<string>();
  const path: string[] = [];
  const found: string[] = [];
  const visit = (file: string): void => {
    if (path.includes(file)) found.push(`a circle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
    if (path.includes(file) || done.has(file)) return;
    path.push(file);
    for (const { target } of imports.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  files.forEach(visit);
  return found;
}

function isTest(file: string): boolean {
  return file.endsWith('.test.ts');
}

/** `crypto` for src/crypto/hash.ts, `errors` for src/errors.ts, `cmd` for cmd/qed.ts; undefined for a package. */
function partOf(file: string): string | undefined {
  return /^(?:src\/)?(?<part>[a-z]+)(?:\/.*)?\.ts$/.exec(file)?.groups?.['part'];
}

function rungOf(part: string | undefined): number {
  return RUNGS.findIndex((rung) => part !== undefined && rung.includes(part));
}
