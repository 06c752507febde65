"""Names of item types: what the skeleton calls them and how a safetensors file holds them.

NumPy's own types are called what ``dtype.str`` calls them (``<f4``, ``>i2``, ``<M8[ns]``, ``<U5``), so byte
order and units come back; those of ml_dtypes and torch are called by name. Every type is held as one that
safetensors readers have known from early on: complex numbers as pairs of floats, times as integers, the rest
as bytes, so that no exotic item keeps another tool from opening the file. Specified in docs/design/008-dict-trees.md.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from cas.errors import CasError, FormatError

__all__ = ["Stored", "clear_padding", "numpy_dtype", "numpy_dtype_name", "stored_numpy", "stored_torch"]

# In the order that safetensors' own writer sorts by, so that a file it wrote again is the same file.
_ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
_RANK = {dtype: rank for rank, dtype in enumerate(_ITEM_BYTES)}


@dataclass(frozen=True, slots=True)
class Stored:
    """How items of one type lie in a safetensors file.

    Attributes:
        dtype: the type the file declares.
        tail: dimensions that one item adds behind its array's own; a complex number adds ``(2,)``.
    """

    dtype: str
    tail: tuple[int, ...] = ()

    @property
    def item_bytes(self) -> int:
        """Size of one item of the declared type."""
        return _ITEM_BYTES[self.dtype]

    @property
    def rank(self) -> int:
        """Arrays lie in the file by falling rank, the widest items first, so that all are aligned."""
        return _RANK[self.dtype]


def _as_bytes(item_bytes: int) -> Stored:
    return Stored("U8", (item_bytes,) if item_bytes > 1 else ())


_NUMPY = {
    "|b1": Stored("BOOL"),
    "|u1": Stored("U8"),
    "|i1": Stored("I8"),
    "<u2": Stored("U16"),
    "<i2": Stored("I16"),
    "<f2": Stored("F16"),
    "<u4": Stored("U32"),
    "<i4": Stored("I32"),
    "<f4": Stored("F32"),
    "<u8": Stored("U64"),
    "<i8": Stored("I64"),
    "<f8": Stored("F64"),
    "<c8": Stored("F32", (2,)),
    "<c16": Stored("F64", (2,)),
    "ml_dtypes.bfloat16": Stored("BF16"),
    "ml_dtypes.float8_e4m3fn": Stored("F8_E4M3"),
    "ml_dtypes.float8_e5m2": Stored("F8_E5M2"),
}

_TORCH = {
    "bool": Stored("BOOL"),
    "uint8": Stored("U8"),
    "int8": Stored("I8"),
    "uint16": Stored("U16"),
    "int16": Stored("I16"),
    "float16": Stored("F16"),
    "bfloat16": Stored("BF16"),
    "uint32": Stored("U32"),
    "int32": Stored("I32"),
    "float32": Stored("F32"),
    "uint64": Stored("U64"),
    "int64": Stored("I64"),
    "float64": Stored("F64"),
    "complex64": Stored("F32", (2,)),
    "complex128": Stored("F64", (2,)),
    "float8_e4m3fn": Stored("F8_E4M3"),
    "float8_e5m2": Stored("F8_E5M2"),
    "float8_e4m3fnuz": Stored("U8"),
    "float8_e5m2fnuz": Stored("U8"),
    "float8_e8m0fnu": Stored("U8"),
}

# Two machines' long doubles may share a size and differ in form, so they are named by their mantissa too.
_LONG_DOUBLE = np.finfo(np.longdouble)
_LONG_BYTES = np.dtype(np.longdouble).itemsize
_LONG_NAMES = (
    {
        f"longdouble/{_LONG_DOUBLE.nmant}": np.dtype(np.longdouble),
        f"clongdouble/{_LONG_DOUBLE.nmant}": np.dtype(np.clongdouble),
    }
    if _LONG_BYTES > 8
    else {}
)
_X87_BYTES = 10  # the 80 bits of an x87 number; a 63-bit mantissa tells it

# Kinds whose bytes are their whole value; objects, structures and variable-length text are not among them.
_PLAIN = re.compile(r"[<>|][biufcSUV][1-9][0-9]{0,9}|[<>][mM]8(\[[0-9]{0,9}[A-Za-z]{1,2}(/[0-9]{1,9})?\])?")
_ML_DTYPE = re.compile(r"ml_dtypes\.([a-z0-9_]+)")


def numpy_dtype_name(dtype: np.dtype[Any]) -> str | None:
    """The skeleton's name for ``dtype``; None where its bytes are not the whole value (objects, structures)."""
    if dtype.type.__module__ == "ml_dtypes":
        return f"ml_dtypes.{dtype.name}"
    if dtype.char in "gG" and _LONG_NAMES:
        return next((name for name, known in _LONG_NAMES.items() if known == dtype and dtype.isnative), None)
    if dtype.names is None and dtype.subdtype is None and _PLAIN.fullmatch(dtype.str):
        return dtype.str
    return None


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The inverse of `numpy_dtype_name`.

    Raises:
        FormatError: no such type, or one that this machine does not have.
        CasError: it needs ml_dtypes, which is not installed.
    """
    if (known := _LONG_NAMES.get(name)) is not None:
        return known
    if match := _ML_DTYPE.fullmatch(name):
        return _ml_dtype(match[1])
    if _PLAIN.fullmatch(name):
        try:
            dtype: np.dtype[Any] = np.dtype(name)
        except (TypeError, ValueError) as error:
            raise FormatError(f"NumPy has no item type {name!r} here: {error}") from error
        if numpy_dtype_name(dtype) == name:
            return dtype
    raise FormatError(f"NumPy has no item type {name[:80]!r} here")


def _ml_dtype(name: str) -> np.dtype[Any]:
    try:
        ml_dtypes = importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise CasError(f"arrays of {name} need ml_dtypes; `pip install ml_dtypes`") from error
    try:
        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    except (AttributeError, TypeError) as error:
        raise FormatError(f"ml_dtypes has no {name!r} here; a newer one may") from error
    if numpy_dtype_name(dtype) != f"ml_dtypes.{name}":
        raise FormatError(f"{name!r} is not an item type of ml_dtypes")
    return dtype


def stored_numpy(dtype: np.dtype[Any]) -> Stored:
    """How an array of ``dtype``, which has a name, lies in a safetensors file."""
    name = numpy_dtype_name(dtype)
    if name in _NUMPY:
        return _NUMPY[name]
    return Stored("I64") if dtype.str[:2] in ("<m", "<M") else _as_bytes(dtype.itemsize)


def stored_torch(name: str) -> Stored | None:
    """How a tensor of torch's dtype ``name`` lies in a safetensors file; None for types that are not stored."""
    return _TORCH.get(name)


def clear_padding(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A contiguous ``array`` whose bytes follow from its values alone.

    An x87 long double keeps 10 bytes in 12 or 16 and leaves in the rest whatever memory held,
    so equal arrays would have unequal bytes: such arrays are copied, with zeros there.
    """
    if array.dtype not in _LONG_NAMES.values() or _LONG_DOUBLE.nmant != 63:
        return array
    clean = array.copy()
    clean.reshape(-1).view(np.uint8).reshape(-1, _LONG_BYTES)[:, _X87_BYTES:] = 0
    return clean
