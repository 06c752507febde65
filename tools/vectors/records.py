"""Vectors of commits, refs, leases and format.json."""

from __future__ import annotations

import json

from cas.format import Commit, Digest, Lease, RefRecord, StoreFormat, canonical
from cas.format.envelope import seal
from vectors.common import NONCE, TIME_US, Json, refused, replaced, sealed, tagged
from vectors.trees import TREES


def commit_vectors() -> Json:
    first = Commit(TREES["one file"].hash)
    full = Commit(
        TREES["alpha, beta and zeros"].hash,
        parents=(first.id, TREES["one file"].hash),
        time_us=TIME_US,
        author="Ada <ada@example.org>",
        message="Warm restart\n\nélan 😀",
        run="sweep-7",
        trial="trial_00003",
        step=12_000,
        metrics={"loss": 0.125, "epoch": 3, "nan": float("nan"), "best": float("-inf")},
        params={"lr": 3e-4, "layers": [64, 64], "sched": {"warmup": 0, "kind": "cosine", "on": True, "seed": None}},
    )
    body = canonical.decode(full.encode()[8:], "commit")

    def made(**changes: object) -> bytes:
        return b"CASCOMM\x01" + canonical.encode(body | changes)

    bad = {
        "a newer version": b"CASCOMM\x02" + full.encode()[8:],
        "another kind of object": b"CASTREE\x01" + full.encode()[8:],
        "a byte too many": full.encode() + b"\0",
        "an unknown field": made(extra=1),
        "a checkpoint of 31 bytes": made(checkpoint=bytes(31)),
        "a checkpoint that is text": made(checkpoint="x" * 32),
        "a parent twice": made(parents=[bytes(32), bytes(32)]),
        "65 parents": made(parents=[bytes([n]) * 32 for n in range(65)]),
        "a step that is a float": made(step=1.0),
        "a step that is a boolean": made(step=True),
        "a metric that is text": made(metrics={"loss": "low"}),
        "a metric that is a boolean": made(metrics={"loss": True}),
        "a param that is binary": made(params={"lr": [b"0"]}),
        "no author": made(author=None),
    }
    return {
        "accepted": [
            {
                "name": name,
                "body": tagged(canonical.decode(commit.encode()[8:], name)),
                "bytes": commit.encode().hex(),
                "id": str(commit.id),
            }
            for name, commit in {"the least there is": first, "every field": full}.items()
        ],
        # Each is stored under the hash it has, so that only its content is wrong.
        "refused": [refused("FormatError", why, data) for why, data in bad.items()],
    }


def ref_vectors() -> Json:
    commit = Commit(TREES["one file"].hash).id
    records = {
        "the first of a branch": RefRecord("main", 1, commit, NONCE, TIME_US),
        "a deletion": RefRecord("trials/7/best", 12, None, bytes(16), TIME_US + 1),
        "a detached commit": RefRecord(f"detached/{commit}", 1, commit, NONCE, TIME_US),
    }
    data = records["the first of a branch"].encode()
    body = canonical.decode(data[8:-32], "ref")

    def made(**changes: object) -> bytes:
        return seal(b"CASREFS\x01", body | changes)

    bad = [
        ("CorruptError", "the last byte lost", data[:-1]),
        ("CorruptError", "a flipped bit", replaced(data, 20, bytes([data[20] ^ 1]))),
        ("CorruptError", "the record of another name", made(name="other")),
        ("CorruptError", "the record of another number", made(sequence=2)),
        ("FormatError", "a newer version", sealed(b"CASREFS\x02", data[8:-32])),
        ("FormatError", "another kind of object", sealed(b"CASLEAS\x01", data[8:-32])),
        ("FormatError", "an unknown field", made(extra=1)),
        ("FormatError", "number 0", made(sequence=0)),
        ("FormatError", "a number of 17 digits", made(sequence=10**16)),
        ("FormatError", "a write id of 15 bytes", made(write_id=bytes(15))),
        ("FormatError", "a commit of 31 bytes", made(commit=bytes(31))),
        ("FormatError", "a name that climbs", made(name="../main")),
        ("FormatError", "a name like a hash", made(name="0123abcd")),
    ]
    long = [["x" * 101] * 5, ["x" * 102] * 5]  # 509 and 514 bytes with their slashes
    names_refused = [
        *("", "/", "a//b", "a/", "../a", "a/./b", ".a", "a/.b", "-a", "a b", "a\tb", "a~1", "a^", "a:b", "a?", "a*"),
        *("a[0]", "a\\b", "a@b", "a{b}", "a\x7f", "a\0", "deadbeef", "0" * 64, "a/0000000000000001"),
        *("0000000000000001/a", "x" * 256, "/".join(long[1])),
    ]
    names = [
        *("main", "v1.0", "trials/7", "deadbee", "DEADBEEF", "a/deadbeef", "é", "a-b_c+d=e,f;g!h#i$j%k&l'(m)", "a-"),
        *("a/00000000000000001", "/".join(long[0])),
    ]
    return {
        "accepted": [
            {
                "name": name,
                "key": record.key,
                "body": tagged(canonical.decode(record.encode()[8:-32], name)),
                "bytes": record.encode().hex(),
            }
            for name, record in records.items()
        ],
        "refused_under": records["the first of a branch"].key,
        "refused": [refused(*case) for case in bad],
        "names_accepted": names,
        "names_refused": names_refused,
    }


