"""A verifier written from docs/spec.md alone, with Python's standard library: the proof that the page is complete.

python3 verify.py trees.json [spec.md]   checks the vectors, and the example at the end of the page.
"""

import base64, hashlib, json, re, sys

LIMIT = 2**53
EMPTY = bytes(32)
TAG = b"qed hyper tree leaf v1" + bytes(2)


class Refused(Exception):
    pass


def require(holds, code):
    if not holds:
        raise Refused(code)


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u64(n):
    return n.to_bytes(8, "big")


def bit(key, i):
    return key[i // 8] >> (7 - i % 8) & 1


# --- section 3: the hyper tree


def hyper_leaf(key, version):
    return H(TAG, u64(version), key)


def hyper_root(versions, depth=0):
    if not versions:
        return EMPTY
    if len(versions) == 1:
        return hyper_leaf(*next(iter(versions.items())))
    sides = [{k: v for k, v in versions.items() if bit(k, depth) == side} for side in (0, 1)]
    return H(hyper_root(sides[0], depth + 1), hyper_root(sides[1], depth + 1))


def climb(key, value, path):
    for i, sibling in enumerate(path):
        sibling = sibling or EMPTY
        value = H(sibling, value) if bit(key, len(path) - 1 - i) else H(value, sibling)
    return value


def absent(key, path, leaf, root):
    if leaf is None:
        return climb(key, EMPTY, path) == root
    other, version = leaf
    same_place = all(bit(other, i) == bit(key, i) for i in range(len(path)))
    return other != key and same_place and climb(key, hyper_leaf(other, version), path) == root


# --- section 5: the history tree


def power_below(n):
    return 1 << (n - 1).bit_length() - 1


def node(left, right):
    return H(b"\x01", left, right)


def history_root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else H()
    k = power_below(len(leaves))
    return node(history_root(leaves[:k]), history_root(leaves[k:]))


def entry_leaf(event, hyper, time):
    return H(b"\x00", event, hyper, u64(time))


def included(leaf, version, size, proof, root):
    if version >= size:
        return False
    sides, first, n = [], 0, size
    while n > 1:
        k = power_below(n)
        right = version - first < k
        sides.append(right)
        first, n = (first, k) if right else (first + k, n - k)
    if len(proof) != len(sides):
        return False
    for sibling, right in zip(proof, reversed(sides)):
        leaf = node(leaf, sibling) if right else node(sibling, leaf)
    return leaf == root


def consistent(old_size, old_root, new_size, new_root, proof):
    if not 1 <= old_size <= new_size:
        return False
    sides, m, n, whole = [], old_size, new_size, True
    while m != n:
        k = power_below(n)
        right = m <= k
        sides.append(right)
        m, n, whole = (m, k, whole) if right else (m - k, n - k, False)
    if len(proof) != len(sides) + (not whole):
        return False
    old = new = old_root if whole else proof[0]
    for sibling, right in zip(proof if whole else proof[1:], reversed(sides)):
        if right:
            new = node(new, sibling)
        else:
            old, new = node(sibling, old), node(sibling, new)
    return old == old_root and new == new_root


# --- section 6: keys, notes, checkpoints

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NAME = re.compile(f"[^+{SPACE}\ud800-\udfff]+")


def recover_x(y, sign):
    """The x of a point with this y and this lowest bit of x, or None."""
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if x * x % P != xx:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != xx or y >= P or (x == 0 and sign):
        return None
    return x if x % 2 == sign else P - x


def decode_point(data):
    y = int.from_bytes(data, "little")
    x = recover_x(y % 2**255, y >> 255)
    return None if x is None else (x, y % 2**255)


def encode_point(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def add(p, q):
    t = D * p[0] * q[0] * p[1] * q[1]
    x = (p[0] * q[1] + q[0] * p[1]) * pow(1 + t, -1, P)
    y = (p[1] * q[1] + p[0] * q[0]) * pow(1 - t, -1, P)
    return x % P, y % P


def multiply(n, point):
    result = (0, 1)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


BASE = (recover_x(4 * pow(5, -1, P) % P, 0), 4 * pow(5, -1, P) % P)


def low_order(point):
    return multiply(8, point) == (0, 1)


def signed(key, message, signature):
    r, s, a = signature[:32], int.from_bytes(signature[32:], "little"), decode_point(key)
    point = decode_point(r)
    if len(signature) != 64 or s >= ORDER or point is None or low_order(point):
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
    return encode_point(add(multiply(s, BASE), multiply(k, (P - a[0], a[1])))) == r


def strict_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


def parse_vkey(text):
    name, key_id, rest = (text.split("+", 2) + ["", ""])[:3]
    data = strict_base64(rest) or b""
    point = decode_point(data[1:]) if len(data) == 33 else None
    assert NAME.fullmatch(name) and data[:1] in (b"\x01", b"\x04") and point and not low_order(point)
    assert key_id == H(name.encode(), b"\n", data)[:4].hex()
    return name, bytes.fromhex(key_id), data[0], data[1:]


def parse_note(note):
    try:
        raw = note.encode()
    except UnicodeEncodeError:
        raise Refused("note-malformed")
    text, gap, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    good = len(raw) <= 1048576 and not any(c < 32 and c != 10 for c in raw) and gap and lines.pop() == ""
    require(good and 1 <= len(lines) <= 100, "note-malformed")
    parsed = []
    for line in lines:
        parts = line.split(" ")
        data = strict_base64(parts[2]) if len(parts) == 3 else None
        require(data and len(data) >= 5 and parts[0] == "\u2014" and NAME.fullmatch(parts[1]), "note-malformed")
        parsed.append((parts[1], data[:4], data[4:]))
    return text + "\n", parsed


def signatures_by(note, keys):
    """Name and time of every line by one of the keys; each must verify."""
    text, lines = parse_note(note)
    found = []
    for name, key_id, signature in lines:
        for key_name, known_id, key_type, key in keys:
            if (name, key_id) != (key_name, known_id):
                continue
            time, message = None, text.encode()
            if key_type == 4:
                time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                require(time < LIMIT, "signature-invalid")
            require(signed(key, message, signature), "signature-invalid")
            found.append((name, time))
    return text, found


def open_checkpoint(note, log):
    assert log[2] == 1
    text, found = signatures_by(note, [log])
    require(found, "note-unsigned")
    lines = text.split("\n")
    require(len(lines) == 4 and lines[3] == "" and NAME.fullmatch(lines[0]), "note-malformed")
    root = strict_base64(lines[2])
    require(re.fullmatch("0|[1-9][0-9]{0,15}", lines[1]) and int(lines[1]) < LIMIT, "note-malformed")
    require(root is not None and len(root) == 32, "note-malformed")
    require(lines[0] == log[0], "origin-mismatch")
    return int(lines[1]), root


# --- section 7: JSON. A shape is a function that reads a value or refuses it.


def digest(value):
    require(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value), "proof-malformed")
    return bytes.fromhex(value)


def number(value):
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LIMIT
    require(whole, "proof-malformed")
    return value


def flag(value):
    require(isinstance(value, bool), "proof-malformed")
    return value


def text(value):
    require(isinstance(value, str), "proof-malformed")
    return value


def sibling(value):
    require(value != EMPTY.hex(), "proof-malformed")
    return digest(value)


def nullable(shape):
    return lambda value: None if value is None else shape(value)


def array(shape, limit):
    def read(value):
        require(isinstance(value, list) and len(value) <= limit, "proof-malformed")
        return [shape(item) for item in value]

    return read


def fields(**shapes):
    def read(value):
        require(isinstance(value, dict) and value.keys() == shapes.keys(), "proof-malformed")
        return {name: shape(value[name]) for name, shape in shapes.items()}

    return read


snapshot = fields(version=number, eventDigest=digest, historyDigest=digest, hyperDigest=digest, time=number)
signed_snapshot = fields(snapshot=snapshot, audit=array(digest, 64), checkpoint=text)
PROOF = dict(
    eventDigest=digest,
    exists=flag,
    version=nullable(number),
    hyper=fields(
        path=array(nullable(sibling), 256), leaf=nullable(fields(eventDigest=digest, version=number))
    ),
    entry=nullable(fields(hyperDigest=digest, time=number)),
    history=nullable(array(digest, 64)),
)
incremental = fields(start=number, end=number, hashes=array(digest, 64))


# --- section 8: verifying


def verify_signed_snapshot(parsed, log, cosigners=(), minimum=0):
    state = parsed["snapshot"]
    size, root = open_checkpoint(parsed["checkpoint"], log)
    require((size, root) == (state["version"] + 1, state["historyDigest"]), "snapshot-mismatch")
    leaf = entry_leaf(state["eventDigest"], state["hyperDigest"], state["time"])
    require(included(leaf, size - 1, size, parsed["audit"], root), "snapshot-mismatch")
    assert all(key_type == 4 for _, _, key_type, _ in cosigners)
    names = {name for name, _ in signatures_by(parsed["checkpoint"], cosigners)[1]}
    require(len(names) >= minimum, "cosignatures-missing")
    return state


def check_membership(proof, asked, state):
    """Steps 3 to 5 of the section."""
    event, version, hyper, entry = (proof[name] for name in ("eventDigest", "version", "hyper", "entry"))
    leaf = hyper["leaf"] and (hyper["leaf"]["eventDigest"], hyper["leaf"]["version"])
    parts = [version, entry, proof["history"]]
    require(event == asked, "proof-question")
    if not proof["exists"]:
        require(parts == [None] * 3, "proof-malformed")
        require(absent(event, hyper["path"], leaf, state["hyperDigest"]), "hyper-mismatch")
        return
    require(None not in parts and leaf is None, "proof-malformed")
    climbed = climb(event, hyper_leaf(event, version), hyper["path"])
    require(climbed == state["hyperDigest"], "hyper-mismatch")
    hashed = entry_leaf(event, entry["hyperDigest"], entry["time"])
    size, root = state["version"] + 1, state["historyDigest"]
    require(included(hashed, version, size, proof["history"], root), "history-mismatch")


def verify_membership(value, asked, log, version=None, **policy):
    parsed = fields(**PROOF, signedSnapshot=signed_snapshot)(value)
    state = verify_signed_snapshot(parsed["signedSnapshot"], log, **policy)
    check_membership(parsed, asked, state)
    version = state["version"] if version is None else version
    require(version <= state["version"], "proof-question")
    return parsed["exists"] and parsed["version"] <= version


def verify_incremental(value, start, end):
    parsed = incremental(value)
    require((parsed["start"], parsed["end"]) == (start["version"], end["version"]), "proof-question")
    sizes = parsed["start"] + 1, parsed["end"] + 1
    holds = consistent(
        sizes[0], start["historyDigest"], sizes[1], end["historyDigest"], parsed["hashes"]
    )
    require(holds, "consistency-mismatch")


# --- sections 11 and 12: the vectors and the example


def code_of(action, *arguments, **named):
    try:
        return action(*arguments, **named) and None
    except Refused as refusal:
        return str(refusal)


def check_vectors(vectors):
    unhex = bytes.fromhex
    assert (EMPTY.hex(), H().hex()) == (vectors["emptyHyperDigest"], vectors["emptyHistoryDigest"])
    versions, leaves = {}, []
    for batch in vectors["batches"]:
        digests = [unhex(one) for one in batch["digests"]]
        for i, one in enumerate(digests):
            versions.setdefault(one, len(leaves) + i)
        root = hyper_root(versions)
        leaves += [entry_leaf(one, root, batch["time"]) for one in digests]
        made = dict(
            version=len(leaves) - 1,
            eventDigest=digests[-1].hex(),
            historyDigest=history_root(leaves).hex(),
            hyperDigest=root.hex(),
            time=batch["time"],
        )
        assert made == batch["snapshot"], made
    for case in vectors["membership"]:
        verify = lambda: check_membership(
            fields(**PROOF)(case["proof"]), unhex(case["eventDigest"]), snapshot(case["snapshot"])
        )
        assert (code_of(verify) is None) == case["holds"], case["why"]
    for case in vectors["inclusion"]:
        index, size, root = case["index"], case["size"], unhex(case["root"])
        proof = [unhex(one) for one in case["proof"]]
        assert included(leaves[index], index, size, proof, root)
        assert not included(leaves[index], index + 1, size, proof, root)
    for case in vectors["consistency"]:
        start, end = unhex(case["startDigest"]), unhex(case["endDigest"])
        sizes, proof = (case["start"] + 1, case["end"] + 1), [unhex(one) for one in case["hashes"]]
        assert consistent(sizes[0], start, sizes[1], end, proof)
        assert start == end or not consistent(sizes[0], end, sizes[1], start, proof)
    versions = {}
    for case in vectors["hyper"]:
        versions[unhex(case["key"])] = case["version"]
        assert hyper_root(versions).hex() == case["root"]
    return sum(len(cases) for cases in vectors.values() if isinstance(cases, list))


def check_example(page):
    blocks = re.findall("^```(vkey|json [a-zA-Z]+)\n(.*?)^```$", page, re.M | re.S)
    log, witness = (parse_vkey(body.strip()) for kind, body in blocks if kind == "vkey")
    example = {kind[5:]: json.loads(body) for kind, body in blocks if kind.startswith("json ")}
    membership, first = example["membership"], example["signedSnapshot"]
    latest = membership["signedSnapshot"]
    policy = dict(cosigners=[witness], minimum=1)
    event = {name: H(name.encode()) for name in "abcz"}
    assert verify_membership(membership, event["b"], log, **policy)
    assert verify_membership(membership, event["b"], log, version=1) is True
    assert verify_membership(membership, event["b"], log, version=0) is False
    absence = {**example["absence"], "signedSnapshot": latest}
    assert verify_membership(absence, event["z"], log) is False
    start, end = (verify_signed_snapshot(signed_snapshot(one), log) for one in (first, latest))
    verify_incremental(example["incremental"], start, end)
    wrong = dict(latest, checkpoint=latest["checkpoint"].replace("\n3\n", "\n4\n"))
    refusals = [
        (code_of(verify_membership, membership, event["c"], log), "proof-question"),
        (code_of(verify_membership, membership, event["b"], log, version=3), "proof-question"),
        (code_of(verify_membership, {**membership, "signedSnapshot": wrong}, event["b"], log), "signature-invalid"),
        (code_of(verify_membership, membership, event["b"], ("other", *log[1:])), "note-unsigned"),
        (code_of(verify_membership, {**absence, "exists": True}, event["z"], log), "proof-malformed"),
        (code_of(verify_membership, {**membership, "version": 2}, event["b"], log), "hyper-mismatch"),
        (code_of(verify_membership, {**membership, "history": []}, event["b"], log), "history-mismatch"),
        (code_of(verify_signed_snapshot, {**signed_snapshot(latest), "audit": []}, log), "snapshot-mismatch"),
        (code_of(verify_signed_snapshot, signed_snapshot(first), log, **policy), "cosignatures-missing"),
        (code_of(verify_incremental, example["incremental"], start, start), "proof-question"),
        (code_of(verify_incremental, {**example["incremental"], "hashes": []}, start, end), "consistency-mismatch"),
    ]
    for got, wanted in refusals:
        assert got == wanted, (got, wanted)
    return len(refusals) + 6


if __name__ == "__main__":
    done = [check_vectors(json.load(open(sys.argv[1])))]
    done += [check_example(open(path, encoding="utf-8").read()) for path in sys.argv[2:]]
    print(f"all {' + '.join(map(str, done))} cases as the page says")
