"""npy: one NumPy array, as a file or as a member of an npz.

    6 bytes   \\x93NUMPY
    2 bytes   version
    2 or 4    length of the header, little-endian (version 1: two bytes)
    header    {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  and spaces
    rest      the array

The header is Python source, but only the one form that every writer uses is read,
by a regular expression: nothing here evaluates anything.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re

from cas.layouts.source import Source
from cas.layouts.spans import (
    DTYPE_BYTES,
    Layout,
    MalformedError,
    TensorSpan,
    TensorView,
    c_strides,
    count_items,
)

__all__ = ["NPY_MAGIC", "parse_npy", "read_npy", "view_npy"]

NPY_MAGIC = b"\x93NUMPY"

_PREFIX_BYTES = {1: 10, 2: 12, 3: 12}
_MAX_HEADER_BYTES = 1 << 16
_HEADER = re.compile(rb"\{'descr': '([^']+)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\),? ?\}\s*")
_DESCR = re.compile(rb"([<>|=])([biufcSUVMm])([0-9]{1,9})(?:\[[0-9a-zA-Z]+\])?")
_DTYPES = {
    (b"b", 1): "BOOL",
    **{(b"u", size): f"U{8 * size}" for size in (1, 2, 4, 8)},
    **{(b"i", size): f"I{8 * size}" for size in (1, 2, 4, 8)},
    **{(b"f", size): f"F{8 * size}" for size in (2, 4, 8)},
    (b"c", 8): "C64",
    (b"c", 16): "C128",
}


def parse_npy(source: Source) -> Layout:
    """The layout of an npy file. Raises MalformedError."""
    span, _ = read_npy(source, 0, source.size_bytes, "")
    return Layout.of("npy", [span] if span else [])


def view_npy(source: Source) -> list[TensorView]:
    """The array of an npy file. Raises MalformedError."""
    return [read_npy(source, 0, source.size_bytes, "")[1]]


def read_npy(source: Source, offset: int, size_bytes: int, name: str) -> tuple[TensorSpan | None, TensorView]:
    """The array of the npy that fills ``size_bytes`` bytes at ``offset``, and its span unless it is empty.

    Raises:
        MalformedError: it is not an npy, is longer than that, or holds pickled objects or records.
    """
    version = source.read(offset, len(NPY_MAGIC) + 2)[len(NPY_MAGIC)]
    prefix_bytes = _PREFIX_BYTES.get(version)
    if prefix_bytes is None:
        raise MalformedError(f"npy version {version}")
    prefix = source.read(offset, prefix_bytes)
    if not prefix.startswith(NPY_MAGIC):
        raise MalformedError("no npy magic")
    header_bytes = int.from_bytes(prefix[8:], "little")
    if header_bytes > _MAX_HEADER_BYTES:
        raise MalformedError(f"an npy header of {header_bytes} bytes")
    header = _HEADER.fullmatch(source.read(offset + prefix_bytes, header_bytes))
    if not header:
        raise MalformedError("an npy header that NumPy does not write")
    descr, fortran, dimensions = header.groups()
    shape = _parse_shape(dimensions)
    dtype, itemsize = _parse_descr(descr)
    data_bytes = count_items(shape) * itemsize
    if prefix_bytes + header_bytes + data_bytes > size_bytes:
        raise MalformedError(f"an npy of {data_bytes} bytes does not fit in {size_bytes}")
    data_offset = offset + prefix_bytes + header_bytes
    if not dtype:
        shape = ()
    turned = fortran == b"True" and len(shape) > 1
    strides = c_strides(shape[::-1])[::-1] if turned else c_strides(shape)
    view = TensorView(name, dtype, shape, strides, data_offset, data_bytes)
    if not data_bytes:
        return None, view
    if turned:  # a span's bytes are read in C order
        return TensorSpan(name, "", (), data_offset, data_bytes, itemsize), view
    return TensorSpan(name, dtype, shape, data_offset, data_bytes, itemsize), view


def _parse_shape(dimensions: bytes) -> tuple[int, ...]:
    sizes = [text for text in dimensions.replace(b" ", b"").split(b",") if text]
    if any(len(text) > 20 for text in sizes):
        raise MalformedError("an npy dimension of more than 20 digits")
    return tuple(int(text) for text in sizes)


def _parse_descr(descr: bytes) -> tuple[str, int]:
    """A NumPy type string as (dtype, itemsize); the dtype is empty for dates, text and big-endian numbers."""
    match = _DESCR.fullmatch(descr)
    if not match:  # 'O' is a pickle, not an array
        raise MalformedError("an npy of objects")
    order, kind, digits = match.groups()
    size = int(digits)
    dtype = _DTYPES.get((kind, size), "") if order in b"<|" or size == 1 else ""
    return dtype, DTYPE_BYTES.get(dtype, 0) or (4 * size if kind == b"U" else size)
