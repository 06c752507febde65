"""Tensors for who reads them: every one the file names, empty, turned and shared ones too, each inside the file."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save as save_safetensors

from cas.errors import FormatError
from cas.layouts import TensorView, find_layout, find_tensors, locate_tensor
from cas.layouts.spans import MalformedError, Member

NAMES = st.text("abcé.", min_size=1, max_size=6)
ARRAYS = st.sampled_from(["?", "u1", "<i2", "<f4", "<f8", "<i8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def find(data: bytes) -> dict[str, TensorView] | None:
    found = find_tensors(reader(data), len(data))
    return None if found is None else {view.name: view for view in found}


def reader(data: bytes):
    def read_at(offset: int, size_bytes: int) -> bytes:
        assert 0 <= offset <= offset + size_bytes <= len(data)
        return data[offset : offset + size_bytes]

    return read_at


def array_at(data: bytes, view: TensorView, dtype: np.dtype) -> np.ndarray:
    offset = locate_tensor(reader(data), len(data), view)
    items = np.frombuffer(data[offset : offset + view.size_bytes], dtype)
    if not items.size:
        return np.empty(view.shape, dtype)
    strides = [stride * dtype.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(items, view.shape, strides)


@settings(deadline=None)
@given(arrays=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5), turned=st.booleans())
def test_every_array_of_every_writer_is_found(arrays, turned):
    """Empty ones too, and in npz those in Fortran order."""
    if turned:
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    npz = io.BytesIO()
    np.savez(npz, **{f"x{name}": array for name, array in arrays.items()})
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    for data, prefix in ((save_safetensors(plain), ""), (npz.getvalue(), "x")):
        found = find(data)
        assert found is not None
        assert found.keys() == {prefix + name for name in arrays}
        for name, array in arrays.items():
            view = found[prefix + name]
            assert view.shape == array.shape
            assert array_at(data, view, array.dtype).tobytes() == array.tobytes()


def test_an_npy_is_one_array(read):
    """Without a name; what has no dtype here has its bytes all the same."""
    for array, dtype in ((np.asfortranarray(np.ones((2, 3))), "F64"), (np.array(["2026-11-23"], "M8[s]"), "")):
        file = io.BytesIO()
        np.save(file, array)
        found = find(file.getvalue())
        assert found is not None
        view = found[""]
        assert (view.dtype, view.size_bytes) == (dtype, array.nbytes)
        assert view.shape == (array.shape if dtype else ())


def test_every_name_of_a_shared_storage_is_found(torch_kit):
    """Tied, cut out, turned, broadcast and empty tensors, where the layout has one span."""
    data = torch_kit.zip(
        torch_kit.dict(
            {
                "whole": torch_kit.tensor("0", "FloatStorage", 6, (2, 3), (3, 1)),
                "tied": torch_kit.tensor("0", "FloatStorage", 6, (6,), (1,)),
                "turned": torch_kit.tensor("0", "FloatStorage", 6, (3, 2), (1, 3)),
                "part": torch_kit.tensor("0", "FloatStorage", 6, (2,), (1,), 2),
                "broadcast": torch_kit.tensor("0", "FloatStorage", 6, (1000, 2), (0, 1), 4),
                "empty": torch_kit.tensor("1", "FloatStorage", 0, (0, 7), (7, 1)),
            }
        ),
        {"0": np.arange(6, dtype="<f4").tobytes(), "1": b""},
    )
    whole = np.arange(6, dtype="<f4")
    expected = {
        "whole": whole.reshape(2, 3), "tied": whole, "turned": whole.reshape(2, 3).T, "part": whole[2:4],
        "broadcast": np.broadcast_to(whole[4:], (1000, 2)), "empty": np.empty((0, 7), "<f4"),
    }  # fmt: skip
    found = find(data)
    assert found is not None
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(array_at(data, found[name], np.dtype("<f4")), array)
    layout = find_layout(reader(data), len(data))
    assert layout is not None
    assert [span.name for span in layout.spans] == ["whole"]


def test_one_tensor_that_is_pickled_once_under_two_names_has_both(torch_kit):
    """torch writes an object that it meets again as a reference to the first."""
    tensor = torch_kit.tensor("0", "FloatStorage", 1, (1,), (1,))
    pickled = b"}(X\x01\0\0\0a" + tensor + b"q\x05X\x01\0\0\0bh\x05u"
    found = find(torch_kit.zip(pickled, {"0": b"1234"}))
    assert found is not None
    assert found.keys() == {"a", "b"}
    assert found["a"].member == found["b"].member


def test_a_tensor_that_leaves_its_storage_is_no_tensor(torch_kit):
    """What data.pkl claims is held to what the archive has; the storage's bytes can be read all the same."""
    for claim in (((3,), (1,), 0), ((2,), (1,), 1), ((2,), (2,), 0), ((1 << 62,), (1 << 62,), 0)):
        data = torch_kit.zip(torch_kit.dict({"w": torch_kit.tensor("0", "FloatStorage", 2, *claim)}), {"0": bytes(8)})
        found = find(data)
        assert found is not None
        assert found.keys() == {"data/0"}
        assert found["data/0"].size_bytes == 8


