"""GGUF: what llama.cpp reads. Metadata, then a table of tensors, then their bytes.

    4 bytes   GGUF
    u32       version: 2 or 3
    u64 u64   number of tensors, number of metadata pairs
    pairs     key (string), type (u32), value
    table     name (string), rank (u32), dimensions (u64 each, fastest first), type (u32), offset (u64)
    padding   to a multiple of ``general.alignment``, 32 unless a pair says otherwise
    rest      the tensors; offsets count from here

A string is a u64 length and UTF-8. All numbers are little-endian; files of the rare
big-endian kind show another version and are content to cas, as are tensors of types
newer than this table.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from cas.layouts.source import Cursor, Source
from cas.layouts.spans import (
    DTYPE_BYTES,
    MAX_NAME_CHARS,
    MAX_RANK,
    MAX_TENSORS,
    Layout,
    MalformedError,
    TensorSpan,
    count_items,
)

__all__ = ["GGUF_MAGIC", "parse_gguf"]

GGUF_MAGIC = b"GGUF"

_HEADER = struct.Struct("<4sIQQ")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_VERSIONS = (2, 3)
_MAX_HEADER_BYTES = 64 << 20  # vocabularies of half a million words are 20 MiB
_MAX_STRINGS = 1 << 21
_MAX_PAIRS = 1 << 16
_MAX_ALIGNMENT = 1 << 20
_DEFAULT_ALIGNMENT = 32
_ALIGNMENT_KEY = b"general.alignment"

_STRING, _ARRAY = 8, 9
_UINT32 = 4
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _Type(NamedTuple):
    """A tensor type: ``block_items`` items in every ``block_bytes`` bytes; ``dtype`` is empty if quantised."""

    block_items: int
    block_bytes: int
    dtype: str = ""


_TYPES = {
    **{number: _Type(1, DTYPE_BYTES[dtype], dtype) for number, dtype in (
        (0, "F32"), (1, "F16"), (24, "I8"), (25, "I16"), (26, "I32"), (27, "I64"), (28, "F64"), (30, "BF16"),
    )},
    2: _Type(32, 18),  # Q4_0
    3: _Type(32, 20),  # Q4_1
    6: _Type(32, 22),  # Q5_0
    7: _Type(32, 24),  # Q5_1
    8: _Type(32, 34),  # Q8_0
    10: _Type(256, 84),  # Q2_K
    11: _Type(256, 110),  # Q3_K
    12: _Type(256, 144),  # Q4_K
    13: _Type(256, 176),  # Q5_K
    14: _Type(256, 210),  # Q6_K
    16: _Type(256, 66),  # IQ2_XXS
    17: _Type(256, 74),  # IQ2_XS
    18: _Type(256, 98),  # IQ3_XXS
    19: _Type(256, 50),  # IQ1_S
    20: _Type(32, 18),  # IQ4_NL
    21: _Type(256, 110),  # IQ3_S
    22: _Type(256, 82),  # IQ2_S
    23: _Type(256, 136),  # IQ4_XS
    29: _Type(256, 56),  # IQ1_M
    34: _Type(256, 54),  # TQ1_0
    35: _Type(256, 66),  # TQ2_0
    39: _Type(32, 17),  # MXFP4
}  # fmt: skip


def parse_gguf(source: Source) -> Layout:
    """The layout of a GGUF file. Raises MalformedError."""
    cursor = Cursor(source, _MAX_HEADER_BYTES)
    magic, version, tensors, pairs = _HEADER.unpack(cursor.take(_HEADER.size))
    if magic != GGUF_MAGIC or version not in _VERSIONS or tensors > MAX_TENSORS or pairs > _MAX_PAIRS:
        raise MalformedError(f"GGUF version {version} of {tensors} tensors and {pairs} pairs")
    alignment = _read_alignment(cursor, pairs)
    table = [_read_entry(cursor) for _ in range(tensors)]
    data_offset = -(-cursor.offset // alignment) * alignment
    spans = (_span(entry, data_offset) for entry in table)
    return Layout.of("gguf", [span for span in spans if span])


class _Entry(NamedTuple):
    """A row of the table, as it stands in the file."""

    name: str
    dimensions: tuple[int, ...]
    type: int
    offset: int


def _read_entry(cursor: Cursor) -> _Entry:
    name = _take_string(cursor)
    (rank,) = _U32.unpack(cursor.take(_U32.size))
    if rank > MAX_RANK:
        raise MalformedError(f"a GGUF tensor of rank {rank}")
    numbers = struct.Struct(f"<{rank}QIQ")
    *dimensions, kind, offset = numbers.unpack(cursor.take(numbers.size))
    try:
        return _Entry(name.decode(), tuple(dimensions), kind, offset)
    except UnicodeDecodeError as error:
        raise MalformedError("a GGUF tensor's name is not UTF-8") from error


def _span(entry: _Entry, data_offset: int) -> TensorSpan | None:
    kind = _TYPES.get(entry.type)
    items = count_items(entry.dimensions)
    if kind is None or not items:
        return None
    if entry.dimensions and entry.dimensions[0] % kind.block_items:
        raise MalformedError(f"tensor {entry.name!r} has rows that are not whole blocks")
    size_bytes = items // kind.block_items * kind.block_bytes
    shape = entry.dimensions[::-1] if kind.dtype else ()
    itemsize = kind.block_bytes if kind.dtype else 0
    return TensorSpan(entry.name, kind.dtype, shape, data_offset + entry.offset, size_bytes, itemsize)


def _read_alignment(cursor: Cursor, pairs: int) -> int:
    """Walk the metadata, whose length nothing tells; what the alignment is, if it says."""
    alignment = _DEFAULT_ALIGNMENT
    strings_left = _MAX_STRINGS
    for _ in range(pairs):
        key = _take_string(cursor)
        (kind,) = _U32.unpack(cursor.take(_U32.size))
        if key == _ALIGNMENT_KEY and kind == _UINT32:
            (alignment,) = _U32.unpack(cursor.take(_U32.size))
            continue
        count = 1
        if kind == _ARRAY:
            (kind,) = _U32.unpack(cursor.take(_U32.size))
            (count,) = _U64.unpack(cursor.take(_U64.size))
        if kind == _STRING:
            strings_left -= count
            if strings_left < 0:
                raise MalformedError(f"GGUF metadata of more than {_MAX_STRINGS} strings")
            cursor.skip_strings(count)
        elif kind in _VALUE_BYTES:
            cursor.skip(count * _VALUE_BYTES[kind])
        else:  # arrays of arrays are allowed and written by nobody
            raise MalformedError(f"GGUF metadata of type {kind}")
    if not 0 < alignment <= _MAX_ALIGNMENT:
        raise MalformedError(f"a GGUF alignment of {alignment}")
    return alignment


def _take_string(cursor: Cursor) -> bytes:
    (size_bytes,) = _U64.unpack(cursor.take(_U64.size))
    if size_bytes > MAX_NAME_CHARS:
        raise MalformedError(f"a GGUF name of {size_bytes} bytes")
    return cursor.take(size_bytes)
