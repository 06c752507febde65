"""Files made to hurt: each is content, or its layout keeps every promise; never an error, never much work."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.layouts import Layout, TensorSpan, find_layout

MOST_BYTES = 100 << 20
MOST_S = 10  # to tell a hang from a slow machine: each takes about a second at most

FORMATS = ["safetensors", "npy", "npz", "torch", "gguf"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_samples_are_what_they_are_called(read, samples, format):
    """Else the tests below would prove nothing."""
    assert read(samples[format]).layout.format == format
    assert read(samples[format]).layout.spans


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_does_harm(read, samples, data):
    """Bytes changed, cut out, doubled or cut off: no error, no read and no span outside of the file."""
    damaged = bytearray(samples[data.draw(st.sampled_from(FORMATS))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        size = data.draw(st.integers(0, 12))
        new = data.draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\xff" * 4, b"\xff" * 8, bytes(8), b"-1", b"NaN", b"9" * 30, b"PK\x05\x06"])
            | st.just(bytes(damaged[at : at + 60]))
        )
        damaged[at : at + size] = new
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]

    reading = read(bytes(damaged))

    assert reading.read_bytes <= 64 * len(damaged) + 1024


@settings(deadline=None)
@given(
    st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"GGUF\x03\0\0\0", b"\x20\0\0\0\0\0\0\0{"]), st.binary()
)
def test_no_bytes_behind_a_magic_do_harm(read, magic, rest):
    """A magic proves nothing."""
    reading = read(magic + rest)

    assert reading.layout is None or reading.layout.format in FORMATS


def safetensors(header: bytes, data: bytes = bytes(100)) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(begin: int, end: int, shape: object, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


SAFETENSORS = {
    "huge length": struct.pack("<Q", 2**63) + b"{}",
    "length over the file": struct.pack("<Q", 1000) + b"{}",
    "not json": safetensors(b"{nonsense"),
    "not utf-8": safetensors(b'{"\xff\xfe": 1}'),
    "a list": safetensors(b"{}").replace(b"{}", b"[]"),
    "number": safetensors(b'{"a": 1}'),
    "NaN": safetensors(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
    "Infinity": safetensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}'),
    "float": safetensors(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}'),
    "true": safetensors(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}'),
    "million digits": safetensors(b'{"a":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,4]}}'),
    "negative shape": safetensors(json.dumps({"a": entry(0, 4, [-1, -1])}).encode()),
    "negative offset": safetensors(json.dumps({"a": entry(-4, 0, [1])}).encode()),
    "reversed": safetensors(json.dumps({"a": entry(8, 4, [1])}).encode()),
    "beyond the end": safetensors(json.dumps({"a": entry(0, 400, [100])}).encode()),
    "shape lies": safetensors(json.dumps({"a": entry(0, 8, [3])}).encode()),
    "overflow": safetensors(json.dumps({"a": entry(0, 4, [2**62, 4])}).encode()),
    "rank": safetensors(json.dumps({"a": entry(0, 4, [1] * 10_000)}).encode()),
    "overlap": safetensors(json.dumps({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}).encode()),
    "same place": safetensors(json.dumps({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}).encode()),
    "same name": safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}'),
    "surrogate": safetensors(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'),
    "long name": safetensors(json.dumps({"a" * 100_000: entry(0, 4, [1])}).encode()),
    "deep": safetensors(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "deep objects": safetensors(b'{"a":' * 60_000 + b"1" + b"}" * 60_000),
    "many lists": safetensors(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"),
    "many strings": safetensors(b'{"a":[' + b'"a",' * 3_000_000 + b'"a"]}'),
}


def gguf_head(tensors: int = 0, pairs: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs)


PAIR = struct.pack("<Q", 1) + b"k"
GGUF = {
    "tensors": gguf_head(tensors=2**64 - 1) + bytes(1000),
    "pairs": gguf_head(pairs=2**64 - 1) + bytes(1000),
    "long key": gguf_head(pairs=1) + struct.pack("<Q", 2**64 - 1) + bytes(1000),
    "long string": gguf_head(pairs=1) + PAIR + struct.pack("<IQ", 8, 2**64 - 1) + bytes(1000),
    "long array": gguf_head(pairs=1) + PAIR + struct.pack("<IIQ", 9, 4, 2**64 - 1) + bytes(1000),
    "many strings": gguf_head(pairs=1) + PAIR + struct.pack("<IIQ", 9, 8, 2**40) + bytes(20_000_000),
    "empty strings": gguf_head(pairs=1) + PAIR + struct.pack("<IIQ", 9, 8, 2**21) + bytes(8 * 2**21 - 1),
    "nested arrays": gguf_head(pairs=1) + PAIR + struct.pack("<IIQ", 9, 9, 1) + bytes(1000),
    "unknown type": gguf_head(pairs=1) + PAIR + struct.pack("<I", 13) + bytes(1000),
    "no alignment": gguf_head(pairs=1) + struct.pack("<Q17sII", 17, b"general.alignment", 4, 0) + bytes(1000),
    "rank": gguf_head(tensors=1) + PAIR + struct.pack("<I", 2**32 - 1) + bytes(1000),
    "overflow": gguf_head(tensors=1) + PAIR + struct.pack("<IQQIQ", 2, 2**63, 2**63, 0, 0) + bytes(1000),
    "far away": gguf_head(tensors=1) + PAIR + struct.pack("<IQIQ", 1, 1, 0, 2**64 - 1) + bytes(1000),
    "same place": gguf_head(tensors=2) + 2 * (PAIR + struct.pack("<IQIQ", 1, 8, 0, 0)) + bytes(1000),
    "name not utf-8": gguf_head(tensors=1)
    + struct.pack("<Q", 1)
    + b"\xff"
    + struct.pack("<IQIQ", 1, 1, 0, 0)
    + bytes(99),
}


def npy(header: bytes, data: bytes = bytes(100)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


NPY = {
    "long header": b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**32 - 1) + bytes(100),
    "version": b"\x93NUMPY\x09\x00" + bytes(100),
    "negative": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
    "overflow": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4), }"),
    "digits": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 60_000 + b",), }"),
    "rank": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 30_000 + b"), }"),
    "too long": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (26,), }"),
    "itemsize": npy(b"{'descr': '<U999999999', 'fortran_order': False, 'shape': (26,), }"),
    "code": npy(b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (1,), }"),
    "deep": npy(b"(" * 60_000),
}


def stored_zip(members: dict[str, bytes]) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bytearray(file.getvalue())


def zips() -> dict[str, bytes]:
    plain = stored_zip({"m/data.pkl": b"\x80\x02}.", "m/data/0": b"12345678", "m/data/1": b"abcdefgh"})
    end = plain.rindex(b"PK\x05\x06")
    entries = [index for index in range(len(plain)) if plain.startswith(b"PK\x01\x02", index)]
    found = {"plain": bytes(plain)}

    def damaged(name: str, at: int, fmt: str, *values: int) -> None:
        copy = bytearray(plain)
        struct.pack_into(fmt, copy, at, *values)
        found[name] = bytes(copy)

    damaged("overlapping members", entries[2] + 42, "<L", struct.unpack_from("<L", plain, entries[1] + 42)[0])
    damaged("a member beyond the end", entries[2] + 20, "<LL", 10_000, 10_000)
    damaged("a member before the start", entries[2] + 42, "<L", 2**32 - 2)
    damaged("a zip64 member without sizes", entries[2] + 42, "<L", 2**32 - 1)
    damaged("sizes that differ", entries[2] + 20, "<L", 4)
    damaged("a directory beyond the end", end + 16, "<L", 2**31)
    damaged("a directory of everything", end + 12, "<LL", len(plain), 0)
    damaged("65535 members", end + 8, "<HH", 65535, 65535)
    damaged("two disks", end + 8, "<HH", 1, 3)
    damaged("a long comment", end + 20, "<H", 65535)
    found["no end"] = bytes(plain[:end])
    found["ends only"] = b"PK\x03\x04" + b"PK\x05\x06" * 20_000
    found["same names"] = bytes(plain).replace(b"m/data/1", b"m/data/0")
    found["two pickles"] = bytes(plain).replace(b"m/data/1", b"n/data.p")
    return found


ZIPS = zips()


def pickles(size: int) -> dict[str, bytes]:
    """Pickles of about ``size`` opcodes that nobody writes."""
    loop: list = []
    loop += [loop] * 1000
    key = b"X" + struct.pack("<I", 1 << 20) + b"k" * (1 << 20) + b"q\x000"
    return {
        "doubling tuples": b"K\x00" + b"2\x86" * (size // 2),
        "a loop": pickle.dumps(loop, 2)[2:-1],
        "deep lists": b"]" * (size // 2) + b"a" * (size // 2 - 1),
        "deep calls": b"cos\nsystem\n" + b")R" * (size // 2),
        "deep persistent ids": b"K\x00" + b"Q" * size,
        "nested keys": key + b"}" + b"h\x00}" * (size // 3) + b"s" * (size // 3),
        "one key often": key + b"}(" + b"h\x00}K\x01a" * (size // 4) + b"u",
        "long names": key + b"(" + b"h\x00h\x00\x93" * (size // 3) + b"t",
        "many containers": b"(" + b"}" * size + b"t",
        "too many opcodes": b"N0" * 300_000,
        "a long number": b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20),
        "a length over the end": b"X" + struct.pack("<I", 2**32 - 1),
        "8-byte length over the end": b"\x8d" + struct.pack("<Q", 2**64 - 1),
        "nothing on the stack": b"tttt",
        "an unknown memo": b"h\x07",
        "put into a number": b"K\x01K\x02a",
        "odd items": b"}(K\x01u",
        "no stop": b"N" * 10,
        "a name that is none": b"K\x01K\x02\x93",
        "old opcodes": b"I1\n",
    }


PICKLES = pickles(50_000)


def guarded(read, data: bytes) -> Layout | None:
    """Find a layout within bounded time."""
    started = time.monotonic()
    layout = read(data).layout
    assert time.monotonic() - started < MOST_S
    return layout


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_hostile_safetensors_is_content(read, name):
    """Lies about lengths, places and numbers; JSON that would fill the memory."""
    assert guarded(read, SAFETENSORS[name]) is None


@pytest.mark.parametrize("name", GGUF)
def test_a_hostile_gguf_is_content(read, name):
    """Counts and lengths that no file could hold cost nothing."""
    assert guarded(read, GGUF[name]) is None


@pytest.mark.parametrize("name", NPY)
def test_a_hostile_npy_is_content(read, name):
    """The header is matched, never evaluated."""
    assert guarded(read, NPY[name]) is None


@pytest.mark.parametrize("name", [name for name in ZIPS if name not in ("plain", "sizes that differ", "two pickles")])
def test_a_hostile_zip_is_content(read, name):
    """A directory that lies about itself or its members."""
    assert guarded(read, ZIPS[name]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [SAFETENSORS["many lists"], SAFETENSORS["many strings"], GGUF["empty strings"]], ids=len
)
def test_a_hostile_header_takes_little_memory(read, data):
    """What would be built is bounded before it is built."""
    assert peak_bytes(read, data) < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["many containers", "one key often"])
def test_a_hostile_pickle_takes_little_memory(read, torch_kit, name):
    """A byte of pickle can stand for a list; their number is bounded, and long text is never copied."""
    assert peak_bytes(read, torch_kit.zip(pickles(500_000)[name], {"0": b"12345678"})) < MOST_BYTES


def peak_bytes(read, data: bytes) -> int:
    tracemalloc.start()
    try:
        read(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_member_of_two_sizes_is_left_out(read):
    """It cannot be stored as it is, whatever its method says."""
    assert len(guarded(read, ZIPS["plain"]).spans) == 2
    assert len(guarded(read, ZIPS["sizes that differ"]).spans) == 1


@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle_hides_no_storage(read, torch_kit, name):
    """Spans come from the archive, however the pickle behaves."""
    layout = guarded(read, torch_kit.zip(PICKLES[name], {"0": b"12345678"}))

    assert layout is not None
    assert [(span.name, span.size_bytes) for span in layout.spans] == [("data/0", 8)]


@pytest.mark.parametrize("error", [OSError("disk"), FormatError("from below"), KeyError("gone")], ids=repr)
def test_what_read_at_raises_is_raised(samples, error):
    """A disk that fails is no proof of a malformed file."""

    def read_at(offset: int, size_bytes: int) -> bytes:
        if offset:
            raise error
        return samples["torch"][:size_bytes]

    with pytest.raises(type(error)) as raised:
        find_layout(read_at, len(samples["torch"]))
    assert raised.value is error


def test_a_layout_that_breaks_its_promise_cannot_be_made():
    """Whoever holds a Layout need not check it."""
    first, second = TensorSpan("a", "U8", (4,), 0, 4, 1), TensorSpan("b", "U8", (4,), 3, 4, 1)

    for spans in ((first, second), (second, first), (first, first)):
        with pytest.raises(FormatError):
            Layout("npz", spans)
    for wrong in (("F32", (2,), 0, 4, 4), ("F32", (1,), 0, 4, 2), ("", (4,), 0, 4, 1), ("U8", (0,), 0, 0, 1)):
        with pytest.raises(FormatError):
            TensorSpan("a", *wrong)
