"""The skeleton's decoder takes exactly what the encoder writes; everything else is refused, cheaply."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict, namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.checkpoint.dict_tree import SKELETON_PATH, TENSORS_PATH, decode_dict, dict_paths, encode_dict
from cas.checkpoint.plain import Code
from cas.errors import CasError, FormatError, NotFoundError
from cas.format import canonical

_WHOLE: dict[str, Any] = {
    "plain": [None, True, 1, 1 << 70, 0.5, 2j, "text", b"bytes", bytearray(b"x"), ("t",), {1, 2}, frozenset("a")],
    "keyed": {1: "one", (2, "x"): "two"},
    "time": [dt.datetime(2024, 2, 29, tzinfo=dt.UTC), dt.date(2024, 1, 1), dt.timedelta(1)],
    "scalars": [np.float32(1.5), np.str_("x")],
    "array": np.arange(3, dtype=np.int16),
}


def _skeleton(root: Any) -> bytes:
    return canonical.encode(["CASDICT", 1, root])


def _ext(code: int, *items: Any) -> canonical.Extension:
    """An extension whose payload is canonical msgpack of a list."""
    return canonical.Extension(code, canonical.encode(list(items)))


def _raw(code: int, payload: bytes) -> canonical.Extension:
    return canonical.Extension(code, payload)


def _decode(skeleton: bytes) -> Any:
    return decode_dict({SKELETON_PATH: skeleton}.__getitem__, [SKELETON_PATH], allow_pickle=False)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = _ext(Code.TUPLE, value)
    return value


_TENSOR = _ext(Code.TENSOR, "numpy", "<f4", [2])

_FORGED = {
    "a list at the top": [1],
    "a file at the top": _ext(Code.FILE, "pickle", "dict"),
    "a tuple at the top": _ext(Code.TUPLE, 1),
    "an unknown extension": {"x": _raw(99, b"")},
    "msgpack's own timestamp": {"x": _raw(127, bytes(4))},
    "a small integer as a big one": {"x": _raw(Code.INT, b"\x05")},
    "a padded integer": {"x": _raw(Code.INT, bytes(3) + b"\x01" * 9)},
    "an empty integer": {"x": _raw(Code.INT, b"")},
    "a float as an odd NaN": {"x": _raw(Code.NAN, bytes(8))},
    "the usual NaN as an odd one": {"x": _raw(Code.NAN, bytes.fromhex("7ff8000000000000"))},
    "half a complex": {"x": _raw(Code.COMPLEX, bytes(8))},
    "long bytes inline": {"x": bytes(64 << 10)},
    "a long bytearray inline": {"x": _raw(Code.BYTEARRAY, bytes(64 << 10))},
    "a tuple that is a map": {"x": _raw(Code.TUPLE, canonical.encode({}))},
    "a tuple with bytes behind it": {"x": _raw(Code.TUPLE, canonical.encode([]) + b"\0")},
    "a tuple that is no msgpack": {"x": _raw(Code.TUPLE, b"\xc1")},
    "an unsorted set": {"x": _ext(Code.SET, 2, 1)},
    "a set with one thing twice": {"x": _ext(Code.SET, 1, 1)},
    "a set with equal things": {"x": _ext(Code.SET, 1, True)},
    "a set with a list": {"x": _ext(Code.SET, [])},
    "a set with a tensor": {"x": _ext(Code.SET, _TENSOR)},
    "a set with what has no hash": {"x": _ext(Code.SET, _raw(Code.DECIMAL, b"sNaN"))},
    "text keys as pairs": {"x": _ext(Code.DICT, ["a", 1])},
    "no keys as pairs": {"x": _ext(Code.DICT)},
    "unsorted keys": {"x": _ext(Code.DICT, [2, 1], [1, 1])},
    "a key twice": {"x": _ext(Code.DICT, [1, 1], [1, 2])},
    "equal keys": {"x": _ext(Code.DICT, [1, 1], [True, 2])},
    "a key alone": {"x": _ext(Code.DICT, [1])},
    "a dict for a key": {"x": _ext(Code.DICT, [{}, 1])},
    "a file for a key": {"x": _ext(Code.DICT, [_ext(Code.FILE, "raw", "bytes"), 1])},
    "an ordered dict with a key twice": {"x": _ext(Code.ORDERED_DICT, [["a", 1], ["a", 2]], {})},
    "an ordered dict of one part": {"x": _ext(Code.ORDERED_DICT, [])},
    "an ordered dict with a list of attributes": {"x": _ext(Code.ORDERED_DICT, [], [])},
    "a 13th month": {"x": _ext(Code.DATE, 2024, 13, 1)},
    "a date with a truth in it": {"x": _ext(Code.DATE, 2024, True, 1)},
    "a datetime too short": {"x": _ext(Code.DATETIME, 2024, 1, 1)},
    "an offset of a year": {"x": _ext(Code.TIME, 0, 0, 0, 0, 0, [365, 0, 0])},
    "a zone outside the zones": {"x": _ext(Code.TIME, 0, 0, 0, 0, 0, "../../etc/passwd")},
    "a timedelta not normal": {"x": _ext(Code.TIMEDELTA, 0, 86400, 0)},
    "a timedelta of words": {"x": _ext(Code.TIMEDELTA, "a", 0, 0)},
    "a decimal with a blank": {"x": _raw(Code.DECIMAL, b" 1")},
    "a decimal that is none": {"x": _raw(Code.DECIMAL, b"one")},
    "a path not normal": {"x": _raw(Code.PURE_PATH, b"a//b")},
    "a path not Unicode": {"x": _raw(Code.PATH, b"\xff")},
    "a scalar too short": {"x": _ext(Code.NUMPY_SCALAR, "<f4", b"123")},
    "a scalar too long": {"x": _ext(Code.NUMPY_SCALAR, "<f4", b"12345678")},
    "a scalar object": {"x": _ext(Code.NUMPY_SCALAR, "|O", bytes(8))},
    "a scalar of two fields": {"x": _ext(Code.NUMPY_SCALAR, "f4,f4", bytes(8))},
    "a scalar type that is a list": {"x": _ext(Code.NUMPY_SCALAR, ["<f4"], bytes(4))},
    "a scalar text as an item": {"x": _ext(Code.NUMPY_SCALAR, "<U1", b"a\0\0\0")},
    "a scalar of ml_dtypes' that is none": {"x": _ext(Code.NUMPY_SCALAR, "ml_dtypes.finfo", b"")},
    "a tensor of no framework": {"x": _ext(Code.TENSOR, "jax", "<f4", [1])},
    "a tensor of no type": {"x": _ext(Code.TENSOR, "numpy", "<f3", [1])},
    "a torch tensor of no type": {"x": _ext(Code.TENSOR, "torch", "load", [1])},
    "a tensor of objects": {"x": _ext(Code.TENSOR, "numpy", "|O8", [1])},
    "a tensor of negative size": {"x": _ext(Code.TENSOR, "numpy", "<f4", [-1])},
    "a tensor of half size": {"x": _ext(Code.TENSOR, "numpy", "<f4", [0.5])},
    "a tensor of a truth's size": {"x": _ext(Code.TENSOR, "numpy", "<f4", [True])},
    "a tensor of 65 dimensions": {"x": _ext(Code.TENSOR, "numpy", "<f4", [1] * 65)},
    "a tensor without a shape": {"x": _ext(Code.TENSOR, "numpy", "<f4")},
    "a file of no kind": {"x": _ext(Code.FILE, "shell", "bytes")},
    "a raw file of another type": {"x": _ext(Code.FILE, "raw", "str")},
    "a file with a path": {"x": _ext(Code.FILE, "raw", "bytes", "../../etc/passwd")},
    "nested too deep": {"x": _nested(60)},
}


@pytest.mark.parametrize("name", _FORGED)
def test_a_forged_skeleton_is_a_format_error(name: str) -> None:
    """Whatever the encoder would not have written is refused, before any of it is used."""
    forged = _skeleton(_FORGED[name])

    with pytest.raises(FormatError, match=r"cas-dict\.msgpack"):
        _decode(forged)
    with pytest.raises(FormatError, match=r"cas-dict\.msgpack"):
        dict_paths({SKELETON_PATH: forged}.__getitem__)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (b"PK\x03\x04" + bytes(30), "begins with"),
        (canonical.encode(["CASDICT", 2, {}]), "newer than this cas reads"),
        (canonical.encode(["CASDICT", 1, {}, {}]), "no dict|begins with"),
        (b"\xc4" + canonical.encode(["CASDICT", 1, {}])[1:], "canonical"),
        (canonical.encode(["CASDICT", 1, {"a": 1}])[:-1], "canonical"),
    ],
)
def test_another_file_or_a_newer_version_is_named(data: bytes, message: str) -> None:
    """The error says which it is."""
    with pytest.raises(FormatError, match=message):
        _decode(data)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_gives_an_error_or_a_dict_with_that_very_skeleton(data: st.DataObject) -> None:
    """No byte is redundant: what still decodes is exactly what the damaged bytes would be the encoding of."""
    files = {path: b"".join(parts) for path, parts in encode_dict(_WHOLE).items()}
    skeleton = bytearray(files[SKELETON_PATH])
    skeleton[data.draw(st.integers(0, len(skeleton) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = {**files, SKELETON_PATH: bytes(skeleton)}
    try:
        found = decode_dict(damaged.__getitem__, damaged, allow_pickle=False)
    except CasError:
        return
    assert b"".join(encode_dict(found)[SKELETON_PATH]) == skeleton


def test_shapes_cost_nothing_until_their_bytes_are_there() -> None:
    """A reference of a few bytes cannot make anyone allocate what no file holds."""
    huge = _skeleton({"x": _ext(Code.TENSOR, "numpy", "<f8", [(1 << 64) - 1] * 64)})
    files = {SKELETON_PATH: huge, TENSORS_PATH: bytes(100)}

    with pytest.raises(FormatError, match=TENSORS_PATH):
        decode_dict(files.__getitem__, files)


def test_an_empty_array_of_an_impossible_shape_is_refused() -> None:
    """No bytes are missing, and yet NumPy cannot have it."""
    shape = [0, 1 << 62, 1 << 62]
    entry = f'{{"x":{{"dtype":"F64","shape":[0,{1 << 62},{1 << 62}],"data_offsets":[0,0]}}}}'.encode()
    entry += b" " * (-len(entry) % 8)
    files = {
        SKELETON_PATH: _skeleton({"x": _ext(Code.TENSOR, "numpy", "<f8", shape)}),
        TENSORS_PATH: len(entry).to_bytes(8, "little") + entry,
    }

    with pytest.raises(FormatError, match="'x': numpy here cannot have"):
        decode_dict(files.__getitem__, files)


def test_a_long_key_over_many_arrays_is_refused_before_it_fills_memory() -> None:
    """A skeleton of a megabyte would otherwise name tensors in a hundred gigabytes."""
    forged = _skeleton({"k" * 1_000_000: [_ext(Code.TENSOR, "numpy", "<f4", [0])] * 5_000})

    with pytest.raises(FormatError, match="too long"):
        dict_paths({SKELETON_PATH: forged}.__getitem__)


def test_an_unknown_time_zone_says_what_to_install() -> None:
    """A machine without the zone cannot have the time, and says so."""
    with pytest.raises(NotFoundError, match="tzdata"):
        _decode(_skeleton({"x": _ext(Code.TIME, 0, 0, 0, 0, 0, "Mars/Olympus")}))


def test_a_missing_file_is_named() -> None:
    """And nothing is read before all are known to be there."""
    files = {path: b"".join(parts) for path, parts in encode_dict(_WHOLE).items()}

    with pytest.raises(NotFoundError, match=TENSORS_PATH):
        decode_dict(files.__getitem__, [SKELETON_PATH])


def test_60_levels_come_back_and_61_do_not() -> None:
    """The limit holds alike for encoding and decoding, whatever the nesting is made of."""

    def nest(kind: Any, depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = kind(value)
        return value

    for kind in (lambda v: {"k": v}, lambda v: {1: v}):
        deepest = nest(kind, 60)
        assert _decode(b"".join(encode_dict(deepest)[SKELETON_PATH])) == deepest
        with pytest.raises(FormatError, match="nested deeper than 60 levels"):
            encode_dict(nest(kind, 61))
    for kind in (lambda v: [v], lambda v: (v,), lambda v: frozenset([v])):
        deepest = {"top": nest(kind, 59)}
        assert _decode(b"".join(encode_dict(deepest)[SKELETON_PATH])) == deepest


def test_a_dict_that_contains_itself_is_refused() -> None:
    """With the place where it closes; the same object twice is no circle."""
    data: dict[str, Any] = {"a": {"list": []}}
    data["a"]["list"].append(data["a"])
    shared = [1]

    with pytest.raises(FormatError, match=r"'a\.list\.0' contains itself"):
        encode_dict(data)
    assert _decode(b"".join(encode_dict({"x": shared, "y": shared})[SKELETON_PATH])) == {"x": [1], "y": [1]}


@pytest.mark.parametrize("data", [None, [1], "text", 5, defaultdict(list), namedtuple("Pair", "a b")(1, 2)])
def test_only_dicts_have_trees(data: Any) -> None:
    """Also nothing that is merely like one: it would come back as something else."""
    with pytest.raises(FormatError, match="made from a dict, not from a"):
        encode_dict(data)


def test_other_mappings_are_told_the_way() -> None:
    """The message says how to make a dict of them."""

    class Other(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __iter__(self) -> Any:
            return iter("a")

        def __len__(self) -> int:
            return 1

    with pytest.raises(FormatError, match=r"dict\(\) may make it one"):
        encode_dict(Other())
    assert encode_dict(dict(Other())).keys() == {SKELETON_PATH}


@pytest.mark.parametrize("data", [{"a": "\ud800"}, {"\ud800": 1}, {"a": {("\udfff",): 1}}, {"a": {"\ud8ff", "b"}}])
def test_text_that_is_not_unicode_is_refused(data: dict[Any, Any]) -> None:
    """Lone surrogates have no UTF-8; the message says what to do."""
    with pytest.raises(FormatError, match=r"lone surrogates; keep it as bytes"):
        encode_dict(data)


def test_two_nan_keys_are_refused() -> None:
    """Nothing tells them apart, so no order of theirs is better than the other."""
    with pytest.raises(FormatError, match="two keys that nothing tells apart"):
        encode_dict({"a": {float("nan"): 1, float("nan"): 2}})
