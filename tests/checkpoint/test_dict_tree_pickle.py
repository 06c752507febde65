"""Arbitrary objects in dict trees: only with permission, never silently flattened, each in a file of its own."""

from __future__ import annotations

import enum
import os
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from cas.checkpoint.dict_tree import SKELETON_PATH, decode_dict, encode_dict
from cas.checkpoint.plain import Code
from cas.errors import CasError, FormatError, RefusedError
from cas.format import canonical


@dataclass
class Settings:
    """Two attributes, one of which is named like the other's value."""

    name: str
    rate: str = "name"


class Color(enum.Enum):
    """An enum has no plain form."""

    RED = 1


class Text(str):
    """A subclass may carry more than its base shows."""


class Ordered(OrderedDict[str, int]):
    """Likewise."""


class _Unreadable:
    """Can be pickled, cannot be loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.lstat, ("/nonexistent",)


Pair = namedtuple("Pair", ["a", "b"])

_OBJECTS: list[Any] = [
    Settings("x"),
    Color.RED,
    Text("x"),
    Ordered(a=1),
    Pair(1, 2),
    defaultdict(list, a=[1]),
    Counter("aab"),
    range(3),
    os.path.join,
    {Color.RED: 1},
    {Color.RED},
    OrderedDict([(Color.RED, 1)]),
    int,
]


def _files(data: dict[Any, Any], allow_pickle: bool | None = None) -> dict[str, bytes]:
    return {path: b"".join(parts) for path, parts in encode_dict(data, allow_pickle=allow_pickle).items()}


@pytest.fixture(autouse=True)
def _no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAS_ALLOW_PICKLE", raising=False)


@pytest.mark.parametrize("value", _OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_are_refused_by_name_and_come_back_when_allowed(value: Any) -> None:
    """The refusal names the place, the type and both ways out; permission makes the object whole again."""
    data = {"model": {"parts": [value]}}

    with pytest.raises(RefusedError, match=r"'model\.parts\.0' is a .*\n.*allow_pickle=True or CAS_ALLOW_PICKLE=1"):
        encode_dict(data)
    files = _files(data, allow_pickle=True)
    found = decode_dict(files.__getitem__, files, allow_pickle=True)["model"]["parts"][0]

    assert sorted(files) == [SKELETON_PATH, "objects/0.pkl"]
    assert type(found) is type(value)
    assert found == value
    assert _files({"model": {"parts": [found]}}, allow_pickle=True) == files


def test_the_refusal_names_the_type() -> None:
    """The whole of it, module included."""
    with pytest.raises(RefusedError, match=r"'part' is a fractions\.Fraction, which"):
        encode_dict({"part": Fraction(1, 2)})
    with pytest.raises(RefusedError, match=r"'x' is a dict with keys or members that are no plain values"):
        encode_dict({"x": {Color.RED: 1}})


def test_an_object_has_one_hash_however_often_it_travels() -> None:
    """Pickle writes down which equal strings are one object; loading changes that, and must not change the files."""
    once = Settings("name", sys.intern("rate"))
    assert pickle.dumps(once) != pickle.dumps(pickle.loads(pickle.dumps(once)))

    files = _files({"s": once}, allow_pickle=True)
    found = decode_dict(files.__getitem__, files, allow_pickle=True)

    assert found == {"s": once}
    assert _files(found, allow_pickle=True) == files


@pytest.mark.slow
def test_a_fitted_estimator_has_one_hash_however_often_it_travels() -> None:
    """The same for a real one, where scikit-learn is installed."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = {"clf": linear_model.LogisticRegression(C=0.5).fit([[0.0], [1.0]], [0, 1])}

    files = _files(data, allow_pickle=True)
    found = decode_dict(files.__getitem__, files, allow_pickle=True)

    assert found["clf"].predict([[2.0]]) == [1]
    assert _files(found, allow_pickle=True) == files


def test_loading_needs_permission_too_and_nothing_runs_without_it() -> None:
    """The pickle is not even read; the message names the place and what the file says it is."""
    files = _files({"model": {"s": Settings("x")}}, allow_pickle=True)
    read: list[str] = []

    def reading(path: str) -> bytes:
        read.append(path)
        return files[path]

    with pytest.raises(RefusedError, match=r"'model\.s' is a pickled .*Settings; .*CAS_ALLOW_PICKLE=1"):
        decode_dict(reading, files)
    assert read == [SKELETON_PATH]


def test_the_environment_gives_permission_and_the_argument_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CAS_ALLOW_PICKLE=1`` allows, nothing else does, and ``allow_pickle=False`` still refuses."""
    data = {"s": Settings("x")}

    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")
    files = _files(data)
    assert decode_dict(files.__getitem__, files) == data
    with pytest.raises(RefusedError):
        decode_dict(files.__getitem__, files, allow_pickle=False)
    with pytest.raises(RefusedError):
        encode_dict(data, allow_pickle=False)

    monkeypatch.setenv("CAS_ALLOW_PICKLE", "yes")
    with pytest.raises(RefusedError):
        encode_dict(data)


def test_plain_dicts_never_need_permission() -> None:
    """Whoever forbids pickle loses nothing that is plain."""
    data = {"a": [1, (2.5, {"x"})], "b": {1: None}}

    files = _files(data, allow_pickle=False)

    assert decode_dict(files.__getitem__, files, allow_pickle=False) == data


@pytest.mark.parametrize(
    "value", [lambda: 1, _Unreadable(), (i for i in [1])], ids=["lambda", "unreadable", "generator"]
)
def test_what_pickle_cannot_store_is_found_out_at_once(value: Any) -> None:
    """Also what could be written and never read: it is loaded once before anyone relies on it."""
    with pytest.raises(FormatError, match=r"'x' is a .*, which pickle cannot store"):
        encode_dict({"x": value}, allow_pickle=True)


def test_a_damaged_pickle_is_a_format_error() -> None:
    """Whatever unpickling raises, the message names the place and the file."""
    files = _files({"s": Settings("x")}, allow_pickle=True)
    for damaged in (b"", b"garbage", files["objects/0.pkl"][:-5], b"cnowhere\nnothing\n."):
        broken = {**files, "objects/0.pkl": damaged}

        with pytest.raises(FormatError, match=r"'s': objects/0\.pkl cannot be unpickled"):
            decode_dict(broken.__getitem__, broken, allow_pickle=True)


def test_a_forged_reference_to_a_pickle_still_needs_permission() -> None:
    """No skeleton can make anything be unpickled by itself."""
    reference = canonical.Extension(Code.FILE, canonical.encode(["pickle", "harmless"]))
    files = {SKELETON_PATH: canonical.encode(["CASDICT", 1, {"x": reference}]), "objects/0.pkl": b"cos\nsystem\n."}

    with pytest.raises(CasError, match="loading it runs code"):
        decode_dict(files.__getitem__, files)
