"""Tensors of a checkpoint by name, their bytes read when they are asked for.

Where they are is found by `cas.layouts.find_tensors`, the parser that serves the chunker too, so every
format that is cut at its tensors can be read by tensor. Nothing is unpickled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from cas.errors import FormatError
from cas.layouts import DTYPE_BYTES, TensorView, c_strides, find_tensors, locate_tensor
from cas.views.dtypes import numpy_dtype, torch_dtype
from cas.views.ranges import Ranges, read_ranges

__all__ = ["LazyTensor", "tensors_by_name"]

_TEXT_SUFFIXES = frozenset({
    ".cfg", ".csv", ".html", ".ini", ".jinja", ".json", ".jsonl", ".log", ".md", ".py", ".sh", ".toml", ".tsv", ".txt",
    ".xml", ".yaml", ".yml",
})  # fmt: skip


class LazyTensor:
    """One tensor of a file. Its dtype and shape are known, its bytes are read with every call that needs them.

    Attributes:
        name: what the file calls it.
        path: the file, in the checkpoint.
        dtype: what safetensors calls it (``F32``, ``BF16``); empty where the items are encoded or of a type
            unknown here: then `bytes` is all that can be had.
        shape: outermost dimension first; ``()`` where ``dtype`` is empty.
        nbytes: what its items take.
    """

    __slots__ = ("_ranges", "_view", "dtype", "name", "nbytes", "path", "shape")

    def __init__(self, ranges: Ranges, view: TensorView, name: str) -> None:
        """The tensor at ``view`` of a file; use `tensors_by_name`."""
        self._ranges, self._view = ranges, view
        self.name, self.path, self.dtype, self.shape = name, ranges.path, view.dtype, view.shape
        self.nbytes = self.size * DTYPE_BYTES[view.dtype] if view.dtype else view.size_bytes

    def reinterpreted(self, dtype: str, shape: tuple[int, ...]) -> LazyTensor:
        """The same bytes as an array of another dtype and shape, for a file that says less than is known elsewhere.

        Raises:
            FormatError: that array would have another size, or the bytes are not in C order.
        """
        view = self._view
        if not view.is_c_order or math.prod(shape) * DTYPE_BYTES[dtype] != view.size_bytes:
            raise FormatError(f"tensor {self.name!r} of {self.path!r} cannot be {dtype} of shape {shape}")
        other = replace(view, dtype=dtype, shape=shape, strides=c_strides(shape))
        return LazyTensor(self._ranges, other, self.name)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many items it has; 1 where the dtype is unknown."""
        return math.prod(self.shape)

    def bytes(self) -> bytes:
        """Its items in C order, little-endian; as the file has them where the dtype is unknown."""
        if not self.dtype or self._view.is_c_order:
            return self._read().tobytes()
        return self._array(np.dtype((np.void, DTYPE_BYTES[self.dtype]))).tobytes()

    def numpy(self) -> np.ndarray[Any, Any]:
        """A new array of it; read-only where one stored item stands for many (a broadcast tensor).

        Raises:
            FormatError: its dtype is not known.
            CasError: NumPy needs ml_dtypes for it, which is not installed.
            CorruptError: what is stored is not what was written.
        """
        self._check_dtype()
        return self._array(numpy_dtype(self.dtype))

    def torch(self) -> Any:
        """A new ``torch.Tensor`` of it, on the CPU.

        Raises:
            FormatError, CorruptError: as `numpy`.
            CasError: PyTorch is not installed.
        """
        self._check_dtype()
        dtype = torch_dtype(self.dtype)
        import torch

        if not self._view.size_bytes:
            return torch.empty(self.shape, dtype=dtype)
        items = torch.from_numpy(self._read()).view(dtype)
        return items.reshape(self.shape) if self._view.is_c_order else items.as_strided(self.shape, self._view.strides)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError(f"{self.name!r} is not in memory yet: reading it makes a new array")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name!r} has no dimensions, so no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"LazyTensor({self.name!r}, {self.dtype or 'encoded'}, {self.shape}, {self.path!r})"

    def _check_dtype(self) -> None:
        if not self.dtype:
            raise FormatError(
                f"tensor {self.name!r} of {self.path!r} is encoded, or of a type that is not known here: "
                "only its bytes() can be read"
            )

    def _read(self) -> np.ndarray[Any, Any]:
        """The bytes from its first item to its last, in memory of their own."""
        if not self._view.size_bytes:
            return np.empty(0, np.uint8)
        read_at = _read_at(self._ranges)
        offset = locate_tensor(read_at, self._ranges.size_bytes, self._view)
        data = np.empty(self._view.size_bytes, np.uint8)
        at = 0
        for piece in self._ranges.iter_range(offset, self._view.size_bytes):
            data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        return data

    def _array(self, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        if not self._view.size_bytes:
            return np.empty(self.shape, dtype)
        strides = [stride * dtype.itemsize for stride in self._view.strides]
        found: np.ndarray[Any, Any] = np.ndarray(self.shape, dtype, self._read(), strides=strides)
        if self._view.is_c_order:
            return found
        if self.nbytes <= self._view.size_bytes:
            return found.copy()
        # A few stored bytes may stand for an array larger than any memory: that one is not spelled out.
        found.flags.writeable = False
        return found


def tensors_by_name(files: Iterable[Ranges], *, named: bool = False) -> dict[str, LazyTensor]:
    """Every tensor of some files; their headers are read now.

    A tensor is called what its file calls it. Where several files have one of that name it is ``path:name``, and
    where that still is taken ``~1``, ``~2``, ... stands behind it. The array of an npy file, which has no name,
    is called by its path without ``.npy``.

    Args:
        files: in any order; those of no known format are skipped.
        named: whether the caller chose the files. Else those that by their names are text (``.json``, ``.txt``)
            are not looked into, which would mean to fetch their beginnings.

    Returns:
        By name, in the order of paths and then of the file.
    """
    found = [
        LazyTensor(file, view, view.name or file.path.removesuffix(".npy"))
        for file in sorted(files, key=lambda file: file.path)
        if named or not _is_text(file.path)
        for view in find_tensors(_read_at(file), file.size_bytes) or ()
    ]
    files_with = Counter(name for name, _ in {(tensor.name, tensor.path) for tensor in found})
    by_name: dict[str, LazyTensor] = {}
    for tensor in found:
        plain = tensor.name if files_with[tensor.name] == 1 else f"{tensor.path}:{tensor.name}"
        name, count = plain, 0
        while name in by_name:
            count += 1
            name = f"{plain}~{count}"
        by_name[name] = tensor
    return by_name


def _read_at(file: Ranges) -> Any:
    return lambda offset, size_bytes: read_ranges(file, offset, size_bytes)


def _is_text(path: str) -> bool:
    name = path.rpartition("/")[2]
    return any(name.lower().endswith(suffix) for suffix in _TEXT_SUFFIXES)
