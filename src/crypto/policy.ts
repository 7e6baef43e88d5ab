// Whose cosignatures make a checkpoint good: C2SP tlog-policy. A file of lines; words are parted by spaces and tabs, # begins a comment line.
//
//   log <vkey> [<url>]                        a log that is meant
//   witness <name> <vkey> [<url>]             somebody who cosigns; names are for this file only
//   group <name> <all|any|k> <name>…          counts as one when so many of its members do
//   quorum <name|none>                        exactly once: who has to vouch
//
// Names are defined before they are used, and each is a member of one group at most, so the quorum is a tree and nobody counts twice. Who vouched when is
// one question: `quorumTime` tells since when the quorum stands behind a checkpoint, or that it does not. Loads in a browser.
import { QedError } from '../errors.ts';
import { openCosignatures, type Cosignature } from './checkpoint.ts';
import { portableVerify, type Verify } from './ed25519.ts';
import { decodeDecimal, equalBytes, isUnicode } from './encoding.ts';
import { COSIGNER_KEY, LOG_KEY, parseVkey, type KeyType, type Verifier } from './vkey.ts';

export interface Policy {
  /** Empty where the log is known from elsewhere. */
  readonly logs: readonly PolicyKey[];
  readonly witnesses: readonly PolicyKey[];
  readonly quorum: Quorum;
}

export interface PolicyKey {
  readonly verifier: Verifier;
  readonly url: string | undefined;
}

export type Quorum =
  | { readonly kind: 'none' }
  | { readonly kind: 'witness'; readonly verifier: Verifier }
  | { readonly kind: 'group'; readonly threshold: number; readonly members: readonly Quorum[] };

const POLICY_CHARS_MAX = 256 * 1024;
/** A note holds 100 signatures, so more could never vouch. */
const KEYS_MAX = 100;
const GROUPS_MAX = 100;

export function parsePolicy(text: string): Policy {
  if (text.length > POLICY_CHARS_MAX) throw malformed(`it has more than ${POLICY_CHARS_MAX} characters`);
  // Tab and newline are the only controls; a lone surrogate is no text at all.
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  if (!isUnicode(text) || /[\x00-\x08\x0b-\x1f\x7f]/.test(text))
    throw malformed('it holds control characters');
  // A file that was cut off in its last line could ask for less than it did.
  if (!text.endsWith('\n')) {
    throw malformed(
      'its last line has no newline',
      'It may have been cut off. If it is whole, end the line.',
    );
  }
  const draft = new Draft();
  for (const [at, line] of text.slice(0, -1).split('\n').entries()) {
    const [keyword, ...words] = line.split(/[ \t]+/).filter((word) => word !== '');
    if (keyword === undefined || keyword.startsWith('#')) continue;
    try {
      draft.take(keyword, words);
    } catch (error) {
      if (!(error instanceof QedError)) throw error;
      throw malformed(`line ${at + 1}: ${error.message}`, error.hint);
    }
  }
  return draft.finish();
}

/** What the lines so far have defined. */
class Draft {
  readonly #logs: PolicyKey[] = [];
  readonly #witnesses: PolicyKey[] = [];
  readonly #names = new Map<string, Quorum>();
  readonly #members = new Set<string>();
  #groups = 0;
  #quorum: Quorum | undefined;

  take(keyword: string, words: readonly string[]): void {
    if (keyword === 'log') this.#takeKey(this.#logs, LOG_KEY, words);
    else if (keyword === 'witness') this.#takeWitness(words);
    else if (keyword === 'group') this.#takeGroup(words);
    else if (keyword === 'quorum') this.#takeQuorum(words);
    else throw wrong(`${quoted(keyword)} is none of log, witness, group and quorum`);
  }

  finish(): Policy {
    if (this.#quorum === undefined) throw malformed('it has no quorum line');
    return { logs: this.#logs, witnesses: this.#witnesses, quorum: this.#quorum };
  }

  #takeKey(keys: PolicyKey[], type: KeyType, [vkey, url, ...more]: readonly string[]): Verifier {
    if (vkey === undefined || more.length > 0) throw wrong('it is not a vkey and perhaps a URL');
    const verifier = parseVkey(vkey);
    if (verifier.type !== type) throw wrong(`the key of ${quoted(verifier.name)} is of the other type`);
    if (keys.some((one) => equalBytes(one.verifier.publicKey, verifier.publicKey)))
      throw wrong(`the key of ${quoted(verifier.name)} is there already`);
    if (keys.length >= KEYS_MAX) throw wrong(`there are more than ${KEYS_MAX} of them`);
    keys.push({ verifier, url });
    return verifier;
  }

  #takeWitness([name, ...words]: readonly string[]): void {
    const free = this.#freeName(name);
    const verifier = this.#takeKey(this.#witnesses, COSIGNER_KEY, words);
    this.#names.set(free, { kind: 'witness', verifier });
  }

