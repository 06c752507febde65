"""tests/vectors pin the stored bytes: each object is written as it was, read as it was, and refused as it was.

The vectors themselves are made by tools/make_vectors.py; tests/format/test_spec_reader.py reads
them with a reader of its own.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cas import errors
from cas.format import (
    ChunkRef,
    Commit,
    Digest,
    Lease,
    Location,
    Manifest,
    PackBuilder,
    PackEntry,
    Recipe,
    RefRecord,
    StoreFormat,
    Tree,
    TreeEntry,
    canonical,
)
from cas.format.digest import COMMIT_CONTEXT, TREE_CONTEXT
from cas.format.pack import parse_pack, scan_records
from cas.format.ref import check_ref_name

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]


@cache
def load(name: str) -> Json:
    found: Json = json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())
    return found


def untagged(value: Any) -> Any:
    """The value that a vector writes as JSON."""
    match value:
        case {"int": text}:
            return int(text)
        case {"float": text}:
            return struct.unpack(">d", bytes.fromhex(text))[0]
        case {"extension": code, "bytes": text}:
            return canonical.Extension(code, bytes.fromhex(text))
        case {"bytes": text}:
            return bytes.fromhex(text)
        case {"map": items}:
            return {key: untagged(item) for key, item in items}
        case list():
            return [untagged(item) for item in value]
    return value


def accepted(name: str) -> Any:
    cases = load(name)["accepted"]
    return pytest.mark.parametrize("case", cases, ids=[case.get("name", case["bytes"][:20]) for case in cases])


def refused(name: str) -> Any:
    cases = load(name)["refused"]
    return pytest.mark.parametrize("case", cases, ids=[case["why"] for case in cases])


def tree_of(case: Json) -> Tree:
    return Tree(
        tuple(
            TreeEntry(file["path"], file["size_bytes"], file["executable"], Digest.parse(file["blob"]))
            for file in case["files"]
        ),
        tuple(case["directories"]),
    )


def entry_of(row: Json) -> PackEntry:
    return PackEntry(
        Digest.parse(row["digest"]),
        row["offset"],
        row["stored_bytes"],
        row["raw_bytes"],
        row["codec"],
        Digest.parse(row["base"]) if row["base"] else None,
    )


def expect(case: Json) -> Any:
    """The error class that the vector names, and no other of cas."""
    return pytest.raises(getattr(errors, case["error"]))


def test_the_vectors_are_what_the_tool_writes() -> None:
    """Nobody edits a vector by hand, and no change of code changes one unseen."""
    tool = [sys.executable, str(ROOT / "tools" / "make_vectors.py"), "--check"]

    done = subprocess.run(tool, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_digests() -> None:
    """Plain digests are BLAKE3 itself; trees and commits are hashed under contexts of their own."""
    vectors = load("digest")

    assert vectors["contexts"] == {"tree": TREE_CONTEXT, "commit": COMMIT_CONTEXT}
    for kind, context in [("plain", None), ("tree", TREE_CONTEXT), ("commit", COMMIT_CONTEXT)]:
        for case in vectors[kind]:
            data = bytes(i % 251 for i in range(case["size_bytes"]))
            assert str(Digest.of(data, context=context)) == case["digest"]


@accepted("canonical")
def test_canonical_bytes(case: Json) -> None:
    """A value has these bytes, and they mean it."""
    value, data = untagged(case["value"]), bytes.fromhex(case["bytes"])

    assert canonical.encode(value) == data
    read = canonical.decode(data, "vector")
    # NaN differs from itself, 0.0 equals -0.0 and 1 equals True, but their encodings tell all of them apart.
    assert canonical.encode(read) == data
    assert read == value or value != value


@refused("canonical")
def test_no_other_canonical_bytes(case: Json) -> None:
    """What has another form than the one is refused."""
    with expect(case):
        canonical.decode(bytes.fromhex(case["bytes"]), "vector")


@accepted("tree")
def test_trees(case: Json) -> None:
    """A checkpoint's hash never changes."""
    tree, data = tree_of(case), bytes.fromhex(case["bytes"])

    assert tree.encode() == data
    assert str(tree.hash) == case["hash"]
    assert Tree.decode(data) == tree


@refused("tree")
def test_no_other_trees(case: Json) -> None:
    """A tree that could not be restored safely, or has two forms, is refused."""
    with expect(case):
        Tree.decode(bytes.fromhex(case["bytes"]))


@accepted("pack")
def test_packs(case: Json) -> None:
    """The same chunks and nonce give the same pack, and it says where they lie."""
    builder = PackBuilder(bytes.fromhex(case["nonce"]))
    for chunk in case["chunks"]:
        raw, base = bytes.fromhex(chunk["raw"]), chunk["base"]
        builder.add(
            Digest.of(raw),
            len(raw),
            chunk["codec"],
            bytes.fromhex(chunk["encoded"]),
            Digest.parse(base) if base else None,
        )

    assert str(builder.finish()) == case["id"]
    assert b"".join(builder.buffers).hex() == case["bytes"]
    assert parse_pack(bytes.fromhex(case["bytes"]), "vector") == [entry_of(row) for row in case["entries"]]