def lease_vectors() -> Json:
    lease = Lease(NONCE, 3, TIME_US)
    data = lease.encode()
    body = canonical.decode(data[8:-32], "lease")
    bad = [
        ("CorruptError", "the last byte lost", data[:-1]),
        ("CorruptError", "a flipped bit", replaced(data, 20, bytes([data[20] ^ 1]))),
        ("CorruptError", "another lease", seal(b"CASLEAS\x01", body | {"id": bytes(16)})),
        ("FormatError", "a newer version", sealed(b"CASLEAS\x02", data[8:-32])),
        ("FormatError", "a negative generation", seal(b"CASLEAS\x01", body | {"generation": -1})),
        ("FormatError", "a negative time", seal(b"CASLEAS\x01", body | {"expires_us": -1})),
        ("FormatError", "an id of 15 bytes", seal(b"CASLEAS\x01", body | {"id": bytes(15)})),
    ]
    return {
        "accepted": [{"name": "a lease", "key": lease.key, "body": tagged(body), "bytes": data.hex()}],
        "refused_under": lease.key,
        "refused": [refused(*case) for case in bad],
    }


def format_vectors() -> Json:
    plain = StoreFormat(NONCE.hex(), TIME_US)
    optional = StoreFormat("f" * 32, 0, optional=("colour", "shape"))
    data = plain.encode()

    def made(**changes: object) -> bytes:
        """Fields changed (None: removed) and the checksum made to fit."""
        body = json.loads(data) | changes
        body = {name: value for name, value in body.items() if value is not None and name != "checksum"}
        dumped = (json.dumps(body, sort_keys=True, indent=2) + "\n").encode()
        body["checksum"] = str(Digest.of(dumped))
        return (json.dumps(body, sort_keys=True, indent=2) + "\n").encode()

    bad = [
        ("CorruptError", "nothing", b""),
        ("CorruptError", "cut short", data[:-3]),
        ("CorruptError", "the final newline lost", data[:-1]),
        ("CorruptError", "another store id", data.replace(b"0001", b"0011", 1)),
        ("CorruptError", "a flipped bit in the kind", data.replace(b"cas store", b"cas stose")),
        ("CorruptError", "other spaces", data.replace(b'"kind": ', b'"kind":')),
        ("CorruptError", "no checksum", (json.dumps({"kind": "cas store"}, indent=2) + "\n").encode()),
        ("FormatError", "not a map", b"[]\n"),
        ("FormatError", "somebody else's", b'{\n  "version": 1\n}\n'),
        ("FormatError", "another kind", made(kind="cat store")),
        ("FormatError", "a newer version", made(version=2)),
        ("FormatError", "a newer version with fields of its own", made(version=2, created_us=None, colour="red")),
        ("FormatError", "a version that is a boolean", made(version=True)),
        ("FormatError", "version 0", made(version=0)),
        ("FormatError", "an unknown mandatory feature", made(mandatory=["encryption"])),
        ("FormatError", "features that are not sorted", made(optional=["b", "a"])),
        ("FormatError", "features that are not text", made(mandatory=[["a"]])),
        ("FormatError", "features that are no list", made(mandatory="encryption")),
        ("FormatError", "an unknown field", made(colour="red")),
        ("FormatError", "a field missing", made(created_us=None)),
        ("FormatError", "a store id in capitals", made(store_id="F" * 32)),
        ("FormatError", "a negative time", made(created_us=-1)),
    ]
    return {
        "accepted": [
            {"name": name, "text": declared.encode().decode(), "bytes": declared.encode().hex()}
            for name, declared in {"a new store": plain, "optional features": optional}.items()
        ],
        "refused": [refused(*case) for case in bad],
    }
