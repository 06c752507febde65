"""Canonical bytes: msgpack in exactly one form for every value.

Values are None, bool, int (64 bit), float, str, bytes, list, dict with str
keys, and `Extension`. Lengths and integers take their shortest form, maps are
sorted by their keys' UTF-8 bytes, and the msgpack float family is never used: a
float is extension 1 holding eight big-endian bytes of IEEE 754 binary64, with a
single NaN. `decode` accepts exactly what `encode` writes and nothing else.
Specified in docs/format.md section 2, pinned by tests/vectors/canonical.json.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack

from cas.errors import FormatError

__all__ = ["FLOAT_EXTENSION", "MAX_DEPTH", "Extension", "decode", "encode"]

FLOAT_EXTENSION = 1
MAX_DEPTH = 64
_NAN = bytes.fromhex("7ff8000000000000")

Extension = msgpack.ExtType


def encode(value: object) -> bytes:
    """The one byte string that stands for ``value``; tuples count as lists.

    Raises:
        FormatError: a type, an integer over 64 bits, text with lone surrogates
            or nesting deeper than `MAX_DEPTH` that has no canonical form.
    """
    try:
        packed: bytes = msgpack.packb(_prepare(value, MAX_DEPTH), use_bin_type=True)
    except (UnicodeEncodeError, OverflowError, ValueError) as error:
        raise FormatError(f"no canonical form: {error}") from error
    return packed


def decode(data: bytes | memoryview, what: str) -> Any:
    """Read canonical bytes.

    Args:
        data: exactly one encoded value.
        what: a name for ``data`` in errors.

    Raises:
        FormatError: the bytes are malformed, or are not the canonical form of what they say.
    """
    try:
        # Every element takes a byte at least, so no honest length exceeds len(data).
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_unpack_extension)
        canonical = encode(value)
    except (ValueError, TypeError, MemoryError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise FormatError(f"{what} is not canonical msgpack: {error}") from error
    if canonical != data:
        raise FormatError(f"{what} is not in canonical form")
    return value


def _prepare(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | str | bytes | Extension):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return Extension(FLOAT_EXTENSION, _NAN if math.isnan(value) else struct.pack(">d", value))
    if not depth:
        raise FormatError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        return [_prepare(item, depth - 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise FormatError(f"map key {key!r} is not text")
        return {key: _prepare(value[key], depth - 1) for key in sorted(value)}
    raise FormatError(f"a {type(value).__name__} has no canonical form")


def _unpack_extension(code: int, data: bytes) -> object:
    if code == FLOAT_EXTENSION:
        if len(data) != 8:
            raise FormatError(f"a float has 8 bytes, not {len(data)}")
        return struct.unpack(">d", data)[0]
    return Extension(code, data)
