"""Vectors of trees."""

from __future__ import annotations

from cas.format import EMPTY, Digest, Tree, canonical
from vectors.common import ALPHA, BETA, ZEROS, Json, entry, refused

TREES = {
    "nothing at all": Tree(()),
    "one empty directory": Tree((), ("empty",)),
    "one file": Tree.of([entry("model.bin", ALPHA)]),
    "an empty file and an executable": Tree.of([entry("__init__.py", b""), entry("run.sh", b"#!/bin/sh\n", True)]),
    "order is by UTF-8 bytes, not by components": Tree.of(
        [entry(path, BETA) for path in ("a/b", "a-b", "a.b", "a0", "B", "é", "\uffff", "😀")], ["dir", "a/empty"]
    ),
    "alpha, beta and zeros": Tree.of(
        [entry("beta.txt", BETA), entry("deep/er/mixed.bin", ALPHA + ZEROS + ALPHA), entry("empty", b"")], ["logs"]
    ),
}


def tree_json(tree: Tree) -> Json:
    return {
        "files": [
            {"path": e.path, "size_bytes": e.size_bytes, "executable": e.executable, "blob": str(e.blob)}
            for e in tree.files
        ],
        "directories": list(tree.empty_directories),
    }


def tree_vectors() -> Json:
    blob = Digest.of(BETA).raw

    def body(*files: object, directories: list[str] | None = None, magic: bytes = b"CASTREE\x01") -> bytes:
        return magic + canonical.encode({"directories": directories or [], "files": list(files)})

    def named(path: str) -> bytes:
        return body([path, 4, False, blob])

    bad = {
        "a newer version": body(magic=b"CASTREE\x02"),
        "another kind of object": body(magic=b"CASCOMM\x01"),
        "nothing": b"",
        "no body": b"CASTREE\x01",
        "a byte too many": body() + b"\0",
        "an unknown field": b"CASTREE\x01" + canonical.encode({"directories": [], "extra": 1, "files": []}),
        "a field missing": b"CASTREE\x01" + canonical.encode({"files": []}),
        "files that are not sorted": body(["b", 4, False, blob], ["a", 4, False, blob]),
        "a file twice": body(["a", 4, False, blob], ["a", 4, False, blob]),
        "directories that are not sorted": body(directories=["b", "a"]),
        "a file where a directory is": body(["a", 4, False, blob], ["a/b", 4, False, blob]),
        "the same with others sorted between": body(
            ["a", 4, False, blob], ["a-b", 4, False, blob], ["a/b", 4, False, blob]
        ),
        "an empty directory with a file in it": body(["a/b", 4, False, blob], directories=["a"]),
        "an empty directory with another in it": body(directories=["a", "a/b"]),
        "a file and an empty directory of one name": body(["a", 4, False, blob], directories=["a"]),
        "an absolute path": named("/etc/passwd"),
        "a path that climbs": named("../a"),
        "a path that climbs further in": named("a/../../b"),
        "a path with a dot component": named("./a"),
        "a path with an empty component": named("a//b"),
        "a path that ends in a slash": named("a/"),
        "an empty path": named(""),
        "a path with a NUL": named("a\0b"),
        "a name of 256 bytes": named("x" * 256),
        "a path of 4097 bytes": named("/".join(["x" * 16] * 240 + ["x" * 17])),
        "a directory with a bad path": body(directories=[".."]),
        "an empty file with another blob": body(["a", 0, False, blob]),
        "a file with bytes and the empty blob": body(["a", 4, False, EMPTY.raw]),
        "a negative size": body(["a", -1, False, blob]),
        "a size over 2^62": body(["a", 2**62 + 1, False, blob]),
        "an executable bit that is a number": body(["a", 4, 1, blob]),
        "a size that is a boolean": body(["a", True, False, blob]),
        "a blob that is text": body(["a", 4, False, "x" * 32]),
        "a blob of 31 bytes": body(["a", 4, False, blob[:31]]),
        "a row of five": body(["a", 4, False, blob, None]),
    }
    return {
        "accepted": [
            {"name": name, **tree_json(tree), "bytes": tree.encode().hex(), "hash": str(tree.hash)}
            for name, tree in TREES.items()
        ],
        "refused": [refused("FormatError", why, data) for why, data in bad.items()],
    }
