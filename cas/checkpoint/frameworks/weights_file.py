"""model.safetensors: the tensors of a state dict, byte for byte as the safetensors package writes them.

So any tool opens the file, and one that another tool wrote of the same weights is the same file. Where several
names are one tensor (tied weights), the first of them by name has it, and the header's metadata says so for each of
the others, as `safetensors.torch.save_model` does. (That package shuffles metadata with every call; here they are
sorted.) Format: https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import IO, Any

from cas.checkpoint.arrays import find_array
from cas.errors import FormatError
from cas.layouts.source import MAX_READ_BYTES
from cas.layouts.spans import MAX_NAME_CHARS, MAX_TENSORS

__all__ = ["WEIGHTS_PATH", "is_weight", "read_tied_names", "write_weights"]

WEIGHTS_PATH = "model.safetensors"

# In the order in which the safetensors package lays tensors out: the widest items first.
_DTYPES = {
    "uint64": ("U64", 8),
    "int64": ("I64", 8),
    "float64": ("F64", 8),
    "complex64": ("C64", 8),
    "float32": ("F32", 4),
    "uint32": ("U32", 4),
    "int32": ("I32", 4),
    "bfloat16": ("BF16", 2),
    "float16": ("F16", 2),
    "uint16": ("U16", 2),
    "int16": ("I16", 2),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1),
    "float8_e8m0fnu": ("F8_E8M0", 1),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_METADATA = "__metadata__"
_FRAMEWORK = "format"  # {"format": "pt"} is what transformers says in every file


def is_weight(value: object) -> bool:
    """Whether ``value`` is a tensor that a safetensors file can hold: dense, with its items at hand, no subclass."""
    import torch

    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return False
    tensor: Any = value
    return _name(tensor.dtype) in _DTYPES and tensor.layout is torch.strided and tensor.device.type != "meta"


def write_weights(tensors: Mapping[str, Any]) -> bytes:
    """The file of these tensors, for which `is_weight` is true; only one of them is copied from its device at a time.

    Raises:
        FormatError: names that no reader would accept, or too many of them.
    """
    tied = _find_tied(tensors)
    kept = sorted(tensors.keys() - tied.keys(), key=lambda name: (_RANKS[_name(tensors[name].dtype)], name))
    file = io.BytesIO()  # gives its content away without a copy
    file.write(_header({name: tensors[name] for name in kept}, tied))
    for name in kept:
        found = find_array(tensors[name])
        assert found is not None
        file.write(found[1])
    return file.getvalue()


def read_tied_names(file: IO[bytes]) -> dict[str, str]:
    """What the metadata of a safetensors file say by name; that of a tied weight is the name that has it.

    Args:
        file: one that `cas.layouts` found to be well-formed.
    """
    (header_bytes,) = _LENGTH.unpack(file.read(_LENGTH.size))
    metadata = json.loads(file.read(header_bytes)).get(_METADATA)
    if not isinstance(metadata, dict):
        return {}
    return {name: kept for name, kept in metadata.items() if isinstance(kept, str) and name != _FRAMEWORK}


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _find_tied(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Each name that is one tensor with another, and the name that keeps it."""
    first: dict[tuple[object, ...], str] = {}
    tied = {}
    for name, tensor in sorted(tensors.items()):
        if tensor.numel():
            place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if (kept := first.setdefault(place, name)) != name:
                tied[name] = kept
    return tied


def _header(tensors: Mapping[str, Any], tied: Mapping[str, str]) -> bytes:
    if any(len(name) > MAX_NAME_CHARS or name in ("", _METADATA) for name in [*tensors, *tied]):
        raise FormatError(f"a weight's name must have 1 to {MAX_NAME_CHARS} characters and not be {_METADATA!r}")
    entries: dict[str, Any] = {_METADATA: dict(sorted(tied.items()))} if tied else {}
    end = 0
    for name, tensor in tensors.items():
        dtype, item_bytes = _DTYPES[_name(tensor.dtype)]
        begin, end = end, end + tensor.numel() * item_bytes
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(tensors) > MAX_TENSORS or len(text) > MAX_READ_BYTES:
        raise FormatError(f"{len(tensors)} weights are too many for one file (at most {MAX_TENSORS}); stack some")
    return _LENGTH.pack(len(text)) + text
