"""Lazy tensors: the same arrays that the libraries load, one at a time."""

from __future__ import annotations

import io
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors
from safetensors.torch import save as save_torch_safetensors

from cas.errors import CasError, FormatError
from cas.layouts import DTYPE_BYTES
from cas.repository import BytesSource
from cas.views import SourceRanges, tensors_by_name
from cas.views.dtypes import numpy_dtype, torch_dtype

TORCH_DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
    torch.float32, torch.float64, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def loose(files: dict[str, bytes], named: bool = False):
    return tensors_by_name([SourceRanges(BytesSource(path, data)) for path, data in files.items()], named=named)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def random_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    items = torch.arange(int(np.prod(shape)) * dtype.itemsize, dtype=torch.int64) % 2
    return items.to(torch.uint8).view(dtype).reshape(shape)


@settings(max_examples=40, deadline=None)
@given(
    tensors=st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.builds(random_tensor, st.sampled_from(TORCH_DTYPES), st.lists(st.integers(0, 4), max_size=3).map(tuple)),
        min_size=1,
        max_size=4,
    ),
)
def test_what_torch_saves_is_read_as_torch_loads_it(tensors):
    """Any dtype and shape, turned and cut tensors too: as a tensor, as an array, as bytes."""
    turned = {f"{name}/T": tensor.t() for name, tensor in tensors.items() if tensor.ndim == 2}
    parts = {f"{name}/1": tensor[1:] for name, tensor in tensors.items() if tensor.ndim and len(tensor)}
    everything = tensors | turned | parts
    files = {"m.pt": saved(everything)}
    if not any(tensor.dtype == torch.complex128 for tensor in tensors.values()):  # which safetensors does not have
        files["m.safetensors"] = save_torch_safetensors({name: tensor.clone() for name, tensor in tensors.items()})
    for path, content in files.items():
        found = loose({path: content})
        assert found.keys() == (everything if path == "m.pt" else tensors).keys()
        for name, lazy in found.items():
            expected = everything[name]
            assert lazy.shape == tuple(expected.shape)
            assert lazy.nbytes == expected.numel() * expected.dtype.itemsize
            assert lazy.torch().dtype == expected.dtype
            assert bits(lazy.torch()) == bits(expected) == lazy.bytes() == lazy.numpy().tobytes()
            assert lazy.numpy().shape == lazy.shape
            assert lazy.numpy().flags.writeable


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_every_dtype_has_an_array_and_a_tensor(dtype):
    """Of the size that the layouts say."""
    assert numpy_dtype(dtype).itemsize == torch_dtype(dtype).itemsize == DTYPE_BYTES[dtype]


def test_arrays_are_arrays_wherever_numpy_wants_one(stored):
    """``np.asarray`` and arithmetic; always memory of its own."""
    files = stored({"m.safetensors": save_safetensors({"w": np.arange(6, dtype="f4").reshape(2, 3)})})
    lazy = tensors_by_name(files.values())["w"]
    assert (lazy.dtype, lazy.shape, lazy.ndim, lazy.size, lazy.nbytes, len(lazy)) == ("F32", (2, 3), 2, 6, 24, 2)
    assert np.array_equal(np.asarray(lazy), np.arange(6).reshape(2, 3))
    assert np.asarray(lazy, "f8").dtype == "f8"
    assert float(np.sum(lazy)) == 15
    first = lazy.numpy()
    first[:] = 9
    assert float(np.sum(lazy)) == 15
    with pytest.raises(ValueError, match="not in memory"):
        np.array(lazy, copy=False)
    assert "'w', F32, (2, 3), 'm.safetensors'" in repr(lazy)
    with pytest.raises(TypeError):
        len(loose({"m.npy": npy(np.float32(3))})["m"])


def test_bfloat16_and_float8_come_as_ml_dtypes():
    """Bit for bit."""
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        array = np.array([0.5, -2, 1], getattr(ml_dtypes, name))
        (lazy,) = loose({"m.safetensors": save_safetensors({"w": array})}).values()
        assert lazy.numpy().dtype == array.dtype
        assert lazy.numpy().tobytes() == array.tobytes()


