"""The file that says which class a checkpoint is: its bytes are pinned, and nothing else is accepted in its place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.kind import Kind, class_name
from cas.checkpoint.skeleton import encode_skeleton
from cas.errors import FormatError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kind.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_bytes_are_pinned(vector):
    """A checkpoint of a class has the same hash in every version of cas."""
    kind = Kind(vector["class"], vector["attributes"])
    assert kind.encode().hex() == vector["hex"]
    assert Kind.decode(bytes.fromhex(vector["hex"])) == kind


@pytest.mark.parametrize(
    "data",
    [
        {"class": "a:b"},
        {"class": 1, "attributes": {}},
        {"class": "a:b", "attributes": []},
        {"class": "a:b", "attributes": {1: 2}},
        {"class": "a:b", "attributes": {}, "more": 1},
    ],
    ids=str,
)
def test_anything_else_is_refused(data):
    """A missing key, another type, one key too many."""
    with pytest.raises(FormatError, match=r"cas-checkpoint\.msgpack"):
        Kind.decode(encode_skeleton(data, lambda value, place: pytest.fail("nothing to store")))


@pytest.mark.parametrize("name", ["os:system", "this:Zen", "cas.checkpoint.frameworks.nothing:Here", "", "a", ":"])
def test_a_name_imports_nothing(name):
    """But cas's own modules; `this` would print a poem."""
    sys.modules.pop("this", None)
    assert Kind(name).find_class(Checkpoint) is None
    assert "this" not in sys.modules


def test_a_class_is_found_by_its_name():
    """Also one that was made in a function."""

    class Local(Checkpoint):
        pass

    assert Kind(class_name(Local)).find_class(Checkpoint) is Local
    assert Kind(class_name(Checkpoint)).find_class(Checkpoint) is Checkpoint