  #takeGroup([name, count, ...names]: readonly string[]): void {
    const free = this.#freeName(name);
    const threshold = thresholdOf(count, names.length);
    if (++this.#groups > GROUPS_MAX) throw wrong(`there are more than ${GROUPS_MAX} groups`);
    const members = names.map((member) => {
      if (this.#members.has(member)) throw wrong(`${quoted(member)} is a member already`);
      this.#members.add(member);
      return this.#named(member);
    });
    this.#names.set(free, { kind: 'group', threshold, members });
  }

  #takeQuorum([name, ...more]: readonly string[]): void {
    if (this.#quorum !== undefined) throw wrong('there is a quorum already');
    if (name === undefined || more.length > 0) throw wrong('it does not name one quorum');
    this.#quorum = name === NONE ? { kind: 'none' } : this.#named(name);
  }

  #freeName(name: string | undefined): string {
    if (name === undefined) throw wrong('it has no name');
    if (name === NONE || this.#names.has(name)) throw wrong(`the name ${quoted(name)} is taken`);
    return name;
  }

  #named(name: string): Quorum {
    const found = this.#names.get(name);
    if (found === undefined) throw wrong(`${quoted(name)} is not defined before`);
    return found;
  }
}

const NONE = 'none';

function thresholdOf(count: string | undefined, members: number): number {
  const given = count === 'all' ? members : count === 'any' ? 1 : decodeDecimal(count ?? '');
  if (given !== undefined && given >= 1 && given <= members) return given;
  throw wrong(`a group of ${members} cannot ask for ${quoted(count ?? '')} of them`);
}

/** So many of these cosigners, whoever they are. */
export function thresholdPolicy(cosigners: readonly Verifier[], threshold: number): Policy {
  const members = cosigners.map((verifier) => ({ kind: 'witness', verifier }) as const);
  const isGroup = Number.isInteger(threshold) && threshold >= 1 && threshold <= members.length;
  if (!isGroup && threshold !== 0) {
    throw new QedError(
      'bad-request',
      `${String(threshold)} of ${members.length} cosigners cannot be asked for`,
    );
  }
  return {
    logs: [],
    witnesses: cosigners.map((verifier) => ({ verifier, url: undefined })),
    quorum: isGroup ? { kind: 'group', threshold, members } : { kind: 'none' },
  };
}

export interface Vouched {
  /** Of the witnesses that the policy names. */
  readonly cosignatures: readonly Cosignature[];
  /** Since when the quorum stands behind the checkpoint, in Unix seconds; null when the policy asks for nobody. */
  readonly quorumTime: number | null;
}

/** Refuses a note that the quorum has not cosigned. That the log has signed it is for `openCheckpoint` to say. */
export function checkPolicy(
  note: string | Uint8Array,
  policy: Policy,
  verify: Verify = portableVerify,
): Vouched {
  const cosignatures = openCosignatures(
    note,
    policy.witnesses.map(({ verifier }) => verifier),
    verify,
  );
  if (policy.quorum.kind === 'none') return { cosignatures, quorumTime: null };
  const time = quorumTime(policy.quorum, cosignatures);
  if (time !== undefined) return { cosignatures, quorumTime: time };
  const found = cosignatures.map(({ name }) => name).join(', ');
  throw new QedError(
    'cosignatures-missing',
    `those who cosigned are no quorum of the policy: ${found === '' ? 'nobody' : found}`,
  );
}

/** The latest time at which a quorum has vouched: for a group, that of the k-th latest member. Undefined when there is none. */
export function quorumTime(quorum: Quorum, cosignatures: readonly Cosignature[]): number | undefined {
  switch (quorum.kind) {
    case 'none':
      return undefined;
    case 'witness': {
      const { name, id } = quorum.verifier;
      return cosignatures.find((one) => one.name === name && one.id === id)?.time;
    }
    case 'group': {
      const times = quorum.members.map((member) => quorumTime(member, cosignatures));
      return times.filter((time) => time !== undefined).toSorted((a, b) => b - a)[quorum.threshold - 1];
    }
  }
}

function quoted(word: string): string {
  return JSON.stringify(word.slice(0, 80));
}

/** What is wrong with a line. */
function wrong(why: string): QedError {
  return new QedError('option-malformed', why);
}

function malformed(why: string, hint?: string): QedError {
  return new QedError(
    'option-malformed',
    `the policy cannot be used: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
