"""What holds for every dict: what comes back, and that its files follow from its content alone."""

from __future__ import annotations

import datetime as dt
import math
import struct
import zoneinfo
from collections import OrderedDict
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cas.checkpoint.dict_tree import SKELETON_PATH, TENSORS_PATH, decode_dict, dict_paths, encode_dict, is_dict_tree

_ZONES = (
    st.none()
    | st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]).map(zoneinfo.ZoneInfo)
    | st.integers(-86399, 86399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
    | st.text(max_size=3).map(lambda name: dt.timezone(dt.timedelta(hours=-7), name))
)
_SCALAR_TYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="<")
    | hnp.unsigned_integer_dtypes(endianness="<")
    | hnp.floating_dtypes(endianness="<")
    | hnp.complex_number_dtypes(endianness="<")
    | hnp.datetime64_dtypes(endianness="<")
    | hnp.timedelta64_dtypes(endianness="<")
)
_ARRAY_TYPES = (
    _SCALAR_TYPES
    | hnp.integer_dtypes(endianness=">")
    | hnp.floating_dtypes(endianness=">", sizes=(16, 32, 64))
    | hnp.byte_string_dtypes(min_len=1)
    | hnp.unicode_string_dtypes(min_len=1)
)
_TEXT = st.text(max_size=6)
_NUMPY_SCALARS = (
    _SCALAR_TYPES.flatmap(lambda dtype: hnp.arrays(dtype, ()).map(lambda array: array[()]))
    | _TEXT.map(np.str_)
    | st.binary(max_size=4).map(np.bytes_)
)
_KEYS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 80), 1 << 80)
    | st.floats()
    | st.complex_numbers()
    | _TEXT
    | st.binary(max_size=6)
    | st.datetimes(timezones=_ZONES, allow_imaginary=False)
    | st.dates()
    | st.times(timezones=_ZONES)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.lists(_TEXT.filter(lambda name: "\0" not in name), max_size=3).map(lambda parts: PurePosixPath(*parts))
    | _TEXT.filter(lambda name: "\0" not in name).map(PosixPath)
    | _NUMPY_SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)


def _distinct(data: dict[Any, Any]) -> bool:
    """NaNs differ from themselves, so that a dict may have several of them as keys; that is refused."""
    return not any(repr(key).lower().count("nan") for key in data)


_KEYED = st.dictionaries(_KEYS, st.integers(0, 9), max_size=4).filter(_distinct)
_VALUES = st.recursive(
    _KEYS
    | st.binary(max_size=6).map(bytearray)
    | st.sampled_from([b"long" * 20_000, bytearray(70_000)])
    | st.sampled_from([Decimal("NaN7"), Decimal("sNaN"), Decimal("-0E+3")])
    | st.sets(_KEYS, max_size=4)
    | _KEYED
    | _KEYED.map(OrderedDict)
    | hnp.arrays(_ARRAY_TYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_TEXT, inner, max_size=4)
        | st.dictionaries(_TEXT, inner, max_size=4).map(OrderedDict)
        | st.dictionaries(st.integers() | _TEXT, inner, max_size=3)
    ),
    max_leaves=12,
)
_DICTS = st.dictionaries(_TEXT, _VALUES, max_size=5)


def _files(data: dict[Any, Any]) -> dict[str, bytes]:
    return {path: b"".join(parts) for path, parts in encode_dict(data).items()}