def test_a_missing_package_is_named(monkeypatch):
    """And what it would have given; the bytes can be had without it."""
    lazy = loose({"m.safetensors": save_torch_safetensors({"w": torch.ones(2, dtype=torch.bfloat16)})})["w"]
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(CasError, match="pip install -U ml_dtypes"):
        lazy.numpy()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CasError, match="pip install -U torch"):
        lazy.torch()
    assert lazy.bytes() == b"\x80\x3f\x80\x3f"


def test_what_is_encoded_has_its_bytes_and_says_so():
    """A dtype that is not known is no licence to guess."""
    lazy = loose({"d.npy": npy(np.array(["2026-11-23"], "M8[D]"))})["d"]
    assert (lazy.dtype, lazy.shape, lazy.nbytes) == ("", (), 8)
    assert np.frombuffer(lazy.bytes(), "M8[D]")[0] == np.datetime64("2026-11-23")
    for use in (lazy.numpy, lazy.torch, lambda: np.asarray(lazy)):
        with pytest.raises(FormatError, match=r"bytes\(\)"):
            use()


def test_bytes_can_be_read_as_what_is_known_of_them_elsewhere():
    """If the size fits, and the items lie in a row."""
    lazy = loose({"w.npy": npy(np.array([[1, 2], [3, 4]], "f4"))})["w"]
    assert np.array_equal(lazy.reinterpreted("C64", (2,)).numpy(), np.array([1 + 2j, 3 + 4j], "c8"))
    turned = loose({"w.npy": npy(np.asfortranarray(np.ones((2, 3), "f4")))})["w"]
    for tensor, shape in ((lazy, (3,)), (turned, (3,))):
        with pytest.raises(FormatError, match="cannot be C64"):
            tensor.reinterpreted("C64", shape)


def test_a_broadcast_tensor_is_not_spelled_out():
    """A few bytes that stand for a terabyte stay a few bytes."""
    lazy = loose({"m.pt": saved({"w": torch.zeros(1).expand(1 << 20, 1 << 20)})})["w"]
    assert lazy.numpy().shape == lazy.torch().shape == (1 << 20, 1 << 20)
    assert not lazy.numpy().flags.writeable


def test_names_are_plain_where_they_are_unique():
    """Over the checkpoint; else the path stands before them, and npy files are called by theirs."""
    w = np.ones(1, "f4")
    found = loose(
        {
            "a/m.safetensors": save_safetensors({"w": w, "only": w}),
            "b/m.safetensors": save_safetensors({"w": w}),
            "b/bias.npy": npy(w),
            "c.npz": npz(w=w, other=w),
        }
    )
    assert found.keys() == {"a/m.safetensors:w", "only", "b/m.safetensors:w", "b/bias", "c.npz:w", "other"}
    assert found["b/m.safetensors:w"].path == "b/m.safetensors"
    assert found["b/m.safetensors:w"].name == "w"


def test_no_tensor_hides_another():
    """Not even names made to collide."""
    w = torch.ones(1)
    found = loose(
        {
            "x": saved({"a": {"b": w}, "a.b": w + 1}),
            "p": save_torch_safetensors({"n": w}),
            "q": save_torch_safetensors({"n": w, "p:n": w + 1}),
        }
    )
    assert found.keys() == {"a.b", "a.b~1", "p:n", "q:n", "p:n~1"}


def test_text_is_not_looked_into_unless_it_is_named():
    """Fetching the beginnings of all tokenizers to find one tensor would cost more than the tensor."""
    content = {"odd.json": save_safetensors({"w": np.ones(1, "f4")}), "noise": b"x" * 100}
    assert loose(content) == {}
    assert loose(content, named=True).keys() == {"w"}


def test_headers_are_all_that_is_read_before_a_tensor_is(stored, counting):
    """Names, dtypes and shapes come without the bytes."""
    arrays = {f"w{n}": np.random.default_rng(n).normal(size=1 << 18).astype("f4") for n in range(8)}
    files = stored({"m.safetensors": save_safetensors(arrays)})
    repository, storage = counting(files.reader._storage.url)
    lazy = tensors_by_name(type(files)(repository.reader, files.tree.hash).values())
    assert sum(storage.bytes.values()) < 64 << 10
    assert sum(tensor.nbytes for tensor in lazy.values()) == 8 << 20
    assert np.array_equal(lazy["w5"].numpy(), arrays["w5"])
