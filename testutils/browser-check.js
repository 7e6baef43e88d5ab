// Runs in a page and in Node: asks the client library the given questions and says what it answers, as text.

/** A code, or what was proven. Anything that is thrown and is no QedError is shown as it is. */
export function answers(qed, { vkey, cases }) {
  const trust = { log: qed.parseVkey(vkey) };
  return cases.map((one) => {
    try {
      return ask(qed, trust, one);
    } catch (error) {
      return error instanceof qed.QedError ? error.code : `a crash: ${String(error)}`;
    }
  });
}

function ask(qed, trust, { kind, json, event, start, end }) {
  if (kind === 'signed snapshot') return `version ${qed.verifySignedSnapshot(json, trust).snapshot.version}`;
  if (kind === 'membership') {
    const { exists, version } = qed.verifyMembership(json, { eventDigest: qed.decodeHex(event) }, trust);
    return exists ? `version ${version}` : 'absent';
  }
  const question = {
    start: qed.verifySignedSnapshot(start, trust).snapshot,
    end: qed.verifySignedSnapshot(end, trust).snapshot,
  };
  qed.verifyIncremental(json, question);
  return 'grown';
}
