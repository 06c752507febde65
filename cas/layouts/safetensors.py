"""safetensors: a length, a JSON header, then the tensors' bytes.

    8 bytes   length of the header, little-endian
    header    {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...}
    rest      the tensors; offsets count from the header's end

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import NoReturn

from cas.layouts.source import MAX_READ_BYTES, Source
from cas.layouts.spans import DTYPE_BYTES, MAX_TENSORS, Layout, MalformedError, TensorSpan, TensorView, c_strides

__all__ = ["looks_like_safetensors", "parse_safetensors", "view_safetensors"]

_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that starts with ``head`` (9 bytes or more) may be safetensors. There is no magic."""
    return len(head) > _LENGTH.size and head[8:9] == b"{" and _LENGTH.unpack_from(head)[0] <= MAX_READ_BYTES


def parse_safetensors(source: Source) -> Layout:
    """The layout of a safetensors file. Raises MalformedError."""
    return Layout.of("safetensors", [span for span, _ in _read_tensors(source) if span])


def view_safetensors(source: Source) -> list[TensorView]:
    """Every tensor of a safetensors file, empty ones too. Raises MalformedError."""
    return [view for _, view in _read_tensors(source)]


def _read_tensors(source: Source) -> Iterator[tuple[TensorSpan | None, TensorView]]:
    (header_bytes,) = _LENGTH.unpack(source.read(0, _LENGTH.size))
    header = _parse_header(source.read(_LENGTH.size, header_bytes))
    for name, entry in header.items():
        if name != _METADATA:
            yield _tensor(name, entry, _LENGTH.size + header_bytes)


def _parse_header(header: bytes) -> dict[str, object]:
    # JSON spends up to 30 bytes of memory on one byte of text, so count what would be built before building it.
    # A tensor of rank 4 needs 8 commas and 3 brackets.
    if header.count(b",") > 8 * MAX_TENSORS or header.count(b"[") + header.count(b"{") > 4 * MAX_TENSORS:
        raise MalformedError("a safetensors header names too many tensors")
    try:
        parsed = json.loads(header.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError("a safetensors header is not JSON") from error
    if not isinstance(parsed, dict):
        raise MalformedError("a safetensors header is not an object")
    return parsed


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedError("a safetensors header has a name twice")
    return members


def _refuse(text: str) -> NoReturn:
    raise MalformedError(f"a safetensors header holds the number {text[:32]}")


def _tensor(name: str, entry: object, data_offset: int) -> tuple[TensorSpan | None, TensorView]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise MalformedError(f"tensor {name!r} has no dtype, shape and data_offsets")
    if any(type(number) is not int for number in (begin, end, *shape)):
        raise MalformedError(f"tensor {name!r} has a size that is not a whole number")
    if not 0 <= begin <= end:
        raise MalformedError(f"tensor {name!r} lies from {begin} to {end}")
    offset, size_bytes = data_offset + begin, end - begin
    itemsize = DTYPE_BYTES.get(dtype, 0)
    if not itemsize:  # a packed or future dtype: its bytes are known, their meaning is not
        dtype, shape = "", []
    if begin == end:
        return None, TensorView(name, dtype, tuple(shape), c_strides(shape), offset, 0)
    span = TensorSpan(name, dtype, tuple(shape), offset, size_bytes, itemsize)
    return span, TensorView.of_span(span)
