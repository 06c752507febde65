"""Canonical bytes: one form for every value, and nothing else is read."""

from __future__ import annotations

import math
import struct
import tracemalloc
from enum import IntEnum
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.format import canonical
from cas.format.canonical import FLOAT_EXTENSION, MAX_DEPTH, Extension, decode, encode

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | text
    | st.binary(max_size=40)
    | st.builds(Extension, st.integers(0, 127).filter(lambda code: code != FLOAT_EXTENSION), st.binary(max_size=40))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1 from True and 0.0 from -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    return bool(one == other)


def naive(value: Any) -> bytes:
    """What msgpack makes of a value whose maps are sorted and whose floats are extensions already."""
    if isinstance(value, float):
        return bytes(msgpack.packb(Extension(FLOAT_EXTENSION, struct.pack(">d", value))))
    if isinstance(value, list):
        return bytes(msgpack.Packer().pack_array_header(len(value))) + b"".join(map(naive, value))
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0].encode())
        return bytes(msgpack.Packer().pack_map_header(len(value))) + b"".join(naive(k) + naive(v) for k, v in items)
    return bytes(msgpack.packb(value))


@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    """decode is the inverse of encode, types and signs of zero included."""
    assert same(decode(encode(value), "value"), value)


@given(values)
def test_any_msgpack_reads_it(value: Any) -> None:
    """Canonical bytes are msgpack: shortest forms, keys sorted by their UTF-8."""
    assert encode(value) == naive(value)


@given(st.binary(max_size=60) | values.map(lambda value: bytes(msgpack.packb(value))))
def test_nothing_else_is_read(data: bytes) -> None:
    """Bytes are refused, or are the very bytes that encode makes of what they say."""
    try:
        value = decode(data, "noise")
    except FormatError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_changed_byte_never_reads_as_the_same_value(value: Any, data: st.DataObject) -> None:
    """Two byte strings never mean one value, so no change of stored bytes goes unseen in what they say."""
    good = bytearray(encode(value))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= 1 << data.draw(st.integers(0, 7))

    try:
        changed = decode(bytes(good), "changed")
    except FormatError:
        return
    assert not same(changed, value)


@given(values, st.data())
def test_cut_or_continued_bytes_are_refused(value: Any, data: st.DataObject) -> None:
    """A value ends where its bytes end."""
    good = encode(value)
    cut = data.draw(st.integers(0, len(good) - 1))

    for bad in (good[:cut], good + b"\xc0"):
        with pytest.raises(FormatError):
            decode(bad, "bad")


def test_every_nan_is_the_one_nan() -> None:
    """Payload and sign of a NaN say nothing, so they are not kept."""
    nans = [struct.unpack(">d", bytes.fromhex(bits))[0] for bits in ("7ff8000000000000", "fff8000000000001")]

    assert {encode(nan).hex() for nan in nans} == {"d7017ff8000000000000"}
    assert math.isnan(decode(encode(nans[1]), "nan"))


class Codec(IntEnum):
    """A number with a name, as codec ids are."""

    ZSTD = 1


def test_subclasses_are_what_they_stand_for() -> None:
    """An enum's number is a number, and a tuple is a list."""
    assert encode([Codec.ZSTD, (1, 2)]) == encode([1, [1, 2]])


@pytest.mark.parametrize(
    "value",
    [{1, 2}, ..., bytearray(b"a"), 1j, 2**64, -(2**63) - 1, "\ud800", {"\ud800": 1}, {1: 2}, {b"a": 1}, {None: 1}],
    ids=repr,
)
def test_values_without_a_form_are_refused(value: object) -> None:
    """encode never guesses: what decode could not give back is refused."""
    with pytest.raises(FormatError):
        encode(value)


def test_the_float_extension_is_for_floats() -> None:
    """Otherwise one value would have two forms."""
    with pytest.raises(FormatError):
        encode(Extension(FLOAT_EXTENSION, struct.pack(">d", 1.0)))


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "maps"])
def test_nesting_is_bounded(wrap: Any) -> None:
    """64 containers in each other are read and written, 65 are neither."""
    value: object = None
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    data = encode(value)
    deeper = (b"\x91" if isinstance(value, list) else b"\x81\xa1a") + data

    assert decode(data, "deep") == value
    with pytest.raises(FormatError):
        encode(wrap(value))
    with pytest.raises(FormatError):
        decode(deeper, "deeper")


def test_cycles_are_refused() -> None:
    """A list in itself has no end, and is refused rather than followed."""
    ring: list[object] = []
    ring.append(ring)

    with pytest.raises(FormatError):
        encode(ring)


HUGE = {
    "a list of 2^32-1": bytes.fromhex("ddffffffff"),
    "a map of 2^32-1": bytes.fromhex("dfffffffff"),
    "text of 2^32-1": bytes.fromhex("dbffffffff"),
    "binary of 2^32-1": bytes.fromhex("c6ffffffff"),
    "an extension of 2^32-1": bytes.fromhex("c9ffffffff02"),
    "lists in each other, each as long as all the rest": b"".join(
        b"\xdd" + struct.pack(">I", (1 << 20) - 5 * depth - 5) for depth in range(MAX_DEPTH)
    ),
    "more of them than may nest": b"".join(
        b"\xdd" + struct.pack(">I", (1 << 20) - 5 * depth - 5) for depth in range(2000)
    ),
    "maps in each other, each as long as all the rest": b"".join(
        b"\xdf" + struct.pack(">I", (1 << 19) - 7 * depth - 7) + b"\xa1a" for depth in range(MAX_DEPTH)
    ),
}


@pytest.mark.parametrize("head", HUGE.values(), ids=HUGE.keys())
@pytest.mark.parametrize("size_bytes", [0, 1 << 20], ids=["alone", "in a megabyte"])
def test_absurd_lengths_cost_nothing(head: bytes, size_bytes: int) -> None:
    """What is allocated follows the bytes there are, never what they declare, however the declarations nest."""
    data = head + b"\xc1" * (size_bytes - len(head))

    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode(data, "hostile")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 2 * len(data) + (64 << 10)


@pytest.mark.parametrize("element", [b"\xc0", b"\x90", b"\x80", b"\xa0"], ids=["nil", "list", "map", "text"])
def test_memory_is_bounded_by_the_input(element: bytes) -> None:
    """The worst that a byte can be made to cost is an empty container: less than 100 bytes."""
    count = 1 << 16
    data = b"\xdd" + struct.pack(">I", count) + element * count

    tracemalloc.start()
    try:
        value = decode(data, "worst case")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(value) == count
    assert peak_bytes < 100 * len(data)


def test_errors_name_the_thing() -> None:
    """Whoever reads the error learns which object was meant."""
    with pytest.raises(FormatError, match="manifests/aa/bb is not canonical msgpack: it is cut short"):
        decode(b"", "manifests/aa/bb")


def test_a_view_is_read_like_bytes() -> None:
    """Callers slice without copying; what comes out is bytes of its own."""
    value = decode(memoryview(encode([b"a", "b"])), "view")

    assert value == [b"a", "b"]
    assert type(value[0]) is bytes
    assert canonical.encode(value) == encode(value)
