// The one error class of qed and the closed list of its codes. docs/errors.md shows the same table; a test keeps them equal.
//
// Four kinds, never mixed:
//   caller   the request was wrong; sending it again changes nothing
//   world    disk, network or another process failed; nothing is known to be wrong with the data, trying later may help
//   refused  something was checked and is false: a proof, a signature, a stored byte
//   bug      an invariant of our own does not hold; stop and tell us
// Callers compare `code`, never texts. "Could not check" is never `refused`.

export type ErrorKind = 'caller' | 'world' | 'refused' | 'bug';

interface ErrorRow {
  readonly kind: ErrorKind;
  /** HTTP status that the API answers with. */
  readonly status: number;
  /** One sentence for docs/errors.md: what happened and what to do. */
  readonly meaning: string;
}

const rows = {
  // --- caller: events, versions, questions
  'bad-request': {
    kind: 'caller',
    status: 400,
    meaning: 'The request does not have the documented form. The message names the field.',
  },
  'batch-empty': { kind: 'caller', status: 400, meaning: 'A batch must hold at least one event.' },
  'batch-too-large': {
    kind: 'caller',
    status: 413,
    meaning: 'A batch holds too many events. Send smaller batches.',
  },
  'digest-malformed': {
    kind: 'caller',
    status: 400,
    meaning: 'An event digest must be 32 bytes, in JSON 64 lower-case hex digits.',
  },
  'version-malformed': {
    kind: 'caller',
    status: 400,
    meaning: 'A version, size or index must be an integer from 0 to 2^53 - 1.',
  },
  'version-unknown': { kind: 'caller', status: 404, meaning: 'The log has not reached that version yet.' },
  'range-reversed': { kind: 'caller', status: 400, meaning: 'The start of a range lies behind its end.' },
  'log-empty': {
    kind: 'caller',
    status: 404,
    meaning: 'The log holds no event yet, so there is nothing to prove or sign. Add one first.',
  },
  'time-backwards': {
    kind: 'caller',
    status: 400,
    meaning: 'A record carries an earlier time than the one before it.',
  },
  'record-out-of-order': {
    kind: 'caller',
    status: 400,
    meaning: 'A record does not follow the last applied one.',
  },

  // --- caller: keys and notes that the caller configures
  'key-missing': {
    kind: 'caller',
    status: 400,
    meaning: 'The key file does not exist. Make one with qed generate keypair or ssh-keygen -t ed25519.',
  },
  'key-malformed': {
    kind: 'caller',
    status: 400,
    meaning:
      'The key is not an Ed25519 key in OpenSSH or PKCS#8 PEM form, or the vkey is not a C2SP verifier key.',
  },
  'key-weak': {
    kind: 'caller',
    status: 400,
    meaning:
      'The public key is a low-order point or not canonically encoded, so anybody could forge signatures for it.',
  },
  'key-permissions': {
    kind: 'caller',
    status: 400,
    meaning: 'The private key file can be read by others. Run the chmod that the hint names.',
  },
  'key-encrypted': {
    kind: 'caller',
    status: 400,
    meaning: 'The private key is encrypted and no passphrase, or a wrong one, was given.',
  },
  'key-exists': {
    kind: 'caller',
    status: 409,
    meaning:
      'There is a key file at that path already. It is never overwritten: move it, or name another path.',
  },
  'key-file-failed': {
    kind: 'world',
    status: 503,
    meaning: 'A key file could not be read or written: permissions, a missing folder, or the device failed.',
  },
  'name-malformed': {
    kind: 'caller',
    status: 400,
    meaning: 'An origin or key name is empty, too long, or holds spaces, plus signs or control characters.',
  },

  // --- refused: what a verifier says
  'proof-malformed': {
    kind: 'refused',
    status: 422,
    meaning:
      'The proof is not in the documented form: a field is missing, unknown, of another type or too long.',
  },
  'proof-question': {
    kind: 'refused',
    status: 422,
    meaning: 'The proof answers another question than the one asked.',
  },
  'note-malformed': {
    kind: 'refused',
    status: 422,
    meaning: 'The signed note or checkpoint is not in the one canonical form.',
  },
  'note-unsigned': { kind: 'refused', status: 422, meaning: 'No signature of a trusted key is on the note.' },
  'signature-invalid': {
    kind: 'refused',
    status: 422,
    meaning: 'A signature that names a trusted key does not verify.',
  },
  'origin-mismatch': { kind: 'refused', status: 422, meaning: 'The checkpoint belongs to another log.' },
  'cosignatures-missing': {
    kind: 'refused',
    status: 422,
    meaning: 'The checkpoint carries fewer valid cosignatures than the policy asks for.',
  },
  'snapshot-mismatch': {
    kind: 'refused',
    status: 422,
    meaning: 'The snapshot is not the one that the checkpoint signs.',
  },
  'history-mismatch': {
    kind: 'refused',
    status: 422,
    meaning: 'The history proof does not lead to the signed history digest.',
  },
  'hyper-mismatch': {
    kind: 'refused',
    status: 422,
    meaning: 'The hyper proof does not lead to the signed hyper digest.',
  },
  'consistency-mismatch': {
    kind: 'refused',
    status: 422,
    meaning: 'The later snapshot did not grow out of the earlier one.',
  },
  'head-rollback': {
    kind: 'refused',
    status: 422,
    meaning:
      'The log shows an earlier state than one that was verified before. If it was begun anew on purpose, forget the old head.',
  },
  'head-stale': {
    kind: 'refused',
    status: 422,
    meaning: 'The newest state that the log shows is older than the caller allows.',
  },
  'evidence-void': {
    kind: 'refused',
    status: 422,
    meaning: 'The evidence is made of genuine parts, and nothing in them contradicts anything.',
  },

  // --- client: what can not be checked, or not even be asked
  'vkey-unknown': {
    kind: 'caller',
    status: 400,
    meaning: 'No vkey of the log is known, so nothing it says can be verified. Give one with --vkey.',
  },
  unreachable: {
    kind: 'world',
    status: 503,
    meaning:
      'No endpoint answered in time, so nothing could be asked or checked. Look at the endpoints and the network.',
  },
  'server-failed': {
    kind: 'world',
    status: 502,
    meaning: 'The server answered that it failed, or with something that is no answer of qed.',
  },

  // --- world: storage
  'store-locked': {
    kind: 'world',
    status: 503,
    meaning: 'Another process has the database open. Stop it, or name another path.',
  },
  'store-full': {
    kind: 'world',
    status: 503,
    meaning: 'The disk is full. Free space and start again: nothing acknowledged is lost.',
  },
  'store-failed': {
    kind: 'world',
    status: 503,
    meaning: 'The database could not be read or written: permissions, or the device failed.',
  },
  'store-closed': {
    kind: 'world',
    status: 503,
    meaning: 'The database is closed, or an earlier write failed and its outcome is unknown. Open it again.',
  },
  'store-corrupt': {
    kind: 'refused',
    status: 500,
    meaning:
      'Stored bytes are damaged or were edited. Do not use this copy; rebuild it from a peer or a backup.',
  },

  // --- world: the replicated log
  busy: {
    kind: 'world',
    status: 503,
    meaning: 'Too much is waiting, or the caller gave up first. Nothing was proposed: send it again later.',
  },
  'outcome-unknown': {
    kind: 'world',
    status: 503,
    meaning:
      'The record was proposed, but whether it is or will be in the log is not known. Look before sending it again.',
  },
  'no-leader': {
    kind: 'world',
    status: 503,
    meaning:
      'The cluster has no leader, or it changed at this moment. Nothing was proposed: send it again in a second.',
  },
  'node-removed': {
    kind: 'world',
    status: 503,
    meaning: 'This node was removed from its cluster. Stop it; to bring it back, run qed rebuild.',
  },
  diverged: {
    kind: 'refused',
    status: 500,
    meaning:
      'This node computed other digests than its cluster. It stopped serving: stop it, and run qed rebuild.',
  },
  'log-compacted': {
    kind: 'world',
    status: 503,
    meaning:
      'The next record that this database needs is no longer in the log. Fetch what is missing from a peer or a backup.',
  },

  // --- caller: the HTTP API and the command line
  'body-too-large': {
    kind: 'caller',
    status: 413,
    meaning: 'The body, or one event in it, is larger than the limit that the message names.',
  },
  'media-unsupported': {
    kind: 'caller',
    status: 415,
    meaning: 'The route does not take a body of that content type.',
  },
  'not-found': {
    kind: 'caller',
    status: 404,
    meaning: 'There is nothing at that path, or not for that method.',
  },
  'key-reused': {
    kind: 'caller',
    status: 409,
    meaning: 'The idempotency key was used before, for other events. Nothing was logged: make a new key.',
  },
  'snapshot-conflict': {
    kind: 'caller',
    status: 409,
    meaning:
      'The store holds another snapshot of that version, signed by the same log. It keeps both: together they prove that the log shows two histories.',
  },
  unauthorized: {
    kind: 'caller',
    status: 401,
    meaning: 'The request needs an API key, or carries one that is unknown.',
  },
  forbidden: {
    kind: 'caller',
    status: 403,
    meaning:
      'The API key is known, but its scopes do not cover the request; or a page of another origin tried to write.',
  },
  'rate-limited': {
    kind: 'world',
    status: 429,
    meaning: 'Too many requests came from this address. Wait as long as Retry-After says.',
  },
  'option-malformed': {
    kind: 'caller',
    status: 400,
    meaning: 'A flag, an environment variable or a line of a configuration file cannot be used as it stands.',
  },
  'node-mismatch': {
    kind: 'caller',
    status: 409,
    meaning: 'The data belongs to a log or node of another origin, key or id than the one asked for.',
  },
  'address-taken': {
    kind: 'world',
    status: 503,
    meaning: 'Another process listens at that address, or it is not one of this machine. Name another one.',
  },

  // --- bug
  bug: {
    kind: 'bug',
    status: 500,
    meaning: 'An invariant of qed does not hold. Please report it with the message.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof rows;
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = rows;

export type RefusalCode = {
  [Code in ErrorCode]: (typeof rows)[Code]['kind'] extends 'refused' ? Code : never;
}[ErrorCode];

export class QedError extends Error {
  override readonly name = 'QedError';
  readonly code: ErrorCode;
  /** The next step for a person, when the message alone does not say it. */
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly hint?: string; readonly cause?: unknown } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.hint = options.hint;
  }

  get kind(): ErrorKind {
    return errorTable[this.code].kind;
  }
}

/** Asserts an invariant of our own. Stays on in production. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new QedError('bug', message);
}