def _form(value: Any) -> Any:
    """Something that is equal exactly for values of the same types, structure and bits, order of dicts aside."""
    kind = type(value)
    if isinstance(value, np.ndarray):
        return kind, value.dtype.str, value.shape, _bits(value)
    if isinstance(value, np.generic) and not isinstance(value, str | bytes):
        return value.dtype.str, _bits(np.asarray(value))
    if kind is OrderedDict:
        return kind, [(_form(key), _form(item)) for key, item in value.items()], _form(vars(value))
    if kind is dict:
        return kind, sorted(((_form(key), _form(item)) for key, item in value.items()), key=repr)
    if kind in (list, tuple):
        return kind, [_form(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(map(_form, value), key=repr)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is complex:
        return kind, struct.pack(">dd", value.real, value.imag)
    if kind in (dt.datetime, dt.time):
        return kind, value.isoformat(), value.fold, repr(value.tzinfo)
    if kind is Decimal:
        return kind, str(value)
    if isinstance(value, str):
        return kind, list(value)
    return kind, value


def _bits(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.char in "gG":  # whose bytes are in part no value; repr shows them all
        return repr(array.tolist()).encode() + np.signbit(array.real).tobytes() + np.signbit(array.imag).tobytes()
    return array.tobytes()


@settings(max_examples=100, deadline=None)
@given(data=_DICTS)
def test_a_dict_comes_back_with_its_types_and_bits_and_the_same_files(data: dict[str, Any]) -> None:
    """Decoding inverts encoding, exactly, at any depth; and encoding again gives the same bytes."""
    files = _files(data)

    found = decode_dict(files.__getitem__, files)

    assert _form(found) == _form(data)
    assert _files(found) == files


@settings(max_examples=50, deadline=None)
@given(data=_DICTS, random=st.randoms(use_true_random=False))
def test_insertion_order_does_not_reach_the_files(data: dict[str, Any], random: Any) -> None:
    """Equal dicts have equal files, whichever way their keys got in."""

    def shuffled(value: Any) -> Any:
        if type(value) is dict:
            items = [(key, shuffled(item)) for key, item in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in value] if type(value) is list else value

    assert _files(shuffled(data)) == _files(data)


@settings(max_examples=30, deadline=None)
@given(data=_DICTS)
def test_each_file_is_read_once_and_the_paths_are_known_from_the_skeleton(data: dict[str, Any]) -> None:
    """Decoding reads just the dict's own files, whatever else lies beside them."""
    files = _files(data)
    beside = {"objects/99.bin": b"", "notes.txt": b"", "objects/0.txt": b""}
    reads: list[str] = []

    def read(path: str) -> bytes:
        reads.append(path)
        return files[path]

    decode_dict(read, {**beside, **files})

    assert sorted(reads) == sorted(files)
    assert dict_paths(files.__getitem__) == set(files)
    assert is_dict_tree(files)
    assert not is_dict_tree(beside)


def test_an_ordered_dict_keeps_its_order_and_its_attributes() -> None:
    """As torch's state_dict needs, which keeps the versions of layers in an attribute."""
    state: Any = OrderedDict([("z", 1), ("a", np.zeros(2))])
    state._metadata = OrderedDict([("", {"version": 1}), ("norm", {"version": 2})])
    other = OrderedDict(reversed(state.items()))

    files = _files({"state": state})
    found: Any = decode_dict(files.__getitem__, files)["state"]

    assert list(found) == ["z", "a"]
    assert found._metadata == state._metadata
    assert type(found._metadata) is OrderedDict
    assert _files({"state": other}) != files


def test_a_root_may_be_an_ordered_dict_or_have_keys_that_are_not_text() -> None:
    """What comes back is what was given, at the top as anywhere else."""
    for data in (OrderedDict([("b", 1), ("a", 2)]), {1: "one", ("x", 2): "two"}, {}):
        files = _files(data)

        assert _form(decode_dict(files.__getitem__, files)) == _form(data)


def test_nan_keeps_its_bits() -> None:
    """The sign and payload of a NaN are the only thing that tells it from another."""
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]

    files = _files({"nan": [math.nan, odd, -odd]})
    found = decode_dict(files.__getitem__, files)["nan"]

    assert [_form(value) for value in found] == [_form(value) for value in (math.nan, odd, -odd)]
    assert len({_form(value) for value in found}) == 3


def test_numpy_text_keeps_its_nuls() -> None:
    """An item of an array would lose those at its end; a scalar has them."""
    values = [np.str_("é\0\0"), np.bytes_(b"\0"), np.str_(""), np.bytes_(b"")]

    files = _files({"values": values})
    found = decode_dict(files.__getitem__, files)["values"]

    assert [(type(value), list(value)) for value in found] == [(type(value), list(value)) for value in values]


def test_what_comes_back_is_fresh_and_writable() -> None:
    """Two decodings share nothing, and nothing done to one reaches the files."""
    data = {"w": np.arange(4.0), "same": {"list": [1]}, "b": bytearray(b"abc"), "long": bytearray(100_000)}
    files = _files(data)
    before = {path: bytes(content) for path, content in files.items()}

    first, second = (decode_dict(lambda path: memoryview(files[path]), files) for _ in range(2))
    first["w"][:] = -1
    first["same"]["list"].append(2)
    first["b"].extend(b"x")
    first["long"].extend(b"x")

    assert files == before
    assert _form(second) == _form(data)


def test_arrays_are_not_copied_to_be_encoded() -> None:
    """The tensors file is a header and views, so a dict of any size is encoded in next to no memory."""
    weights = np.zeros((1000, 1000), np.float32)

    header, items = encode_dict({"w": weights})[TENSORS_PATH]

    assert np.shares_memory(np.frombuffer(items, np.uint8), weights)
    assert len(header) < 200


def test_long_bytes_are_files_of_their_own() -> None:
    """So that whatever is in them is found by its layout, and deduplicated as if it lay in a directory."""
    archive = bytes(range(256)) * 256

    files = _files({"b": {"archive": archive}, "a": bytearray(archive), "short": archive[:-1]})

    assert files["objects/0.bin"] == files["objects/1.bin"] == archive
    assert sorted(files) == [SKELETON_PATH, "objects/0.bin", "objects/1.bin"]
    assert decode_dict(files.__getitem__, files)["b"]["archive"] == archive
