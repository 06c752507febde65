"""torch's zip: storages by the directory, names and dtypes by data.pkl, which is followed and never run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.layouts import TensorSpan

STORAGES = {
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "LongStorage": ("I64", 8),
    "BoolStorage": ("BOOL", 1),
}


def summary(spans: tuple[TensorSpan, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(span.name, span.dtype, span.shape) for span in spans]


def contents(data: bytes, spans: tuple[TensorSpan, ...]) -> list[bytes]:
    return [data[span.offset : span.end] for span in spans]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("ab.é", min_size=1, max_size=5),
        st.tuples(st.sampled_from(sorted(STORAGES)), st.lists(st.integers(1, 4), max_size=3)),
        max_size=5,
    ),
    st.booleans(),
)
def test_every_storage_is_where_its_span_says(read, torch_kit, tensors, zip64):
    """Name, dtype and shape are the pickle's; offset and size the archive's."""
    values, storages, expected = {}, {}, []
    for number, (name, (storage, shape)) in enumerate(tensors.items()):
        strides, items = [], 1
        for size in reversed(shape):
            strides.insert(0, items)
            items *= size
        dtype, itemsize = STORAGES[storage]
        values[name] = torch_kit.tensor(str(number), storage, items, tuple(shape), tuple(strides))
        storages[str(number)] = bytes([number + 1]) * (items * itemsize)
        expected.append((name, dtype, tuple(shape)))
    data = torch_kit.zip(torch_kit.dict(values), storages, force_zip64=zip64)

    layout = read(data).layout

    assert layout is not None
    assert layout.format == "torch"
    assert summary(layout.spans) == expected
    assert contents(data, layout.spans) == list(storages.values())


def test_names_are_the_keys_on_the_way(read, torch_kit):
    """An optimizer's moments are told apart by parameter, as its state_dict has them."""
    state = torch_kit.dict({"exp_avg": torch_kit.tensor("0", "FloatStorage", 2, (2,), (1,))})
    pickled = torch_kit.dict({"state": b"}K\x07" + state + b"s", "groups": b"](K\x01K\x02e"})
    data = torch_kit.zip(pickled, {"0": bytes(8)})

    layout = read(data).layout

    assert layout is not None
    assert summary(layout.spans) == [("state.7.exp_avg", "F32", (2,))]


def test_a_shared_storage_is_one_span_named_by_the_first_tensor_that_fills_it(read, torch_kit):
    """Views of a part and turned views do not count; the storage is cut once."""
    data = torch_kit.zip(
        torch_kit.dict(
            {
                "part": torch_kit.tensor("0", "FloatStorage", 6, (2,), (1,), 2),
                "turned": torch_kit.tensor("0", "FloatStorage", 6, (3, 2), (1, 3)),
                "whole": torch_kit.tensor("0", "FloatStorage", 6, (2, 3), (3, 1)),
                "tied": torch_kit.tensor("0", "FloatStorage", 6, (6,), (1,)),
            }
        ),
        {"0": bytes(24)},
    )

    layout = read(data).layout

    assert layout is not None
    assert summary(layout.spans) == [("whole", "F32", (2, 3))]


def test_a_storage_of_which_only_parts_are_used_is_a_row_of_items(read, torch_kit):
    """What is true of all its bytes is said, and no more."""
    data = torch_kit.zip(
        torch_kit.dict({"part": torch_kit.tensor("0", "FloatStorage", 6, (2,), (1,), 2)}),
        {"0": bytes(24), "1": bytes(7)},
    )

    layout = read(data).layout

    assert layout is not None
    assert summary(layout.spans) == [("data/0", "F32", (6,)), ("data/1", "", ())]


def test_what_the_pickle_claims_of_sizes_is_not_believed(read, torch_kit):
    """A shape that the member does not hold gives no dtype where items would be broken."""
    data = torch_kit.zip(
        torch_kit.dict({"liar": torch_kit.tensor("0", "LongStorage", 1000, (10, 100), (100, 1))}), {"0": bytes(12)}
    )

    layout = read(data).layout

    assert layout is not None
    assert summary(layout.spans) == [("data/0", "", ())]


@pytest.mark.parametrize("pickled", [b"garbage", b"(((", b"c", b"\x80\x02}q", b"}(K\x01u"], ids=repr)
def test_spans_are_known_though_the_pickle_is_not(read, torch_kit, pickled):
    """The archive alone says where storages are."""
    data = torch_kit.zip(pickled, {"0": b"12345678", "1": b"abcd"})

    layout = read(data).layout

    assert layout is not None
    assert summary(layout.spans) == [("data/0", "", ()), ("data/1", "", ())]
    assert contents(data, layout.spans) == [b"12345678", b"abcd"]


