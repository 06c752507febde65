"""The tensors file: a safetensors file whose every byte follows from the arrays in it.

    8 bytes   length of the header, little-endian
    header    {"name":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},...}, spaces up to a multiple of 8
    rest      the arrays, widest items first, then by name, with nothing between them

Because the header follows from the skeleton, reading needs no parser: the header that must be there is made
again and compared. Format: https://github.com/huggingface/safetensors; docs/design/008-dict-trees.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cas.checkpoint.dtypes import Stored
from cas.errors import FormatError
from cas.format import Buffer

__all__ = ["MAX_HEADER_BYTES", "StoredTensor", "slice_tensors", "write_tensors"]

MAX_HEADER_BYTES = 100_000_000  # safetensors' readers refuse a longer one
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One array as the file has it.

    Attributes:
        name: unique in the file.
        stored: how its items lie.
        shape: its own, without what its items add.
    """

    name: str
    stored: Stored
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """What its items take."""
        return math.prod((*self.shape, *self.stored.tail)) * self.stored.item_bytes


def _in_order(tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
    return sorted(tensors, key=lambda tensor: (-tensor.stored.rank, tensor.name))


def _header(tensors: Sequence[StoredTensor]) -> bytes:
    """The length and the header of a file of ``tensors``, which are in order."""
    entries, end = {}, 0
    for tensor in tensors:
        begin, end = end, end + tensor.size_bytes
        shape = [*tensor.shape, *tensor.stored.tail]
        entries[tensor.name] = {"dtype": tensor.stored.dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise FormatError(f"{len(tensors)} arrays are too many for one safetensors file; stack some of them")
    return _LENGTH.pack(len(text)) + text


def write_tensors(contents: dict[StoredTensor, Buffer]) -> tuple[Buffer, ...]:
    """The file of these arrays, as buffers to be laid end to end; the arrays are not copied.

    Raises:
        FormatError: their names alone are longer than a safetensors header may be.
    """
    tensors = _in_order(contents)
    return (_header(tensors), *(contents[tensor] for tensor in tensors if tensor.size_bytes))


def slice_tensors(data: Buffer, tensors: Iterable[StoredTensor], where: str) -> dict[str, memoryview]:
    """Each array's bytes by its name, as slices of ``data``.

    Raises:
        FormatError: ``data`` is not the file that `write_tensors` makes of these tensors.
    """
    ordered = _in_order(tensors)
    header = _header(ordered)
    view = memoryview(data)
    if view[: len(header)] != header or len(view) - len(header) != sum(tensor.size_bytes for tensor in ordered):
        raise FormatError(f"{where} does not hold the arrays that its dict names; another program changed one of them")
    found, at = {}, len(header)
    for tensor in ordered:
        found[tensor.name] = view[at : at + tensor.size_bytes]
        at += tensor.size_bytes
    return found