def test_a_broadcast_tensor_larger_than_any_memory_is_not_believed(torch_kit):
    """One item may stand for many, but not for more than an array can have."""
    huge = torch_kit.tensor("0", "FloatStorage", 1, (1 << 40, 1 << 40), (0, 0))
    found = find(torch_kit.zip(torch_kit.dict({"w": huge}), {"0": bytes(4)}))
    assert found is not None
    assert found.keys() == {"data/0"}


def test_finding_a_torch_zips_tensors_reads_nothing_of_its_storages(torch_kit):
    """However many there are: where one lies is found out when it is read."""
    tensors = {str(n): torch_kit.tensor(str(n), "FloatStorage", 1000, (1000,), (1,)) for n in range(50)}
    data = torch_kit.zip(torch_kit.dict(tensors), {name: bytes(4000) for name in tensors})
    calls = []

    def read_at(offset: int, size_bytes: int) -> bytes:
        calls.append((offset, size_bytes))
        return data[offset : offset + size_bytes]

    found = find_tensors(read_at, len(data))
    assert found is not None
    assert len(found) == 50
    assert len(calls) < 10
    calls.clear()
    offset = locate_tensor(read_at, len(data), found[7])
    assert data[offset : offset + 4000] == bytes(4000)
    assert sum(size for _, size in calls) < 100


def test_the_headers_of_an_npz_are_read_several_at_a_time():
    """Before a server each is a request. Here every one waits for another, but the first, and the order stays."""
    npz = io.BytesIO()
    np.savez(npz, **{f"a{n}": np.full(1000, n) for n in range(9)})
    data = npz.getvalue()
    together = threading.Barrier(2)

    def read_at(offset: int, size_bytes: int) -> bytes:
        if offset and data.startswith(b"PK\x03\x04", offset):
            together.wait(timeout=30)
        return data[offset : offset + size_bytes]

    found = find_tensors(read_at, len(data))
    assert found is not None
    assert [view.name for view in found] == [f"a{n}" for n in range(9)]


def test_an_error_of_reading_an_npz_comes_out():
    """As it was raised; the file is not taken for another."""
    npz = io.BytesIO()
    np.savez(npz, **{f"a{n}": np.full(1000, n) for n in range(9)})
    data = npz.getvalue()
    broken = data.index(b"PK\x03\x04", len(data) // 2)

    def read_at(offset: int, size_bytes: int) -> bytes:
        if offset == broken:
            raise ConnectionError("gone")
        return data[offset : offset + size_bytes]

    with pytest.raises(ConnectionError, match="gone"):
        find_tensors(read_at, len(data))


def test_other_files_have_no_tensors():
    """As they have no layout."""
    for data in (b"", b"text", b"PK\x03\x04", bytes(100)):
        assert find(data) is None


def test_a_view_checks_itself():
    """Whoever makes one."""
    for wrong in (
        {"shape": (2,), "strides": ()},
        {"shape": (2,), "strides": (-1,)},
        {"offset": -1},
        {"size_bytes": 9},
        {"name": "x" * 1000},
        {"name": "\ud800"},
        {"member": Member("data/0", 0, 7)},
    ):
        right = {"name": "w", "dtype": "F32", "shape": (2,), "strides": (1,), "offset": 0, "size_bytes": 8}
        assert TensorView(**right).is_c_order
        with pytest.raises(MalformedError):
            TensorView(**right | wrong)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_damaged_file_gives_no_tensor_outside_of_it(torch_kit, data):
    """Whatever was changed or cut off: no exception, and each tensor lies in the file or says that it does not."""
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.zeros((0, 2))}
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    zipped = torch_kit.zip(torch_kit.dict({"w": torch_kit.tensor("0", "FloatStorage", 2, (2,), (1,))}), {"0": bytes(8)})
    whole = data.draw(st.sampled_from([save_safetensors(arrays), npz.getvalue(), zipped]))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for at in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=4)):
        if damaged:
            damaged[at] = data.draw(st.integers(0, 255))
    content = bytes(damaged)
    for view in find_tensors(reader(content), len(content)) or ():
        try:
            offset = locate_tensor(reader(content), len(content), view)
        except FormatError:
            continue
        assert not view.size_bytes or 0 <= offset <= offset + view.size_bytes <= len(content)
