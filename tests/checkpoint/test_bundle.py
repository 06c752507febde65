"""Bundles: bytes that need no store, in one form, pinned by a vector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cas.checkpoint.bundle import decode_bundle, encode_bundle
from cas.errors import CasError, CorruptError, FormatError
from cas.format import Digest, Tree, TreeEntry

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "bundle.json").read_text())
FILES = {"config.json": b"{}\n", "empty": b"", "run.sh": b"#!/bin/sh\n"}


def a_tree() -> Tree:
    return Tree.of(
        (TreeEntry(path, len(data), path == "run.sh", Digest.of(data)) for path, data in FILES.items()), ["logs"]
    )


def test_the_bytes_are_pinned():
    """Whoever kept a bundle can read it with every later version."""
    bundle = encode_bundle(a_tree(), lambda entry: [FILES[entry.path]])
    assert bundle.hex() == VECTOR["bundle"]
    assert str(a_tree().hash) == VECTOR["hash"]
    tree, files = decode_bundle(bytes.fromhex(VECTOR["bundle"]))
    assert tree == a_tree()
    assert {path: bytes(data) for path, data in files.items()} == FILES


def test_no_changed_byte_goes_unnoticed_in_content():
    """A flip is an error, or at most another tree, whose hash is another: never other content for the same hash."""
    bundle = bytes.fromhex(VECTOR["bundle"])
    for place in range(len(bundle)):
        damaged = bytearray(bundle)
        damaged[place] ^= 1
        try:
            tree, _ = decode_bundle(bytes(damaged))
        except CasError:
            continue
        assert str(tree.hash) != VECTOR["hash"]


def test_what_is_cut_short_or_too_long_is_corrupt():
    """At every length."""
    bundle = bytes.fromhex(VECTOR["bundle"])
    for size in range(8, len(bundle)):
        with pytest.raises(CorruptError):
            decode_bundle(bundle[:size])
    with pytest.raises(CorruptError):
        decode_bundle(bundle + b"x")
    with pytest.raises(FormatError, match="newer"):
        decode_bundle(bundle[:7] + b"\x02" + bundle[8:])