@refused("pack")
def test_no_other_packs(case: Json) -> None:
    """A pack whose parts contradict each other is refused."""
    with expect(case):
        parse_pack(bytes.fromhex(case["bytes"]), "vector")


@pytest.mark.parametrize("case", load("pack")["salvaged"], ids=lambda case: case["why"])
def test_damaged_packs_are_salvaged(case: Json) -> None:
    """Chunks are found by their records where the table of contents is lost."""
    found = list(scan_records(bytes.fromhex(case["bytes"])))

    assert found == [entry_of(row) for row in load("pack")["accepted"][0]["entries"]][: case["chunks"]]


@accepted("manifest")
def test_manifests(case: Json) -> None:
    """A manifest is written in one form, which reads back as what went in."""
    recipes = [
        Recipe(Digest.parse(blob), tuple(ChunkRef(Digest.parse(digest), size) for digest, size in chunks))
        for blob, chunks in case["recipes"].items()
    ]
    locations = [Location(Digest.parse(row["pack"]), entry_of(row)) for row in case["locations"]]
    manifest, data = Manifest.of(tree_of(case), recipes, locations), bytes.fromhex(case["bytes"])

    assert manifest.encode() == data
    assert Manifest.decode(data, Digest.parse(case["hash"]), "vector") == manifest
    assert Manifest.decode(data, None, "vector") == manifest


@refused("manifest")
def test_no_other_manifests(case: Json) -> None:
    """A manifest that would not rebuild its checkpoint, or has two forms, is refused."""
    with expect(case):
        Manifest.decode(bytes.fromhex(case["bytes"]), Digest.parse(load("manifest")["refused_under"]), "vector")


@accepted("commit")
def test_commits(case: Json) -> None:
    """A commit's id never changes."""
    data, key = bytes.fromhex(case["bytes"]), Digest.parse(case["id"])
    body = untagged(case["body"])
    body["checkpoint"] = Digest(body["checkpoint"])
    body["parents"] = tuple(Digest(parent) for parent in body["parents"])
    commit = Commit(**body)

    assert commit.encode() == data
    assert commit.id == key
    assert Commit.decode(data, key, "vector").encode() == data


@refused("commit")
def test_no_other_commits(case: Json) -> None:
    """Bytes that are named rightly and are no commit are refused."""
    data = bytes.fromhex(case["bytes"])

    with expect(case):
        Commit.decode(data, Digest.of(data, context=COMMIT_CONTEXT), "vector")


@accepted("ref")
def test_refs(case: Json) -> None:
    """A ref record is written in one form under one key."""
    body, data = untagged(case["body"]), bytes.fromhex(case["bytes"])
    body["commit"] = body["commit"] and Digest(body["commit"])
    record = RefRecord(**body)

    assert record.encode() == data
    assert record.key == case["key"]
    assert RefRecord.decode(data, case["key"]) == record


@refused("ref")
def test_no_other_refs(case: Json) -> None:
    """A damaged, foreign or misplaced ref record is refused."""
    with expect(case):
        RefRecord.decode(bytes.fromhex(case["bytes"]), load("ref")["refused_under"])


def test_ref_names() -> None:
    """These may name refs, and those may not."""
    vectors = load("ref")

    assert [check_ref_name(name) for name in vectors["names_accepted"]] == vectors["names_accepted"]
    for name in vectors["names_refused"]:
        with pytest.raises(errors.FormatError):
            check_ref_name(name)


@accepted("lease")
def test_leases(case: Json) -> None:
    """A lease is written in one form under one key."""
    lease, data = Lease(**untagged(case["body"])), bytes.fromhex(case["bytes"])

    assert lease.encode() == data
    assert lease.key == case["key"]
    assert Lease.decode(data, case["key"]) == lease


@refused("lease")
def test_no_other_leases(case: Json) -> None:
    """A damaged, foreign or misplaced lease is refused."""
    with expect(case):
        Lease.decode(bytes.fromhex(case["bytes"]), load("lease")["refused_under"])


@accepted("format")
def test_store_formats(case: Json) -> None:
    """format.json is text in one form."""
    data = bytes.fromhex(case["bytes"])

    assert data.decode("ascii") == case["text"]
    assert StoreFormat.decode(data, "vector").encode() == data


@refused("format")
def test_no_other_store_formats(case: Json) -> None:
    """A store that this cas must not touch is refused."""
    with expect(case):
        StoreFormat.decode(bytes.fromhex(case["bytes"]), "vector")


def all_refusals() -> Iterator[tuple[str, Json]]:
    for name in ("canonical", "tree", "pack", "manifest", "commit", "ref", "lease", "format"):
        for case in load(name)["refused"]:
            yield name, case


def test_every_refusal_says_something_of_its_own() -> None:
    """The vectors cover distinct faults: within a file no two have the same bytes or the same name."""
    cases = list(all_refusals())

    assert len({(name, case["bytes"]) for name, case in cases}) == len(cases)
    assert len({(name, case["why"]) for name, case in cases}) == len(cases)
