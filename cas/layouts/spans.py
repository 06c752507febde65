"""Where the tensors are inside a file: the values that every parser here answers with.

A `Layout` is a promise about bytes, whoever wrote the file: its spans are sorted,
never overlap, never are empty, and a span that names a dtype has exactly the bytes
that its shape needs. Both classes check that themselves, so a hostile file can only
fail to become a layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cas.errors import FormatError
from cas.format import Buffer

__all__ = [
    "DTYPE_BYTES",
    "MAX_FILE_BYTES",
    "MAX_NAME_CHARS",
    "MAX_RANK",
    "MAX_TENSORS",
    "Layout",
    "MalformedError",
    "ReadAt",
    "TensorSpan",
    "count_items",
]

ReadAt = Callable[[int, int], Buffer]
"""``(offset, size_bytes)`` to exactly those bytes of a file."""

MAX_TENSORS = 1 << 16
MAX_NAME_CHARS = 512
MAX_RANK = 64
MAX_FILE_BYTES = 1 << 63

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2": 1,
    "F8_E5M2FNUZ": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
    "C128": 16,
}
"""Every dtype a span may name, little-endian, and the bytes of one item."""


class MalformedError(FormatError):
    """A file does not keep the rules of the format that it looks like. Never leaves `find_layout`."""


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """One tensor's bytes inside a file.

    Attributes:
        name: what the file calls it; not always unique.
        dtype: a key of `DTYPE_BYTES`: then the bytes, read in C order and little-endian, are an array
            of ``shape``. Empty where they are not (quantised blocks, Fortran order, big-endian).
        shape: outermost dimension first; ``()`` where ``dtype`` is empty.
        offset: of the first byte in the file.
        size_bytes: never zero, because an empty tensor has no span.
        itemsize: bytes of one item, 0 where unknown. May be known where ``dtype`` is not.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int
    itemsize: int

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME_CHARS or not _is_text(self.name):
            raise MalformedError("a tensor's name is too long or not Unicode")
        if self.offset < 0 or not 0 < self.size_bytes <= MAX_FILE_BYTES or self.itemsize < 0:
            raise MalformedError(f"tensor {self.name!r} claims {self.size_bytes} bytes at {self.offset}")
        if not self.dtype:
            if self.shape:
                raise MalformedError(f"tensor {self.name!r} has a shape but no dtype")
        elif DTYPE_BYTES.get(self.dtype) != self.itemsize:
            raise MalformedError(f"tensor {self.name!r} claims dtype {self.dtype!r} of {self.itemsize} bytes an item")
        elif count_items(self.shape) * self.itemsize != self.size_bytes:
            raise MalformedError(f"tensor {self.name!r} of shape {self.shape} claims {self.size_bytes} bytes")

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """Every tensor of one file, in order of offset; what lies between them is the format's own.

    Attributes:
        format: "safetensors", "torch", "npy", "npz" or "gguf".
        spans: sorted by offset, none empty, none overlapping.
    """

    format: str
    spans: tuple[TensorSpan, ...]

    def __post_init__(self) -> None:
        end = 0
        for span in self.spans:
            if span.offset < end:
                raise MalformedError(f"tensor {span.name!r} overlaps the one before it or is out of order")
            end = span.end

    @classmethod
    def of(cls, format: str, spans: Sequence[TensorSpan]) -> Layout:
        """A layout of ``spans`` given in any order."""
        return cls(format, tuple(sorted(spans, key=lambda span: span.offset)))

    @property
    def end(self) -> int:
        """One past the last tensor's last byte; 0 where there is none."""
        return self.spans[-1].end if self.spans else 0


def count_items(shape: Sequence[int]) -> int:
    """How many items an array of this shape has.

    Raises:
        MalformedError: a dimension is negative, or there are more dimensions or items than any file holds.
    """
    if len(shape) > MAX_RANK or any(not 0 <= size <= MAX_FILE_BYTES for size in shape):
        raise MalformedError("a shape is no shape")
    return math.prod(shape)


def _is_text(name: str) -> bool:
    # JSON and pickle can both smuggle in lone surrogates, which no output can encode.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
