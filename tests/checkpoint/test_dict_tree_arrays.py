"""Arrays in dict trees: every item type, and a tensors file that other tools can use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cas.checkpoint.dict_tree import TENSORS_PATH, decode_dict, encode_dict
from cas.errors import CasError, FormatError, RefusedError

_ML_TYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "int4", "float8_e8m0fnu"]


def _files(data: dict[Any, Any]) -> dict[str, bytes]:
    return {path: b"".join(parts) for path, parts in encode_dict(data).items()}


def _round_trip(value: Any) -> Any:
    files = _files({"value": value})
    return decode_dict(files.__getitem__, files)["value"]


def _header(file: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    return header


@pytest.mark.parametrize("name", _ML_TYPES)
def test_ml_dtypes_come_back(name: str) -> None:
    """Arrays and scalars of the short floats that NumPy itself lacks."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    array = np.array([[1, 0, 2]], dtype)

    found, scalar = _round_trip(array), _round_trip(array[0, 0])

    assert (found.dtype, found.shape, found.tobytes()) == (dtype, (1, 3), array.tobytes())
    assert type(scalar) is dtype.type
    assert scalar == array[0, 0]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(7), (3, 2)),
        np.arange(10)[::-1],
        np.array(3.5),
        np.empty((0, 3)),
    ],
    ids=["strided", "fortran", "broadcast", "reversed", "0-d", "empty"],
)
def test_memory_order_does_not_matter(array: np.ndarray[Any, Any]) -> None:
    """An array is its items in C order; how they lay in memory is not part of it."""
    found = _round_trip(array)

    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.flags.owndata
    np.testing.assert_array_equal(found, array)
    assert _files({"value": array}) == _files({"value": np.array(array, order="C")})


def test_long_doubles_have_bytes_that_follow_from_their_values() -> None:
    """Whatever an x87 number's six spare bytes held before, equal arrays give equal files."""
    clean = np.array([1, -2, 0.1], np.longdouble)
    dirty = np.frombuffer(bytearray(b"\xff" * clean.nbytes), np.longdouble)
    raw = dirty.view(np.uint8).reshape(3, -1)
    raw[:, :10] = clean.view(np.uint8).reshape(3, -1)[:, :10]

    assert (dirty == clean).all()
    assert _files({"value": dirty, "one": dirty[0]}) == _files({"value": clean, "one": clean[0]})


def test_the_tensors_file_opens_elsewhere_under_readable_names() -> None:
    """Keys joined by dots, in a file that the safetensors package reads."""
    data = {
        "model": {"layers": [{"weight": np.ones((2, 3), np.float32)}, {"weight": np.zeros(2, np.int64)}]},
        "state": {0: {"exp_avg": np.full(3, 0.5)}, (1, 2): np.zeros(1)},
        "": np.array(True),
        "half": np.float16([1, 2]),
        "z": np.array([1 + 2j], np.complex64),
        "when": np.array(["2020-01-01"], "M8[D]"),
    }

    tensors = safetensors.numpy.load(_files(data)[TENSORS_PATH])

    assert sorted(tensors) == [
        "",
        "half",
        "model.layers.0.weight",
        "model.layers.1.weight",
        "state.#1",
        "state.0.exp_avg",
        "when",
        "z",
    ]
    np.testing.assert_array_equal(tensors["model.layers.0.weight"], np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(tensors["z"], [[1, 2]])
    np.testing.assert_array_equal(tensors["when"], [18262])


def test_a_file_that_safetensors_wrote_again_is_the_same_file() -> None:
    """Ours is the form that the safetensors package writes, so edited weights can be put back without harm."""
    names = ["b1", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]
    data: dict[str, Any] = {name: np.zeros((2, 1), name) for name in names} | {"é\n": np.zeros(3), "a": np.zeros(1)}
    files = _files(data)

    again = safetensors.numpy.save(safetensors.numpy.load(files[TENSORS_PATH]))

    assert again == files[TENSORS_PATH]


def test_every_array_is_aligned_to_its_items() -> None:
    """So that a mapped file can be used in place."""
    data: dict[str, Any] = {f"{dtype}{n}": np.zeros(n, dtype) for dtype in ("u1", "f2", "f4", "c16") for n in (1, 3, 5)}

    file = _files(data)[TENSORS_PATH]
    entries = _header(file)

    assert int.from_bytes(file[:8], "little") % 8 == 0
    for name, entry in entries.items():
        assert entry["data_offsets"][0] % min(data[name].dtype.itemsize, 8) == 0


def test_names_that_collide_are_told_apart() -> None:
    """Different keys that read the same joined, and the one name that safetensors keeps for itself."""
    data = {"a": {"b": np.zeros(1)}, "a.b": np.ones(1), "a.b~1": np.full(1, 2.0), "__metadata__": np.full(1, 3.0)}

    files = _files(data)

    assert sorted(safetensors.numpy.load(files[TENSORS_PATH])) == ["__metadata__~1", "a.b", "a.b~1", "a.b~1~1"]
    assert {k: v for k, v in decode_dict(files.__getitem__, files).items() if k != "a"} == {
        "a.b": [1],
        "a.b~1": [2],
        "__metadata__": [3],
    }


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, None], object),
        np.zeros(2, [("a", "f4"), ("b", "i8")]),
        np.ma.masked_array([1, 2], [0, 1]),
        np.zeros(2).view(np.recarray),
        np.void(b"abc"),
    ],
    ids=["object", "structured", "masked", "subclass", "void"],
)
def test_arrays_that_are_more_than_their_bytes_are_objects(array: Any) -> None:
    """They are never silently flattened: they need permission for pickle, by which they come back."""
    with pytest.raises(RefusedError, match=r"'value' is an? "):
        encode_dict({"value": array}, allow_pickle=False)

    files = {path: b"".join(parts) for path, parts in encode_dict({"value": array}, allow_pickle=True).items()}
    found = decode_dict(files.__getitem__, files, allow_pickle=True)["value"]
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("damage", ["longer", "shorter", "renamed", "other type", "empty"])
def test_a_tensors_file_that_does_not_fit_the_skeleton_is_refused(damage: str) -> None:
    """Nothing is guessed: not one array is made of bytes that another program laid out differently."""
    files = _files({"w": np.arange(3.0)})
    whole = files[TENSORS_PATH]
    files[TENSORS_PATH] = {
        "longer": whole + b"\0",
        "shorter": whole[:-1],
        "renamed": whole.replace(b'"w"', b'"v"'),
        "other type": whole.replace(b"F64", b"I64"),
        "empty": b"",
    }[damage]

    with pytest.raises(FormatError, match=TENSORS_PATH):
        decode_dict(files.__getitem__, files)


def test_ml_dtypes_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an ImportError from the depths."""
    files = _files({"w": np.zeros(2, ml_dtypes.bfloat16)})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)

    with pytest.raises(CasError, match="pip install ml_dtypes"):
        decode_dict(files.__getitem__, files)


def test_the_file_can_be_written_and_mapped(tmp_path: Path) -> None:
    """Any tool opens it: here the package's own file reader, tensor by tensor."""
    path = tmp_path / TENSORS_PATH
    path.write_bytes(_files({"model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}})[TENSORS_PATH])

    with safetensors.safe_open(path, "numpy") as file:
        assert file.get_slice("model.w")[1, 1:].tolist() == [4, 5]
