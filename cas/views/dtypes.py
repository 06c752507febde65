"""What NumPy and PyTorch call the item types of `cas.layouts`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from cas.errors import CasError

__all__ = ["numpy_dtype", "torch_dtype"]

_NUMPY = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
    "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8", "C128": "<c16",
}  # fmt: skip

_ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}

_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16", "U32": "uint32",
    "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
    "C128": "complex128", **_ML_DTYPES,
}  # fmt: skip


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """NumPy's item type for a key of `cas.layouts.DTYPE_BYTES`.

    Raises:
        CasError: it is one of ml_dtypes', which is not installed or too old; the message says so.
    """
    if dtype in _NUMPY:
        return np.dtype(_NUMPY[dtype])
    name = _ML_DTYPES[dtype]
    try:
        found: np.dtype[Any] = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except (ImportError, AttributeError) as error:
        raise CasError(f"NumPy has no {dtype} without ml_dtypes: `pip install -U ml_dtypes` gives it {name}") from error
    return found


def torch_dtype(dtype: str) -> Any:
    """PyTorch's dtype for a key of `cas.layouts.DTYPE_BYTES`.

    Raises:
        CasError: PyTorch is not installed, or too old to know it; the message says so.
    """
    name = _TORCH[dtype]
    try:
        return getattr(importlib.import_module("torch"), name)
    except (ImportError, AttributeError) as error:
        raise CasError(f"a tensor of {dtype} needs torch.{name}: `pip install -U torch`") from error