def test_big_endian_storages_have_no_dtype(read, torch_kit):
    """Their bytes are no little-endian array."""
    pickled = torch_kit.dict({"w": torch_kit.tensor("0", "FloatStorage", 2, (2,), (1,))})

    layout = read(torch_kit.zip(pickled, {"0": bytes(8)}, byte_order=b"big")).layout

    assert layout is not None
    assert summary(layout.spans) == [("data/0", "", ())]


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_followed_and_never_run(read, torch_kit, tmp_path, protocol):
    """Whatever it would call, nothing is called."""
    bomb = tmp_path / "bomb"
    pickled = pickle.dumps({"a": Bomb(bomb), "b": [1.5, {"c": (None, b"bytes", 1 << 80)}]}, protocol)

    layout = read(torch_kit.zip(pickled[:-1], {"0": b"1234"})).layout

    assert layout is not None
    assert len(layout.spans) == 1
    assert not bomb.exists()
    pickle.loads(pickled)
    assert bomb.exists()  # it was a live one


def test_compressed_members_are_no_spans(read):
    """What is not stored as it is cannot be cut or read by position."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.", zipfile.ZIP_STORED)
        archive.writestr("m/data/0", bytes(1000))

    layout = read(file.getvalue()).layout

    assert layout is not None
    assert layout.spans == ()


@pytest.mark.parametrize("comment", [b"", b"PK\x05\x06", b"x" * 65535, b"PK\x05\x06" * 5000], ids=len)
def test_an_archive_comment_hides_nothing(read, torch_kit, comment):
    """The end is found behind a comment of any length, even one that looks like an end."""
    file = io.BytesIO(torch_kit.zip(b"}", {"0": b"1234"}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment

    layout = read(file.getvalue()).layout

    assert layout is not None
    assert contents(file.getvalue(), layout.spans) == [b"1234"]


def with_zip64_directory(data: bytes) -> bytes:
    """The same archive with every size and offset of its directory moved into zip64 fields."""
    end = data.rindex(b"PK\x05\x06")
    at = start = struct.unpack_from("<L", data, end + 16)[0]
    directory = b""
    while at < end:
        entry = bytearray(data[at : at + 46])
        stored, raw, name_bytes = struct.unpack_from("<LLH", entry, 20)
        (offset,) = struct.unpack_from("<L", entry, 42)
        struct.pack_into("<LLHH", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF, name_bytes, 34)
        struct.pack_into("<L", entry, 42, 0xFFFFFFFF)
        other_field, zip64_field = (
            struct.pack("<HH2s", 0x7777, 2, b"??"),
            struct.pack("<HHQQQ", 1, 24, raw, stored, offset),
        )
        directory += bytes(entry) + data[at + 46 : at + 46 + name_bytes] + other_field + zip64_field
        at += 46 + name_bytes
    count = struct.unpack_from("<H", data, end + 10)[0]
    record = struct.pack("<4sQ12xQQQQ", b"PK\x06\x06", 44, count, count, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory), 1)
    last = struct.pack("<4s4xHHLLH", b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:start] + directory + record + locator + last


def test_sizes_and_offsets_beyond_4_gib_are_read(read, torch_kit):
    """An archive that needs zip64 throughout has the layout of one that does not."""
    pickled = torch_kit.dict({"w": torch_kit.tensor("0", "FloatStorage", 2, (2,), (1,))})
    data = torch_kit.zip(pickled, {"0": b"12345678", "1": b"abcd"})
    wide = with_zip64_directory(data)

    with zipfile.ZipFile(io.BytesIO(wide)) as archive:
        assert archive.testzip() is None
    layout = read(wide).layout

    assert layout is not None
    assert layout == read(data).layout
    assert contents(wide, layout.spans) == [b"12345678", b"abcd"]


def test_other_archives_have_no_tensors(read):
    """A zip is not a checkpoint for being a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", b"<xml/>")

    layout = read(file.getvalue()).layout

    assert layout is None


def test_the_name_of_the_file_inside_does_not_matter(read, torch_kit):
    """torch writes the file's stem into the archive: 1.pt and 2.pt differ, their tensors do not."""
    pickled = torch_kit.dict({"w": torch_kit.tensor("0", "FloatStorage", 2, (2,), (1,))})
    data = torch_kit.zip(pickled, {"0": bytes(8)})

    one, two = read(data).layout, read(data.replace(b"model/", b"other/")).layout

    assert one is not None
    assert one == two
