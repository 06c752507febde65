"""Canonical bytes: msgpack in exactly one form for every value.

Values are None, bool, int (64 bit), float, str, bytes, list, dict with str
keys, and `Extension`. Lengths and integers take their shortest form, maps are
sorted by their keys' UTF-8 bytes, and the msgpack float family is never used: a
float is extension 1 holding eight big-endian bytes of IEEE 754 binary64, with a
single NaN. `decode` accepts exactly what `encode` writes and nothing else, and
what it allocates is bounded by the bytes there are, not by what they declare.
Specified in docs/format.md section 2, pinned by tests/vectors/canonical.json.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import msgpack

from cas.errors import FormatError

__all__ = ["FLOAT_EXTENSION", "MAX_DEPTH", "Extension", "decode", "encode"]

FLOAT_EXTENSION = 1
MAX_DEPTH = 64
_FLOAT = struct.Struct(">d")
_NAN = bytes.fromhex("7ff8000000000000")
_PLAIN = frozenset({type(None), bool, int, str, bytes})

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
    data = bytes(data)
    try:
        value, end = _read(data, 0, MAX_DEPTH)
        if end != len(data):
            raise _NotCanonicalError(f"{len(data) - end} bytes follow the value")
    except IndexError:
        raise FormatError(f"{what} is not canonical msgpack: it is cut short") from None
    except (_NotCanonicalError, UnicodeDecodeError) as error:
        raise FormatError(f"{what} is not canonical msgpack: {error}") from error
    return value


def _prepare(value: object, depth: int) -> object:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Extension):
        if value.code == FLOAT_EXTENSION:
            raise FormatError(f"extension {FLOAT_EXTENSION} is what floats are written as")
        return value
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return Extension(FLOAT_EXTENSION, _NAN if math.isnan(value) else _FLOAT.pack(value))
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


class _NotCanonicalError(Exception):
    """Why the bytes were refused; `decode` adds what they are."""


# The reader is written out, because msgpack's own accepts more than one form of a value, and makes room for as
# many elements as a header declares: headers nested in each other would cost their depth times the input's size.
# Each function below reads one form of value: it takes the data, where the form's content begins, how much deeper
# containers may nest, and what the first byte told; it returns the value and where that ends.


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    reader, told = _FORMS[data[at]]
    return reader(data, at + 1, depth, told)


def _constant(data: bytes, at: int, depth: int, value: object) -> tuple[object, int]:
    return value, at


def _unsigned(data: bytes, at: int, depth: int, form: tuple[int, int]) -> tuple[int, int]:
    width, least = form
    digits, end = _binary(data, at, depth, width)
    value = int.from_bytes(digits, "big")
    if value < least:
        raise _NotCanonicalError(f"{value} is in a long form at byte {at}")
    return value, end


def _negative(data: bytes, at: int, depth: int, form: tuple[int, int]) -> tuple[int, int]:
    width, most = form
    digits, end = _binary(data, at, depth, width)
    value = int.from_bytes(digits, "big", signed=True)
    if value > most:
        raise _NotCanonicalError(f"{value} is in a long form at byte {at}")
    return value, end


def _sized(data: bytes, at: int, depth: int, form: tuple[_Reader, int, int]) -> tuple[Any, int]:
    reader, width, least = form
    size = int.from_bytes(data[at : at + width], "big")
    if size < least:
        raise _NotCanonicalError(f"length {size} is in a long form at byte {at}")
    return reader(data, at + width, depth, size)  # which finds out if the length itself was cut short


def _binary(data: bytes, at: int, depth: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise _NotCanonicalError(f"it ends {end - len(data)} bytes too early")
    return data[at:end], end


def _text(data: bytes, at: int, depth: int, size: int) -> tuple[str, int]:
    end = at + size
    if end > len(data):
        raise _NotCanonicalError(f"it ends {end - len(data)} bytes too early")
    return data[at:end].decode(), end


def _array(data: bytes, at: int, depth: int, count: int) -> tuple[list[Any], int]:
    _check_room(data, at, depth, count)
    items = []
    for _ in range(count):
        item, at = _read(data, at, depth - 1)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, depth: int, count: int) -> tuple[dict[str, Any], int]:
    _check_room(data, at, depth, 2 * count)
    items: dict[str, Any] = {}
    last = None
    for _ in range(count):
        key, at = _read(data, at, 0)
        if not isinstance(key, str):
            raise _NotCanonicalError(f"map key {key!r:.80} is not text")
        # Text sorts by code points, which is the order of its UTF-8 bytes.
        if last is not None and key <= last:
            raise _NotCanonicalError(f"map key {key!r:.80} follows {last!r:.80}")
        items[key], at = _read(data, at, depth - 1)
        last = key
    return items, at


def _check_room(data: bytes, at: int, depth: int, values: int) -> None:
    if not depth:
        raise _NotCanonicalError(f"nested deeper than {MAX_DEPTH} levels at byte {at}")
    if values > len(data) - at:  # a value takes a byte or more
        raise _NotCanonicalError(f"{values} values declared at byte {at}, more than there are bytes")


def _extension(data: bytes, at: int, depth: int, size: int) -> tuple[object, int]:
    code = data[at]
    content, end = _binary(data, at + 1, depth, size)
    if code > 0x7F:
        raise _NotCanonicalError(f"extension {code - 0x100} at byte {at} is one of msgpack's own")
    if code != FLOAT_EXTENSION:
        return Extension(code, content), end
    if size != _FLOAT.size:
        raise _NotCanonicalError(f"a float has {_FLOAT.size} bytes, not {size}")
    (value,) = _FLOAT.unpack(content)
    if math.isnan(value) and content != _NAN:
        raise _NotCanonicalError(f"the NaN {content.hex()}")
    return value, end


def _odd_extension(data: bytes, at: int, depth: int, size: int) -> tuple[object, int]:
    if size in (1, 2, 4, 8, 16):
        raise _NotCanonicalError(f"an extension of {size} bytes is in a long form at byte {at}")
    return _extension(data, at, depth, size)


def _refused(data: bytes, at: int, depth: int, code: int) -> tuple[object, int]:
    raise _NotCanonicalError(f"byte {code:#04x} at {at - 1} begins no value")


_Reader = Callable[[bytes, int, int, Any], tuple[Any, int]]
_FORMS: list[tuple[_Reader, Any]] = [
    *((_constant, code) for code in range(0x80)),
    *((_map, count) for count in range(16)),
    *((_array, count) for count in range(16)),
    *((_text, size) for size in range(32)),
    (_constant, None),  # 0xc0
    (_refused, 0xC1),
    (_constant, False),
    (_constant, True),
    (_sized, (_binary, 1, 0)),
    (_sized, (_binary, 2, 1 << 8)),
    (_sized, (_binary, 4, 1 << 16)),
    (_sized, (_odd_extension, 1, 0)),  # 0xc7
    (_sized, (_odd_extension, 2, 1 << 8)),
    (_sized, (_odd_extension, 4, 1 << 16)),
    (_refused, 0xCA),  # msgpack's floats
    (_refused, 0xCB),
    (_unsigned, (1, 1 << 7)),
    (_unsigned, (2, 1 << 8)),
    (_unsigned, (4, 1 << 16)),
    (_unsigned, (8, 1 << 32)),
    (_negative, (1, -(1 << 5) - 1)),  # 0xd0
    (_negative, (2, -(1 << 7) - 1)),
    (_negative, (4, -(1 << 15) - 1)),
    (_negative, (8, -(1 << 31) - 1)),
    *((_extension, 1 << power) for power in range(5)),
    (_sized, (_text, 1, 1 << 5)),  # 0xd9
    (_sized, (_text, 2, 1 << 8)),
    (_sized, (_text, 4, 1 << 16)),
    (_sized, (_array, 2, 1 << 4)),
    (_sized, (_array, 4, 1 << 16)),
    (_sized, (_map, 2, 1 << 4)),
    (_sized, (_map, 4, 1 << 16)),
    *((_constant, code - 0x100) for code in range(0xE0, 0x100)),
]
