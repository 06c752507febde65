"""Where the tensors are inside a file: the values that every parser here answers with.

A `Layout` is a promise about bytes, whoever wrote the file: its spans are sorted,
never overlap, never are empty, and a span that names a dtype has exactly the bytes
that its shape needs. A `TensorView` is the same tensor for who wants to read it. The
classes check themselves, so a hostile file can only fail to become a layout.
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
    "Member",
    "ReadAt",
    "TensorSpan",
    "TensorView",
    "c_strides",
    "count_items",
    "is_c_order",
    "size_of",
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


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a zip archive, stored as it is.

    Attributes:
        name: its path in the archive.
        header_offset: of its local header; the content follows behind that.
        size_bytes: of its content.
    """

    name: str
    header_offset: int
    size_bytes: int


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
        _check_name(self.name)
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
class TensorView:
    """One tensor as who reads the file sees it. Unlike a span it may be empty, turned, or share bytes with others.

    Attributes:
        name: what the file calls it; not always unique.
        dtype: a key of `DTYPE_BYTES`, or empty where the bytes are no little-endian array of one.
        shape: outermost dimension first; ``()`` where ``dtype`` is empty.
        strides: for every dimension the items from one index to the next, never negative.
        offset: of its first item: in the file or, with a ``member``, in that.
        size_bytes: from there to the end of its last item, so what has to be read; zero for an empty tensor.
        member: the zip member that it lies in, whose place `locate_tensor` finds when it is needed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    size_bytes: int
    member: Member | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.shape) != len(self.strides) or min(self.strides, default=0) < 0 or self.offset < 0:
            raise MalformedError(f"tensor {self.name!r} has a shape {self.shape} and strides {self.strides}")
        if self.dtype and self.size_bytes != size_of(self.dtype, self.shape, self.strides):
            raise MalformedError(f"tensor {self.name!r} of shape {self.shape} claims {self.size_bytes} bytes")
        if count_items(self.shape) * DTYPE_BYTES.get(self.dtype, 1) >= MAX_FILE_BYTES:
            raise MalformedError(f"tensor {self.name!r} of shape {self.shape} has more items than any array")
        if self.member and self.size_bytes and self.offset + self.size_bytes > self.member.size_bytes:
            raise MalformedError(f"tensor {self.name!r} reaches out of {self.member.name!r}, which stores it")

    @classmethod
    def of_span(cls, span: TensorSpan) -> TensorView:
        """A span's bytes, in C order."""
        return cls(span.name, span.dtype, span.shape, c_strides(span.shape), span.offset, span.size_bytes)

    @property
    def is_c_order(self) -> bool:
        """Whether its items lie end to end, the last dimension fastest."""
        return is_c_order(self.shape, self.strides)


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


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides, in items, of an array whose items lie end to end, the last dimension fastest."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_c_order(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether ``strides`` lay the items of ``shape`` end to end; torch writes any stride for a dimension of one."""
    packed = zip(shape, strides, c_strides(shape), strict=True)
    return 0 in shape or all(size == 1 or stride == step for size, stride, step in packed)


def size_of(dtype: str, shape: Sequence[int], strides: Sequence[int]) -> int:
    """Bytes from the start of an array's first item to the end of its last."""
    if 0 in shape:
        return 0
    return DTYPE_BYTES[dtype] * (1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)))


def _check_name(name: str) -> None:
    # JSON and pickle can both smuggle in lone surrogates, which no output can encode.
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a tensor's name is not Unicode") from error
    if len(name) > MAX_NAME_CHARS:
        raise MalformedError("a tensor's name is too long")
