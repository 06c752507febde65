"""Arrays and tensors as bytes, and back to what they were.

An array is its item type, its shape and its items in C order. What else a NumPy array or a torch tensor can
have is not kept: memory order, sharing with other arrays, device, ``requires_grad``, being a Parameter. torch is
never imported to write: without it loaded, no value can be a tensor. Specified in docs/design/008-dict-trees.md.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

from cas.checkpoint.dtypes import Stored, clear_padding, numpy_dtype, numpy_dtype_name, stored_numpy, stored_torch
from cas.checkpoint.references import TensorRef
from cas.errors import CasError, FormatError
from cas.format import Buffer

__all__ = ["find_array", "read_array", "stored_form"]

_TENSOR_TYPES = {("torch", "Tensor"), ("torch.nn.parameter", "Parameter")}


def find_array(value: object) -> tuple[TensorRef, Buffer] | None:
    """What stands for an array or tensor, and its items' bytes: a view of them where they are contiguous.

    None if ``value`` is something else, a subclass, or an array of which the items' bytes are not all
    (objects, structures, sparse and quantised tensors).
    """
    if type(value) is np.ndarray:
        name = numpy_dtype_name(value.dtype)
        return None if name is None else (TensorRef("numpy", name, value.shape), _numpy_bytes(value))
    if (type(value).__module__, type(value).__name__) in _TENSOR_TYPES:
        return _find_tensor(value)
    return None


def _numpy_bytes(array: np.ndarray[Any, Any]) -> Buffer:
    if not array.size:
        return b""
    contiguous = array if array.flags.c_contiguous else array.copy(order="C")
    return clear_padding(contiguous).reshape(-1).view(np.uint8).data


def _find_tensor(tensor: Any) -> tuple[TensorRef, Buffer] | None:
    torch = sys.modules["torch"]
    name = str(tensor.dtype).removeprefix("torch.")
    if stored_torch(name) is None or tensor.layout is not torch.strided or tensor.device.type == "meta":
        return None
    reference = TensorRef("torch", name, tuple(tensor.shape))
    if not tensor.numel():
        return reference, b""
    # A conjugate or a negative may be a mere flag on other items.
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return reference, memoryview(plain.reshape(-1).view(torch.uint8).numpy())


def stored_form(reference: TensorRef) -> Stored:
    """How the items of such an array lie in the tensors file.

    Raises:
        FormatError: the item type does not exist here.
        CasError: it needs ml_dtypes, which is not installed.
    """
    if reference.framework == "numpy":
        return stored_numpy(numpy_dtype(reference.dtype))
    stored = stored_torch(reference.dtype)
    if stored is None:
        raise FormatError(f"torch has no item type {reference.dtype[:80]!r} that this cas stores")
    return stored


def read_array(reference: TensorRef, data: memoryview, name: str) -> Any:
    """A fresh array or tensor (on the CPU) of the items in ``data``.

    Args:
        reference: what it was.
        data: its items, as many bytes as `stored_form` says.
        name: the tensor's, for errors.

    Raises:
        CasError: it is a tensor and torch is not installed.
        FormatError: the framework installed here cannot have such an array.
    """
    try:
        return _read_numpy(reference, data) if reference.framework == "numpy" else _read_torch(reference, data, name)
    except (ValueError, AttributeError, RuntimeError) as error:
        raise FormatError(f"{reference.framework} here cannot have {reference.dtype} in this shape: {error}") from error


def _read_numpy(reference: TensorRef, data: memoryview) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.empty(reference.shape, numpy_dtype(reference.dtype))
    if array.size:
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
    return array


def _read_torch(reference: TensorRef, data: memoryview, name: str) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise CasError(f"{name!r} is a torch tensor and torch is not here; `pip install cas[torch]`") from error
    tensor = torch.empty(reference.shape, dtype=getattr(torch, reference.dtype), device="cpu")
    if tensor.numel():
        tensor.reshape(-1).view(torch.uint8).numpy()[:] = np.frombuffer(data, np.uint8)
    return tensor
